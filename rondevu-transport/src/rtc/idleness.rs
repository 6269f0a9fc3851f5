//! When a link may check its path less often than one that is looking for it.

use std::time::Duration;

use rondevu_core::Instant;

/// Watches a link's datagrams for a reason to keep still.
///
/// The engine checks its path as often as it looked for it, four times a second, which is a lot
/// for ten thousand links with little to say. It cannot be told otherwise, but it only checks
/// when it is called. So an idle link whose last check was answered is simply called later; a
/// check that stays unanswered is followed by others as quickly as ever.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Idleness {
    busy_at: Instant,
    check: Check,
    /// Since when the link carries messages, or has gone its present way.
    open_at: Option<Instant>,
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

    /// A stream is open; the first says that the link carries messages.
    pub(crate) fn on_open(&mut self, now: Instant) {
        self.open_at.get_or_insert(now);
    }

    /// The link goes another way from now on, or may find a better one.
    #[cfg(any(test, feature = "engine-composed"))]
    pub(crate) fn on_other_path(&mut self, now: Instant) {
        if let Some(at) = &mut self.open_at {
            *at = now;
        }
    }

    /// A check was sent.
    pub(crate) fn on_check(&mut self, now: Instant) {
        self.check = Check::Unanswered(now);
    }

    /// Whether an answer would tell anything.
    pub(crate) fn awaits_answer(&self) -> bool {
        matches!(self.check, Check::Unanswered(_))
    }

    /// A check was answered; how long after the latest was sent, if that was the first answer.
    pub(crate) fn on_answer(&mut self, now: Instant) -> Option<Duration> {
        let Check::Unanswered(at) = self.check else {
            return None;
        };
        self.check = Check::Answered(at);
        Some(now - at)
    }

    /// When to call the engine that wants to be called at `wanted` for a check, and may have to do something
    /// else for messages that are on their way.
    #[cfg(any(test, feature = "str0m"))]
    pub(crate) fn postpone(&self, wanted: Instant, now: Instant) -> Instant {
        self.postpone_if(self.is_idle(now), wanted)
    }

    /// The same where the engine is called for nothing but checks.
    #[cfg(any(test, feature = "engine-composed"))]
    pub(crate) fn postpone_check(&self, wanted: Instant, now: Instant) -> Instant {
        let is_settled = |at| now.saturating_since(at) >= SETTLED_AFTER;
        let calm = self.is_idle(now) || self.open_at.is_some_and(is_settled);
        self.postpone_if(calm, wanted)
    }

    fn postpone_if(&self, calm: bool, wanted: Instant) -> Instant {
        match self.check {
            Check::Answered(at) if calm => wanted.max(at + CHECK_INTERVAL),
            Check::Answered(_) | Check::Unanswered(_) | Check::None => wanted,
        }
    }

    fn is_idle(&self, now: Instant) -> bool {
        let after = match self.open_at {
            Some(_) => IDLE_AFTER,
            None => OPENING_IDLE_AFTER,
        };
        now.saturating_since(self.busy_at) >= after
    }
}

/// Longer than the engine waits before it acknowledges what it received, which is 200 ms.
const IDLE_AFTER: Duration = Duration::from_millis(250);
/// As long as the engine waits before it repeats a message of a handshake.
const OPENING_IDLE_AFTER: Duration = Duration::from_secs(1);
/// By then the best path has been found.
#[cfg(any(test, feature = "engine-composed"))]
const SETTLED_AFTER: Duration = Duration::from_secs(5);
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

    #[test]
    fn an_open_link_is_idle_soon_and_checked_rarely_even_if_busy() {
        let mut idleness = Idleness::default();
        idleness.on_check(at(1_000));
        idleness.on_answer(at(1_040));
        idleness.on_data(at(1_100));
        idleness.on_other_path(at(1_100));
        assert_eq!(idleness.postpone(at(1_400), at(1_360)), at(1_400));
        idleness.on_open(at(1_100));
        assert_eq!(idleness.postpone(at(1_400), at(1_340)), at(1_400));
        assert_eq!(idleness.postpone(at(1_400), at(1_360)), at(3_500));
        idleness.on_check(at(6_000));
        idleness.on_answer(at(6_040));
        for now in [6_050, 6_150] {
            idleness.on_data(at(now));
            let busy = idleness.postpone(at(6_250), at(now));
            let checked = idleness.postpone_check(at(6_250), at(now));
            let settled = if now == 6_150 { 8_500 } else { 6_250 };
            assert_eq!((busy, checked), (at(6_250), at(settled)));
        }
        idleness.on_open(at(6_200));
        assert_eq!(idleness.postpone_check(at(6_250), at(6_200)), at(8_500));
        idleness.on_other_path(at(6_200));
        assert_eq!(idleness.postpone_check(at(6_250), at(6_200)), at(6_250));
    }
}
