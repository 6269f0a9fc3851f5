//! `cargo xtask model`: every interleaving of two connection machines in a small configuration.

use anyhow::Result;

use crate::outcome::Outcome;
use crate::process::Invocation;
use crate::workspace::build_program;

/// How much is explored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// How many links are cut.
    pub(crate) cuts: u8,
    /// How many time-outs come while something is on its way.
    pub(crate) timeouts: u8,
}

/// Explores all states of this size.
pub(crate) fn run(size: Size) -> Result<Outcome> {
    let line = "run --release --package rondevu-laws --no-default-features --example model --";
    explore(Invocation::cargo(line), size)
}

/// What CI explores, without optimisation as the tests are built.
pub(crate) fn run_small() -> Result<Outcome> {
    let small = Size {
        cuts: 1,
        timeouts: 0,
    };
    explore(Invocation::new(&build_program("examples/model")?), small)
}

fn explore(model: Invocation, size: Size) -> Result<Outcome> {
    model
        .args(["--cuts", &size.cuts.to_string()])
        .args(["--timeouts", &size.timeouts.to_string()])
        .run()?;
    Ok(Outcome::Done)
}
