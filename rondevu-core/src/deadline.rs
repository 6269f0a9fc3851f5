//! When a machine wants to be called again, and what for.

use crate::Instant;

/// A wake-up time together with the reason for it.
///
/// The reason is for people who read logs and for tests; the embedder only needs `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// Call `handle_timeout` at this instant or later.
    pub at: Instant,
    /// What the machine will do then.
    pub reason: DeadlineReason,
}

impl Deadline {
    /// A deadline at `at` because of `reason`.
    pub const fn new(at: Instant, reason: DeadlineReason) -> Self {
        Self { at, reason }
    }

    /// The earlier of two optional deadlines.
    pub fn earlier(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(a), Some(b)) => Some(if b.at < a.at { b } else { a }),
            (one, other) => one.or(other),
        }
    }
}

/// Why a machine wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadlineReason {
    /// Acknowledge what was received.
    Ack,
    /// Drop messages that waited longer than the maximum age.
    Expiry,
    /// Send a heartbeat.
    Heartbeat,
    /// Declare the link suspect, because nothing was heard from the peer.
    Silence,
    /// Give up the attempt to establish a link.
    AttemptTimeout,
    /// Start the next attempt to establish a link.
    Reconnect,
    /// Reset the attempt counter: the link has proved stable.
    Stable,
    /// Forget a session whose peer did not come back.
    ResumeWindow,
    /// Give up waiting for the peer to confirm a close.
    CloseTimeout,
    /// Renew the publication of a service.
    Renewal,
    /// Fill up the pool of offers.
    Refill,
    /// Ask the signaling server for answers.
    Poll,
    /// Try a failed signaling request again.
    Retry,
    /// Replace an offer that is about to expire.
    OfferExpiry,
}
