//! `cargo xtask lint`: formatting, and clippy with every set of features that users can choose.

use anyhow::Result;

use crate::outcome::Outcome;
use crate::process::Invocation;
use crate::workspace::{Member, Workspace};

/// Checks the formatting, then runs clippy; any warning is an error.
pub(crate) fn run() -> Result<Outcome> {
    Invocation::cargo("fmt --all --check").run()?;
    for line in clippy_lines(&Workspace::load()?) {
        clippy(&line).run()?;
    }
    lint_without_std()
}

/// The whole workspace is checked with its tests. The features one by one are checked without: there the
/// dev-dependencies would switch on what the library itself forgot to ask for.
fn clippy_lines(workspace: &Workspace) -> Vec<String> {
    let mut lines = vec![
        "--workspace --all-targets".to_owned(),
        "--workspace --all-targets --all-features".to_owned(),
    ];
    lines.extend(workspace.libraries().flat_map(lines_for_library));
    lines
}

fn lines_for_library(library: &Member) -> impl Iterator<Item = String> {
    let bare = format!("--package {} --no-default-features", library.name);
    let single = library.features.iter().map({
        let bare = bare.clone();
        move |feature| format!("{bare} --features {feature}")
    });
    std::iter::once(bare).chain(single)
}

fn clippy(line: &str) -> Invocation {
    Invocation::cargo("clippy")
        .args(line.split_whitespace())
        .args(["--", "-D", "warnings"])
}

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

    fn library(features: &[&str]) -> Member {
        Member {
            name: "rondevu-signaling".to_owned(),
            manifest: "rondevu-signaling/Cargo.toml".to_owned(),
            features: features.iter().map(|&feature| feature.to_owned()).collect(),
            is_published: true,
            dependencies: Vec::new(),
        }
    }

    #[test]
    fn every_feature_is_checked_alone() {
        let workspace = Workspace {
            members: vec![library(&["http", "server"])],
        };
        assert_eq!(
            clippy_lines(&workspace),
            [
                "--workspace --all-targets",
                "--workspace --all-targets --all-features",
                "--package rondevu-signaling --no-default-features",
                "--package rondevu-signaling --no-default-features --features http",
                "--package rondevu-signaling --no-default-features --features server",
            ]
        );
    }

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
