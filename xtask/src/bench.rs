//! `cargo xtask bench`: figures of one run that compare with each other.

use anyhow::Result;
use clap::ValueEnum;

use crate::outcome::Outcome;
use crate::process::Invocation;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subject {
    /// A durable channel on loopback beside raw UDP.
    Loopback,
    /// Our own machines beside the WebRTC engine: time of a message, memory of a session.
    Core,
}

/// Runs the benchmark in release mode. It asserts nothing about speed.
pub(crate) fn run(subject: Subject) -> Result<Outcome> {
    let example = match subject {
        Subject::Loopback => "loopback_bench",
        Subject::Core => "core_bench",
    };
    Invocation::cargo("run --release --package rondevu --example")
        .args([example])
        .run()?;
    Ok(Outcome::Done)
}
