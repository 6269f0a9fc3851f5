//! When an idle link may check its path less often than one that is looking for it.

use std::time::Duration;

use rondevu_core::Instant;

/// Watches a link's datagrams for a reason to keep still.
///
/// The engine checks its path as often as it looked for it, four times a second, which is a lot
/// for ten thousand links with nothing to say. It cannot be told otherwise, but it only checks
/// when it is called. So an idle link whose last check was answered is simply called later; a
/// check that stays unanswered is followed by others as quickly as ever.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Idleness {
    busy_at: Instant,
    check: Check,
}

#[derive(Clone, Copy, Debug, Default)]
enum Check {
    #[default]
    None,
    Unanswered(Instant),
    Answered(Instant),
}

impl Idleness {
    /// Something other than a check was sent or received.
    pub(crate) fn on_data(&mut self, now: Instant) {
        self.busy_at = now;
    }

    /// A check was sent.
    pub(crate) fn on_check(&mut self, now: Instant) {
        self.check = Check::Unanswered(now);
    }

    /// A check was answered; how long after the latest was sent, if that was the first answer.
    pub(crate) fn on_answer(&mut self, now: Instant) -> Option<Duration> {
        let Check::Unanswered(at) = self.check else {
            return None;
        };
        self.check = Check::Answered(at);
        Some(now - at)
    }

    /// When to call the engine that wants to be called at `wanted` for a check.
    pub(crate) fn postpone(&self, wanted: Instant, now: Instant) -> Instant {
        let idle = now.saturating_since(self.busy_at) >= IDLE_AFTER;
        match self.check {
            Check::Answered(at) if idle => wanted.max(at + CHECK_INTERVAL),
            Check::Answered(_) | Check::Unanswered(_) | Check::None => wanted,
        }
    }
}

/// Longer than the engine waits before it acknowledges what it received.
const IDLE_AFTER: Duration = Duration::from_secs(1);
/// About as often as browsers check; NATs forget a binding after 30 s at the earliest.
const CHECK_INTERVAL: Duration = Duration::from_millis(2_500);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_origin(Duration::from_millis(millis))
    }

    #[test]
    fn only_an_idle_link_with_an_answer_keeps_still() {
        let mut idleness = Idleness::default();
        assert_eq!(idleness.postpone(at(5_250), at(5_000)), at(5_250));
        idleness.on_check(at(5_000));
        assert_eq!(idleness.postpone(at(5_250), at(5_100)), at(5_250));
        assert_eq!(
            idleness.on_answer(at(5_040)),
            Some(Duration::from_millis(40))
        );
        assert_eq!(idleness.on_answer(at(5_050)), None);
        assert_eq!(idleness.postpone(at(5_250), at(5_100)), at(7_500));
        idleness.on_data(at(5_200));
        assert_eq!(idleness.postpone(at(5_250), at(5_201)), at(5_250));
        assert_eq!(idleness.postpone(at(6_500), at(6_300)), at(7_500));
        assert_eq!(idleness.postpone(at(7_700), at(7_500)), at(7_700));
    }
}
