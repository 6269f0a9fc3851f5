//! The vectors are what the machines say today.

#[path = "../examples/protocol_vectors/exchange.rs"]
mod exchange;
#[path = "../../../rondevu-core/tests/protocol_vectors/json.rs"]
mod json;
#[path = "../examples/protocol_vectors/vectors.rs"]
mod vectors;

#[test]
fn the_file_holds_what_the_example_prints() {
    let file = include_str!("../../../docs/protocol-vectors.json");
    assert!(
        file == vectors::text(),
        "write it anew with the example `protocol_vectors` and look at what changed"
    );
}
