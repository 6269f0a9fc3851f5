//! A link that takes few bytes at a time.

use std::time::Duration;

use rondevu_core::Instant;

/// How much a link takes in a round trip; unlimited at first.
///
/// The engine's own buffer is as large as its factory says. A smaller one looks to its user like this: it
/// is full, and has room again when what was sent is confirmed.
#[derive(Debug, Default)]
pub(crate) struct Congestion {
    bytes_max: Option<usize>,
    taken: usize,
    room_at: Option<Instant>,
    /// Whether somebody was refused.
    is_awaited: bool,
}

impl Congestion {
    /// From now on the link takes so many bytes.
    pub(crate) fn begin(&mut self, bytes_max: usize) {
        self.bytes_max = Some(bytes_max);
    }

    /// From now on it takes everything; whoever was refused is called at once.
    pub(crate) fn end(&mut self, now: Instant) {
        self.bytes_max = None;
        self.room_at = self.room_at.map(|_| now);
    }

    /// Whether there is room for `bytes`; if not, there will be after `round_trip`.
    pub(crate) fn admit(&mut self, bytes: usize, round_trip: Duration, now: Instant) -> bool {
        let Some(bytes_max) = self.bytes_max else {
            return true;
        };
        self.room_at.get_or_insert(now + round_trip);
        // A message that is larger than the buffer passes an empty one.
        let fits = self.taken == 0 || self.taken + bytes <= bytes_max;
        match fits {
            true => self.taken += bytes,
            false => self.is_awaited = true,
        }
        fits
    }

    /// Makes room; whether somebody waits for it.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
        if self.room_at.is_none_or(|at| now < at) {
            return false;
        }
        (self.room_at, self.taken) = (None, 0);
        std::mem::take(&mut self.is_awaited)
    }

    /// When there will be room.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.room_at
    }
}
