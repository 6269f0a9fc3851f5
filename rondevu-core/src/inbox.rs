//! The receiving half of a reliable channel: what arrived, what was told to the sender.

use alloc::collections::BTreeMap;

use bytes::Bytes;

use crate::frame::{Part, fragment_cost};
use crate::ready::Ready;
use crate::reassembly::Reassembly;
use crate::receive_window::ReceiveWindow;
use crate::{Deadline, Instant, Message, MessageKind, Seq};

/// Puts fragments together, refuses duplicates, and decides when to acknowledge and how much more
/// the sender may send.
///
/// ```text
///                next                      ordered: nothing
///   received      │    unordered: received here and there
///  ───────────────┴───────────────────────────────────────►
/// ```
///
/// Memory is bounded by the window and one message of the largest size: messages that the
/// application has not taken and what lies above the first missing fragment use up credit, a
/// message that is still incomplete below it does not (else one larger than the window could never
/// arrive).
#[derive(Clone, Debug)]
pub struct Inbox {
    order: Order,
    window: ReceiveWindow,
    message_bytes_max: u64,
    /// The first fragment that is missing.
    next: Seq,
    /// The cost of each fragment above `next` that was received.
    above: BTreeMap<Seq, u64>,
    above_cost: u64,
    reassembly: Reassembly,
    ready: Ready,
    end: Option<Seq>,
}

/// Whether messages are delivered in the order of their sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// A fragment above the next one is a violation: the stream below is ordered.
    Ordered,
    /// A message is delivered as soon as it is complete.
    Unordered,
}

/// What the application receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A message.
    Message(Message),
    /// At this place messages are missing: the sender dropped them before they were sent.
    Lost {
        /// How many.
        messages: u64,
    },
}

/// What a correct sender never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InboxViolation {
    /// A fragment is missing, although the stream is reliable and ordered.
    #[error("fragment {got} came where {expected} was expected")]
    Hole {
        /// The next fragment in order.
        expected: Seq,
        /// The one that came.
        got: Seq,
    },
    /// More was sent than the credit allowed.
    #[error("the peer sent more than its credit")]
    CreditExceeded,
    /// A message is larger than the limit.
    #[error("a message is larger than {max} bytes")]
    MessageTooLarge {
        /// The limit.
        max: u64,
    },
    /// A message changed between text and bytes, or does not begin or end where it must.
    #[error("a message has no beginning or no end")]
    BrokenMessage,
    /// A fragment that is not the last of its message is empty.
    #[error("a fragment is empty")]
    EmptyFragment,
    /// A text is not UTF-8.
    #[error("a text message is not valid UTF-8")]
    NotUtf8,
    /// A skip that covers nothing, or a fragment after the announced end.
    #[error("a frame is out of place")]
    OutOfPlace,
}

impl Inbox {
    /// An empty inbox that lets `window` bytes wait for the application.
    pub fn new(order: Order, window: u64, message_bytes_max: u64) -> Self {
        Self {
            order,
            window: ReceiveWindow::new(window),
            message_bytes_max,
            next: Seq::ZERO,
            above: BTreeMap::new(),
            above_cost: 0,
            reassembly: Reassembly::new(message_bytes_max, window),
            ready: Ready::default(),
            end: None,
        }
    }

    /// A fragment came in.
    ///
    /// # Errors
    ///
    /// [`InboxViolation`] if a correct sender would not have sent it; the link should end.
    pub fn on_data(
        &mut self,
        seq: Seq,
        part: Part,
        kind: MessageKind,
        payload: Bytes,
        now: Instant,
    ) -> Result<(), InboxViolation> {
        if !self.expects(seq)? {
            return Ok(());
        }
        let cost = fragment_cost(payload.len());
        self.check_credit(cost)?;
        if let Some(complete) = self.reassembly.insert(seq, part, kind, payload)? {
            let delivery = Delivery::Message(complete.message);
            self.ready.push(delivery, complete.cost);
        }
        self.take(seq, cost, now)
    }

    /// Fragments that will never come. Whether that is news.
    ///
    /// # Errors
    ///
    /// [`InboxViolation`] if a correct sender would not have sent it; the link should end.
    pub fn on_skip(
        &mut self,
        from: Seq,
        to: Seq,
        messages: u64,
        now: Instant,
    ) -> Result<bool, InboxViolation> {
        if to <= from {
            return Err(InboxViolation::OutOfPlace);
        }
        if !self.expects(from)? {
            return Ok(false);
        }
        let count = to.distance_from(from);
        self.check_credit(fragment_cost(0).saturating_mul(count))?;
        self.reassembly.check_gap(from, to)?;
        // The credit bounds the number of them.
        for seq in (0..count).map(|offset| from.advance(offset)) {
            if self.above.contains_key(&seq) || self.end.is_some_and(|end| seq >= end) {
                return Err(InboxViolation::OutOfPlace);
            }
            self.take(seq, fragment_cost(0), now)?;
        }
        self.ready
            .push(Delivery::Lost { messages }, fragment_cost(0));
        Ok(true)
    }

    /// The sender is done at `at`.
    ///
    /// # Errors
    ///
    /// [`InboxViolation`] if something before it is missing on an ordered channel, or something
    /// behind it was received; the link should end.
    pub fn on_end(&mut self, at: Seq) -> Result<(), InboxViolation> {
        let highest = self.above.keys().next_back();
        let behind = highest.map_or(self.next, |seq| seq.advance(1));
        let fits = match self.order {
            Order::Ordered => at == self.next,
            Order::Unordered => at >= behind,
        };
        if !fits {
            return Err(InboxViolation::Hole {
                expected: behind,
                got: at,
            });
        }
        if self.end.is_some_and(|end| end != at) {
            return Err(InboxViolation::OutOfPlace);
        }
        self.end = Some(at);
        self.check_end()
    }

    fn check_end(&self) -> Result<(), InboxViolation> {
        if self.has_ended() && !self.reassembly.is_empty() {
            return Err(InboxViolation::BrokenMessage);
        }
        Ok(())
    }

    /// Whether `seq` was not received yet; a duplicate is acknowledged again.
    fn expects(&mut self, seq: Seq) -> Result<bool, InboxViolation> {
        if seq < self.next || self.above.contains_key(&seq) {
            self.window.ack_soon();
            return Ok(false);
        }
        if self.end.is_some_and(|end| seq >= end) {
            return Err(InboxViolation::OutOfPlace);
        }
        if seq > self.next && self.order == Order::Ordered {
            return Err(InboxViolation::Hole {
                expected: self.next,
                got: seq,
            });
        }
        Ok(true)
    }

    fn check_credit(&self, cost: u64) -> Result<(), InboxViolation> {
        if !self.window.allows(self.above_cost, cost) {
            return Err(InboxViolation::CreditExceeded);
        }
        Ok(())
    }

    /// Enters `seq` as received and moves `next` over all that is there.
    fn take(&mut self, seq: Seq, cost: u64, now: Instant) -> Result<(), InboxViolation> {
        if seq != self.next {
            self.above.insert(seq, cost);
            self.above_cost += cost;
            // It moves nothing, but tells the sender that the link lives.
            self.window.on_arrival(now);
            return Ok(());
        }
        let mut advanced = cost;
        self.next = seq.advance(1);
        while let Some(cost) = self.above.remove(&self.next) {
            self.above_cost -= cost;
            advanced += cost;
            self.next = self.next.advance(1);
        }
        self.window.on_advance(advanced, now);
        self.reassembly.check_below(self.next)?;
        self.check_end()
    }

    /// Takes the next message or gap.
    pub fn pop(&mut self) -> Option<Delivery> {
        let delivery = self.ready.pop()?;
        self.window.on_taken(self.ready.cost());
        Some(delivery)
    }

    /// The acknowledgement that is due, as `(next, credit)`.
    pub fn poll_ack(&mut self, now: Instant) -> Option<(Seq, u64)> {
        if !self.window.is_due(now) {
            return None;
        }
        self.window.on_acked(now);
        Some(self.cursor())
    }

    /// The acknowledgement that is due now or later, as `(next, credit)`: for the end of a session, which does
    /// not wait for it.
    pub fn last_ack(&mut self) -> Option<(Seq, u64)> {
        (!self.window.is_idle()).then(|| self.cursor())
    }

    /// What was received, as `(next, credit)`. Counts as an acknowledgement.
    pub fn cursor(&mut self) -> (Seq, u64) {
        (self.next, self.window.tell(self.ready.cost()))
    }

    /// Acknowledges at the next opportunity.
    pub fn ack_soon(&mut self) {
        self.window.ack_soon();
    }

    /// Whether an acknowledgement is due without waiting.
    pub fn wants_ack_now(&self) -> bool {
        self.window.is_due_now()
    }

    /// Notices that an acknowledgement has become due: from now on it waits for the link, not for
    /// the clock.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.window.handle_timeout(now);
    }

    /// When an acknowledgement will be due.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        self.window.poll_timeout()
    }

    /// From now on nothing is kept, because nobody will take it.
    pub fn discard(&mut self) {
        if self.ready.discard() {
            self.window.ack_soon();
        }
    }

    /// How many messages were thrown away because nobody took them.
    pub fn discarded(&self) -> u64 {
        self.ready.discarded()
    }

    /// Begins anew for a sender that knows nothing. What is ready stays ready.
    pub fn reset(&mut self) {
        let fresh = Self::new(self.order, self.window.size(), self.message_bytes_max);
        let old = core::mem::replace(self, fresh);
        self.ready = old.ready;
    }

    /// The first fragment that is missing.
    pub fn next(&self) -> Seq {
        self.next
    }

    /// How many messages and gaps wait for the application.
    pub fn len(&self) -> usize {
        self.ready.len()
    }

    /// Whether nothing waits for the application.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// The memory that messages and fragments take, in bytes as [`fragment_cost`] counts.
    pub fn held_bytes(&self) -> u64 {
        self.ready.cost() + self.reassembly.cost()
    }

    /// Whether the sender is done and everything was received.
    pub fn has_ended(&self) -> bool {
        self.end == Some(self.next)
    }
}

#[cfg(test)]
mod tests;
