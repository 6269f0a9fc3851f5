//! The receiving half of a reliable, ordered channel: what arrived, what was told to the sender.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use crate::frame::{MessageEnd, fragment_cost};
use crate::{Deadline, DeadlineReason, Instant, Message, MessageKind, Seq};

/// Puts fragments together, refuses duplicates, and decides when to acknowledge and how much more
/// the sender may send.
///
/// Memory is bounded by the window and one message of the largest size: messages that the
/// application has not taken use up credit, a message that is still incomplete does not (else one
/// larger than the window could never arrive).
#[derive(Clone, Debug)]
pub struct Inbox {
    window: u64,
    message_bytes_max: u64,
    next: Seq,
    partial: Option<Partial>,
    ready: VecDeque<(Delivery, u64)>,
    /// Cost of what is ready and not taken.
    ready_cost: u64,
    /// Cost of everything that was received since the session began.
    received: u64,
    /// What `received` may grow to, as the sender was told at the most.
    granted: u64,
    /// What the sender was told last.
    told: Told,
    ack: AckTimer,
    end: Option<Seq>,
    mode: Mode,
}

#[derive(Clone, Debug)]
struct Partial {
    kind: MessageKind,
    payload: Vec<u8>,
    cost: u64,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Keep,
    Discard { messages: u64 },
}

/// What the application receives, in order.
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
    /// A message changed between text and bytes, or a gap lies inside a message.
    #[error("a message ended in the middle")]
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
    /// Long enough to cover many small messages with one acknowledgement, short enough that a
    /// sender with an empty queue does not take the silence for a cut.
    const ACK_DELAY: Duration = Duration::from_millis(25);

    /// An empty inbox that lets `window` bytes wait for the application.
    pub fn new(window: u64, message_bytes_max: u64) -> Self {
        Self {
            window,
            message_bytes_max,
            next: Seq::ZERO,
            partial: None,
            ready: VecDeque::new(),
            ready_cost: 0,
            received: 0,
            granted: window,
            told: Told {
                received: 0,
                allowed: window,
            },
            ack: AckTimer::Idle,
            end: None,
            mode: Mode::Keep,
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
        end: MessageEnd,
        kind: MessageKind,
        payload: Bytes,
        now: Instant,
    ) -> Result<(), InboxViolation> {
        if !self.expects(seq)? {
            return Ok(());
        }
        let cost = fragment_cost(payload.len());
        self.check_fragment(end, kind, payload.len() as u64, cost)?;
        let whole = match (self.partial.take(), end) {
            (None, MessageEnd::Last) => Some((payload, cost)),
            (partial, end) => self.assemble(partial, end, kind, &payload, cost),
        };
        if let Some((payload, cost)) = whole {
            let message =
                Message::from_parts(kind, payload).map_err(|_| InboxViolation::NotUtf8)?;
            self.deliver(Delivery::Message(message), cost);
        }
        self.advance_to(seq.advance(1), cost, now);
        Ok(())
    }

    /// Fragments that will never come.
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
    ) -> Result<(), InboxViolation> {
        if to <= from {
            return Err(InboxViolation::OutOfPlace);
        }
        if !self.expects(from)? {
            return Ok(());
        }
        if self.partial.is_some() {
            return Err(InboxViolation::BrokenMessage);
        }
        let cost = fragment_cost(0).saturating_mul(to.distance_from(from));
        self.check_credit(cost)?;
        self.deliver(Delivery::Lost { messages }, fragment_cost(0));
        self.advance_to(to, cost, now);
        Ok(())
    }

    /// The sender is done at `at`.
    ///
    /// # Errors
    ///
    /// [`InboxViolation`] if something before it is missing; the link should end.
    pub fn on_end(&mut self, at: Seq) -> Result<(), InboxViolation> {
        if at != self.next {
            return Err(InboxViolation::Hole {
                expected: self.next,
                got: at,
            });
        }
        if self.partial.is_some() {
            return Err(InboxViolation::BrokenMessage);
        }
        self.end = Some(at);
        Ok(())
    }

    /// Whether `seq` is the next in order; `false` for a duplicate, which is acknowledged again.
    fn expects(&mut self, seq: Seq) -> Result<bool, InboxViolation> {
        if seq < self.next {
            self.ack = AckTimer::Now;
            return Ok(false);
        }
        if self.end.is_some() {
            return Err(InboxViolation::OutOfPlace);
        }
        if seq > self.next {
            return Err(InboxViolation::Hole {
                expected: self.next,
                got: seq,
            });
        }
        Ok(true)
    }

    fn check_fragment(
        &self,
        end: MessageEnd,
        kind: MessageKind,
        len: u64,
        cost: u64,
    ) -> Result<(), InboxViolation> {
        self.check_credit(cost)?;
        if end == MessageEnd::More && len == 0 {
            return Err(InboxViolation::EmptyFragment);
        }
        let before = self
            .partial
            .as_ref()
            .map_or(0, |partial| partial.payload.len() as u64);
        if before + len > self.message_bytes_max {
            return Err(InboxViolation::MessageTooLarge {
                max: self.message_bytes_max,
            });
        }
        if self
            .partial
            .as_ref()
            .is_some_and(|partial| partial.kind != kind)
        {
            return Err(InboxViolation::BrokenMessage);
        }
        Ok(())
    }

    fn check_credit(&self, cost: u64) -> Result<(), InboxViolation> {
        if self.received.saturating_add(cost) > self.granted {
            return Err(InboxViolation::CreditExceeded);
        }
        Ok(())
    }

    fn assemble(
        &mut self,
        partial: Option<Partial>,
        end: MessageEnd,
        kind: MessageKind,
        payload: &[u8],
        cost: u64,
    ) -> Option<(Bytes, u64)> {
        let mut partial = partial.unwrap_or(Partial {
            kind,
            payload: Vec::new(),
            cost: 0,
        });
        partial.payload.extend_from_slice(payload);
        partial.cost += cost;
        match end {
            MessageEnd::Last => Some((partial.payload.into(), partial.cost)),
            MessageEnd::More => {
                self.partial = Some(partial);
                None
            }
        }
    }

    fn deliver(&mut self, delivery: Delivery, cost: u64) {
        match (&mut self.mode, &delivery) {
            (Mode::Keep, _) => {
                self.ready_cost += cost;
                self.ready.push_back((delivery, cost));
            }
            (Mode::Discard { messages }, Delivery::Message(_)) => *messages += 1,
            (Mode::Discard { .. }, Delivery::Lost { .. }) => {}
        }
    }

    fn advance_to(&mut self, next: Seq, cost: u64, now: Instant) {
        self.next = next;
        self.received += cost;
        // A quarter of the window keeps the sender busy while the acknowledgement travels.
        if self.received - self.told.received >= self.window / 4 {
            self.ack = AckTimer::Now;
        } else if self.ack == AckTimer::Idle {
            self.ack = AckTimer::At(now + Self::ACK_DELAY);
        }
    }

    /// Takes the next message or gap.
    pub fn pop(&mut self) -> Option<Delivery> {
        let (delivery, cost) = self.ready.pop_front()?;
        self.ready_cost -= cost;
        // Tells a sender that was held back; one with enough credit need not hear of each message.
        let allowed = self.received.saturating_add(self.credit());
        let grown = allowed.saturating_sub(self.told.allowed);
        // What is left of the credit may be too little for the sender's next fragment, and nothing
        // else would ever tell it of the rest.
        let left = self.told.allowed.saturating_sub(self.received);
        let drained = self.ready.is_empty() && grown > 0 && left <= self.window / 4 * 3;
        if drained || grown >= (self.window / 2).max(1) {
            self.ack = AckTimer::Now;
        }
        Some(delivery)
    }

    /// How much more the sender may send.
    fn credit(&self) -> u64 {
        self.window.saturating_sub(self.ready_cost)
    }

    /// The acknowledgement that is due, as `(next, credit)`.
    pub fn poll_ack(&mut self, now: Instant) -> Option<(Seq, u64)> {
        match self.ack {
            AckTimer::Now => {}
            AckTimer::At(at) if at <= now => {}
            AckTimer::At(_) | AckTimer::Idle => return None,
        }
        Some(self.cursor())
    }

    /// What was received, as `(next, credit)`. Counts as an acknowledgement.
    pub fn cursor(&mut self) -> (Seq, u64) {
        let credit = self.credit();
        let allowed = self.received.saturating_add(credit);
        self.granted = self.granted.max(allowed);
        self.told = Told {
            received: self.received,
            allowed,
        };
        self.ack = AckTimer::Idle;
        (self.next, credit)
    }

    /// Acknowledges at the next opportunity.
    pub fn ack_soon(&mut self) {
        self.ack = AckTimer::Now;
    }

    /// Whether an acknowledgement is due without waiting.
    pub fn wants_ack_now(&self) -> bool {
        self.ack == AckTimer::Now
    }

    /// Notices that an acknowledgement has become due: from now on it waits for the link, not for
    /// the clock.
    pub fn handle_timeout(&mut self, now: Instant) {
        if matches!(self.ack, AckTimer::At(at) if at <= now) {
            self.ack = AckTimer::Now;
        }
    }

    /// When an acknowledgement will be due.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        match self.ack {
            AckTimer::At(at) => Some(Deadline::new(at, DeadlineReason::Ack)),
            AckTimer::Now | AckTimer::Idle => None,
        }
    }

    /// From now on nothing is kept, because nobody will take it.
    pub fn discard(&mut self) {
        if self.mode != Mode::Keep {
            return;
        }
        let unread = self
            .ready
            .iter()
            .filter(|(d, _)| matches!(d, Delivery::Message(_)));
        self.mode = Mode::Discard {
            messages: unread.count() as u64,
        };
        self.ready.clear();
        self.ready_cost = 0;
        self.ack = AckTimer::Now;
    }

    /// How many messages were thrown away because nobody took them.
    pub fn discarded(&self) -> u64 {
        match self.mode {
            Mode::Keep => 0,
            Mode::Discard { messages } => messages,
        }
    }

    /// Begins anew for a sender that knows nothing. What is ready stays ready.
    pub fn reset(&mut self) {
        let (window, message_bytes_max) = (self.window, self.message_bytes_max);
        let fresh = Self::new(window, message_bytes_max);
        let old = core::mem::replace(self, fresh);
        (self.ready, self.ready_cost, self.mode) = (old.ready, old.ready_cost, old.mode);
    }

    /// The next fragment in order.
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

    /// Whether the sender is done and everything was received.
    pub fn has_ended(&self) -> bool {
        self.end.is_some()
    }
}

#[cfg(test)]
mod tests;
