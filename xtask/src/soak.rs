//! `cargo xtask soak`: a service that runs for long, with dialers that come, go, crash and roam.

use anyhow::Result;

use crate::outcome::Outcome;
use crate::process::Invocation;
use crate::workspace::build_program;

/// Runs it for so many minutes; fails when memory, tasks or open files are not flat.
pub(crate) fn run(minutes: f64) -> Result<Outcome> {
    Invocation::new(&build_program("examples/soak")?)
        .args([minutes.to_string()])
        .run()?;
    Ok(Outcome::Done)
}

/// As long as a change can wait: long enough to see whether all that came is gone again.
pub(crate) fn run_briefly() -> Result<Outcome> {
    run(1.0)
}
