//! `cargo xtask package`: each crate can be packaged and builds from its package alone.
//!
//! The packages depend on each other and none is in a registry yet. Cargo would verify them through a
//! registry of its own on the disk, whose sources it unpacks once for each version and never again: the
//! second run of a machine would see the crates of the first. So they are unpacked and checked here.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result, bail};

use crate::outcome::Outcome;
use crate::process::Invocation;
use crate::workspace::{Member, Workspace, built};

/// Packages all crates that are published, then checks them in a workspace that has the packages alone.
pub(crate) fn run() -> Result<Outcome> {
    let workspace = Workspace::load()?;
    let libraries: Vec<&Member> = workspace.published().collect();
    for library in &libraries {
        check_contents(library)?;
    }
    let packages = libraries
        .iter()
        .flat_map(|library| ["--package", &library.name]);
    Invocation::cargo("package --allow-dirty --no-verify")
        .args(packages)
        .run()?;
    let folder = unpack(&libraries)?;
    let manifest = format!("{folder}/Cargo.toml");
    fs::write(&manifest, verifying_workspace(&libraries))
        .with_context(|| format!("cannot write {manifest}"))?;
    // The versions that the workspace was tested with.
    fs::copy("Cargo.lock", format!("{folder}/Cargo.lock")).context("cannot copy Cargo.lock")?;
    Invocation::cargo("check --workspace --all-features --manifest-path")
        .args([&manifest, "--target-dir", &built("")?])
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

/// Unpacks the packages into a new folder, whose path is returned.
fn unpack(libraries: &[&Member]) -> Result<String> {
    let folder = built("package/verified")?;
    if fs::exists(&folder)? {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot delete {folder}"))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {folder}"))?;
    for library in libraries {
        let package = built(&format!("package/{}.crate", unpacked(library)))?;
        // All files of a package have one old date, by which cargo would take any change for built.
        Invocation::new("tar")
            .args(["-x", "-z", "-m", "-f", &package, "-C", &folder])
            .run()?;
    }
    Ok(folder)
}

/// The manifest of a workspace in which the packages find each other.
fn verifying_workspace(libraries: &[&Member]) -> String {
    let mut members = String::new();
    let mut patches = String::new();
    for library in libraries {
        let folder = unpacked(library);
        let _ = writeln!(members, "    \"{folder}\",");
        let _ = writeln!(patches, "{} = {{ path = \"{folder}\" }}", library.name);
    }
    format!(
        "[workspace]\nresolver = \"3\"\nmembers = [\n{members}]\n\n[patch.crates-io]\n{patches}"
    )
}

/// The folder in a package.
fn unpacked(library: &Member) -> String {
    format!("{}-{}", library.name, library.version)
}

const REQUIRED: &[&str] = &["Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT"];
