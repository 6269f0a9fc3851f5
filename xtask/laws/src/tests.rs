//! The corpus, and random inputs beside it.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;

/// Inputs that the fuzzer found worth keeping, and those that once broke a law.
#[test]
fn every_input_of_the_corpus_keeps_the_laws() {
    let mut bytes = 0;
    for target in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(target.name);
        let inputs = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{} has no corpus: {error}", target.name));
        let mut count = 0;
        for input in inputs {
            let input = fs::read(input.unwrap().path()).unwrap();
            bytes += input.len();
            count += 1;
            (target.run)(&input);
        }
        assert!(count > 0, "the corpus of {} is empty", target.name);
    }
    assert!(bytes < 200 * 1024, "the corpus has grown to {bytes} bytes");
}

fn input() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..600)
}

macro_rules! keeps_the_laws {
    ($($target:ident),*) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(500))]
            $(
                #[test]
                fn $target(input in input()) {
                    run(stringify!($target), &input);
                }
            )*
        }
    };
}

mod any_input_keeps_the_laws {
    use super::*;

    keeps_the_laws!(
        control_frames,
        channel_frames,
        inbox,
        lossy_inbox,
        dialer,
        acceptor,
        reception,
        service,
        liveness
    );

    #[cfg(feature = "parsers")]
    keeps_the_laws!(transport_parsers, dcep, signaling_parsers);
}
