//! Runs a world from its first to its last operation, and makes failing lists of operations short.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::coverage::Coverage;
use super::fabric::Fabric;
use super::world::{Broken, World};
use super::{FastFabric, Op, Setup};

/// What became of a world.
#[derive(Clone, Debug)]
pub struct Run {
    /// The law that was broken, if one was.
    pub broken: Option<Broken>,
    /// What was exercised.
    pub coverage: Coverage,
    /// How many facts of links were told.
    pub facts: u64,
    /// The same for two runs of the same world.
    pub digest: u64,
    /// What happened, line by line, if that was asked for.
    pub log: Vec<String>,
}

/// Whether a run is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Logging {
    On,
    Off,
}

/// Runs `ops` in the world of `setup`.
pub fn run<F: Fabric>(setup: &Setup, ops: &[Op]) -> Run {
    run_with::<F>(setup, ops, Logging::Off)
}

/// Runs `ops` in the world of `setup` and writes down what happens.
pub fn run_logged<F: Fabric>(setup: &Setup, ops: &[Op]) -> Run {
    run_with::<F>(setup, ops, Logging::On)
}

/// Runs the world and the operations of a seed.
pub fn run_seed<F: Fabric>(seed: u64) -> Run {
    let setup = Setup::of(seed);
    run::<F>(&setup, &Op::list(&setup))
}

fn run_with<F: Fabric>(setup: &Setup, ops: &[Op], logging: Logging) -> Run {
    let mut world = World::<F>::new(setup);
    world.log = (logging == Logging::On).then(Vec::new);
    let outcome = catch_unwind(AssertUnwindSafe(|| live(&mut world, ops)));
    let broken = outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Some(Broken {
            law: "nothing panics",
            how: text.unwrap_or("a panic without words").into(),
        })
    });
    Run {
        broken,
        coverage: world.coverage,
        facts: world.facts,
        digest: world.digest,
        log: world.log.unwrap_or_default(),
    }
}

fn live<F: Fabric>(world: &mut World<F>, ops: &[Op]) -> Option<Broken> {
    let all = || -> Result<(), Broken> {
        world.begin()?;
        for op in ops {
            world.apply(*op)?;
        }
        world.finish()
    };
    let mut all = all;
    all().err()
}

/// Runs `ops` in the world of a seed over links in memory.
///
/// # Panics
///
/// If a law is broken: this is what a failing seed becomes as a test.
pub fn check(seed: u64, ops: &[Op]) {
    let run = run::<FastFabric>(&Setup::of(seed), ops);
    if let Some(broken) = run.broken {
        panic!("{broken}");
    }
}

/// The shortest list of operations found that breaks the same law, within so many runs.
pub fn shrink<F: Fabric>(setup: &Setup, ops: &[Op], law: &str, runs_max: u32) -> Vec<Op> {
    let mut runs = 0;
    let mut fails = |ops: &[Op]| {
        runs += 1;
        runs <= runs_max && run::<F>(setup, ops).broken.is_some_and(|b| b.law == law)
    };
    let mut best = ops.to_vec();
    // Delta debugging: ever smaller pieces are left out, as long as the law is still broken.
    let mut piece = best.len().div_ceil(2);
    while piece > 0 {
        let mut from = 0;
        let mut shorter = false;
        while from < best.len() {
            let mut candidate = best.clone();
            candidate.drain(from..(from + piece).min(best.len()));
            if fails(&candidate) {
                best = candidate;
                shorter = true;
            } else {
                from += piece;
            }
        }
        if !shorter || piece > 1 {
            piece = if piece == 1 { 0 } else { piece.div_ceil(2) };
        }
    }
    for index in 0..best.len() {
        for simpler in best[index].simpler() {
            let mut candidate = best.clone();
            candidate[index] = simpler;
            if fails(&candidate) {
                best = candidate;
                break;
            }
        }
    }
    best
}

/// The source of a test that runs `ops`.
pub fn test_source(seed: u64, ops: &[Op]) -> String {
    let lines: String = ops.iter().map(|op| format!("        {op:?},\n")).collect();
    format!(
        "    // use rondevu_durable::{{HalfOpen::*, sim::{{self, At::*, Direction::*, Kind::*, Fault::*, Op::*, Process::*, \
         Server::*, Size::*, Told::*}}}};\n    // use rondevu_core::Overflow::*;\n    sim::check({seed}, &[\n{lines}    ]);\n"
    )
}
