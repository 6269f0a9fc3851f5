//! `cargo xtask test`: every test of the workspace, with all features.

use std::ffi::OsString;

use anyhow::Result;

use crate::outcome::Outcome;
use crate::process::Invocation;

/// Runs all tests and doctests.
pub(crate) fn run() -> Result<Outcome> {
    run_with(&[])
}

/// Runs the tests that `arguments`, passed on to the test runner, select; without any, all tests and doctests.
pub(crate) fn run_with(arguments: &[OsString]) -> Result<Outcome> {
    runner(arguments).args(arguments).run()?;
    if !arguments.is_empty() {
        let note = "the doctests, since arguments select tests; `cargo test --doc` runs them";
        return Ok(Outcome::DoneExcept(note.to_owned()));
    }
    Invocation::cargo("test --doc --workspace --all-features").run()?;
    Ok(Outcome::Done)
}

fn runner(arguments: &[OsString]) -> Invocation {
    let runner = match Invocation::cargo("nextest --version").succeeds() {
        true => Invocation::cargo("nextest run --all-features"),
        // Without `--doc` or `--all-targets`, `cargo test` would also run the doctests, here and once more below.
        false => Invocation::cargo("test --all-features --lib --bins --tests --examples"),
    };
    match selects_package(arguments) {
        true => runner,
        false => runner.args(["--workspace"]),
    }
}

/// `--workspace` would overrule the selection of a single package.
fn selects_package(arguments: &[OsString]) -> bool {
    let ours = arguments.iter().take_while(|argument| *argument != "--");
    ours.filter_map(|argument| argument.to_str())
        .any(|argument| argument.starts_with("-p") || argument.starts_with("--package"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(arguments: &[&str]) -> String {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        runner(&arguments).to_string()
    }

    #[test]
    fn the_whole_workspace_is_tested_unless_a_package_is_selected() {
        assert!(line(&[]).ends_with("--workspace"));
        assert!(line(&["backoff"]).ends_with("--workspace"));
        assert!(!line(&["-p", "rondevu-core"]).contains("--workspace"));
        assert!(!line(&["--package=rondevu-core"]).contains("--workspace"));
    }

    #[test]
    fn all_features_are_always_on() {
        assert!(line(&[]).contains("--all-features"));
        assert!(line(&["-p", "rondevu-core"]).contains("--all-features"));
    }
}
