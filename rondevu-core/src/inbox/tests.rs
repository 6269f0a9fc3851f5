//! The inbox by itself, and together with an outbox across cuts.

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::frame::ChannelFrame;
use crate::{Outbox, Overflow, QueueLimits};

const NOW: Instant = Instant::ORIGIN;

fn data(inbox: &mut Inbox, seq: u64, end: MessageEnd, payload: &str) -> Result<(), InboxViolation> {
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    inbox.on_data(Seq(seq), end, MessageKind::Text, payload, NOW)
}

fn inbox() -> Inbox {
    Inbox::new(1000, 100)
}

#[test]
fn fragments_become_one_message() {
    let mut inbox = inbox();
    data(&mut inbox, 0, MessageEnd::More, "ab").unwrap();
    assert_eq!(inbox.pop(), None);
    data(&mut inbox, 1, MessageEnd::Last, "c").unwrap();
    assert_eq!(inbox.pop(), Some(Delivery::Message("abc".into())));
}

#[test]
fn a_character_may_lie_across_two_fragments() {
    let mut inbox = inbox();
    let bytes = Bytes::from_static("ä".as_bytes());
    inbox
        .on_data(
            Seq(0),
            MessageEnd::More,
            MessageKind::Text,
            bytes.slice(..1),
            NOW,
        )
        .unwrap();
    inbox
        .on_data(
            Seq(1),
            MessageEnd::Last,
            MessageKind::Text,
            bytes.slice(1..),
            NOW,
        )
        .unwrap();
    assert_eq!(inbox.pop(), Some(Delivery::Message("ä".into())));
}

#[test]
fn a_sender_hears_of_all_the_credit_once_everything_was_taken() {
    let mut inbox = inbox();
    let payload = "x".repeat(100);
    data(&mut inbox, 0, MessageEnd::Last, &payload).unwrap();
    data(&mut inbox, 1, MessageEnd::Last, &payload).unwrap();
    assert_eq!(inbox.poll_ack(NOW), Some((Seq(2), 672)));
    inbox.pop();
    assert_eq!(inbox.poll_ack(NOW), None);
    inbox.pop();
    assert_eq!(inbox.poll_ack(NOW), Some((Seq(2), 1000)));
}

#[test]
fn a_duplicate_is_acknowledged_at_once_and_not_delivered() {
    let mut inbox = inbox();
    data(&mut inbox, 0, MessageEnd::Last, "a").unwrap();
    assert_eq!(inbox.poll_ack(NOW), None, "acknowledgements are lazy");
    data(&mut inbox, 0, MessageEnd::Last, "a").unwrap();
    assert_eq!(inbox.poll_ack(NOW).map(|(next, _)| next), Some(Seq(1)));
    assert_eq!(inbox.len(), 1);
}

#[test]
fn an_acknowledgement_comes_after_the_delay_or_a_quarter_of_the_window() {
    let mut inbox = inbox();
    data(&mut inbox, 0, MessageEnd::Last, "a").unwrap();
    let due = inbox.poll_timeout().unwrap().at;
    assert_eq!(due, NOW + Inbox::ACK_DELAY);
    assert_eq!(inbox.poll_ack(due), Some((Seq(1), 1000 - fragment_cost(1))));
    assert_eq!(inbox.poll_timeout(), None);
    for seq in 1..5 {
        data(&mut inbox, seq, MessageEnd::Last, "a").unwrap();
    }
    assert!(inbox.wants_ack_now());
}

#[test]
fn an_acknowledgement_that_is_due_leaves_no_deadline_behind() {
    let mut inbox = inbox();
    data(&mut inbox, 0, MessageEnd::Last, "a").unwrap();
    let due = inbox.poll_timeout().unwrap().at;
    inbox.handle_timeout(due);
    assert_eq!(inbox.poll_timeout(), None, "the link may be full for long");
    assert!(inbox.wants_ack_now());
}

#[test]
fn each_violation_is_found() {
    use InboxViolation::*;
    let mut fresh = inbox();
    assert_eq!(
        data(&mut fresh, 1, MessageEnd::Last, "a"),
        Err(Hole {
            expected: Seq(0),
            got: Seq(1)
        })
    );
    assert_eq!(
        data(&mut fresh, 0, MessageEnd::More, ""),
        Err(EmptyFragment)
    );
    assert_eq!(
        data(&mut fresh, 0, MessageEnd::Last, &"x".repeat(101)),
        Err(MessageTooLarge { max: 100 })
    );
    assert_eq!(fresh.on_skip(Seq(0), Seq(0), 1, NOW), Err(OutOfPlace));
    let bad = fresh.on_data(
        Seq(0),
        MessageEnd::Last,
        MessageKind::Text,
        Bytes::from_static(&[0xff]),
        NOW,
    );
    assert_eq!(bad, Err(NotUtf8));

    let mut midway = inbox();
    data(&mut midway, 0, MessageEnd::More, "a").unwrap();
    assert_eq!(midway.on_skip(Seq(1), Seq(2), 1, NOW), Err(BrokenMessage));
    assert_eq!(midway.on_end(Seq(1)), Err(BrokenMessage));

    let mut ended = inbox();
    ended.on_end(Seq(0)).unwrap();
    assert_eq!(data(&mut ended, 0, MessageEnd::Last, "a"), Err(OutOfPlace));

    let mut small = Inbox::new(fragment_cost(1), 100);
    data(&mut small, 0, MessageEnd::Last, "a").unwrap();
    assert_eq!(
        data(&mut small, 1, MessageEnd::Last, "b"),
        Err(CreditExceeded)
    );
}

#[test]
fn a_slow_reader_gives_no_credit_until_it_reads() {
    let mut inbox = Inbox::new(2 * fragment_cost(1), 100);
    data(&mut inbox, 0, MessageEnd::Last, "a").unwrap();
    data(&mut inbox, 1, MessageEnd::Last, "b").unwrap();
    assert_eq!(inbox.poll_ack(NOW), Some((Seq(2), 0)));
    inbox.pop();
    assert_eq!(inbox.poll_ack(NOW), Some((Seq(2), fragment_cost(1))));
}

#[test]
fn what_nobody_takes_is_counted_and_acknowledged() {
    let mut inbox = inbox();
    data(&mut inbox, 0, MessageEnd::Last, "a").unwrap();
    inbox.discard();
    data(&mut inbox, 1, MessageEnd::Last, "b").unwrap();
    assert_eq!((inbox.discarded(), inbox.is_empty()), (2, true));
    assert_eq!(inbox.poll_ack(NOW), Some((Seq(2), 1000)));
}

#[derive(Clone, Debug)]
enum Op {
    Send(usize),
    Transfer(usize),
    Read(usize),
    Ack,
    /// The link is lost with this many frames still on it.
    Cut,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0usize..40).prop_map(Op::Send),
        4 => (1usize..8).prop_map(Op::Transfer),
        2 => (1usize..4).prop_map(Op::Read),
        2 => Just(Op::Ack),
        1 => Just(Op::Cut),
    ]
}

fn accept(inbox: &mut Inbox, frame: ChannelFrame) {
    match frame {
        ChannelFrame::Data {
            seq,
            end,
            kind,
            payload,
        } => {
            inbox.on_data(seq, end, kind, payload, NOW).unwrap();
        }
        ChannelFrame::Skip { from, to, messages } => {
            inbox.on_skip(from, to, messages, NOW).unwrap();
        }
        other => panic!("an outbox does not send {other:?}"),
    }
}

proptest! {
    /// Whatever is cut and whenever: each message arrives once and in order, or a gap in its place
    /// says how many are missing; and neither side holds more than its limits.
    #[test]
    fn every_message_arrives_once_and_in_order_across_any_cuts(
        ops in prop::collection::vec(op(), 1..120),
        overflow in prop::sample::select(vec![Overflow::Wait, Overflow::DropOldest]),
    ) {
        let window = 6 * fragment_cost(8);
        let limits = QueueLimits { messages_max: 5, overflow, ..QueueLimits::default() };
        let mut outbox = Outbox::new(limits, 8, 1 << 20);
        let mut inbox = Inbox::new(window, 64);
        let mut flying: VecDeque<ChannelFrame> = VecDeque::new();
        let mut sent: Vec<Vec<u8>> = Vec::new();
        let mut got: Vec<Delivery> = Vec::new();
        outbox.on_attach(Seq::ZERO, window).unwrap();

        for op in ops.into_iter().chain([Op::Cut]) {
            match op {
                Op::Send(len) => {
                    let mut payload = vec![0; len];
                    payload.extend_from_slice(&(sent.len() as u32).to_be_bytes());
                    if outbox.push(payload.clone().into(), NOW).is_ok() {
                        sent.push(payload);
                    }
                }
                Op::Transfer(count) => {
                    while let Some(frame) = outbox.next_frame(1000) {
                        flying.push_back(frame);
                    }
                    for frame in flying.drain(..count.min(flying.len())) {
                        accept(&mut inbox, frame);
                    }
                }
                Op::Read(count) => got.extend((0..count).filter_map(|_| inbox.pop())),
                Op::Ack => {
                    let (next, credit) = inbox.cursor();
                    outbox.on_ack(next, credit).unwrap();
                }
                Op::Cut => {
                    flying.clear();
                    let (next, credit) = inbox.cursor();
                    outbox.on_attach(next, credit).unwrap();
                }
            }
            // The window and one message of the largest size that this test sends.
            prop_assert!(inbox.ready_cost <= window + 6 * fragment_cost(8));
        }

        // Heal: everything must come through without further help.
        for _ in 0..1000 {
            while let Some(frame) = outbox.next_frame(1000) {
                accept(&mut inbox, frame);
            }
            got.extend(core::iter::from_fn(|| inbox.pop()));
            let (next, credit) = inbox.cursor();
            outbox.on_ack(next, credit).unwrap();
        }
        prop_assert_eq!(outbox.settled(), outbox.accepted());

        let mut expected = sent.into_iter();
        for delivery in got {
            match delivery {
                Delivery::Lost { messages } => {
                    for _ in 0..messages {
                        prop_assert!(expected.next().is_some());
                    }
                }
                Delivery::Message(message) => {
                    prop_assert_eq!(message.into_bytes().to_vec(), expected.next().unwrap());
                }
            }
        }
        prop_assert_eq!(expected.next(), None);
    }
}
