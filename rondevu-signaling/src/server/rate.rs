//! How many requests somebody may make, and when the next one is welcome.

use std::collections::HashMap;
use std::hash::Hash;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many requests a second in the long run, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// The time that one request takes up; zero for no limit.
    interval: Duration,
    burst: u32,
}

impl RateLimit {
    /// No limit.
    pub const UNLIMITED: Self = Self {
        interval: Duration::ZERO,
        burst: u32::MAX,
    };

    /// `per_second` requests in the long run, and `burst` at once after a rest. Zeros count as
    /// ones.
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self {
            interval: Duration::from_secs(1) / per_second.max(1),
            burst: burst.max(1),
        }
    }

    /// `per_minute` requests in the long run, and `burst` at once after a rest. Zeros count as ones.
    pub fn per_minute(per_minute: u32, burst: u32) -> Self {
        Self {
            interval: Duration::from_secs(60) / per_minute.max(1),
            burst: burst.max(1),
        }
    }

    /// How many requests a second it allows in the long run; infinite where there is no limit.
    pub(super) fn per_second(self) -> f64 {
        1.0 / self.interval.as_secs_f64()
    }
}

impl FromStr for RateLimit {
    type Err = UnreadableRate;

    /// Reads `50/s:500`, `6/m:60` (so many a second or a minute, and so many at once) or `none`.
    fn from_str(text: &str) -> Result<Self, UnreadableRate> {
        if text == "none" {
            return Ok(Self::UNLIMITED);
        }
        let (rate, burst) = text.split_once(':').ok_or(UnreadableRate)?;
        let (count, unit) = rate.split_once('/').ok_or(UnreadableRate)?;
        let number = |text: &str| match text.parse() {
            Ok(0) | Err(_) => Err(UnreadableRate),
            Ok(number) => Ok(number),
        };
        let (count, burst) = (number(count)?, number(burst)?);
        match unit {
            "s" => Ok(Self::new(count, burst)),
            "m" => Ok(Self::per_minute(count, burst)),
            _ => Err(UnreadableRate),
        }
    }
}

/// A text that is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a rate: write for instance `50/s:500` for 50 a second and 500 at once, `6/m:60`, or `none`"
)]
pub struct UnreadableRate;

/// Counts the requests of many, each against the same limit.
///
/// The generic cell rate algorithm: for each key one time, at which its requests so far are used
/// up.
#[derive(Debug)]
pub(super) struct RateMeter<K> {
    limit: RateLimit,
    used_up_at: Mutex<HashMap<K, Instant>>,
}

impl<K: Eq + Hash> RateMeter<K> {
    pub(super) fn new(limit: RateLimit) -> Self {
        Self {
            limit,
            used_up_at: Mutex::new(HashMap::new()),
        }
    }

    /// Counts a request of `key`, or tells how long it has to wait.
    pub(super) fn admit(&self, key: K, now: Instant) -> Result<(), Duration> {
        if self.limit.interval.is_zero() {
            return Ok(());
        }
        let mut keys = self
            .used_up_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= KEYS_MAX && !keys.contains_key(&key) {
            make_room(&mut keys, now);
        }
        let used_up_at = keys.entry(key).or_insert(now);
        let start = (*used_up_at).max(now);
        let ahead = start - now;
        let allowed = self.limit.interval * (self.limit.burst - 1);
        if ahead > allowed {
            return Err(ahead - allowed);
        }
        *used_up_at = start + self.limit.interval;
        Ok(())
    }
}

fn make_room<K: Eq + Hash>(keys: &mut HashMap<K, Instant>, now: Instant) {
    keys.retain(|_, used_up_at| *used_up_at > now);
    if keys.len() >= KEYS_MAX {
        // More are at it at once than can be told apart: everybody starts anew, which lets some
        // through and costs less than looking for room at each request.
        keys.clear();
    }
}

/// About 5 MB.
const KEYS_MAX: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let meter = RateMeter::new(RateLimit::new(10, 3));
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(meter.admit("a", start), Ok(()));
        }
        let tenth = Duration::from_millis(100);
        assert_eq!(meter.admit("a", start), Err(tenth));
        assert_eq!(meter.admit("b", start), Ok(()));
        assert_eq!(meter.admit("a", start + tenth), Ok(()));
        assert_eq!(meter.admit("a", start + tenth), Err(tenth));
        let later = start + Duration::from_secs(60);
        for _ in 0..3 {
            assert_eq!(meter.admit("a", later), Ok(()));
        }
        assert!(meter.admit("a", later).is_err());
    }

    #[test]
    fn a_rate_is_read_from_text() {
        assert_eq!("50/s:500".parse(), Ok(RateLimit::new(50, 500)));
        assert_eq!("6/m:60".parse(), Ok(RateLimit::per_minute(6, 60)));
        assert_eq!("none".parse(), Ok(RateLimit::UNLIMITED));
        for wrong in [
            "", "50", "50/s", "50/h:5", "0/s:5", "5/s:0", "-1/s:5", "5/s:5/s",
        ] {
            assert_eq!(wrong.parse::<RateLimit>(), Err(UnreadableRate), "{wrong}");
        }
    }

    #[test]
    fn the_table_is_bounded() {
        let meter = RateMeter::new(RateLimit::new(1, 1));
        let now = Instant::now();
        for key in 0..KEYS_MAX + 10 {
            let _ = meter.admit(key, now);
        }
        assert!(meter.used_up_at.lock().unwrap().len() <= KEYS_MAX);
    }

    #[test]
    fn no_limit_counts_nothing() {
        let meter = RateMeter::new(RateLimit::UNLIMITED);
        let now = Instant::now();
        assert!((0..1000).all(|_| meter.admit((), now).is_ok()));
        assert!(meter.used_up_at.lock().unwrap().is_empty());
    }
}
