//! Hunts for lost messages over links in memory: `cargo xtask sim` runs it.

// The worlds know no clock; how long they take does.
#![allow(clippy::disallowed_methods)]

mod program;

use std::process::ExitCode;

use rondevu_durable::sim::FastFabric;

fn main() -> ExitCode {
    program::main::<FastFabric>("fast")
}
