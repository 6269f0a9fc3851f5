//! `cargo xtask bench`: figures of a durable channel and of the signaling server, from one run.

use anyhow::Result;

use crate::outcome::Outcome;
use crate::process::Invocation;

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Subject {
    /// A durable channel on loopback beside raw UDP.
    Channel,
    /// The signaling server with 2,000 waiting peers, on both stores.
    Signaling,
}

/// Runs a benchmark in release mode. It asserts nothing about speed.
pub(crate) fn run(subject: Subject) -> Result<Outcome> {
    match subject {
        Subject::Channel => {
            Invocation::cargo("run --release --package rondevu --example loopback_bench").run()?;
        }
        Subject::Signaling => {
            // The server is a process of its own, so that its memory can be told apart.
            let build = "build --release --package rondevu --features cli --bin rondevu";
            Invocation::cargo(build)
                .args(["--example", "signaling_bench"])
                .run()?;
            Invocation::new("target/release/examples/signaling_bench")
                .args(["target/release/rondevu"])
                .run()?;
        }
    }
    Ok(Outcome::Done)
}
