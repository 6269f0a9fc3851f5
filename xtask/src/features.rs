//! `cargo xtask features`: clippy with every set of features that users can choose.

use anyhow::Result;

use crate::lint::{DENIED, clippy};
use crate::outcome::Outcome;
use crate::process::Invocation;
use crate::workspace::{Member, Workspace};

/// Checks all sets.
pub(crate) fn run() -> Result<Outcome> {
    check(&[])
}

/// The sets of at most two features: what a third one breaks is rare, and all sets are a hundred and more.
pub(crate) fn run_pairs() -> Result<Outcome> {
    check(&["--depth", "2"])
}

/// Checks the sets with cargo-hack where it is installed; where it is not, each feature alone, and says what
/// is missing.
fn check(bounds: &[&str]) -> Result<Outcome> {
    let workspace = Workspace::load()?;
    if !Invocation::cargo("hack --version").succeeds() {
        for line in workspace.published().flat_map(single_features) {
            clippy(&line).run()?;
        }
        return Ok(Outcome::DoneExcept(MISSING.to_owned()));
    }
    for library in workspace.published() {
        // Dev-dependencies would switch on what the library itself forgot to ask for.
        Invocation::cargo("hack clippy --feature-powerset --no-dev-deps")
            .args(bounds)
            .args(["--package", &library.name])
            .args(DENIED)
            .run()?;
    }
    Ok(Outcome::Done)
}

fn single_features(library: &Member) -> impl Iterator<Item = String> {
    let bare = format!("--package {} --no-default-features", library.name);
    let single = library.features.iter().map({
        let bare = bare.clone();
        move |feature| format!("{bare} --features {feature}")
    });
    std::iter::once(bare).chain(single)
}

const MISSING: &str = "sets of several features: cargo-hack is missing; install it with \
    `cargo install --locked cargo-hack`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_is_checked_alone() {
        let library = Member {
            name: "rondevu-signaling".to_owned(),
            manifest: "rondevu-signaling/Cargo.toml".to_owned(),
            features: vec!["http".to_owned(), "server".to_owned()],
            is_published: true,
            dependencies: Vec::new(),
        };
        assert_eq!(
            single_features(&library).collect::<Vec<_>>(),
            [
                "--package rondevu-signaling --no-default-features",
                "--package rondevu-signaling --no-default-features --features http",
                "--package rondevu-signaling --no-default-features --features server",
            ]
        );
    }
}
