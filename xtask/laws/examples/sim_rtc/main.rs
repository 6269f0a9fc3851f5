//! Hunts for lost messages over links that a WebRTC engine carries: `cargo xtask sim --fabric str0m`
//! runs it.
//!
//! The worlds, their operations and their laws are those of `rondevu_durable::sim`. Here each link is
//! made by the factory that programs use, from descriptions that the signaling of the world carries; it
//! finds its path, does its handshakes and speaks SCTP, over a network of datagrams that is emulated.

mod congestion;
mod fabric;
mod network;
#[path = "../../../../rondevu-durable/examples/sim/program.rs"]
mod program;

use std::process::ExitCode;

fn main() -> ExitCode {
    program::main::<fabric::RtcFabric>("str0m")
}
