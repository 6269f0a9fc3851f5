//! `cargo xtask sim`: hunts for lost messages in simulated worlds, and for planted bugs.

mod mutants;
mod plant;

use anyhow::Result;

use crate::outcome::Outcome;
use crate::process::Invocation;
use crate::workspace::build_program;

/// What to simulate.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Simulation {
    /// What carries the links.
    #[arg(long, value_enum, default_value = "fast")]
    fabric: Fabric,
    /// How many worlds; without this and `--replay` as many as fit into a minute.
    #[arg(long)]
    seeds: Option<u64>,
    /// The seed of the first world.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Run this seed alone and print all that happens, and the operations that matter if it fails.
    #[arg(long)]
    replay: Option<u64>,
    /// How many worlds are run at the same time.
    #[arg(long, default_value_t = 2)]
    threads: u64,
    /// Begin no new world after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// Plant bugs, one after another, and show that each is found.
    #[arg(long, conflicts_with = "fabric")]
    mutants: bool,
    /// Only the bugs whose name contains this; may be given several times.
    #[arg(long, requires = "mutants")]
    only: Vec<String>,
}

/// What carries the links of a simulated world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Fabric {
    /// Memory: the machines alone.
    Fast,
    /// The WebRTC engine, over an emulated network of datagrams.
    Str0m,
}

/// Does what the command line says.
pub(crate) fn run(simulation: &Simulation) -> Result<Outcome> {
    if simulation.mutants {
        let chosen = |mutant: &&mutants::Mutant| {
            let mut only = simulation.only.iter();
            simulation.only.is_empty() || only.any(|part| mutant.name.contains(part.as_str()))
        };
        let chosen: Vec<_> = mutants::MUTANTS.iter().filter(chosen).collect();
        let seconds = simulation.seconds.unwrap_or(MUTANT_SECONDS);
        plant::run(&chosen, seconds, simulation.threads)?;
        return Ok(Outcome::Done);
    }
    let mut arguments = vec![
        format!("--first={}", simulation.first),
        format!("--threads={}", simulation.threads),
    ];
    match (simulation.seeds, simulation.replay) {
        (_, Some(seed)) => arguments.push(format!("--replay={seed}")),
        (Some(seeds), None) => arguments.push(format!("--seeds={seeds}")),
        (None, None) => arguments.push(format!("--seeds={}", u64::MAX / 2)),
    }
    let bounded = simulation.seeds.is_some() || simulation.replay.is_some();
    let seconds = simulation.seconds.or((!bounded).then_some(BOUNDED_SECONDS));
    arguments.extend(seconds.map(|seconds| format!("--seconds={seconds}")));
    simulator(simulation.fabric).args(arguments).run()?;
    Ok(Outcome::Done)
}

/// A bounded part of everything, for every change: seeds over both fabrics, and some planted bugs.
pub(crate) fn run_bounded() -> Result<Outcome> {
    let bounded = |seeds: u64, seconds: u64| {
        [
            format!("--seeds={seeds}"),
            format!("--seconds={seconds}"),
            "--threads=2".to_owned(),
        ]
    };
    let fast = bounded(BOUNDED_SEEDS, BOUNDED_SECONDS);
    simulator(Fabric::Fast).args(fast).run()?;
    let str0m = bounded(BOUNDED_RTC_SEEDS, BOUNDED_RTC_SECONDS);
    Invocation::new(&build_program("examples/sim_rtc")?)
        .args(str0m)
        .args(["--no-tables"])
        .run()?;
    let quick = |mutant: &&mutants::Mutant| QUICK_MUTANTS.contains(&mutant.name);
    let quick: Vec<_> = mutants::MUTANTS.iter().filter(quick).collect();
    plant::run(&quick, MUTANT_SECONDS, 2)?;
    Ok(Outcome::Done)
}

/// Builds the program that simulates, and runs it.
fn simulator(fabric: Fabric) -> Invocation {
    Invocation::cargo(match fabric {
        Fabric::Fast => {
            "run --quiet --profile sim --package rondevu-durable --features sim --example sim --"
        }
        Fabric::Str0m => {
            "run --quiet --profile sim --package rondevu-laws --all-features --example sim_rtc --"
        }
    })
}

/// How long a run without a number of seeds takes, beside building.
const BOUNDED_SECONDS: u64 = 40;
/// So that a fast machine sees the same worlds as others.
const BOUNDED_SEEDS: u64 = 40_000;
/// The same where an engine carries the links.
const BOUNDED_RTC_SECONDS: u64 = 20;
const BOUNDED_RTC_SEEDS: u64 = 500;
/// How long a planted bug may hide.
const MUTANT_SECONDS: u64 = 60;
/// Bugs of different kinds that are found within a second.
const QUICK_MUTANTS: [&str; 4] = [
    "a replay is skipped",
    "credit is forgotten",
    "an older generation is accepted",
    "a lost message is not counted",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_bugs_are_in_the_list() {
        for name in QUICK_MUTANTS {
            assert!(mutants::MUTANTS.iter().any(|m| m.name == name), "{name}");
        }
    }
}
