//! `cargo xtask bench`: figures of a durable channel beside raw UDP, from one run.

use anyhow::Result;

use crate::outcome::Outcome;
use crate::process::Invocation;

/// Runs the benchmark in release mode. It asserts nothing about speed.
pub(crate) fn run() -> Result<Outcome> {
    Invocation::cargo("run --release --package rondevu --example loopback_bench").run()?;
    Ok(Outcome::Done)
}
