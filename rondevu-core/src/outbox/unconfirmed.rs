//! What becomes of the messages that were not confirmed when a session ends or begins anew.

use super::entry::Content;
use super::{Outbox, Outcome};
use crate::Seq;

/// What a new session means for messages of the old one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unconfirmed {
    /// Messages of which at least the last fragment never left this process, in this session or one before.
    pub undelivered: u64,
    /// Messages that left whole and were not acknowledged.
    pub maybe_delivered: u64,
}

impl core::ops::AddAssign for Unconfirmed {
    fn add_assign(&mut self, rhs: Self) {
        self.undelivered += rhs.undelivered;
        self.maybe_delivered += rhs.maybe_delivered;
    }
}

impl Outbox {
    /// Begins anew for a peer that knows nothing: all that is unconfirmed waits again, in order.
    pub fn reset(&mut self) -> Unconfirmed {
        let unconfirmed = self.unconfirmed();
        while let Some(entry) = self.sent.pop_back() {
            let has_left = entry.end() <= self.next_max;
            match entry.content {
                Content::Gap { messages } => self.lost += messages,
                Content::Message(mut message) => {
                    if has_left {
                        message.has_left = true;
                        self.confirmations.has_left(message.number);
                    }
                    self.queue.restore(message);
                }
            }
        }
        self.sent_bytes = 0;
        (self.acked, self.next, self.next_max) = (Seq::ZERO, Seq::ZERO, Seq::ZERO);
        (self.numbered, self.at, self.outstanding, self.credit) = (Seq::ZERO, 0, 0, 0);
        unconfirmed
    }

    /// Drops everything that is unconfirmed and says how much that was.
    pub fn clear(&mut self) -> Unconfirmed {
        let unconfirmed = self.unconfirmed();
        let left_whole = self.next_max;
        for entry in core::mem::take(&mut self.sent) {
            if let Content::Message(message) = &entry.content {
                let outcome = match entry.end() <= left_whole {
                    true => Outcome::Unknown,
                    false => Outcome::Undelivered,
                };
                self.confirmations.settle(message.number, outcome);
            }
        }
        while let Some(message) = self.queue.pop() {
            self.confirmations
                .settle(message.number, Outcome::Undelivered);
        }
        self.reset();
        self.lost = 0;
        unconfirmed
    }

    /// The peer says that it has everything.
    pub fn confirm_all(&mut self) {
        for entry in &self.sent {
            if let Content::Message(message) = &entry.content {
                self.confirmations
                    .settle(message.number, Outcome::Delivered);
            }
        }
        self.clear();
    }

    /// How many messages are unconfirmed.
    pub fn unconfirmed(&self) -> Unconfirmed {
        let sent = self.sent.iter().filter_map(|entry| match &entry.content {
            Content::Message(message) => Some(entry.end() <= self.next_max || message.has_left),
            Content::Gap { .. } => None,
        });
        let queued = self.queue.iter().map(|message| message.has_left);
        let mut unconfirmed = Unconfirmed::default();
        for has_left in sent.chain(queued) {
            match has_left {
                true => unconfirmed.maybe_delivered += 1,
                false => unconfirmed.undelivered += 1,
            }
        }
        unconfirmed
    }
}
