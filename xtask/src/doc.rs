//! `cargo xtask doc`: the documentation builds without a warning.

use anyhow::Result;

use crate::outcome::Outcome;
use crate::process::Invocation;

/// Builds the documentation of all crates with all features.
pub(crate) fn run() -> Result<Outcome> {
    Invocation::cargo("doc --workspace --no-deps --all-features")
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()?;
    Ok(Outcome::Done)
}
