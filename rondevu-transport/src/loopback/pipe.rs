//! Carries frames in order over a network that loses, repeats and reorders.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rondevu_core::Instant;

/// Both directions of a numbered sequence of frames. What is not acknowledged in time is sent
/// again, from the oldest on.
#[derive(Debug)]
pub(super) struct Pipe {
    /// The number of the oldest unacknowledged frame.
    base: u32,
    unacked: VecDeque<Outgoing>,
    /// How many of `unacked` were sent since the last time that sending began anew.
    sent: usize,
    buffered_bytes: usize,
    resend_at: Option<Instant>,
    resend_after: Duration,
    repeated_acks: u32,
    /// The number of the next frame that is wanted.
    expected: u32,
    ahead: BTreeMap<u32, Vec<u8>>,
    ack_due: AckDue,
}

#[derive(Debug)]
struct Outgoing {
    frame: Vec<u8>,
    payload_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AckDue {
    No,
    Yes,
}

/// A numbered frame with an acknowledgement, or only the latter if the frame is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) number: u32,
    pub(super) ack: u32,
    pub(super) frame: Vec<u8>,
}

impl Pipe {
    pub(super) fn new() -> Self {
        Self {
            base: 0,
            unacked: VecDeque::new(),
            sent: 0,
            buffered_bytes: 0,
            resend_at: None,
            resend_after: RESEND_AFTER,
            repeated_acks: 0,
            expected: 0,
            ahead: BTreeMap::new(),
            // A first sign of life, so that a router sees that this side is past its handshake.
            ack_due: AckDue::Yes,
        }
    }

    /// Queues a frame that holds `payload_bytes` of a message.
    pub(super) fn push(&mut self, frame: Vec<u8>, payload_bytes: usize) {
        self.buffered_bytes += payload_bytes;
        self.unacked.push_back(Outgoing {
            frame,
            payload_bytes,
        });
    }

    /// How many bytes of messages wait for an acknowledgement.
    pub(super) fn buffered_bytes(&self) -> usize {
        self.buffered_bytes
    }

    /// The next segment to send.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Segment> {
        if self.sent < self.unacked.len().min(WINDOW) {
            let frame = self.unacked[self.sent].frame.clone();
            let number = self.base.wrapping_add(self.sent as u32);
            self.sent += 1;
            self.resend_at.get_or_insert(now + self.resend_after);
            self.ack_due = AckDue::No;
            return Some(Segment {
                number,
                ack: self.expected,
                frame,
            });
        }
        if self.ack_due == AckDue::No {
            return None;
        }
        self.ack_due = AckDue::No;
        Some(Segment {
            number: 0,
            ack: self.expected,
            frame: Vec::new(),
        })
    }

    /// Takes a segment; gives the frames that are now complete and in order.
    pub(super) fn receive(&mut self, segment: Segment, now: Instant) -> Vec<Vec<u8>> {
        let Segment { number, ack, frame } = segment;
        self.on_ack(ack, frame.is_empty(), now);
        if frame.is_empty() {
            return Vec::new();
        }
        self.ack_due = AckDue::Yes;
        // Numbers wrap around: what is behind looks far ahead.
        if number.wrapping_sub(self.expected) < WINDOW as u32 {
            self.ahead.insert(number, frame);
        }
        let mut ready = Vec::new();
        while let Some(frame) = self.ahead.remove(&self.expected) {
            self.expected = self.expected.wrapping_add(1);
            ready.push(frame);
        }
        ready
    }

    fn on_ack(&mut self, ack: u32, bare: bool, now: Instant) {
        let acked = ack.wrapping_sub(self.base) as usize;
        if acked == 0 && bare && !self.unacked.is_empty() {
            self.repeated_acks += 1;
            if self.repeated_acks == REPEATED_ACKS {
                self.sent = 0;
            }
        }
        if acked == 0 || acked > self.unacked.len() {
            return;
        }
        let gone: usize = self.unacked.drain(..acked).map(|o| o.payload_bytes).sum();
        self.buffered_bytes -= gone;
        self.base = ack;
        self.sent = self.sent.saturating_sub(acked);
        self.repeated_acks = 0;
        self.resend_after = RESEND_AFTER;
        self.resend_at = (!self.unacked.is_empty()).then(|| now + self.resend_after);
    }

    /// Begins anew with what is overdue.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.resend_at.is_none_or(|at| now < at) {
            return;
        }
        self.sent = 0;
        self.repeated_acks = 0;
        self.resend_after = (self.resend_after * 2).min(RESEND_AFTER_MAX);
        self.resend_at = (!self.unacked.is_empty()).then(|| now + self.resend_after);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.resend_at
    }
}

/// How many frames travel at a time.
const WINDOW: usize = 64;
/// Longer than the round trips that tests have.
const RESEND_AFTER: Duration = Duration::from_millis(300);
const RESEND_AFTER_MAX: Duration = Duration::from_secs(2);
/// So many acknowledgements of the same frame mean that the next one was lost.
const REPEATED_ACKS: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_arrives_once_and_in_order_whatever_is_lost() {
        let mut random = fastrand::Rng::with_seed(3);
        let (mut a, mut b) = (Pipe::new(), Pipe::new());
        (0..500u32).for_each(|n| a.push(n.to_be_bytes().into(), 4));
        let mut now = Instant::ORIGIN;
        let mut arrived = Vec::new();
        while a.buffered_bytes() > 0 {
            while let Some(segment) = a.poll(now) {
                if random.u8(..) < 50 {
                    continue;
                }
                for frame in b.receive(segment, now) {
                    arrived.push(u32::from_be_bytes(frame.try_into().unwrap()));
                }
                if let Some(ack) = b.poll(now).filter(|_| random.u8(..) >= 50) {
                    a.receive(ack, now);
                }
            }
            now += Duration::from_millis(100);
            a.handle_timeout(now);
            assert!(a.poll_timeout().is_none_or(|at| at > now));
        }
        assert_eq!(arrived, (0..500).collect::<Vec<_>>());
    }
}
