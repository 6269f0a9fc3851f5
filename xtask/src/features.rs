//! `cargo xtask features`: every set of features builds, not only each feature alone.

use anyhow::Result;

use crate::outcome::Outcome;
use crate::process::Invocation;
use crate::workspace::Workspace;

/// Checks all sets with cargo-hack where it is installed, and says what is missing where it is not.
pub(crate) fn run() -> Result<Outcome> {
    check(&[])
}

/// The sets of at most two features: what a third one breaks is rare, and all sets are a hundred and more.
pub(crate) fn run_pairs() -> Result<Outcome> {
    check(&["--depth", "2"])
}

fn check(bounds: &[&str]) -> Result<Outcome> {
    if !Invocation::cargo("hack --version").succeeds() {
        return Ok(Outcome::Skipped(MISSING.to_owned()));
    }
    for library in Workspace::load()?.published() {
        // Dev-dependencies would switch on what the library itself forgot to ask for.
        Invocation::cargo("hack check --feature-powerset --no-dev-deps")
            .args(bounds)
            .args(["--package", &library.name])
            .run()?;
    }
    Ok(Outcome::Done)
}

const MISSING: &str = "cargo-hack is missing; install it with `cargo install --locked cargo-hack`. \
    `cargo xtask lint` has checked each feature alone";
