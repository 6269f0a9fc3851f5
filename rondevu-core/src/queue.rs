//! Messages that wait to be sent, within bounds.

use alloc::collections::VecDeque;
use core::time::Duration;

use bytes::Bytes;

use crate::{Instant, Message, MessageKind};

/// How much may wait, for how long, and what happens when there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// The most messages that wait. Default 1000.
    pub messages_max: usize,
    /// The most bytes of payload that wait. A single message larger than this is taken while the
    /// queue is empty. Default 16 MiB.
    pub bytes_max: usize,
    /// How long a message may wait; `None` for ever. Default 60 s.
    pub age_max: Option<Duration>,
    /// What happens when there is no room. Default [`Overflow::Wait`].
    pub overflow: Overflow,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            messages_max: 1000,
            bytes_max: 16 * 1024 * 1024,
            age_max: Some(Duration::from_secs(60)),
            overflow: Overflow::default(),
        }
    }
}

/// What happens to a message for which there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Overflow {
    /// It is given back; whoever can wait tries again when there is room. Nothing is lost, and a
    /// fast sender is held to the pace of the network.
    #[default]
    Wait,
    /// It is given back, and nobody waits for room.
    Reject,
    /// The oldest waiting messages make room; both peers are told how many were dropped.
    DropOldest,
}

/// A message that was not taken because there was no room.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the send queue is full")]
pub struct QueueFull(pub Message);

/// A message in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// The number of the message on its channel, counted from 0 in the order of acceptance.
    pub number: u64,
    /// Text or bytes.
    pub kind: MessageKind,
    /// The payload.
    pub payload: Bytes,
    /// When it was queued.
    pub queued_at: Instant,
    /// Whether it left whole for a peer that has lost its memory since, and may have been delivered.
    pub has_left: bool,
}

/// A first-in, first-out queue of messages within [`QueueLimits`].
#[derive(Clone, Debug)]
pub struct MessageQueue {
    limits: QueueLimits,
    messages: VecDeque<Queued>,
    bytes: usize,
}

impl MessageQueue {
    /// An empty queue.
    pub fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            messages: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Queues message `number`; `on_drop` gets the older ones that were dropped to make room.
    ///
    /// # Errors
    ///
    /// [`QueueFull`] gives the message back if there is no room and the policy drops nothing.
    pub fn push(
        &mut self,
        message: Message,
        number: u64,
        mut on_drop: impl FnMut(Queued),
        now: Instant,
    ) -> Result<(), QueueFull> {
        let len = message.len();
        while !self.has_room(len) {
            match self.limits.overflow {
                Overflow::Wait | Overflow::Reject => return Err(QueueFull(message)),
                Overflow::DropOldest => match self.pop() {
                    Some(oldest) => on_drop(oldest),
                    None => return Err(QueueFull(message)),
                },
            }
        }
        let kind = message.kind();
        self.bytes += len;
        self.messages.push_back(Queued {
            number,
            kind,
            payload: message.into_bytes(),
            queued_at: now,
            has_left: false,
        });
        Ok(())
    }

    /// Whether a message of `len` bytes would be taken without dropping another.
    pub fn has_room(&self, len: usize) -> bool {
        let fits = self.bytes.saturating_add(len) <= self.limits.bytes_max;
        self.messages.len() < self.limits.messages_max && (fits || self.messages.is_empty())
    }

    /// Takes the oldest message.
    pub fn pop(&mut self) -> Option<Queued> {
        let queued = self.messages.pop_front()?;
        self.bytes -= queued.payload.len();
        Some(queued)
    }

    /// The oldest message.
    pub fn front(&self) -> Option<&Queued> {
        self.messages.front()
    }

    /// All messages, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Queued> {
        self.messages.iter()
    }

    /// Puts messages that were taken before back to the front, whatever the limits say.
    pub fn restore(&mut self, queued: Queued) {
        self.bytes += queued.payload.len();
        self.messages.push_front(queued);
    }

    /// Drops the messages that have waited too long; `on_drop` gets them.
    pub fn expire(&mut self, mut on_drop: impl FnMut(Queued), now: Instant) {
        while self.next_expiry().is_some_and(|at| at <= now)
            && let Some(oldest) = self.pop()
        {
            on_drop(oldest);
        }
    }

    /// When the oldest message will have waited too long.
    pub fn next_expiry(&self) -> Option<Instant> {
        Some(self.messages.front()?.queued_at + self.limits.age_max?)
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// How many bytes of payload wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The limits.
    pub fn limits(&self) -> &QueueLimits {
        &self.limits
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_origin(Duration::from_millis(ms))
    }

    fn limits(overflow: Overflow) -> QueueLimits {
        QueueLimits {
            messages_max: 3,
            bytes_max: 10,
            age_max: Some(Duration::from_millis(100)),
            overflow,
        }
    }

    /// Queues a message and says how many were dropped for it.
    fn push(queue: &mut MessageQueue, message: Message, now: Instant) -> Result<u64, QueueFull> {
        let mut dropped = 0;
        queue.push(message, 0, |_| dropped += 1, now)?;
        Ok(dropped)
    }

    fn expire(queue: &mut MessageQueue, now: Instant) -> u64 {
        let mut expired = 0;
        queue.expire(|_| expired += 1, now);
        expired
    }

    fn payload(queue: &mut MessageQueue) -> Option<Vec<u8>> {
        queue.pop().map(|q| q.payload.to_vec())
    }

    #[test]
    fn a_full_queue_gives_the_message_back() {
        for overflow in [Overflow::Wait, Overflow::Reject] {
            let mut queue = MessageQueue::new(limits(overflow));
            for _ in 0..3 {
                assert_eq!(push(&mut queue, "x".into(), at(0)), Ok(0));
            }
            assert_eq!(
                push(&mut queue, "y".into(), at(0)),
                Err(QueueFull("y".into()))
            );
        }
    }

    #[test]
    fn the_oldest_make_room_and_are_counted() {
        let mut queue = MessageQueue::new(limits(Overflow::DropOldest));
        for text in ["1", "2", "3"] {
            push(&mut queue, text.into(), at(0)).unwrap();
        }
        assert_eq!(push(&mut queue, "4567890ab".into(), at(0)), Ok(2));
        assert_eq!(payload(&mut queue), Some(b"3".to_vec()));
        assert_eq!(payload(&mut queue), Some(b"4567890ab".to_vec()));
        assert_eq!(queue.bytes(), 0);
    }

    #[test]
    fn a_message_over_the_byte_limit_is_taken_alone() {
        let mut queue = MessageQueue::new(limits(Overflow::Wait));
        let large = vec![0u8; 50];
        assert_eq!(push(&mut queue, large.clone().into(), at(0)), Ok(0));
        assert!(push(&mut queue, "x".into(), at(0)).is_err());
        assert_eq!(payload(&mut queue), Some(large));
    }

    #[test]
    fn what_waited_too_long_is_dropped_and_counted() {
        let mut queue = MessageQueue::new(limits(Overflow::Wait));
        push(&mut queue, "old".into(), at(0)).unwrap();
        push(&mut queue, "new".into(), at(50)).unwrap();
        assert_eq!(queue.next_expiry(), Some(at(100)));
        assert_eq!(expire(&mut queue, at(99)), 0);
        assert_eq!(expire(&mut queue, at(100)), 1);
        assert_eq!(queue.next_expiry(), Some(at(150)));
    }

    proptest! {
        /// A `Vec` with the same rules is the model.
        #[test]
        fn behaves_like_a_bounded_vec(
            ops in prop::collection::vec((0u8..3, 0usize..12, 0u64..60), 0..60),
            policy in prop::sample::select(vec![Overflow::Wait, Overflow::DropOldest]),
        ) {
            let mut queue = MessageQueue::new(limits(policy));
            let mut model: Vec<(Vec<u8>, u64)> = Vec::new();
            let mut now = 0;
            for (i, (op, len, step)) in ops.into_iter().enumerate() {
                now += step;
                let bytes = |m: &[(Vec<u8>, u64)]| m.iter().map(|(p, _)| p.len()).sum::<usize>();
                let room = |m: &[(Vec<u8>, u64)]| {
                    m.len() < 3 && (bytes(m) + len <= 10 || m.is_empty())
                };
                match op {
                    0 => {
                        let data = vec![i as u8; len];
                        let mut dropped = 0;
                        while policy == Overflow::DropOldest && !room(&model) {
                            model.remove(0);
                            dropped += 1;
                        }
                        let took = push(&mut queue, data.clone().into(), at(now)).ok();
                        prop_assert_eq!(took, room(&model).then_some(dropped));
                        if took.is_some() {
                            model.push((data, now));
                        }
                    }
                    1 => {
                        let expected = (!model.is_empty()).then(|| model.remove(0).0);
                        prop_assert_eq!(payload(&mut queue), expected);
                    }
                    _ => {
                        let before = model.len();
                        model.retain(|(_, queued)| queued + 100 > now);
                        prop_assert_eq!(expire(&mut queue, at(now)), (before - model.len()) as u64);
                    }
                }
                prop_assert_eq!(queue.len(), model.len());
                prop_assert_eq!(queue.bytes(), bytes(&model));
            }
        }
    }
}
