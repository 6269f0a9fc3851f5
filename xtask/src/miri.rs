//! `cargo xtask miri`: the tests of the core, interpreted, so that undefined behaviour shows.

use anyhow::Result;

use crate::outcome::Outcome;
use crate::process::Invocation;

/// Runs them where Miri is installed, and says what is missing where it is not.
pub(crate) fn run() -> Result<Outcome> {
    if !Invocation::cargo("+nightly miri --version").succeeds() {
        let remedy =
            "Miri is missing; install it with `rustup toolchain install nightly --component miri`";
        return Ok(Outcome::Skipped(remedy.to_owned()));
    }
    // One case of each property: the interpreter is hundreds of times slower. Proptest must not look for
    // the files of earlier failures, which needs the file system.
    Invocation::cargo("+nightly miri test --package rondevu-core --lib")
        .env("PROPTEST_CASES", "1")
        .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true")
        .env("MIRIFLAGS", "-Zmiri-disable-isolation")
        .run()?;
    Ok(Outcome::Done)
}
