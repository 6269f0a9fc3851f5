//! The clock that the machines are told the time from.

use rondevu_core::Instant;

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
