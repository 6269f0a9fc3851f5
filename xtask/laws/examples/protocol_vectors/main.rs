//! Prints the test vectors of the session protocol: `cargo run -p rondevu-laws --no-default-features
//! --example protocol_vectors > docs/protocol-vectors.json`.
//!
//! A test compares the file with what this prints, so a change of the protocol shows in both.

mod exchange;
#[path = "../../../../rondevu-core/tests/protocol_vectors/json.rs"]
mod json;
mod vectors;

fn main() {
    print!("{}", vectors::text());
}
