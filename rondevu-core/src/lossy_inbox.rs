//! The receiving half of a channel that may lose messages, by choice or because the peer knows no
//! better.

use bytes::Bytes;

use crate::frame::{Part, fragment_cost};
use crate::ready::Ready;
use crate::reassembly::Reassembly;
use crate::{Delivery, InboxViolation, Message, MessageKind, Order, Seq};

/// Delivers each message that arrives whole, at most once, and acknowledges nothing.
///
/// Nothing holds such a sender back, so the oldest messages make room when the application does
/// not take them: memory is bounded by the window for what is ready and again for fragments.
#[derive(Clone, Debug)]
pub struct LossyInbox {
    order: Order,
    window: u64,
    reassembly: Reassembly,
    ready: Ready,
    /// One above the highest number that came.
    next: Seq,
    received: u64,
    overflowed: u64,
    sender: Sender,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Active,
    Done,
}

impl LossyInbox {
    /// An empty inbox that lets `window` bytes wait for the application.
    pub fn new(order: Order, window: u64, message_bytes_max: u64) -> Self {
        Self {
            order,
            window,
            reassembly: Reassembly::new(message_bytes_max, window),
            ready: Ready::default(),
            next: Seq::ZERO,
            received: 0,
            overflowed: 0,
            sender: Sender::Active,
        }
    }

    /// A fragment came in. One that is late on an ordered channel is dropped.
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
    ) -> Result<(), InboxViolation> {
        if !self.enter(seq) {
            return Ok(());
        }
        if self.order == Order::Ordered && !part.starts() && self.reassembly.is_empty() {
            // What it belongs to has lost its beginning.
            return Ok(());
        }
        if let Some(complete) = self.reassembly.insert(seq, part, kind, payload)? {
            self.deliver(Delivery::Message(complete.message), complete.cost);
        }
        self.reassembly.drop_oldest(self.window);
        Ok(())
    }

    /// The sender dropped messages before it sent them.
    ///
    /// # Errors
    ///
    /// [`InboxViolation`] if it covers nothing; the link should end.
    pub fn on_skip(&mut self, from: Seq, to: Seq, messages: u64) -> Result<bool, InboxViolation> {
        if to <= from {
            return Err(InboxViolation::OutOfPlace);
        }
        let is_news = self.enter(from);
        if is_news {
            self.received = self
                .received
                .saturating_add(to.distance_from(from.advance(1)));
            self.next = self.next.max(to);
            self.deliver(Delivery::Lost { messages }, fragment_cost(0));
        }
        Ok(is_news)
    }

    /// A message came in as it is, from a peer that does not number.
    pub fn on_message(&mut self, message: Message) {
        let cost = fragment_cost(message.len());
        self.deliver(Delivery::Message(message), cost);
    }

    /// The sender is done. What is still on its way is lost like anything else here.
    pub fn on_end(&mut self) {
        self.sender = Sender::Done;
    }

    /// Whether the sender is done.
    pub fn has_ended(&self) -> bool {
        self.sender == Sender::Done
    }

    /// A new link begins: what is incomplete stays so.
    pub fn on_attach(&mut self) {
        self.reassembly.clear();
    }

    /// Whether `seq` may still be taken.
    fn enter(&mut self, seq: Seq) -> bool {
        if self.order == Order::Ordered {
            if seq < self.next {
                return false;
            }
            if seq > self.next {
                self.reassembly.clear();
            }
        }
        self.received = self.received.saturating_add(1);
        self.next = self.next.max(seq.advance(1));
        true
    }

    fn deliver(&mut self, delivery: Delivery, cost: u64) {
        self.ready.push(delivery, cost);
        let dropped = self.ready.drop_oldest(self.window.max(cost));
        self.overflowed = self.overflowed.saturating_add(dropped);
    }

    /// Takes the next message or gap.
    pub fn pop(&mut self) -> Option<Delivery> {
        self.ready.pop()
    }

    /// How many messages made room since the last call because the application did not take them.
    pub fn take_overflowed(&mut self) -> u64 {
        core::mem::take(&mut self.overflowed)
    }

    /// How many fragments of those that were numbered below the highest one did not come, or not
    /// yet.
    pub fn missed(&self) -> u64 {
        self.next.0.saturating_sub(self.received)
    }

    /// From now on nothing is kept, because nobody will take it.
    pub fn discard(&mut self) {
        self.ready.discard();
    }

    /// How many messages were thrown away because nobody took them.
    pub fn discarded(&self) -> u64 {
        self.ready.discarded()
    }

    /// Begins anew for a sender that knows nothing. What is ready stays ready.
    pub fn reset(&mut self) {
        self.reassembly.clear();
        (self.next, self.received) = (Seq::ZERO, 0);
        self.sender = Sender::Active;
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(inbox: &mut LossyInbox, seq: u64, part: Part, text: &'static str) {
        let payload = Bytes::from_static(text.as_bytes());
        inbox
            .on_data(Seq(seq), part, MessageKind::Text, payload)
            .unwrap();
    }

    fn texts(inbox: &mut LossyInbox) -> alloc::vec::Vec<Message> {
        core::iter::from_fn(|| inbox.pop())
            .filter_map(Delivery::into_message)
            .collect()
    }

    #[test]
    fn what_is_missing_does_not_hold_up_what_came() {
        let mut inbox = LossyInbox::new(Order::Ordered, 1000, 100);
        data(&mut inbox, 0, Part::Whole, "a");
        data(&mut inbox, 3, Part::Whole, "d");
        data(&mut inbox, 1, Part::Whole, "late");
        assert_eq!(texts(&mut inbox), ["a".into(), "d".into()]);
        assert_eq!(inbox.missed(), 2);
    }

    #[test]
    fn a_message_that_lost_a_fragment_is_not_delivered_and_not_kept() {
        let mut inbox = LossyInbox::new(Order::Ordered, 1000, 100);
        data(&mut inbox, 0, Part::First, "a");
        data(&mut inbox, 2, Part::Last, "c");
        data(&mut inbox, 3, Part::First, "d");
        data(&mut inbox, 4, Part::Last, "e");
        assert_eq!(texts(&mut inbox), ["de".into()]);
        assert_eq!(inbox.held_bytes(), 0);
        data(&mut inbox, 5, Part::First, "f");
        inbox.on_attach();
        assert_eq!(inbox.held_bytes(), 0, "the rest will never come");
    }

    #[test]
    fn an_unordered_channel_takes_them_as_they_come() {
        let mut inbox = LossyInbox::new(Order::Unordered, 1000, 100);
        data(&mut inbox, 2, Part::Last, "c");
        data(&mut inbox, 3, Part::Whole, "d");
        data(&mut inbox, 0, Part::Whole, "a");
        data(&mut inbox, 1, Part::First, "b");
        assert_eq!(texts(&mut inbox), ["d".into(), "a".into(), "bc".into()]);
        assert_eq!(inbox.missed(), 0);
    }

    #[test]
    fn the_oldest_make_room_and_are_counted() {
        let mut inbox = LossyInbox::new(Order::Ordered, 2 * fragment_cost(1), 100);
        for (seq, text) in ["a", "b", "c", "d"].into_iter().enumerate() {
            data(&mut inbox, seq as u64, Part::Whole, text);
        }
        assert_eq!(inbox.take_overflowed(), 2);
        assert_eq!(texts(&mut inbox), ["c".into(), "d".into()]);
    }

    #[test]
    fn a_skip_of_everything_does_not_overflow_the_count() {
        let mut inbox = LossyInbox::new(Order::Unordered, 1000, 100);
        inbox.on_skip(Seq(0), Seq(u64::MAX), 1).unwrap();
        data(&mut inbox, 5, Part::Whole, "late");
        assert_eq!(inbox.missed(), 0);
    }

    #[test]
    fn a_fragment_that_comes_again_and_again_counts_once() {
        let mut inbox = LossyInbox::new(Order::Unordered, 1000, 100);
        for _ in 0..50 {
            data(&mut inbox, 1, Part::Middle, "b");
        }
        assert_eq!(inbox.held_bytes(), fragment_cost(1));
        data(&mut inbox, 0, Part::First, "a");
        data(&mut inbox, 2, Part::Last, "c");
        assert_eq!(texts(&mut inbox), ["abc".into()]);
    }

    #[test]
    fn absurd_counts_of_lost_messages_do_not_overflow_theirs() {
        let mut inbox = LossyInbox::new(Order::Ordered, 2 * fragment_cost(0), 100);
        for seq in 0..9 {
            inbox.on_skip(Seq(seq), Seq(seq + 1), u64::MAX).unwrap();
        }
        assert_eq!(inbox.take_overflowed(), 0);
        let gap = Delivery::Lost { messages: u64::MAX };
        assert_eq!(inbox.pop(), Some(gap));
    }

    #[test]
    fn a_gap_survives_the_messages_around_it() {
        let mut inbox = LossyInbox::new(Order::Ordered, 2 * fragment_cost(1), 100);
        data(&mut inbox, 0, Part::Whole, "a");
        inbox.on_skip(Seq(1), Seq(2), 5).unwrap();
        inbox.on_skip(Seq(2), Seq(3), 7).unwrap();
        for seq in 3..6 {
            data(&mut inbox, seq, Part::Whole, "b");
        }
        let gap = Delivery::Lost { messages: 12 };
        assert_eq!(inbox.pop(), Some(gap));
        assert_eq!(
            inbox.take_overflowed() as usize + texts(&mut inbox).len(),
            4
        );
    }

    #[test]
    fn fragments_without_an_end_do_not_pile_up() {
        let mut inbox = LossyInbox::new(Order::Unordered, 1000, 100_000);
        // An interpreter needs minutes for more.
        let messages = if cfg!(miri) { 1_500 } else { 10_000 };
        for seq in 0..messages {
            data(&mut inbox, 2 * seq, Part::First, "x");
        }
        assert!(inbox.held_bytes() <= 1000);
    }
}
