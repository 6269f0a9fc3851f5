//! When to ask the server for answers.

use core::time::Duration;

use rondevu_core::Instant;

/// How often to ask for answers a server that cannot keep a request open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollingConfig {
    /// The time between two requests while an answer is expected. Default 250 ms.
    pub eager: Duration,
    /// For how long an answer is expected after the service was published, after an outage and
    /// after each answer, since dialers come in groups. Default 10 s.
    pub eager_for: Duration,
    /// The time between two requests at other times, reached by doubling. Default 2 s.
    pub idle: Duration,
}

impl Default for PollingConfig {
    fn default() -> Self {
        Self {
            eager: Duration::from_millis(250),
            eager_for: Duration::from_secs(10),
            idle: Duration::from_secs(2),
        }
    }
}

/// How a request for answers came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollEnd {
    /// The server keeps requests open: there was news, or the time was over.
    Waited,
    /// The server answers at once.
    AtOnce,
}

/// The rhythm of the requests.
#[derive(Debug)]
pub(crate) struct Polling {
    config: PollingConfig,
    next_at: Instant,
    interval: Duration,
    eager_until: Instant,
    /// Requests in a row that came back at once with nothing, though the server keeps them open.
    hasty: u32,
}

impl Polling {
    pub(crate) fn new(config: PollingConfig) -> Self {
        Self {
            config,
            next_at: Instant::ORIGIN,
            interval: config.eager,
            eager_until: Instant::ORIGIN,
            hasty: 0,
        }
    }

    /// When the next request is due.
    pub(crate) fn next_at(&self) -> Instant {
        self.next_at
    }

    /// Something is expected to happen soon.
    pub(crate) fn expect(&mut self, now: Instant) {
        self.eager_until = now + self.config.eager_for;
        self.interval = self.config.eager.min(self.config.idle);
        self.next_at = self.next_at.min(now + self.interval);
    }

    /// A request that took `took` came back with `answers` answers.
    pub(crate) fn polled(&mut self, answers: usize, end: PollEnd, took: Duration, now: Instant) {
        if answers > 0 {
            self.expect(now);
        }
        self.hasty = match answers == 0 && took < HASTE {
            true => self.hasty.saturating_add(1),
            false => 0,
        };
        self.next_at = match end {
            PollEnd::Waited if self.hasty <= HASTY_MAX => now,
            PollEnd::Waited | PollEnd::AtOnce => now + self.pause(now).saturating_sub(took),
        };
    }

    fn pause(&mut self, now: Instant) -> Duration {
        let pause = self.interval;
        if now >= self.eager_until {
            self.interval = self.interval.saturating_mul(2).min(self.config.idle);
        }
        pause.max(PAUSE_MIN)
    }
}

/// A server that was to keep a request open for long did not, if it came back so soon.
const HASTE: Duration = Duration::from_millis(500);
/// Answers to other services of the same peer also end a request early, a few times in a row.
const HASTY_MAX: u32 = 3;
/// Whatever was configured, a server is not asked without end.
const PAUSE_MIN: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_origin(Duration::from_millis(millis))
    }

    /// The times in ms of the next `count` requests, each of which brings nothing at once.
    fn requests(polling: &mut Polling, count: usize, end: PollEnd) -> Vec<u64> {
        let mut times = Vec::new();
        for _ in 0..count {
            let now = polling.next_at();
            times.push(now.since_origin().as_millis() as u64);
            polling.polled(0, end, Duration::ZERO, now);
        }
        times
    }

    #[test]
    fn a_server_that_waits_is_asked_again_at_once() {
        let mut polling = Polling::new(PollingConfig::default());
        let wait = Duration::from_secs(25);
        polling.polled(0, PollEnd::Waited, wait, at(25_000));
        assert_eq!(polling.next_at(), at(25_000));
        polling.polled(2, PollEnd::Waited, Duration::ZERO, at(25_001));
        assert_eq!(polling.next_at(), at(25_001));
    }

    #[test]
    fn a_server_that_only_says_that_it_waits_is_not_asked_without_end() {
        let mut polling = Polling::new(PollingConfig::default());
        let times = requests(&mut polling, 7, PollEnd::Waited);
        assert_eq!(times, [0, 0, 0, 0, 250, 750, 1750]);
    }

    #[test]
    fn polling_is_eager_while_something_is_expected_and_slows_down_after() {
        let config = PollingConfig {
            eager_for: Duration::from_millis(1000),
            ..PollingConfig::default()
        };
        let mut polling = Polling::new(config);
        polling.expect(at(0));
        let times = requests(&mut polling, 9, PollEnd::AtOnce);
        assert_eq!(times, [0, 250, 500, 750, 1000, 1250, 1750, 2750, 4750]);
        polling.polled(1, PollEnd::AtOnce, Duration::ZERO, at(6000));
        let times = requests(&mut polling, 4, PollEnd::AtOnce);
        assert_eq!(times, [6250, 6500, 6750, 7000]);
    }

    #[test]
    fn a_slow_answer_counts_as_part_of_the_pause() {
        let mut polling = Polling::new(PollingConfig::default());
        polling.polled(0, PollEnd::AtOnce, Duration::from_millis(100), at(100));
        assert_eq!(polling.next_at(), at(250));
    }
}
