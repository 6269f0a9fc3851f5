//! What a channel tells the application beside messages.

use rondevu_core::Unconfirmed;

/// What happened on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelEvent {
    /// The peer knows the channel.
    Opened,
    /// The send queue was full and the oldest messages made room.
    QueueOverflow {
        /// How many were dropped. The peer is told the same number.
        dropped: u64,
    },
    /// Messages waited for longer than `age_max`.
    Expired {
        /// How many were dropped. The peer is told the same number.
        dropped: u64,
    },
    /// Messages are larger than the peer takes, which was not known when they were accepted.
    Refused {
        /// How many were dropped. The peer is told the same number.
        dropped: u64,
    },
    /// The peer dropped messages before they were sent.
    Lost {
        /// How many.
        messages: u64,
    },
    /// On a lossy channel the application did not take messages fast enough, and the oldest made
    /// room.
    ReceiveOverflow {
        /// How many were dropped.
        dropped: u64,
    },
    /// The bytes that the peer has not confirmed fell to the threshold.
    BufferedAmountLow,
    /// Nothing will be sent or received any more.
    Closed {
        /// Messages that this side accepted and that the peer did not confirm.
        unconfirmed: Unconfirmed,
        /// Messages that came in and that this side's application did not take before it closed.
        unread: u64,
    },
}
