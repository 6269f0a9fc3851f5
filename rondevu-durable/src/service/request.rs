//! One kind of request to the signaling server: one at a time, and a pause after each failure.

use core::time::Duration;

use rondevu_core::{BackoffPolicy, Instant};

/// Whether a failed request may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceRetry {
    /// It will fail again: the service stops.
    Never,
    /// After this time; the server works.
    After(Duration),
    /// After the usual delay; the server fails.
    Backoff,
    /// The server does not know the service: publish it again. Its offers may still be answered.
    Publish,
    /// The server does not know this peer any more: publish again; all offers are lost.
    StartOver,
}

/// The state of one kind of request.
#[derive(Debug, Default)]
pub(crate) struct Request {
    stage: Stage,
    not_before: Instant,
    /// Failures of the server in a row.
    failures: u32,
    /// Other reasons to begin anew in a row.
    setbacks: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Idle,
    UnderWay {
        since: Instant,
    },
}

impl Request {
    /// When it may be made next; `None` while one is under way.
    pub(crate) fn ready_at(&self) -> Option<Instant> {
        (self.stage == Stage::Idle).then_some(self.not_before)
    }

    pub(crate) fn is_ready(&self, now: Instant) -> bool {
        self.ready_at().is_some_and(|at| at <= now)
    }

    pub(crate) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    pub(crate) fn start(&mut self, now: Instant) {
        self.stage = Stage::UnderWay { since: now };
    }

    /// It came back; tells how long it took.
    pub(crate) fn succeed(&mut self, now: Instant) -> Duration {
        self.failures = 0;
        self.not_before = now;
        self.end(now)
    }

    /// The server failed: the next one waits longer after each failure.
    pub(crate) fn fail(&mut self, backoff: &BackoffPolicy, rng: &mut fastrand::Rng, now: Instant) {
        self.end(now);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + backoff.delay(self.failures, rng);
    }

    /// The server asks for a pause.
    pub(crate) fn pause(&mut self, pause: Duration, now: Instant) {
        self.failures = 0;
        self.end(now);
        self.not_before = now + pause.max(PAUSE_MIN);
    }

    /// Something else has to be done first: the first time at once, then after longer and longer
    /// pauses, so that a server that contradicts itself is not asked without end.
    pub(crate) fn set_back(
        &mut self,
        backoff: &BackoffPolicy,
        rng: &mut fastrand::Rng,
        now: Instant,
    ) {
        self.failures = 0;
        self.end(now);
        self.not_before = match self.setbacks {
            0 => now,
            earlier => now + backoff.delay(earlier, rng),
        };
        self.setbacks = self.setbacks.saturating_add(1);
    }

    /// What was set back is done.
    pub(crate) fn settle(&mut self) {
        self.setbacks = 0;
    }

    /// What is under way was given up, and the next may be made at once: what failed before may work
    /// in another network. A pause that the server has asked for is kept.
    pub(crate) fn restart(&mut self, now: Instant) {
        self.end(now);
        if self.is_failing() {
            self.hasten(now);
        }
    }

    /// The server works again, as another kind of request has shown: no need to wait.
    pub(crate) fn hasten(&mut self, now: Instant) {
        self.not_before = self.not_before.min(now);
    }

    fn end(&mut self, now: Instant) -> Duration {
        match core::mem::take(&mut self.stage) {
            Stage::Idle => Duration::ZERO,
            Stage::UnderWay { since } => now.saturating_since(since),
        }
    }
}

/// A pause of zero would ask without end.
const PAUSE_MIN: Duration = Duration::from_millis(50);
