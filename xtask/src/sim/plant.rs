//! Plants bugs into a copy of the machines' sources and lets the simulator look for them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::mutants::Mutant;
use crate::process::Invocation;

/// What became of a planted bug.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// Found with this seed, by this law.
    Caught { seed: u64, law: String },
    /// Not found in so many seeds.
    Survived { seeds: String },
    /// The change does not compile.
    NotBuilt { error: String },
}

/// Plants each bug alone, and prints a table of what found it. Fails when one is not found.
pub(crate) fn run(mutants: &[&Mutant], seconds: u64, threads: u64) -> Result<()> {
    let garden = Garden::lay_out()?;
    // Without a bug nothing may be found, or what is found later means nothing.
    match garden.hunt(5, threads)? {
        Fate::Survived { .. } => {}
        Fate::Caught { seed, law } => {
            bail!("the unchanged sources already fail: seed {seed} breaks `{law}`")
        }
        Fate::NotBuilt { error } => bail!("the simulator does not compile: {error}"),
    }
    let mut survivors = Vec::new();
    println!(
        "{:<54}{:>10}{:>8}  caught by",
        "planted bug", "seed", "took"
    );
    for mutant in mutants {
        let begin = Instant::now();
        let original = garden.plant(mutant)?;
        let fate = garden.hunt(seconds, threads);
        fs::write(garden.path(mutant.file), original)?;
        let took = begin.elapsed().as_secs();
        match fate? {
            Fate::Caught { seed, law } => {
                println!("{:<54}{seed:>10}{took:>6} s  {law}", mutant.name);
            }
            Fate::Survived { seeds } => {
                println!(
                    "{:<54}{:>10}{took:>6} s  SURVIVED {seeds}",
                    mutant.name, "-"
                );
                survivors.push(mutant.name);
            }
            Fate::NotBuilt { error } => {
                println!(
                    "{:<54}{:>10}{took:>6} s  NOT BUILT: {error}",
                    mutant.name, "-"
                );
                survivors.push(mutant.name);
            }
        }
    }
    if !survivors.is_empty() {
        bail!("not found: {}", survivors.join(", "));
    }
    println!(
        "{} of {} planted bugs were found",
        mutants.len(),
        mutants.len()
    );
    Ok(())
}

/// A copy of the workspace with the machines alone.
struct Garden {
    root: PathBuf,
}

impl Garden {
    fn lay_out() -> Result<Self> {
        let root = PathBuf::from("target/mutants/workspace");
        if root.exists() {
            fs::remove_dir_all(&root)
                .with_context(|| format!("cannot empty {}", root.display()))?;
        }
        for member in MEMBERS {
            copy_folder(Path::new(member), &root.join(member))?;
        }
        let manifest = fs::read_to_string("Cargo.toml")?;
        fs::write(root.join("Cargo.toml"), with_members(&manifest)?)?;
        fs::copy("Cargo.lock", root.join("Cargo.lock"))?;
        let durable = root.join("rondevu-durable/Cargo.toml");
        let manifest = fs::read_to_string(&durable)?;
        // The simulator needs none of what the tests need.
        let needed = manifest.split("[dev-dependencies]").next();
        fs::write(&durable, needed.unwrap_or(&manifest))?;
        Ok(Self { root })
    }

    fn path(&self, file: &str) -> PathBuf {
        self.root.join(file)
    }

    /// Changes one file; returns what was there.
    fn plant(&self, mutant: &Mutant) -> Result<String> {
        let path = self.path(mutant.file);
        let original =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        fs::write(&path, mutant.apply(&original)?)?;
        Ok(original)
    }

    fn hunt(&self, seconds: u64, threads: u64) -> Result<Fate> {
        let manifest = self.root.join("Cargo.toml");
        let output = Invocation::cargo(
            "run --quiet --offline --profile sim --target-dir target/mutants/target \
             --package rondevu-durable --features sim --example sim",
        )
        .env("RUSTFLAGS", "-A warnings")
        .args(["--manifest-path".as_ref(), manifest.as_os_str()])
        .args([
            "--".to_owned(),
            "--no-tables".to_owned(),
            format!("--seeds={}", u64::MAX / 2),
            format!("--seconds={seconds}"),
            format!("--threads={threads}"),
        ])
        .output()?;
        read_fate(&output)
    }
}

/// The workspace's manifest for the machines alone.
fn with_members(manifest: &str) -> Result<String> {
    let mut rest = manifest;
    let mut out = String::new();
    for list in ["\nmembers = [", "\ndefault-members = ["] {
        let begin = rest
            .find(list)
            .with_context(|| format!("no `{}`", list.trim()))?;
        let end = rest[begin..].find(']').context("a list without an end")? + begin;
        out.push_str(&rest[..begin + list.len()]);
        out.push_str(&MEMBERS.map(|member| format!("{member:?}")).join(", "));
        rest = &rest[end..];
    }
    out.push_str(rest);
    Ok(out)
}

fn read_fate(output: &Output) -> Result<Fate> {
    let text = String::from_utf8_lossy(&output.stdout);
    let failed = text
        .lines()
        .find_map(|line| line.strip_prefix("FAILED seed "));
    let ran = text.lines().find(|line| line.contains(" seeds from "));
    match (failed, ran) {
        (Some(failed), _) => {
            let mut parts = failed.splitn(3, ": ");
            let seed = parts.next().and_then(|seed| seed.parse().ok());
            Ok(Fate::Caught {
                seed: seed.context("the simulator names no seed")?,
                law: parts.next().unwrap_or("?").to_owned(),
            })
        }
        (None, Some(ran)) => Ok(Fate::Survived {
            seeds: ran.to_owned(),
        }),
        (None, None) => {
            let text = String::from_utf8_lossy(&output.stderr);
            let error = text.lines().find(|line| line.starts_with("error"));
            Ok(Fate::NotBuilt {
                error: error.unwrap_or("it says nothing").to_owned(),
            })
        }
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The machines and their simulator.
const MEMBERS: [&str; 2] = ["rondevu-core", "rondevu-durable"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_has_the_machines_alone() {
        let manifest =
            "[workspace]\nmembers = [\n    \"a\",\n]\ndefault-members = [\"a\"]\nx = [1]\n";
        assert_eq!(
            with_members(manifest).unwrap(),
            "[workspace]\nmembers = [\"rondevu-core\", \"rondevu-durable\"]\ndefault-members = \
             [\"rondevu-core\", \"rondevu-durable\"]\nx = [1]\n"
        );
    }
}
