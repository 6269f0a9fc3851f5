//! How long to wait before the next attempt.

use core::time::Duration;

/// Exponential backoff: `base`, twice `base`, four times `base` … up to `max`, each varied by
/// `jitter` so that many peers that lost the same thing do not come back in one instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackoffPolicy {
    /// The delay before the first attempt. Default 1 s.
    pub base: Duration,
    /// The longest delay, before jitter. Default 30 s.
    pub max: Duration,
    /// The largest relative deviation, between 0 and 1. Default 0.2, that is ±20 %.
    pub jitter: f64,
    /// How many attempts are made in a row without a link that carries an acknowledgement; `None` for
    /// no limit. Default 10.
    pub attempts_max: Option<u32>,
}

impl Default for BackoffPolicy {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            max: Duration::from_secs(30),
            jitter: 0.2,
            attempts_max: Some(10),
        }
    }
}

impl BackoffPolicy {
    /// The delay before attempt `attempt`, counted from 1, without jitter.
    pub fn nominal_delay(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        self.base.saturating_mul(1 << doublings).min(self.max)
    }

    /// The delay before attempt `attempt`, counted from 1, varied by `rng`.
    pub fn delay(&self, attempt: u32, rng: &mut fastrand::Rng) -> Duration {
        let jitter = if self.jitter.is_nan() {
            0.0
        } else {
            self.jitter.clamp(0.0, 1.0)
        };
        let factor = 1.0 + jitter * (2.0 * rng.f64() - 1.0);
        // Saturates instead of panicking for a `max` near `Duration::MAX`.
        Duration::try_from_secs_f64(self.nominal_delay(attempt).as_secs_f64() * factor)
            .unwrap_or(Duration::MAX)
    }

    /// Whether attempt `attempt`, counted from 1, may still be made.
    pub fn allows(&self, attempt: u32) -> bool {
        self.attempts_max.is_none_or(|max| attempt <= max)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_defaults_double_from_one_second_to_thirty() {
        let policy = BackoffPolicy::default();
        let delays: alloc::vec::Vec<_> =
            (1..=8).map(|n| policy.nominal_delay(n).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert!(policy.allows(10));
        assert!(!policy.allows(11));
    }

    proptest! {
        #[test]
        fn jitter_stays_within_its_share(seed: u64, attempt in 1u32..100, jitter in 0.0f64..=1.0) {
            let policy = BackoffPolicy { jitter, ..BackoffPolicy::default() };
            let nominal = policy.nominal_delay(attempt).as_secs_f64();
            let delay = policy.delay(attempt, &mut fastrand::Rng::with_seed(seed)).as_secs_f64();
            prop_assert!(delay >= nominal * (1.0 - jitter) - 1e-6);
            prop_assert!(delay <= nominal * (1.0 + jitter) + 1e-6);
        }

        #[test]
        fn no_policy_panics(base: u64, max: u64, jitter: f64, attempt: u32, seed: u64) {
            let policy = BackoffPolicy {
                base: Duration::from_millis(base),
                max: Duration::from_millis(max),
                jitter,
                attempts_max: None,
            };
            let _ = policy.delay(attempt, &mut fastrand::Rng::with_seed(seed));
        }
    }
}
