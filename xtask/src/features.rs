//! `cargo xtask features`: clippy with every set of features that users can choose.

use anyhow::Result;

use crate::lint::{DENIED, clippy};
use crate::outcome::Outcome;
use crate::process::Invocation;
use crate::workspace::{Member, Workspace};

/// Checks all sets with cargo-hack where it is installed; where it is not, each feature alone, and says what
/// is missing.
pub(crate) fn run() -> Result<Outcome> {
    if !Invocation::cargo("hack --version").succeeds() {
        check_single_features()?;
        return Ok(Outcome::DoneExcept(MISSING.to_owned()));
    }
    for library in Workspace::load()?.published() {
        // Dev-dependencies would switch on what the library itself forgot to ask for.
        Invocation::cargo("hack clippy --feature-powerset --no-dev-deps")
            .args(["--package", &library.name])
            .args(DENIED)
            .run()?;
    }
    Ok(Outcome::Done)
}

/// Checks each feature alone, and none: all sets are a hundred and more.
pub(crate) fn run_single() -> Result<Outcome> {
    check_single_features()?;
    let note = "sets of several features, but for the default and all; run `cargo xtask features`";
    Ok(Outcome::DoneExcept(note.to_owned()))
}

fn check_single_features() -> Result<()> {
    for line in Workspace::load()?.published().flat_map(single_features) {
        clippy(&line).run()?;
    }
    Ok(())
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
            version: "0.1.0".to_owned(),
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
