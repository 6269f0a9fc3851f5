//! The inbox by itself, and together with an outbox across cuts.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::frame::ChannelFrame;
use crate::{Keeping, Outbox, Overflow, QueueLimits};

const NOW: Instant = Instant::ORIGIN;

fn data(inbox: &mut Inbox, seq: u64, part: Part, payload: &str) -> Result<(), InboxViolation> {
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    inbox.on_data(Seq(seq), part, MessageKind::Text, payload, NOW)
}

fn inbox() -> Inbox {
    Inbox::new(Order::Ordered, 1000, 100)
}

#[test]
fn fragments_become_one_message() {
    let mut inbox = inbox();
    data(&mut inbox, 0, Part::First, "ab").unwrap();
    assert_eq!(inbox.pop(), None);
    data(&mut inbox, 1, Part::Last, "c").unwrap();
    assert_eq!(inbox.pop(), Some(Delivery::Message("abc".into())));
}

#[test]
fn a_character_may_lie_across_two_fragments() {
    let mut inbox = inbox();
    let bytes = Bytes::from_static("ä".as_bytes());
    inbox
        .on_data(
            Seq(0),
            Part::First,
            MessageKind::Text,
            bytes.slice(..1),
            NOW,
        )
        .unwrap();
    inbox
        .on_data(Seq(1), Part::Last, MessageKind::Text, bytes.slice(1..), NOW)
        .unwrap();
    assert_eq!(inbox.pop(), Some(Delivery::Message("ä".into())));
}

#[test]
fn a_sender_hears_of_all_the_credit_once_everything_was_taken() {
    let mut inbox = inbox();
    let payload = "x".repeat(100);
    data(&mut inbox, 0, Part::Whole, &payload).unwrap();
    data(&mut inbox, 1, Part::Whole, &payload).unwrap();
    assert_eq!(inbox.poll_ack(NOW), Some((Seq(2), 672)));
    inbox.pop();
    assert_eq!(inbox.poll_ack(NOW), None);
    inbox.pop();
    assert_eq!(inbox.poll_ack(NOW), Some((Seq(2), 1000)));
}

#[test]
fn a_duplicate_is_acknowledged_at_once_and_not_delivered() {
    let mut inbox = acked_once();
    data(&mut inbox, 1, Part::Whole, "a").unwrap();
    assert_eq!(inbox.poll_ack(NOW), None, "one was sent just now");
    data(&mut inbox, 1, Part::Whole, "a").unwrap();
    assert_eq!(inbox.poll_ack(NOW).map(|(next, _)| next), Some(Seq(2)));
    assert_eq!(inbox.len(), 1);
}

/// An inbox that has received and acknowledged a message.
fn acked_once() -> Inbox {
    let mut inbox = inbox();
    data(&mut inbox, 0, Part::Whole, "a").unwrap();
    inbox.pop();
    assert_eq!(inbox.poll_ack(NOW), Some((Seq(1), 1000)));
    inbox
}

#[test]
fn a_lone_message_is_acknowledged_at_once() {
    let mut inbox = acked_once();
    let later = NOW + ReceiveWindow::ACK_DELAY;
    let payload = Bytes::from_static(b"a");
    inbox
        .on_data(Seq(1), Part::Whole, MessageKind::Text, payload, later)
        .unwrap();
    assert!(inbox.wants_ack_now());
}

#[test]
fn an_acknowledgement_comes_after_the_delay_or_a_quarter_of_the_window() {
    let mut inbox = acked_once();
    data(&mut inbox, 1, Part::Whole, "a").unwrap();
    let due = inbox.poll_timeout().unwrap().at;
    assert_eq!(due, NOW + ReceiveWindow::ACK_DELAY);
    assert_eq!(inbox.poll_ack(due), Some((Seq(2), 1000 - fragment_cost(1))));
    assert_eq!(inbox.poll_timeout(), None);
    for seq in 2..6 {
        data(&mut inbox, seq, Part::Whole, "a").unwrap();
    }
    assert!(inbox.wants_ack_now());
}

#[test]
fn much_is_acknowledged_once_it_pauses() {
    let half = ReceiveWindow::PROMPT_BYTES as usize / 2;
    let mut inbox = Inbox::new(Order::Ordered, 1024 * 1024, 1024 * 1024);
    let payload = "x".repeat(half);
    data(&mut inbox, 0, Part::Whole, &payload).unwrap();
    inbox.poll_ack(NOW).unwrap();
    data(&mut inbox, 1, Part::Whole, &payload).unwrap();
    let late = NOW + ReceiveWindow::ACK_DELAY;
    assert_eq!(inbox.poll_timeout().map(|due| due.at), Some(late));
    for seq in 2..30 {
        let now = NOW + Duration::from_millis(seq);
        let payload = Bytes::from(payload.clone());
        inbox
            .on_data(Seq(seq), Part::Whole, MessageKind::Text, payload, now)
            .unwrap();
        let pause = now + ReceiveWindow::PROMPT_DELAY;
        match now < late {
            true => assert_eq!(
                inbox.poll_timeout().map(|due| due.at),
                Some(pause.min(late))
            ),
            false => assert!(inbox.wants_ack_now()),
        }
    }
}

#[test]
fn an_acknowledgement_that_is_due_leaves_no_deadline_behind() {
    let mut inbox = acked_once();
    data(&mut inbox, 1, Part::Whole, "a").unwrap();
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
        data(&mut fresh, 1, Part::Whole, "a"),
        Err(Hole {
            expected: Seq(0),
            got: Seq(1)
        })
    );
    assert_eq!(data(&mut fresh, 0, Part::First, ""), Err(EmptyFragment));
    assert_eq!(
        data(&mut fresh, 0, Part::Whole, &"x".repeat(101)),
        Err(MessageTooLarge { max: 100 })
    );
    assert_eq!(fresh.on_skip(Seq(0), Seq(0), 1, NOW), Err(OutOfPlace));
    let bad = fresh.on_data(
        Seq(0),
        Part::Whole,
        MessageKind::Text,
        Bytes::from_static(&[0xff]),
        NOW,
    );
    assert_eq!(bad, Err(NotUtf8));

    let mut midway = inbox();
    data(&mut midway, 0, Part::First, "a").unwrap();
    assert_eq!(midway.on_skip(Seq(1), Seq(2), 1, NOW), Err(BrokenMessage));
    assert_eq!(midway.on_end(Seq(1)), Err(BrokenMessage));

    let mut ended = inbox();
    ended.on_end(Seq(0)).unwrap();
    assert_eq!(data(&mut ended, 0, Part::Whole, "a"), Err(OutOfPlace));

    let mut small = Inbox::new(Order::Ordered, fragment_cost(1), 100);
    data(&mut small, 0, Part::Whole, "a").unwrap();
    assert_eq!(data(&mut small, 1, Part::Whole, "b"), Err(CreditExceeded));
}

#[test]
fn a_slow_reader_gives_no_credit_until_it_reads() {
    let mut inbox = Inbox::new(Order::Ordered, 2 * fragment_cost(1), 100);
    data(&mut inbox, 0, Part::Whole, "a").unwrap();
    data(&mut inbox, 1, Part::Whole, "b").unwrap();
    assert_eq!(inbox.poll_ack(NOW), Some((Seq(2), 0)));
    inbox.pop();
    assert_eq!(inbox.poll_ack(NOW), Some((Seq(2), fragment_cost(1))));
}

#[test]
fn what_nobody_takes_is_counted_and_acknowledged() {
    let mut inbox = inbox();
    data(&mut inbox, 0, Part::Whole, "a").unwrap();
    inbox.discard();
    data(&mut inbox, 1, Part::Whole, "b").unwrap();
    assert_eq!((inbox.discarded(), inbox.is_empty()), (2, true));
    assert_eq!(inbox.poll_ack(NOW), Some((Seq(2), 1000)));
}

#[derive(Clone, Debug)]
enum Op {
    Send(usize),
    Transfer(usize),
    Read(usize),
    Ack,
    /// The link is lost with all frames that are still on it.
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
            part,
            kind,
            payload,
        } => {
            inbox.on_data(seq, part, kind, payload, NOW).unwrap();
        }
        ChannelFrame::Skip { from, to, messages } => {
            inbox.on_skip(from, to, messages, NOW).unwrap();
        }
        other => panic!("an outbox does not send {other:?}"),
    }
}

proptest! {
    /// Whatever is cut and whenever: each message arrives once and, on an ordered channel, in
    /// order, or a gap says how many are missing; and neither side holds more than its limits.
    #[test]
    fn every_message_arrives_once_across_any_cuts(
        ops in prop::collection::vec(op(), 1..120),
        overflow in prop::sample::select(vec![Overflow::Wait, Overflow::DropOldest]),
        order in prop::sample::select(vec![Order::Ordered, Order::Unordered]),
        seed: u64,
    ) {
        let window = 6 * fragment_cost(8);
        let limits = QueueLimits { messages_max: 5, overflow, ..QueueLimits::default() };
        let mut outbox = Outbox::new(Keeping::UntilAcked(order), limits, 8, 1 << 20);
        let mut inbox = Inbox::new(order, window, 64);
        let mut rng = fastrand::Rng::with_seed(seed);
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
                    if order == Order::Unordered {
                        rng.shuffle(flying.make_contiguous());
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
            prop_assert!(inbox.held_bytes() <= window + 6 * fragment_cost(8));
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
        prop_assert!(outbox.is_settled());
        prop_assert_eq!(outbox.settled(), outbox.accepted());
        match order {
            Order::Ordered => check_order(sent, got)?,
            Order::Unordered => check_set(sent, got)?,
        }
    }
}

fn check_order(sent: Vec<Vec<u8>>, got: Vec<Delivery>) -> Result<(), TestCaseError> {
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
    Ok(())
}

fn check_set(mut sent: Vec<Vec<u8>>, got: Vec<Delivery>) -> Result<(), TestCaseError> {
    let mut lost = 0;
    for delivery in got {
        match delivery {
            Delivery::Lost { messages } => lost += messages,
            Delivery::Message(message) => {
                let payload = message.into_bytes().to_vec();
                let at = sent.iter().position(|sent| *sent == payload);
                prop_assert!(at.is_some(), "twice, or never sent");
                sent.swap_remove(at.unwrap());
            }
        }
    }
    prop_assert_eq!(sent.len() as u64, lost);
    Ok(())
}

fn unordered() -> Inbox {
    Inbox::new(Order::Unordered, 1000, 100)
}

#[test]
fn an_unordered_channel_delivers_what_is_whole_and_acknowledges_what_is_gapless() {
    let mut inbox = unordered();
    data(&mut inbox, 2, Part::Whole, "c").unwrap();
    data(&mut inbox, 1, Part::Last, "b").unwrap();
    assert_eq!(inbox.pop(), Some(Delivery::Message("c".into())));
    assert_eq!(inbox.cursor().0, Seq(0));
    data(&mut inbox, 0, Part::First, "a").unwrap();
    assert_eq!(inbox.pop(), Some(Delivery::Message("ab".into())));
    assert_eq!(inbox.cursor().0, Seq(3));
    data(&mut inbox, 2, Part::Whole, "c").unwrap();
    assert_eq!(inbox.pop(), None, "a duplicate");
}

#[test]
fn the_end_of_an_unordered_channel_waits_for_what_is_missing() {
    let mut inbox = unordered();
    data(&mut inbox, 1, Part::Whole, "b").unwrap();
    assert!(
        inbox.on_end(Seq(1)).is_err(),
        "something came from behind it"
    );
    inbox.on_end(Seq(2)).unwrap();
    assert!(!inbox.has_ended());
    data(&mut inbox, 0, Part::Whole, "a").unwrap();
    assert!(inbox.has_ended());
    assert_eq!(
        data(&mut inbox, 2, Part::Whole, "c"),
        Err(InboxViolation::OutOfPlace)
    );
}

#[test]
fn a_peer_cannot_leave_fragments_behind_that_never_become_a_message() {
    let mut inbox = unordered();
    data(&mut inbox, 1, Part::Middle, "b").unwrap();
    assert_eq!(
        inbox.on_skip(Seq(0), Seq(1), 1, NOW),
        Err(InboxViolation::BrokenMessage)
    );
}
