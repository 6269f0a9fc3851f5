//! `cargo xtask fuzz`: lets libFuzzer look for inputs that break a law of `xtask/laws`.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::outcome::Outcome;
use crate::process::Invocation;

/// How long each target runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Effort(pub(crate) Duration);

/// The targets of `rondevu_laws::TARGETS`.
const TARGETS: [&str; 12] = [
    "control_frames",
    "channel_frames",
    "inbox",
    "lossy_inbox",
    "dialer",
    "acceptor",
    "reception",
    "service",
    "liveness",
    "dcep",
    "transport_parsers",
    "signaling_parsers",
];

/// Runs one target, or each in turn. New inputs are kept below `target/fuzz/corpus`; one that breaks a law
/// is written to `xtask/fuzz/artifacts`.
pub(crate) fn run(target: Option<&str>, effort: Effort) -> Result<Outcome> {
    if !Invocation::cargo("fuzz --version").succeeds() {
        let remedy = "cargo-fuzz is missing; install it with `cargo install --locked cargo-fuzz`";
        return Ok(Outcome::Skipped(remedy.to_owned()));
    }
    match target {
        Some(target) if TARGETS.contains(&target) => run_target(target, effort)?,
        Some(target) => bail!("no target `{target}`; there are {}", TARGETS.join(", ")),
        None => {
            for target in TARGETS {
                run_target(target, effort)?;
            }
        }
    }
    Ok(Outcome::Done)
}

/// What CI does with each target.
pub(crate) fn run_briefly() -> Result<Outcome> {
    run(None, Effort(Duration::from_secs(3)))
}

fn run_target(target: &str, Effort(time): Effort) -> Result<()> {
    let found = format!("target/fuzz/corpus/{target}");
    std::fs::create_dir_all(&found)?;
    // Coverage needs unstable flags of the compiler; sanitizers would find nothing in code that is free
    // of `unsafe`.
    Invocation::cargo("fuzz run --fuzz-dir xtask/fuzz --target-dir target/fuzz --sanitizer none")
        .env("RUSTC_BOOTSTRAP", "1")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_law_has_its_target() {
        let laws = include_str!("../laws/src/lib.rs").split("name: \"").skip(1);
        let mut laws: Vec<_> = laws.filter_map(|rest| rest.split('"').next()).collect();
        let mut targets = TARGETS;
        laws.sort_unstable();
        targets.sort_unstable();
        assert_eq!(laws, targets);
    }
}
