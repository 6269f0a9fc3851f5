//! `cargo xtask deny`: licences, banned crates and sources of everything in `Cargo.lock`.

use anyhow::{Result, bail};

use crate::outcome::Outcome;
use crate::process::Invocation;

/// Runs cargo-deny; fails where it is not installed.
pub(crate) fn run() -> Result<Outcome> {
    if !is_installed() {
        bail!("{MISSING}");
    }
    Invocation::cargo("deny --all-features check bans licenses sources").run()?;
    Ok(Outcome::DoneExcept(NO_ADVISORIES.to_owned()))
}

/// As [`run`], but a machine without cargo-deny is excused, unless `CI` is set: there nothing may be left out.
pub(crate) fn run_if_installed() -> Result<Outcome> {
    let is_excused = std::env::var_os("CI").is_none();
    if is_excused && !is_installed() {
        return Ok(Outcome::Skipped(MISSING.to_owned()));
    }
    run()
}

fn is_installed() -> bool {
    Invocation::cargo("deny --version").succeeds()
}

const MISSING: &str = "cargo-deny is missing; install it with `cargo install --locked cargo-deny`, then run `cargo xtask deny`";

/// The advisory database is fetched from elsewhere at every run: a finding there depends on the day, not on
/// the change that is being checked, and a run without network would fail.
const NO_ADVISORIES: &str = "security advisories, which need a database from the network; run `cargo deny check advisories`";
