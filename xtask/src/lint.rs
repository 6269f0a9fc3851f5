//! `cargo xtask lint`: formatting, and clippy for everything, with the default features and with all.
//!
//! `cargo xtask features` runs clippy for the other sets.

use anyhow::Result;

use crate::outcome::Outcome;
use crate::process::Invocation;

/// Checks the formatting, then runs clippy; any warning is an error.
pub(crate) fn run() -> Result<Outcome> {
    Invocation::cargo("fmt --all --check").run()?;
    clippy("--workspace --all-targets").run()?;
    clippy("--workspace --all-targets --all-features").run()?;
    // As the fuzzer and the model checker build the laws of the machines alone.
    clippy("--package rondevu-laws --no-default-features").run()?;
    lint_without_std()
}

/// Clippy with the words of `line`; any warning is an error.
pub(crate) fn clippy(line: &str) -> Invocation {
    Invocation::cargo("clippy")
        .args(line.split_whitespace())
        .args(DENIED)
}

/// Warnings are errors.
pub(crate) const DENIED: [&str; 3] = ["--", "-D", "warnings"];

/// On a target that has a standard library, one that slips into the crate goes unnoticed.
fn lint_without_std() -> Result<Outcome> {
    let installed = Invocation::new("rustup")
        .args(["target", "list", "--installed"])
        .read();
    let Ok(installed) = installed else {
        let note = format!("{NO_STD_CRATE} without std: rustup is missing, so no target is known");
        return Ok(Outcome::DoneExcept(note));
    };
    let Some(target) = target_without_std(&installed) else {
        let note = format!(
            "{NO_STD_CRATE} without std: no such target is installed; \
             add one with `rustup target add {EXAMPLE_TARGET}`"
        );
        return Ok(Outcome::DoneExcept(note));
    };
    clippy(&format!(
        "--package {NO_STD_CRATE} --no-default-features --target {target}"
    ))
    .run()?;
    Ok(Outcome::Done)
}

fn target_without_std(installed: &str) -> Option<&str> {
    installed
        .lines()
        .find(|target| target.split('-').any(|part| part == "none"))
}

/// The crate that must build without a standard library.
const NO_STD_CRATE: &str = "rondevu-core";

/// A microcontroller with atomics, as common as they get.
const EXAMPLE_TARGET: &str = "thumbv7em-none-eabihf";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_without_std_is_recognised() {
        let bare = target_without_std("x86_64-unknown-linux-gnu\nthumbv7em-none-eabihf\n");
        assert_eq!(bare, Some("thumbv7em-none-eabihf"));
        assert_eq!(
            target_without_std("x86_64-unknown-linux-gnu\nnonesuch-linux-gnu"),
            None
        );
    }
}
