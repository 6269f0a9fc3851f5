//! `cargo xtask package`: each crate can be packaged and builds from its package alone.

use anyhow::{Result, bail};

use crate::outcome::Outcome;
use crate::process::Invocation;
use crate::workspace::{Member, Workspace};

/// Packages all crates that are published, together, since none of them is in a registry yet.
pub(crate) fn run() -> Result<Outcome> {
    let workspace = Workspace::load()?;
    let libraries: Vec<&Member> = workspace.published().collect();
    for library in &libraries {
        check_contents(library)?;
    }
    let packages = libraries
        .iter()
        .flat_map(|library| ["--package", &library.name]);
    Invocation::cargo("package --allow-dirty")
        .args(packages)
        .run()?;
    Ok(Outcome::Done)
}

/// What must be in every package: the licences ask for it.
fn check_contents(library: &Member) -> Result<()> {
    let list = Invocation::cargo("package --allow-dirty --list --package")
        .args([&library.name])
        .read()?;
    for file in REQUIRED {
        if !list.lines().any(|line| line == *file) {
            bail!("{file} is missing in the package of {}", library.name);
        }
    }
    Ok(())
}

const REQUIRED: &[&str] = &["Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT"];
