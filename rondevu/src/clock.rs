//! The clock that the machines are told the time from.

use std::pin::Pin;

use rondevu_core::Instant;
use tokio::time::Sleep;

/// Counts from one moment, usually that when it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch: std::time::Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self::since(std::time::Instant::now())
    }

    pub(crate) fn since(epoch: std::time::Instant) -> Self {
        Self { epoch }
    }

    pub(crate) fn epoch(self) -> std::time::Instant {
        self.epoch
    }

    pub(crate) fn now(self) -> Instant {
        Instant::from_origin(self.epoch.elapsed())
    }

    pub(crate) fn to_tokio(self, at: Instant) -> tokio::time::Instant {
        (self.epoch + at.since_origin()).into()
    }

    /// Waits until `at`; without a time, for ever.
    pub(crate) async fn sleep_until(self, at: Option<Instant>) {
        match at {
            Some(at) => tokio::time::sleep_until(self.to_tokio(at)).await,
            None => std::future::pending().await,
        }
    }
}

/// A timer for deadlines that move with each message, mostly to a later time.
///
/// To tell tokio of an earlier deadline than all others interrupts its wait for sockets, which costs two
/// system calls. So this is only told where it has to be.
#[derive(Debug)]
pub(crate) struct Alarm {
    clock: Clock,
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            sleep: Box::pin(tokio::time::sleep_until(clock.to_tokio(clock.now()))),
        }
    }

    /// Waits until `at`; without a time, for ever. Cancellation: nothing is lost.
    pub(crate) async fn wait_until(&mut self, at: Option<Instant>) {
        let Some(at) = at else {
            return std::future::pending().await;
        };
        if at <= self.clock.now() {
            // Whoever always has something to do lets others run too.
            return tokio::task::coop::consume_budget().await;
        }
        let at = self.clock.to_tokio(at);
        loop {
            if self.sleep.is_elapsed() || self.sleep.deadline() > at {
                self.sleep.as_mut().reset(at);
            }
            self.sleep.as_mut().await;
            if self.sleep.deadline() >= at {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn deadlines_that_move_are_kept() {
        let begun = tokio::time::Instant::now();
        let clock = Clock::since(begun.into_std());
        // The clock goes on while the timers stand still.
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let at = |n| Some(Instant::from_origin(hours(n)));
        let mut alarm = Alarm::new(clock);
        let nobody = tokio::time::timeout(hours(1), alarm.wait_until(at(5)));
        assert!(nobody.await.is_err());
        for wanted in [3, 9, 10] {
            alarm.wait_until(at(wanted)).await;
            assert_eq!(begun.elapsed(), hours(wanted));
        }
        let nobody = tokio::time::timeout(hours(9), alarm.wait_until(None));
        assert!(nobody.await.is_err());
        alarm.wait_until(Some(Instant::ORIGIN)).await;
        assert_eq!(begun.elapsed(), hours(19));
    }
}
