//! What is measured of each stack, and how.
//!
//! A round takes each figure of each stack once; the figure of a run is the median of its rounds, and a
//! ratio of two stacks the median of their ratios in each round. So whatever else the machine does in a
//! minute meets all stacks alike.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::time::timeout;

use crate::stack::{Pair, Stack};
use crate::wire::Wire;

/// One stack in the course of the measurement.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    stack: Box<dyn Stack>,
    pair: Option<Box<dyn Pair>>,
    /// How many messages of each size take about [`BULK_TIME`].
    counts: [usize; SIZES.len()],
    rates: [Vec<Rate>; SIZES.len()],
    round_trips: [Vec<Duration>; 2],
    set_ups: Vec<Duration>,
    far_set_ups: Vec<Duration>,
    far_round_trips: Vec<Duration>,
    idle_bytes: Option<usize>,
    /// Why there is no figure, the first time that it happened.
    pub(crate) failure: Option<String>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    pub(crate) bytes_per_second: f64,
    pub(crate) cpu_seconds_per_byte: f64,
}

pub(crate) const SIZES: [usize; 4] = [64, 1024, 16 * 1024, 64 * 1024];

impl Subject {
    pub(crate) fn new(name: &'static str, stack: Box<dyn Stack>) -> Self {
        Self {
            name,
            stack,
            pair: None,
            counts: [0; SIZES.len()],
            rates: Default::default(),
            round_trips: Default::default(),
            set_ups: Vec::new(),
            far_set_ups: Vec::new(),
            far_round_trips: Vec::new(),
            idle_bytes: None,
            failure: None,
        }
    }

    /// Takes one step of the measurement; a stack that fails or hangs has no more steps.
    pub(crate) async fn step(&mut self, step: Step) {
        if self.failure.is_some() {
            return;
        }
        let done = timeout(STEP_TIME_MAX, self.take(step)).await;
        let failure = match done {
            Ok(Ok(())) => return,
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => format!("not done after {} s", STEP_TIME_MAX.as_secs()),
        };
        self.pair = None;
        self.failure = Some(format!("{step:?}: {failure}"));
    }

    async fn take(&mut self, step: Step) -> Result<()> {
        match step {
            Step::SetUp => {
                if self.stack.has_set_up() {
                    self.connect_anew().await?;
                }
            }
            Step::WarmUp => self.warm_up().await?,
            Step::RoundTrips => self.round_trips().await?,
            Step::Bulk(index) => {
                let rate = self.rate(index).await?;
                self.rates[index].push(rate);
            }
            Step::Idle => self.idle_bytes = Some(self.idle().await?),
        }
        Ok(())
    }

    /// From the start until a first message is back, over loopback and over the emulated wire.
    async fn connect_anew(&mut self) -> Result<()> {
        let start = Instant::now();
        let mut pair = self.stack.connect(Wire::Loopback).await?;
        pair.round_trip().await?;
        self.set_ups.push(start.elapsed());
        drop(pair);

        let start = Instant::now();
        let mut pair = self.stack.connect(Wire::Delayed(ONE_WAY)).await?;
        pair.round_trip().await?;
        let there_and_back = start.elapsed();
        let start = Instant::now();
        pair.round_trip().await?;
        let round_trip = start.elapsed();
        // The last of the round trips was the message's.
        self.far_set_ups
            .push(there_and_back.saturating_sub(round_trip));
        self.far_round_trips.push(round_trip);
        Ok(())
    }

    /// Connects, and finds out how much fits into the time.
    async fn warm_up(&mut self) -> Result<()> {
        let mut pair = self.stack.connect(Wire::Loopback).await?;
        for _ in 0..ROUND_TRIPS / 4 {
            pair.round_trip().await?;
        }
        for (count, size) in self.counts.iter_mut().zip(SIZES) {
            let mut tried = 64;
            *count = loop {
                let start = Instant::now();
                pair.bulk(size, tried).await?;
                let took = start.elapsed();
                if took >= BULK_TIME / 4 {
                    let share = BULK_TIME.as_secs_f64() / took.as_secs_f64();
                    break (tried as f64 * share).ceil() as usize;
                }
                tried *= 4;
            };
        }
        self.pair = Some(pair);
        Ok(())
    }

    async fn round_trips(&mut self) -> Result<()> {
        let pair = self.pair.as_mut().context("not connected")?;
        let mut times = Vec::with_capacity(ROUND_TRIPS);
        for _ in 0..ROUND_TRIPS {
            let start = Instant::now();
            pair.round_trip().await?;
            times.push(start.elapsed());
        }
        times.sort_unstable();
        for (figures, percent) in self.round_trips.iter_mut().zip([50, 99]) {
            figures.push(times[(times.len() - 1) * percent / 100]);
        }
        Ok(())
    }

    async fn rate(&mut self, index: usize) -> Result<Rate> {
        let pair = self.pair.as_mut().context("not connected")?;
        let (size, count) = (SIZES[index], self.counts[index]);
        let (start, cpu) = (Instant::now(), cpu_time()?);
        pair.bulk(size, count).await?;
        let bytes = (count * size) as f64;
        let rate = Rate {
            bytes_per_second: bytes / start.elapsed().as_secs_f64(),
            cpu_seconds_per_byte: cpu_time()?.saturating_sub(cpu).as_secs_f64() / bytes,
        };
        if !rate.bytes_per_second.is_finite() {
            bail!("no time passed");
        }
        Ok(rate)
    }

    /// Bytes on the heap for one end of an idle connection that has carried a message.
    async fn idle(&mut self) -> Result<usize> {
        // The first ones pay for what all share.
        let mut pairs = Vec::with_capacity(IDLE_PAIRS + 4);
        for _ in 0..4 {
            pairs.push(self.stack.connect(Wire::Loopback).await?);
        }
        settle().await;
        let before = crate::held_bytes();
        for _ in 0..IDLE_PAIRS {
            let mut pair = self.stack.connect(Wire::Loopback).await?;
            pair.round_trip().await?;
            pairs.push(pair);
        }
        settle().await;
        Ok(crate::held_bytes().saturating_sub(before) / IDLE_PAIRS / 2)
    }

    /// Closes the pair that was measured.
    pub(crate) fn disconnect(&mut self) {
        self.pair = None;
    }

    pub(crate) fn rate_of(&self, size: usize) -> Option<Rate> {
        let index = SIZES.iter().position(|one| *one == size)?;
        let by = |get: fn(&Rate) -> f64| median(self.rates[index].iter().map(get));
        Some(Rate {
            bytes_per_second: by(|rate| rate.bytes_per_second)?,
            cpu_seconds_per_byte: by(|rate| rate.cpu_seconds_per_byte)?,
        })
    }

    /// How many times as much as `other` in the same time: the median of what it was in each round, as
    /// the machine is not equally fast in all of them.
    pub(crate) fn rate_ratio(&self, other: &Self, size: usize) -> Option<f64> {
        let index = SIZES.iter().position(|one| *one == size)?;
        let rounds = self.rates[index].iter().zip(&other.rates[index]);
        median(rounds.map(|(own, other)| own.bytes_per_second / other.bytes_per_second))
    }

    /// The same of the median round trips.
    pub(crate) fn round_trip_ratio(&self, other: &Self) -> Option<f64> {
        let rounds = self.round_trips[0].iter().zip(&other.round_trips[0]);
        median(rounds.map(|(own, other)| own.as_secs_f64() / other.as_secs_f64()))
    }

    /// In seconds: the median and the 99th percentile.
    pub(crate) fn round_trip(&self) -> Option<[f64; 2]> {
        let [p50, p99] = &self.round_trips;
        Some([seconds(p50)?, seconds(p99)?])
    }

    /// In seconds.
    pub(crate) fn set_up(&self) -> Option<f64> {
        seconds(&self.set_ups)
    }

    /// In round trips of the emulated wire.
    pub(crate) fn far_set_up(&self) -> Option<f64> {
        Some(seconds(&self.far_set_ups)? / seconds(&self.far_round_trips)?)
    }

    pub(crate) fn idle_bytes(&self) -> Option<f64> {
        self.idle_bytes.map(|bytes| bytes as f64)
    }
}

/// A part of the measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    SetUp,
    WarmUp,
    RoundTrips,
    Bulk(usize),
    Idle,
}

/// All steps, those of one kind of all stacks after each other.
pub(crate) async fn measure(subjects: &mut [Subject]) {
    let set_ups = std::iter::repeat_n(Step::SetUp, SET_UPS);
    let round = || std::iter::once(Step::RoundTrips).chain((0..SIZES.len()).map(Step::Bulk));
    let rounds = std::iter::repeat_with(round).take(ROUNDS).flatten();
    let steps = set_ups.chain([Step::WarmUp]).chain(rounds);
    for step in steps {
        for subject in subjects.iter_mut() {
            subject.step(step).await;
        }
    }
    subjects.iter_mut().for_each(Subject::disconnect);
    settle().await;
    for subject in subjects.iter_mut() {
        subject.step(Step::Idle).await;
        settle().await;
    }
}

/// Lets what is under way come to its end.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1500)).await;
}

/// What all threads of this process have used.
fn cpu_time() -> Result<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let schedstat = fs::read_to_string(task?.path().join("schedstat"));
        // A thread may end meanwhile.
        let Ok(schedstat) = schedstat else { continue };
        let running = schedstat.split(' ').next().context("schedstat is empty")?;
        nanos += running.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}

fn seconds(times: &[Duration]) -> Option<f64> {
    median(times.iter().map(Duration::as_secs_f64))
}

fn median(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = figures.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

/// Half of the round trip of the emulated wire.
const ONE_WAY: Duration = Duration::from_millis(25);
const SET_UPS: usize = 3;
const ROUND_TRIPS: usize = 2000;
const ROUNDS: usize = 7;
const BULK_TIME: Duration = Duration::from_millis(300);
const IDLE_PAIRS: usize = 20;
/// Nothing takes a tenth of that.
const STEP_TIME_MAX: Duration = Duration::from_secs(20);
