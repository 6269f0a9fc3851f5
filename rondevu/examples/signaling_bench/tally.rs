//! How long things took.

use std::collections::BTreeMap;
use std::time::Duration;

/// Times by kind of request.
pub(crate) type Kinds = BTreeMap<&'static str, Vec<Duration>>;

pub(crate) fn median(times: &mut [Duration]) -> Duration {
    percentile(times, 50)
}

pub(crate) fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    times.get(last * percent / 100).copied().unwrap_or_default()
}

/// Prints a line for each kind; returns the largest p99.
pub(crate) fn print_kinds(kinds: &mut Kinds, measured: Duration) -> Duration {
    let mut slowest = Duration::ZERO;
    for (kind, times) in kinds {
        let rate = times.len() as f64 / measured.as_secs_f64();
        let (p50, p99) = (percentile(times, 50), percentile(times, 99));
        println!("  {kind:<20}{rate:>10.0} /s   p50 {p50:>9.2?}   p99 {p99:>9.2?}");
        slowest = slowest.max(p99);
    }
    slowest
}
