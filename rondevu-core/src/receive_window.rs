//! How much more a sender may send, and when to tell it what has arrived.

use core::time::Duration;

use crate::{Deadline, DeadlineReason, Instant};

/// The credit of one channel and the timer of its acknowledgements.
///
/// `received` counts the cost of the fragments below the cursor. What was granted is never taken
/// back: the sender may have used it already.
#[derive(Clone, Debug)]
pub(crate) struct ReceiveWindow {
    size: u64,
    received: u64,
    /// What `received` may grow to, as the sender was told at the most.
    granted: u64,
    /// What the sender was told last.
    told: Told,
    acked_at: Option<Instant>,
    ack: AckTimer,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    received: u64,
    allowed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AckTimer {
    Idle,
    At(Instant),
    Now,
}

impl ReceiveWindow {
    /// The time between acknowledgements that nothing urges: long enough to cover many small
    /// messages with one, short enough that a sender with an empty queue does not take the silence
    /// for a cut.
    pub(crate) const ACK_DELAY: Duration = Duration::from_millis(25);

    /// How long a stream that has brought [`PROMPT_BYTES`](Self::PROMPT_BYTES) pauses before it is acknowledged
    /// earlier: who sends that much at once may wait until all of it is confirmed.
    pub(crate) const PROMPT_DELAY: Duration = Duration::from_millis(2);

    /// About what three datagrams carry.
    pub(crate) const PROMPT_BYTES: u64 = 4 * 1024;

    pub(crate) fn new(size: u64) -> Self {
        Self {
            size,
            received: 0,
            granted: size,
            told: Told {
                received: 0,
                allowed: size,
            },
            acked_at: None,
            ack: AckTimer::Idle,
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Whether the sender was allowed to send `cost` more, with `beyond` received above the cursor.
    pub(crate) fn allows(&self, beyond: u64, cost: u64) -> bool {
        self.received.saturating_add(beyond).saturating_add(cost) <= self.granted
    }

    /// The cursor moved over fragments that cost so much.
    pub(crate) fn on_advance(&mut self, cost: u64, now: Instant) {
        self.received += cost;
        let untold = self.received - self.told.received;
        // A quarter of the window keeps the sender busy while the acknowledgement travels.
        if untold >= self.size / 4 {
            self.ack = AckTimer::Now;
        } else if untold >= Self::PROMPT_BYTES {
            self.ack_by(now + Self::PROMPT_DELAY, now);
        } else {
            self.on_arrival(now);
        }
    }

    /// Something arrived that is worth an acknowledgement: at once if none was sent lately, so that
    /// whoever waits for a lone message waits for no more than a round trip.
    pub(crate) fn on_arrival(&mut self, now: Instant) {
        if self.ack == AckTimer::Idle {
            self.ack_by(now + Self::ACK_DELAY, now);
        }
    }

    /// Acknowledges [`ACK_DELAY`](Self::ACK_DELAY) after the last acknowledgement, or at `end` if that is earlier.
    fn ack_by(&mut self, end: Instant, now: Instant) {
        let at = self.acked_at.map(|at| at + Self::ACK_DELAY);
        if self.ack != AckTimer::Now {
            self.ack = at
                .filter(|at| now < *at)
                .map_or(AckTimer::Now, |at| AckTimer::At(at.min(end)));
        }
    }

    /// The application took something; `waiting` is the cost of what it has not taken.
    pub(crate) fn on_taken(&mut self, waiting: u64) {
        // Tells a sender that was held back; one with enough credit need not hear of each message.
        let allowed = self.received.saturating_add(self.credit(waiting));
        let grown = allowed.saturating_sub(self.told.allowed);
        // What the sender has left may be too little for its next fragment, and nothing else would
        // ever tell it of the rest.
        let left = self.told.allowed.saturating_sub(self.received);
        let drained = waiting == 0 && grown > 0 && left <= self.size / 4 * 3;
        if drained || grown >= (self.size / 2).max(1) {
            self.ack = AckTimer::Now;
        }
    }

    /// Acknowledges at the next opportunity.
    pub(crate) fn ack_soon(&mut self) {
        self.ack = AckTimer::Now;
    }

    /// How much more the sender may send.
    fn credit(&self, waiting: u64) -> u64 {
        self.size.saturating_sub(waiting)
    }

    /// Whether an acknowledgement is due.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        match self.ack {
            AckTimer::Now => true,
            AckTimer::At(at) => at <= now,
            AckTimer::Idle => false,
        }
    }

    /// Whether an acknowledgement is due without waiting.
    pub(crate) fn is_due_now(&self) -> bool {
        self.ack == AckTimer::Now
    }

    /// Whether the sender has been told all that is worth telling.
    pub(crate) fn is_idle(&self) -> bool {
        self.ack == AckTimer::Idle
    }

    /// The credit for an acknowledgement that is sent now.
    pub(crate) fn tell(&mut self, waiting: u64) -> u64 {
        let credit = self.credit(waiting);
        let allowed = self.received.saturating_add(credit);
        self.granted = self.granted.max(allowed);
        self.told = Told {
            received: self.received,
            allowed,
        };
        self.ack = AckTimer::Idle;
        credit
    }

    /// An acknowledgement is sent now.
    pub(crate) fn on_acked(&mut self, now: Instant) {
        self.acked_at = Some(now);
    }

    /// Notices that an acknowledgement has become due: from now on it waits for the link, not for
    /// the clock.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if matches!(self.ack, AckTimer::At(at) if at <= now) {
            self.ack = AckTimer::Now;
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Deadline> {
        match self.ack {
            AckTimer::At(at) => Some(Deadline::new(at, DeadlineReason::Ack)),
            AckTimer::Now | AckTimer::Idle => None,
        }
    }
}
