//! `cargo xtask fuzz`: lets libFuzzer look for inputs that break a law of `xtask/laws`.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::outcome::Outcome;
use crate::process::Invocation;

/// How long each target runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Effort(pub(crate) Duration);

/// The targets of `rondevu_laws::TARGETS` that need the machines alone.
const MACHINES: [&str; 9] = [
    "control_frames",
    "channel_frames",
    "inbox",
    "lossy_inbox",
    "dialer",
    "acceptor",
    "reception",
    "service",
    "liveness",
];

/// Those that need the engines, which build for minutes.
const PARSERS: [&str; 4] = ["transport_parsers", "dcep", "mdns", "signaling_parsers"];

/// Runs one target, or each in turn. New inputs are kept below `target/fuzz/corpus`; one that breaks a law
/// is written to `xtask/fuzz/artifacts`.
pub(crate) fn run(target: Option<&str>, effort: Effort) -> Result<Outcome> {
    if let Some(remedy) = missing() {
        return Ok(Outcome::Skipped(remedy));
    }
    let all = [&MACHINES[..], &PARSERS].concat();
    match target {
        Some(target) if all.contains(&target) => run_target(target, effort, &[])?,
        Some(target) => bail!("no target `{target}`; there are {}", all.join(", ")),
        None => {
            for target in all {
                run_target(target, effort, &[])?;
            }
        }
    }
    Ok(Outcome::Done)
}

/// What CI does: a few seconds for each machine.
pub(crate) fn run_briefly() -> Result<Outcome> {
    if let Some(remedy) = missing() {
        return Ok(Outcome::Skipped(remedy));
    }
    for target in MACHINES {
        run_target(target, BRIEF, &["--no-default-features"])?;
    }
    let note = format!(
        "{}, beyond what the tests do with them; run `cargo xtask fuzz`",
        PARSERS.join(", ")
    );
    Ok(Outcome::DoneExcept(note))
}

fn missing() -> Option<String> {
    let remedy = "cargo-fuzz is missing; install it with `cargo install --locked cargo-fuzz`";
    let installed = Invocation::cargo("fuzz --version").succeeds();
    (!installed).then(|| remedy.to_owned())
}

fn run_target(target: &str, Effort(time): Effort, features: &[&str]) -> Result<()> {
    let found = format!("target/fuzz/corpus/{target}");
    std::fs::create_dir_all(&found)?;
    // Coverage needs unstable flags of the compiler; sanitizers would find nothing in code that is free
    // of `unsafe`.
    Invocation::cargo("fuzz run --fuzz-dir xtask/fuzz --target-dir target/fuzz --sanitizer none")
        .env("RUSTC_BOOTSTRAP", "1")
        .args(features)
        .args([target, &found, &format!("xtask/laws/corpus/{target}")])
        .args([
            "--",
            "-max_len=1500",
            "-len_control=20",
            "-print_final_stats=1",
        ])
        .args([format!("-max_total_time={}", time.as_secs())])
        .run()
}

/// How long CI runs each target.
const BRIEF: Effort = Effort(Duration::from_secs(3));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_law_has_its_target() {
        let laws = include_str!("../laws/src/lib.rs").split("name: \"").skip(1);
        let mut laws: Vec<_> = laws.filter_map(|rest| rest.split('"').next()).collect();
        let mut targets = [&MACHINES[..], &PARSERS].concat();
        laws.sort_unstable();
        targets.sort_unstable();
        assert_eq!(laws, targets);
    }
}
