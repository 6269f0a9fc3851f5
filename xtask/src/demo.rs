//! `cargo xtask demo`: the program's own demonstration, as users run it.

use std::time::Duration;

use anyhow::Result;

use crate::outcome::Outcome;
use crate::process::Invocation;

/// Builds the program in release mode, then runs its demo, which must succeed within [`DEMO_LIMIT`].
pub(crate) fn run() -> Result<Outcome> {
    // Built apart, so that the limit counts the run alone.
    Invocation::cargo("build --release --package rondevu --features cli --bin rondevu").run()?;
    Invocation::cargo("rondevu demo --json").run_within(DEMO_LIMIT)?;
    Ok(Outcome::Done)
}

/// The demo takes seconds; one that is still running after this hangs.
const DEMO_LIMIT: Duration = Duration::from_secs(120);
