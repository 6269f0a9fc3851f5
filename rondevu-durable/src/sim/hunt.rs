//! Many seeds, one after another: what programs that hunt for failures have in common.

use super::coverage::Coverage;
use super::fabric::Fabric;
use super::run::{run_logged, run_seed, shrink, test_source};
use super::world::Broken;
use super::{Op, Setup};

/// What to hunt for, from the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hunt {
    /// The first seed.
    pub first: u64,
    /// How many seeds.
    pub seeds: u64,
    /// Only this seed, with everything that happens.
    pub replay: Option<u64>,
    /// How many seeds are run at the same time.
    pub threads: u64,
    /// No new seed is begun after so many seconds.
    pub seconds: Option<u64>,
    /// Whether the tables of what was exercised are printed.
    pub tables: Tables,
}

/// Whether the tables of what was exercised are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tables {
    /// They are.
    Shown,
    /// They are not.
    Hidden,
}

impl Default for Hunt {
    fn default() -> Self {
        Self {
            first: 0,
            seeds: 1000,
            replay: None,
            threads: 2,
            seconds: None,
            tables: Tables::Shown,
        }
    }
}

impl Hunt {
    /// Reads the arguments of a program.
    ///
    /// # Errors
    ///
    /// A text that says which argument is wrong and what is expected.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut hunt = Self::default();
        for argument in arguments {
            if argument == "--no-tables" {
                hunt.tables = Tables::Hidden;
                continue;
            }
            let (name, value) = argument.split_once('=').unwrap_or((&argument, ""));
            let value: u64 = value
                .parse()
                .map_err(|_| format!("{name} needs a number, as in {name}=7"))?;
            match name {
                "--first" => hunt.first = value,
                "--seeds" => hunt.seeds = value,
                "--replay" => hunt.replay = Some(value),
                "--threads" => hunt.threads = value.max(1),
                "--seconds" => hunt.seconds = Some(value),
                _ => {
                    return Err(format!(
                        "{name} is none of --first, --seeds, --replay, --threads, --seconds and \
                         --no-tables"
                    ));
                }
            }
        }
        Ok(hunt)
    }

    /// The seeds of one of the threads.
    fn seeds_of(&self, thread: u64) -> impl Iterator<Item = u64> {
        let end = self.first.saturating_add(self.seeds);
        (self.first + thread..end).step_by(self.threads as usize)
    }
}

/// What a hunt found.
#[derive(Clone, Debug, Default)]
pub struct Bag {
    /// How many seeds were run.
    pub seeds: u64,
    /// How many facts of links were told in all of them.
    pub facts: u64,
    /// What was exercised.
    pub coverage: Coverage,
    /// How many seeds were run twice.
    pub repeated: u64,
    /// In how many of them something else happened the second time. Where the fabric is repeatable,
    /// that breaks a law.
    pub differed: u64,
    /// The first seed that broke a law.
    pub failed: Option<(u64, Broken)>,
}

impl Bag {
    /// Adds what another thread found.
    pub fn add(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.facts += other.facts;
        self.coverage.add(&other.coverage);
        self.repeated += other.repeated;
        self.differed += other.differed;
        let mut failed: Vec<_> = self.failed.take().into_iter().chain(other.failed).collect();
        failed.sort_by_key(|(seed, _)| *seed);
        self.failed = failed.into_iter().next();
    }
}

/// Runs the seeds of one thread until one fails or `goes_on` says no.
pub fn hunt<F: Fabric>(hunt: &Hunt, thread: u64, mut goes_on: impl FnMut() -> bool) -> Bag {
    let mut bag = Bag::default();
    for seed in hunt.seeds_of(thread) {
        if !goes_on() {
            break;
        }
        let run = run_seed::<F>(seed);
        bag.seeds += 1;
        bag.facts += run.facts;
        bag.coverage.add(&run.coverage);
        let mut broken = run.broken;
        if broken.is_none() && seed.is_multiple_of(AGAIN_EVERY) {
            let digest = run_seed::<F>(seed).digest;
            let differs = digest != run.digest;
            bag.repeated += 1;
            bag.differed += u64::from(differs);
            broken = (differs && F::IS_REPEATABLE).then(|| Broken {
                law: "the same seed does the same",
                how: format!("{digest:x} instead of {:x}", run.digest),
            });
        }
        if let Some(broken) = broken {
            bag.failed = Some((seed, broken));
            break;
        }
    }
    bag
}

/// The story of a failing seed, with operations made short: what to read and what to paste.
pub fn explain<F: Fabric>(seed: u64) -> String {
    let setup = Setup::of(seed);
    let ops = Op::list(&setup);
    let full = run_logged::<F>(&setup, &ops);
    let Some(broken) = full.broken else {
        return format!("{}\nseed {seed} breaks no law\n", full.log.join("\n"));
    };
    let runs_max = match F::IS_REPEATABLE {
        true => SHRINK_RUNS_MAX,
        // Those are slow too.
        false => SHRINK_RUNS_MAX / 10,
    };
    let short = shrink::<F>(&setup, &ops, broken.law, runs_max);
    let run = run_logged::<F>(&setup, &short);
    let again = run.broken.unwrap_or(broken);
    format!(
        "{setup:#?}\n{}\n\nseed {seed} breaks a law: {again}\n{} of {} operations are enough:\n\n{}",
        run.log.join("\n"),
        short.len(),
        ops.len(),
        test_source(seed, &short),
    )
}

/// Every so many seeds one is run twice.
const AGAIN_EVERY: u64 = 64;
/// How often a failing list of operations is run to make it shorter.
const SHRINK_RUNS_MAX: u32 = 3000;
