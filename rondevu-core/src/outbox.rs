//! The sending half of a channel: what waits, what is on its way, what was confirmed.

mod entry;
mod unconfirmed;

use alloc::collections::VecDeque;

use bytes::Bytes;

use self::entry::{Content, Entry};
pub use self::unconfirmed::Unconfirmed;
use crate::confirmations::Confirmations;
use crate::frame::{ChannelFrame, fragment_cost};
use crate::{
    Instant, Message, MessageKind, MessageQueue, Order, Outcome, QueueFull, QueueLimits, Queued,
    Seq,
};

/// Messages on their way to the peer, kept until the peer has them.
///
/// ```text
///             acked          next           numbered
///               │              │               │
///   forgotten   │ outstanding  │ to be replayed│   queue (not numbered yet)
///  ─────────────┴──────────────┴───────────────┴────────────────────────────►
/// ```
///
/// A message is cut into fragments and its fragments get their numbers when the first of them is
/// handed to a link. What is dropped before that leaves no hole: a gap entry takes its place and
/// is delivered and acknowledged like a message, so the peer learns the count exactly once.
///
/// A lossy outbox forgets what was handed to a link: nothing is replayed and nothing waits for
/// credit.
#[derive(Clone, Debug)]
pub struct Outbox {
    keeping: Keeping,
    queue: MessageQueue,
    /// Messages dropped from the queue that no gap entry reports yet.
    lost: u64,
    /// Messages dropped because the peer takes none of their size, that nobody was told of yet.
    refused: u64,
    /// What was numbered and is not wholly acknowledged, oldest first.
    sent: VecDeque<Entry>,
    sent_bytes: usize,
    acked: Seq,
    next: Seq,
    /// The highest value that `next` ever had.
    next_max: Seq,
    numbered: Seq,
    /// Index into `sent` of the entry that contains `next`.
    at: usize,
    /// Cost of the fragments in `[acked, next)`.
    outstanding: u64,
    /// What `outstanding` may grow to.
    credit: u64,
    outstanding_max: u64,
    fragment_bytes: usize,
    message_bytes_max: u64,
    accepted: u64,
    confirmations: Confirmations,
}

/// What becomes of a message that was handed to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// It is kept until it is acknowledged. Acknowledgements of an unordered stream may come late.
    UntilAcked(Order),
    /// It is forgotten.
    NotAtAll,
}

/// A peer that claims to have received what it cannot have, or to have forgotten what it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxViolation {
    /// It acknowledged more than was sent.
    #[error("the peer acknowledged {next}, but only {sent} was sent")]
    BeyondSent {
        /// What it acknowledged.
        next: Seq,
        /// What was sent.
        sent: Seq,
    },
    /// It took back an acknowledgement.
    #[error("the peer acknowledged {next} after {acked}")]
    TakenBack {
        /// What it acknowledges now.
        next: Seq,
        /// What it acknowledged before.
        acked: Seq,
    },
}

impl Outbox {
    /// An empty outbox that cuts messages into fragments of `fragment_bytes` and never has more
    /// than `outstanding_max` bytes unacknowledged, whatever credit the peer gives.
    pub fn new(
        keeping: Keeping,
        limits: QueueLimits,
        fragment_bytes: usize,
        outstanding_max: u64,
    ) -> Self {
        Self {
            keeping,
            queue: MessageQueue::new(limits),
            lost: 0,
            refused: 0,
            sent: VecDeque::new(),
            sent_bytes: 0,
            acked: Seq::ZERO,
            next: Seq::ZERO,
            next_max: Seq::ZERO,
            numbered: Seq::ZERO,
            at: 0,
            outstanding: 0,
            credit: 0,
            outstanding_max,
            fragment_bytes: fragment_bytes.max(1),
            message_bytes_max: u64::MAX,
            accepted: 0,
            confirmations: Confirmations::default(),
        }
    }

    /// Messages that get their numbers from now on are cut into fragments of this size, and those
    /// above `message_bytes_max` are dropped, because the peer would not take them.
    pub fn limit(&mut self, fragment_bytes: usize, message_bytes_max: u64) {
        self.fragment_bytes = fragment_bytes.max(1);
        self.message_bytes_max = message_bytes_max;
    }

    /// Accepts a message and says how many older ones were dropped for it. Its number is
    /// [`accepted`](Self::accepted) before the call.
    ///
    /// # Errors
    ///
    /// [`QueueFull`] gives the message back.
    pub fn push(&mut self, message: Message, now: Instant) -> Result<u64, QueueFull> {
        let Self {
            queue,
            confirmations,
            accepted,
            ..
        } = self;
        let mut dropped = 0;
        let on_drop = |oldest: Queued| {
            confirmations.settle(oldest.number, Outcome::Undelivered);
            dropped += 1;
        };
        queue.push(message, *accepted, on_drop, now)?;
        self.accepted += 1;
        self.lost += dropped;
        Ok(dropped)
    }

    /// Drops queued messages that have waited too long and says how many they were.
    pub fn expire(&mut self, now: Instant) -> u64 {
        let Self {
            queue,
            confirmations,
            ..
        } = self;
        let mut expired = 0;
        let on_drop = |oldest: Queued| {
            confirmations.settle(oldest.number, Outcome::Undelivered);
            expired += 1;
        };
        queue.expire(on_drop, now);
        self.lost += expired;
        expired
    }

    /// Drops the messages at the front of the queue that the peer would not take.
    fn refuse_too_large(&mut self) {
        let limit = self.message_bytes_max;
        while let Some(front) = self.queue.front()
            && front.payload.len() as u64 > limit
        {
            self.confirmations
                .settle(front.number, Outcome::Undelivered);
            self.queue.pop();
            self.lost += 1;
            self.refused += 1;
        }
    }

    /// How many messages were dropped since the last call because the peer takes none of their
    /// size.
    pub fn take_refused(&mut self) -> u64 {
        core::mem::take(&mut self.refused)
    }

    /// The next frame for the present link, if credit allows it and it takes no more than `room`
    /// encoded bytes.
    ///
    /// The frame counts as handed to the link: the caller must deliver it or end the link.
    pub fn next_frame(&mut self, room: usize) -> Option<ChannelFrame> {
        if self.next == self.numbered {
            self.number_next(room)?;
        }
        let entry = self
            .sent
            .get(self.at)
            .expect("an entry holds every number below `numbered`");
        let cost = self.affordable(entry.fragment_len(self.next), room)?;
        let frame = entry.fragment(self.next);
        self.next = self.next.advance(1);
        if self.next == entry.end() {
            self.at += 1;
        }
        self.next_max = self.next_max.max(self.next);
        match self.keeping {
            Keeping::UntilAcked(_) => self.outstanding += cost,
            Keeping::NotAtAll => self.forget_below(self.next, Outcome::Unknown),
        }
        Some(frame)
    }

    /// Takes the oldest queued message whole, for a peer that does not number. It counts as handed
    /// to the link. Those before it that no link carries, empty ones and larger ones than `bytes_max`, are dropped
    /// like those that the peer refuses.
    pub fn next_message(&mut self, bytes_max: usize) -> Option<(MessageKind, Bytes)> {
        self.refuse_too_large();
        // Such a peer cannot be told of gaps.
        self.lost = 0;
        while let Some(queued) = self.queue.pop() {
            if (1..=bytes_max).contains(&queued.payload.len()) {
                self.confirmations.settle(queued.number, Outcome::Unknown);
                return Some((queued.kind, queued.payload));
            }
            self.confirmations
                .settle(queued.number, Outcome::Undelivered);
            self.refused += 1;
        }
        None
    }

    /// The cost of a fragment of `len` bytes if it may be sent now.
    fn affordable(&self, len: usize, room: usize) -> Option<u64> {
        let cost = fragment_cost(len);
        let credit = match self.keeping {
            Keeping::UntilAcked(_) => self.credit.min(self.outstanding_max),
            Keeping::NotAtAll => u64::MAX,
        };
        let fits = len + ChannelFrame::DATA_HEADER_BYTES_MAX <= room;
        (fits && self.outstanding + cost <= credit).then_some(cost)
    }

    /// Gives numbers to the gap or the message that comes next, if its first fragment may be sent.
    fn number_next(&mut self, room: usize) -> Option<()> {
        self.refuse_too_large();
        let (content, len) = if self.lost > 0 {
            self.affordable(0, room)?;
            let messages = core::mem::take(&mut self.lost);
            (Content::Gap { messages }, 0)
        } else {
            let len = self.queue.front()?.payload.len();
            self.affordable(len.min(self.fragment_bytes), room)?;
            (Content::Message(self.queue.pop()?), len)
        };
        let fragments = len.div_ceil(self.fragment_bytes).max(1) as u64;
        let first = self.numbered;
        self.numbered = first.advance(fragments);
        self.sent_bytes += len;
        self.sent.push_back(Entry {
            first,
            fragments,
            fragment_bytes: self.fragment_bytes,
            content,
        });
        Some(())
    }

    /// The peer has everything below `next` and takes `credit` bytes more.
    ///
    /// # Errors
    ///
    /// [`OutboxViolation`], and nothing has changed.
    pub fn on_ack(&mut self, next: Seq, credit: u64) -> Result<(), OutboxViolation> {
        let unordered = self.keeping == Keeping::UntilAcked(Order::Unordered);
        if unordered && next < self.acked {
            // Overtaken by a later one.
            return Ok(());
        }
        // An unordered peer may know more from an earlier link than this one has carried yet.
        let sent = match unordered {
            true => self.next_max,
            false => self.next,
        };
        self.check(next, sent)?;
        // Of two that may have overtaken each other the more generous one counts: what was granted
        // is never taken back.
        self.credit = match unordered && next == self.acked {
            true => self.credit.max(credit),
            false => credit,
        };
        self.forget_below(next, Outcome::Delivered);
        Ok(())
    }

    /// A new link begins; the peer has everything below `next` and takes `credit` bytes more.
    ///
    /// # Errors
    ///
    /// [`OutboxViolation`], and nothing has changed.
    pub fn on_attach(&mut self, next: Seq, credit: u64) -> Result<(), OutboxViolation> {
        if self.keeping == Keeping::NotAtAll {
            // The rest of a message whose beginning went over another link is of no use.
            self.forget_below(self.numbered, Outcome::Undelivered);
            self.next = self.numbered;
            self.at = 0;
            return Ok(());
        }
        self.check(next, self.next_max)?;
        self.forget_below(next, Outcome::Delivered);
        self.next = next;
        self.at = 0;
        self.outstanding = 0;
        self.credit = credit;
        Ok(())
    }

    fn check(&self, next: Seq, sent: Seq) -> Result<(), OutboxViolation> {
        if next > sent {
            return Err(OutboxViolation::BeyondSent { next, sent });
        }
        if next < self.acked {
            return Err(OutboxViolation::TakenBack {
                next,
                acked: self.acked,
            });
        }
        Ok(())
    }

    fn forget_below(&mut self, next: Seq, outcome: Outcome) {
        while self.acked < next {
            let entry = self
                .sent
                .front()
                .expect("an entry holds every unacknowledged number");
            let cost = fragment_cost(entry.fragment_len(self.acked));
            let done = self.acked.advance(1) == entry.end();
            // What this link has not carried yet is not outstanding on it.
            if self.acked < self.next && self.keeping != Keeping::NotAtAll {
                self.outstanding -= cost;
            }
            self.acked = self.acked.advance(1);
            if done && let Some(entry) = self.sent.pop_front() {
                self.sent_bytes -= entry.payload_len();
                self.at = self.at.saturating_sub(1);
                if let Content::Message(message) = entry.content {
                    self.confirmations.settle(message.number, outcome);
                }
            }
        }
        if self.next < self.acked {
            (self.next, self.at) = (self.acked, 0);
        }
    }

    /// Remembers what becomes of message `number`, until it is asked for or forgotten.
    pub fn watch(&mut self, number: u64) {
        self.confirmations.watch(number);
    }

    /// What became of message `number`, which somebody watches; not kept once it was told.
    pub fn take_outcome(&mut self, number: u64) -> Option<Outcome> {
        self.confirmations.take(number)
    }

    /// Nobody watches message `number` any more.
    pub fn unwatch(&mut self, number: u64) {
        self.confirmations.forget(number);
    }

    /// The number after the last, once everything was handed to the present link.
    pub fn end(&self) -> Option<Seq> {
        let done = self.next == self.numbered && self.queue.is_empty() && self.lost == 0;
        done.then_some(self.numbered)
    }

    /// Whether a message of `len` bytes would be accepted without dropping another.
    pub fn has_room(&self, len: usize) -> bool {
        self.queue.has_room(len)
    }

    /// Whether something was sent on the present link that the peer has not confirmed.
    pub fn is_expecting_ack(&self) -> bool {
        self.acked < self.next
    }

    /// Messages accepted so far, over the whole life of the channel.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// The number of the oldest message that is neither confirmed nor dropped; equal to
    /// [`Outbox::accepted`] when there is none.
    pub fn settled(&self) -> u64 {
        let sent = self.sent.iter().find_map(|entry| match &entry.content {
            Content::Message(message) => Some(message.number),
            Content::Gap { .. } => None,
        });
        let queued = || self.queue.front().map(|message| message.number);
        sent.or_else(queued).unwrap_or(self.accepted)
    }

    /// Whether every message is confirmed or dropped, and the peer knows how many were dropped.
    pub fn is_settled(&self) -> bool {
        self.sent.is_empty() && self.queue.is_empty() && self.lost == 0
    }

    /// The size of the largest fragment that may have to be sent again, in bytes: replays cut in the
    /// same places, so a link must carry it.
    pub fn largest_numbered_fragment(&self) -> usize {
        let sizes = self.sent.iter();
        let sizes = sizes.map(|entry| entry.fragment_bytes.min(entry.payload_len()));
        sizes.max().unwrap_or(0)
    }

    /// Messages that were not handed to a link yet.
    pub fn queue_len(&self) -> usize {
        self.queue.len()
    }

    /// Bytes of payload that the peer has not confirmed, queued ones included.
    pub fn buffered_bytes(&self) -> usize {
        self.queue.bytes() + self.sent_bytes
    }

    /// When the oldest queued message will have waited too long.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.queue.next_expiry()
    }

    /// The most cost that is ever unacknowledged.
    pub fn outstanding_max(&self) -> u64 {
        self.outstanding_max
    }

    /// The limits of the queue.
    pub fn queue_limits(&self) -> &QueueLimits {
        self.queue.limits()
    }
}

#[cfg(test)]
mod tests;
