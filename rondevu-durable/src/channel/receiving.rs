//! The receiving half of a channel, whichever way it delivers.

use bytes::Bytes;
use core::time::Duration;
use rondevu_core::frame::{ChannelOptions, Part};
use rondevu_core::{
    Deadline, Delivery, Inbox, InboxViolation, Instant, LossyInbox, Message, MessageKind, Order,
    Reliability, Seq,
};

/// An inbox that acknowledges, or one that does not.
#[derive(Debug)]
pub(super) enum Receiving {
    Reliable(Inbox),
    Lossy(LossyInbox),
}

/// The order in which a channel delivers.
pub(super) fn order(options: &ChannelOptions) -> Order {
    match options.ordered {
        true => Order::Ordered,
        false => Order::Unordered,
    }
}

/// For how long a message may wait before it is sent; what has a lifetime waits no longer.
pub(super) fn age_max(options: &ChannelOptions, age_max: Option<Duration>) -> Option<Duration> {
    match options.reliability {
        Reliability::Reliable | Reliability::MaxRetransmits(_) => age_max,
        Reliability::MaxPacketLifetime(lifetime) => {
            Some(age_max.map_or(lifetime, |age| age.min(lifetime)))
        }
    }
}

impl Receiving {
    pub(super) fn new(options: &ChannelOptions, window: u64, message_bytes_max: u64) -> Self {
        let order = order(options);
        match options.reliability {
            Reliability::Reliable => Self::Reliable(Inbox::new(order, window, message_bytes_max)),
            Reliability::MaxRetransmits(_) | Reliability::MaxPacketLifetime(_) => {
                Self::Lossy(LossyInbox::new(order, window, message_bytes_max))
            }
        }
    }

    pub(super) fn on_data(
        &mut self,
        seq: Seq,
        part: Part,
        kind: MessageKind,
        payload: Bytes,
        now: Instant,
    ) -> Result<(), InboxViolation> {
        match self {
            Self::Reliable(inbox) => inbox.on_data(seq, part, kind, payload, now),
            Self::Lossy(inbox) => inbox.on_data(seq, part, kind, payload),
        }
    }

    pub(super) fn on_skip(
        &mut self,
        from: Seq,
        to: Seq,
        messages: u64,
        now: Instant,
    ) -> Result<bool, InboxViolation> {
        match self {
            Self::Reliable(inbox) => inbox.on_skip(from, to, messages, now),
            Self::Lossy(inbox) => inbox.on_skip(from, to, messages),
        }
    }

    pub(super) fn on_end(&mut self, at: Seq) -> Result<(), InboxViolation> {
        match self {
            Self::Reliable(inbox) => inbox.on_end(at),
            Self::Lossy(inbox) => {
                inbox.on_end();
                Ok(())
            }
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        match self {
            Self::Reliable(inbox) => inbox.has_ended(),
            Self::Lossy(inbox) => inbox.has_ended(),
        }
    }

    /// A message of a peer that does not number.
    pub(super) fn on_plain_message(&mut self, message: Message) {
        if let Self::Lossy(inbox) = self {
            inbox.on_message(message);
        }
    }

    /// A new link begins.
    pub(super) fn on_attach(&mut self) {
        match self {
            Self::Reliable(_) => {}
            Self::Lossy(inbox) => inbox.on_attach(),
        }
    }

    pub(super) fn reset(&mut self) {
        match self {
            Self::Reliable(inbox) => inbox.reset(),
            Self::Lossy(inbox) => inbox.reset(),
        }
    }

    pub(super) fn pop(&mut self) -> Option<Delivery> {
        match self {
            Self::Reliable(inbox) => inbox.pop(),
            Self::Lossy(inbox) => inbox.pop(),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Reliable(inbox) => inbox.len(),
            Self::Lossy(inbox) => inbox.len(),
        }
    }

    pub(super) fn discard(&mut self) {
        match self {
            Self::Reliable(inbox) => inbox.discard(),
            Self::Lossy(inbox) => inbox.discard(),
        }
    }

    pub(super) fn discarded(&self) -> u64 {
        match self {
            Self::Reliable(inbox) => inbox.discarded(),
            Self::Lossy(inbox) => inbox.discarded(),
        }
    }

    /// How many messages made room because the application did not take them.
    pub(super) fn take_overflowed(&mut self) -> u64 {
        match self {
            Self::Reliable(_) => 0,
            Self::Lossy(inbox) => inbox.take_overflowed(),
        }
    }

    pub(super) fn missed(&self) -> u64 {
        match self {
            Self::Reliable(_) => 0,
            Self::Lossy(inbox) => inbox.missed(),
        }
    }

    pub(super) fn held_bytes(&self) -> u64 {
        match self {
            Self::Reliable(inbox) => inbox.held_bytes(),
            Self::Lossy(inbox) => inbox.held_bytes(),
        }
    }

    pub(super) fn poll_ack(&mut self, now: Instant) -> Option<(Seq, u64)> {
        match self {
            Self::Reliable(inbox) => inbox.poll_ack(now),
            Self::Lossy(_) => None,
        }
    }

    pub(super) fn last_ack(&mut self) -> Option<(Seq, u64)> {
        match self {
            Self::Reliable(inbox) => inbox.last_ack(),
            Self::Lossy(_) => None,
        }
    }

    /// What was received, as `(next, credit)`. A channel that replays nothing has no position.
    pub(super) fn cursor(&mut self) -> (Seq, u64) {
        match self {
            Self::Reliable(inbox) => inbox.cursor(),
            Self::Lossy(_) => (Seq::ZERO, 0),
        }
    }

    pub(super) fn wants_ack_now(&self) -> bool {
        match self {
            Self::Reliable(inbox) => inbox.wants_ack_now(),
            Self::Lossy(_) => false,
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Reliable(inbox) => inbox.handle_timeout(now),
            Self::Lossy(_) => {}
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Deadline> {
        match self {
            Self::Reliable(inbox) => inbox.poll_timeout(),
            Self::Lossy(_) => None,
        }
    }
}
