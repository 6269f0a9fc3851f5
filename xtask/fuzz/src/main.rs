//! One binary for each target, which it knows by its own name.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| rondevu_laws::run(env!("CARGO_BIN_NAME"), input));
