//! Memory, tasks and open files as time goes by, and whether they are flat.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rondevu::DurableService;

use super::Counts;

/// What the program holds at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    memory_kib: u64,
    tasks: u64,
    files: u64,
    /// How many the service has: chance decides how many dialers are there or waited for.
    connections: u64,
}

/// All that was seen.
pub(crate) struct Samples {
    service: DurableService,
    idle: Option<Sample>,
    seen: Vec<Sample>,
}

impl Samples {
    pub(crate) fn new(service: DurableService) -> Self {
        Self {
            service,
            idle: None,
            seen: Vec::new(),
        }
    }

    /// Before the crowd comes.
    pub(crate) fn note_idle(&mut self) {
        self.idle = Sample::now(&self.service).ok();
    }

    pub(crate) async fn run(&mut self, until: Instant, counts: &Counts) {
        let begin = Instant::now();
        let interval = (until.saturating_duration_since(begin) / SAMPLES).max(INTERVAL_MIN);
        println!(
            "{:>8} {:>12} {:>7} {:>7} {:>12}",
            "seconds", "memory KiB", "tasks", "files", "connections"
        );
        while Instant::now() < until {
            tokio::time::sleep(interval.min(until.saturating_duration_since(Instant::now()))).await;
            let Ok(sample) = Sample::now(&self.service) else {
                continue;
            };
            println!(
                "{:>8} {:>12} {:>7} {:>7} {:>12}",
                begin.elapsed().as_secs(),
                sample.memory_kib,
                sample.tasks,
                sample.files,
                sample.connections
            );
            self.seen.push(sample);
        }
        println!("{counts}");
    }

    /// Fails unless the last third of the time held no more than the one before, and nothing is left of
    /// the crowd afterwards.
    pub(crate) fn judge(&self) -> Result<()> {
        let (third, end) = (self.seen.len() / 3, self.seen.len());
        ensure!(third > 0, "there was no time for samples");
        let (before, last) = (&self.seen[third..2 * third], &self.seen[end - third..]);
        for (what, of) in QUANTITIES {
            let (then, now) = (median(before, of), median(last, of));
            println!("{what}: {then} in the middle third, {now} in the last");
            ensure!(now <= then + then / 4, "{what} grew from {then} to {now}");
        }
        let (Some(idle), Ok(left)) = (self.idle, Sample::now(&self.service)) else {
            return Ok(());
        };
        println!("before the crowd {idle:?}, after it {left:?}");
        ensure!(left.tasks <= idle.tasks + LEFT_MAX, "tasks of dialers stay");
        ensure!(
            left.files <= idle.files + LEFT_MAX,
            "files of dialers stay open"
        );
        Ok(())
    }
}

type Quantity = (&'static str, fn(&Sample) -> u64);

/// What is judged; a quarter more may be chance.
const QUANTITIES: [Quantity; 3] = [
    ("memory in KiB", |sample| sample.memory_kib),
    ("tasks for ten connections", |sample| {
        sample.tasks * 10 / sample.connections.max(1)
    }),
    ("files for ten connections", |sample| {
        sample.files * 10 / sample.connections.max(1)
    }),
];

fn median(samples: &[Sample], of: fn(&Sample) -> u64) -> u64 {
    let mut values: Vec<u64> = samples.iter().map(of).collect();
    values.sort_unstable();
    values[values.len() / 2]
}

impl Sample {
    /// Linux tells in `/proc` (proc(5)); elsewhere there is nothing to see.
    fn now(service: &DurableService) -> Result<Self> {
        let statm = std::fs::read_to_string("/proc/self/statm")?;
        let pages: u64 = statm.split(' ').nth(1).unwrap_or("0").parse()?;
        Ok(Self {
            connections: service.active_connections() as u64,
            memory_kib: pages * 4,
            tasks: tokio::runtime::Handle::current()
                .metrics()
                .num_alive_tasks() as u64,
            files: std::fs::read_dir("/proc/self/fd")?.count() as u64,
        })
    }
}

const SAMPLES: u32 = 60;
const INTERVAL_MIN: Duration = Duration::from_secs(2);
/// Connections of HTTP clients that are kept for a while, and the like.
const LEFT_MAX: u64 = 12;
