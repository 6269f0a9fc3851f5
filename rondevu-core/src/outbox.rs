//! The sending half of a reliable channel: what waits, what is on its way, what was confirmed.

use alloc::collections::VecDeque;

use bytes::Bytes;

use crate::frame::{ChannelFrame, MessageEnd, fragment_cost};
use crate::{Instant, Message, MessageKind, MessageQueue, QueueFull, QueueLimits, Seq};

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
#[derive(Clone, Debug)]
pub struct Outbox {
    queue: MessageQueue,
    /// Messages dropped from the queue that no gap entry reports yet.
    lost: u64,
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
    accepted: u64,
    settled: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    first: Seq,
    fragments: u64,
    /// The size of all fragments but the last: replays must cut in the same places.
    fragment_bytes: usize,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Message {
        kind: MessageKind,
        payload: Bytes,
        queued_at: Instant,
    },
    Gap {
        messages: u64,
    },
}

impl Entry {
    fn end(&self) -> Seq {
        self.first.advance(self.fragments)
    }

    fn fragment(&self, seq: Seq) -> ChannelFrame {
        match &self.content {
            Content::Gap { messages } => ChannelFrame::Skip {
                from: seq,
                to: seq.advance(1),
                messages: *messages,
            },
            Content::Message { kind, payload, .. } => {
                let range = self.range(seq, payload.len());
                let last = seq.advance(1) == self.end();
                ChannelFrame::Data {
                    seq,
                    end: if last {
                        MessageEnd::Last
                    } else {
                        MessageEnd::More
                    },
                    kind: *kind,
                    payload: payload.slice(range),
                }
            }
        }
    }

    fn range(&self, seq: Seq, len: usize) -> core::ops::Range<usize> {
        let start = seq.distance_from(self.first) as usize * self.fragment_bytes;
        start..len.min(start + self.fragment_bytes)
    }

    fn fragment_len(&self, seq: Seq) -> usize {
        match &self.content {
            Content::Gap { .. } => 0,
            Content::Message { payload, .. } => self.range(seq, payload.len()).len(),
        }
    }

    fn payload_len(&self) -> usize {
        match &self.content {
            Content::Gap { .. } => 0,
            Content::Message { payload, .. } => payload.len(),
        }
    }
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

/// What a new session means for messages of the old one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unconfirmed {
    /// Messages of which at least the last fragment never left this process.
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
    /// An empty outbox that cuts messages into fragments of `fragment_bytes` and never has more
    /// than `outstanding_max` bytes unacknowledged, whatever credit the peer gives.
    pub fn new(limits: QueueLimits, fragment_bytes: usize, outstanding_max: u64) -> Self {
        Self {
            queue: MessageQueue::new(limits),
            lost: 0,
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
            accepted: 0,
            settled: 0,
        }
    }

    /// Cuts messages that get their numbers from now on into fragments of this size.
    pub fn set_fragment_bytes(&mut self, fragment_bytes: usize) {
        self.fragment_bytes = fragment_bytes.max(1);
    }

    /// Accepts a message and says how many older ones were dropped for it.
    ///
    /// # Errors
    ///
    /// [`QueueFull`] gives the message back.
    pub fn push(&mut self, message: Message, now: Instant) -> Result<u64, QueueFull> {
        let dropped = self.queue.push(message, now)?;
        self.accepted += 1;
        self.lose(dropped);
        Ok(dropped)
    }

    /// Drops queued messages that have waited too long and says how many they were.
    pub fn expire(&mut self, now: Instant) -> u64 {
        let expired = self.queue.expire(now);
        self.lose(expired);
        expired
    }

    fn lose(&mut self, messages: u64) {
        self.lost += messages;
        self.settled += messages;
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
        self.outstanding += cost;
        Some(frame)
    }

    /// The cost of a fragment of `len` bytes if it may be sent now.
    fn affordable(&self, len: usize, room: usize) -> Option<u64> {
        let cost = fragment_cost(len);
        let credit = self.credit.min(self.outstanding_max);
        let fits = len + ChannelFrame::DATA_HEADER_BYTES_MAX <= room;
        (fits && self.outstanding + cost <= credit).then_some(cost)
    }

    /// Gives numbers to the gap or the message that comes next, if its first fragment may be sent.
    fn number_next(&mut self, room: usize) -> Option<()> {
        let (content, len) = if self.lost > 0 {
            self.affordable(0, room)?;
            (
                Content::Gap {
                    messages: core::mem::take(&mut self.lost),
                },
                0,
            )
        } else {
            let len = self.queue.front()?.payload.len();
            self.affordable(len.min(self.fragment_bytes), room)?;
            let queued = self.queue.pop().expect("the queue has a front");
            let (kind, payload) = (queued.kind, queued.payload);
            (
                Content::Message {
                    kind,
                    payload,
                    queued_at: queued.queued_at,
                },
                len,
            )
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
        self.check(next, self.next)?;
        self.forget_below(next);
        self.credit = credit;
        Ok(())
    }

    /// A new link begins; the peer has everything below `next` and takes `credit` bytes more.
    ///
    /// # Errors
    ///
    /// [`OutboxViolation`], and nothing has changed.
    pub fn on_attach(&mut self, next: Seq, credit: u64) -> Result<(), OutboxViolation> {
        self.check(next, self.next_max)?;
        self.forget_below(next);
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

    fn forget_below(&mut self, next: Seq) {
        while self.acked < next {
            let entry = self
                .sent
                .front()
                .expect("an entry holds every unacknowledged number");
            let cost = fragment_cost(entry.fragment_len(self.acked));
            let done = self.acked.advance(1) == entry.end();
            self.outstanding = self.outstanding.saturating_sub(cost);
            self.acked = self.acked.advance(1);
            if done && let Some(entry) = self.sent.pop_front() {
                self.sent_bytes -= entry.payload_len();
                self.at = self.at.saturating_sub(1);
                self.settled += u64::from(matches!(entry.content, Content::Message { .. }));
            }
        }
    }

    /// Begins anew for a peer that knows nothing: all that is unconfirmed waits again, in order.
    pub fn reset(&mut self) -> Unconfirmed {
        let unconfirmed = self.unconfirmed();
        while let Some(entry) = self.sent.pop_back() {
            match entry.content {
                Content::Gap { messages } => self.lost += messages,
                Content::Message {
                    kind,
                    payload,
                    queued_at,
                } => {
                    self.queue.restore(crate::Queued {
                        kind,
                        payload,
                        queued_at,
                    });
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
        let unconfirmed = self.reset();
        self.settled += self.queue.clear();
        self.lost = 0;
        unconfirmed
    }

    /// How many messages are unconfirmed.
    pub fn unconfirmed(&self) -> Unconfirmed {
        let messages = self
            .sent
            .iter()
            .filter(|e| matches!(e.content, Content::Message { .. }));
        let (whole, partial): (u64, u64) = messages.fold((0, 0), |(whole, partial), entry| {
            if entry.end() <= self.next_max {
                (whole + 1, partial)
            } else {
                (whole, partial + 1)
            }
        });
        Unconfirmed {
            undelivered: partial + self.queue.len() as u64,
            maybe_delivered: whole,
        }
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

    /// Messages that are confirmed or dropped; equal to [`Outbox::accepted`] when all are.
    pub fn settled(&self) -> u64 {
        self.settled
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

    /// The limits of the queue.
    pub fn queue_limits(&self) -> &QueueLimits {
        self.queue.limits()
    }
}

#[cfg(test)]
mod tests;
