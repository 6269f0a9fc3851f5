//! How fast the peer confirms what is sent.

use core::time::Duration;

use rondevu_core::Instant;

/// Watches whether a link carries so much that large batches take no time.
///
/// The peer confirms a transport message as a whole. On a slow line a large one would keep it silent
/// for seconds, which looks like a cut.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    since: Option<Instant>,
    bytes: usize,
    is_fast: bool,
}

impl Pace {
    /// The peer has confirmed so much.
    pub(super) fn on_confirmed(&mut self, bytes: usize, now: Instant) {
        if self.since.is_none_or(|since| now - since >= SPAN) {
            self.is_fast = self.bytes >= FAST_BYTES;
            self.since = Some(now);
            self.bytes = 0;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.is_fast |= self.bytes >= FAST_BYTES;
    }

    /// Whether a batch of 60 KiB takes an eighth of a second at most.
    pub(super) fn is_fast(&self) -> bool {
        self.is_fast
    }
}

const SPAN: Duration = Duration::from_millis(500);
const FAST_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_origin(Duration::from_millis(millis))
    }

    /// Whether 16 KiB confirmed each `millis` for two seconds count as fast.
    fn after(pace: &mut Pace, from: u64, millis: u64) -> bool {
        for now in (from..from + 2_000).step_by(millis as usize) {
            pace.on_confirmed(16 * 1024, at(now));
        }
        pace.is_fast()
    }

    #[test]
    fn half_a_megabyte_in_a_second_is_fast_and_less_is_not() {
        assert!(!Pace::default().is_fast());
        assert!(after(&mut Pace::default(), 0, 30));
        assert!(!after(&mut Pace::default(), 0, 40));
    }

    #[test]
    fn a_line_that_gets_slow_is_slow_soon() {
        let mut pace = Pace::default();
        assert!(after(&mut pace, 0, 10));
        pace.on_confirmed(16 * 1024, at(2_500));
        assert!(pace.is_fast(), "the last half second was");
        assert!(!after(&mut pace, 3_000, 40));
    }
}
