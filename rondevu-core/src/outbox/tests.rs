//! The outbox, frame by frame.

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::*;
use crate::Overflow;

const NOW: Instant = Instant::ORIGIN;
const ROOM: usize = 64 * 1024;
const RELIABLE: Keeping = Keeping::UntilAcked(Order::Ordered);

fn outbox() -> Outbox {
    let mut outbox = Outbox::new(RELIABLE, QueueLimits::default(), 4, 1 << 20);
    outbox.on_attach(Seq::ZERO, 1 << 20).unwrap();
    outbox
}

fn push(outbox: &mut Outbox, payload: &[u8]) {
    outbox.push(payload.into(), NOW).unwrap();
}

/// `(number, last, payload)` of each frame that the outbox has to send.
fn drain(outbox: &mut Outbox) -> Vec<(u64, bool, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some(frame) = outbox.next_frame(ROOM) {
        match frame {
            ChannelFrame::Data {
                seq, part, payload, ..
            } => {
                frames.push((seq.0, part.ends(), payload.to_vec()));
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    frames
}

#[test]
fn a_large_message_is_cut_and_an_empty_one_is_sent() {
    let mut outbox = outbox();
    push(&mut outbox, b"abcdefghi");
    push(&mut outbox, b"");
    assert_eq!(
        drain(&mut outbox),
        [
            (0, false, b"abcd".to_vec()),
            (1, false, b"efgh".to_vec()),
            (2, true, b"i".to_vec()),
            (3, true, vec![]),
        ]
    );
    assert_eq!(outbox.end(), Some(Seq(4)));
}

#[test]
fn a_new_link_resumes_in_the_middle_of_a_message_and_then_goes_on() {
    let mut outbox = outbox();
    push(&mut outbox, b"abcdefghi");
    drain(&mut outbox);
    push(&mut outbox, b"next");
    outbox.on_attach(Seq(1), 1 << 20).unwrap();
    assert_eq!(
        drain(&mut outbox),
        [
            (1, false, b"efgh".to_vec()),
            (2, true, b"i".to_vec()),
            (3, true, b"next".to_vec()),
        ]
    );
    assert_eq!((outbox.settled(), outbox.accepted()), (0, 2));
    outbox.on_ack(Seq(4), 0).unwrap();
    assert_eq!((outbox.settled(), outbox.buffered_bytes()), (2, 0));
}

#[test]
fn replay_cuts_in_the_same_places_after_the_fragment_size_changed() {
    let mut outbox = outbox();
    push(&mut outbox, b"abcdefgh");
    drain(&mut outbox);
    outbox.limit(3, u64::MAX);
    outbox.on_attach(Seq(1), 1 << 20).unwrap();
    assert_eq!(drain(&mut outbox), [(1, true, b"efgh".to_vec())]);
}

#[test]
fn attaching_when_nothing_was_ever_sent_changes_nothing() {
    let mut outbox = outbox();
    outbox.on_attach(Seq::ZERO, 100).unwrap();
    assert_eq!(
        (drain(&mut outbox), outbox.end()),
        (vec![], Some(Seq::ZERO))
    );
}

#[test]
fn credit_holds_the_sender_back() {
    let mut outbox = outbox();
    for _ in 0..5 {
        push(&mut outbox, b"1234");
    }
    let cost = fragment_cost(4);
    outbox.on_attach(Seq::ZERO, 2 * cost + 1).unwrap();
    assert_eq!(drain(&mut outbox).len(), 2);
    outbox.on_ack(Seq(1), cost - 1).unwrap();
    assert_eq!(drain(&mut outbox).len(), 0);
    outbox.on_ack(Seq(2), 2 * cost).unwrap();
    assert_eq!(drain(&mut outbox).len(), 2);
    assert_eq!(outbox.queue_len(), 1);
}

#[test]
fn a_generous_peer_does_not_make_the_outbox_send_more_than_its_own_limit() {
    let mut outbox = Outbox::new(RELIABLE, QueueLimits::default(), 4, 2 * fragment_cost(4));
    outbox.on_attach(Seq::ZERO, u64::MAX).unwrap();
    for _ in 0..5 {
        push(&mut outbox, b"1234");
    }
    assert_eq!(drain(&mut outbox).len(), 2);
}

#[test]
fn impossible_acknowledgements_change_nothing() {
    let mut outbox = outbox();
    push(&mut outbox, b"a");
    push(&mut outbox, b"b");
    drain(&mut outbox);
    outbox.on_ack(Seq(1), 9).unwrap();
    let beyond = OutboxViolation::BeyondSent {
        next: Seq(3),
        sent: Seq(2),
    };
    assert_eq!(outbox.on_ack(Seq(3), 9), Err(beyond));
    let back = OutboxViolation::TakenBack {
        next: Seq(0),
        acked: Seq(1),
    };
    assert_eq!(outbox.on_ack(Seq(0), 9), Err(back));
    assert_eq!(outbox.on_attach(Seq(0), 9), Err(back));
    assert_eq!(outbox.settled(), 1);
}

#[test]
fn after_an_attach_only_what_this_link_carried_can_be_acknowledged() {
    let mut outbox = outbox();
    push(&mut outbox, b"a");
    push(&mut outbox, b"b");
    drain(&mut outbox);
    outbox.on_attach(Seq(0), 1 << 20).unwrap();
    assert!(outbox.on_ack(Seq(1), 9).is_err());
    outbox.next_frame(ROOM);
    assert!(outbox.on_ack(Seq(1), 9).is_ok());
}

#[test]
fn what_was_dropped_is_told_once_in_its_place_and_again_after_a_cut() {
    let limits = QueueLimits {
        messages_max: 2,
        overflow: Overflow::DropOldest,
        ..QueueLimits::default()
    };
    let mut outbox = Outbox::new(RELIABLE, limits, 4, 1 << 20);
    for payload in [b"1", b"2", b"3", b"4"] {
        push(&mut outbox, payload);
    }
    outbox.on_attach(Seq::ZERO, 1 << 20).unwrap();
    let gap = ChannelFrame::Skip {
        from: Seq(0),
        to: Seq(1),
        messages: 2,
    };
    assert_eq!(outbox.next_frame(ROOM), Some(gap.clone()));
    assert_eq!(
        drain(&mut outbox),
        [(1, true, b"3".to_vec()), (2, true, b"4".to_vec())]
    );
    outbox.on_attach(Seq::ZERO, 1 << 20).unwrap();
    assert_eq!(outbox.next_frame(ROOM), Some(gap));
    outbox.on_attach(Seq(1), 1 << 20).unwrap();
    assert_eq!(
        drain(&mut outbox).len(),
        2,
        "the gap is confirmed and not told again"
    );
    outbox.on_ack(Seq(3), 9).unwrap();
    assert_eq!(outbox.settled(), outbox.accepted());
}

#[test]
fn expired_messages_are_counted_and_numbered_ones_never_expire() {
    let mut outbox = outbox();
    push(&mut outbox, b"sent");
    drain(&mut outbox);
    push(&mut outbox, b"waits");
    let later = NOW + Duration::from_secs(60);
    assert_eq!(outbox.next_expiry(), Some(later));
    assert_eq!(outbox.expire(later), 1);
    outbox.on_attach(Seq::ZERO, 1 << 20).unwrap();
    assert!(matches!(
        outbox.next_frame(ROOM),
        Some(ChannelFrame::Data { .. })
    ));
    assert!(matches!(
        outbox.next_frame(ROOM),
        Some(ChannelFrame::Skip { messages: 1, .. })
    ));
}

#[test]
fn a_new_session_starts_with_everything_unconfirmed_in_order() {
    let mut outbox = outbox();
    for payload in [b"1111", b"2222", b"3333"] {
        push(&mut outbox, payload);
    }
    drain(&mut outbox);
    push(&mut outbox, b"4444");
    outbox.on_ack(Seq(1), 9).unwrap();
    assert_eq!(
        outbox.reset(),
        Unconfirmed {
            undelivered: 1,
            maybe_delivered: 2
        }
    );
    outbox.on_attach(Seq::ZERO, 1 << 20).unwrap();
    let payloads: Vec<_> = drain(&mut outbox).into_iter().map(|f| (f.0, f.2)).collect();
    assert_eq!(
        payloads,
        [
            (0, b"2222".to_vec()),
            (1, b"3333".to_vec()),
            (2, b"4444".to_vec())
        ]
    );
}

#[test]
fn a_frame_that_does_not_fit_the_room_waits() {
    let mut outbox = outbox();
    push(&mut outbox, b"1234");
    assert_eq!(
        outbox.next_frame(ChannelFrame::DATA_HEADER_BYTES_MAX + 3),
        None
    );
    assert!(
        outbox
            .next_frame(ChannelFrame::DATA_HEADER_BYTES_MAX + 4)
            .is_some()
    );
}

#[test]
fn what_the_peer_would_not_take_becomes_a_gap() {
    let mut outbox = outbox();
    push(&mut outbox, b"12345678");
    push(&mut outbox, b"12");
    outbox.watch(0);
    outbox.limit(4, 7);
    assert!(matches!(
        outbox.next_frame(ROOM),
        Some(ChannelFrame::Skip { messages: 1, .. })
    ));
    assert_eq!(drain(&mut outbox), [(1, true, b"12".to_vec())]);
    assert_eq!(outbox.take_refused(), 1);
    assert_eq!(outbox.take_outcome(0), Some(Outcome::Undelivered));
}

#[test]
fn each_message_that_is_watched_has_one_outcome() {
    let mut outbox = outbox();
    for payload in [&b"acked"[..], b"whole", b"half of it"] {
        let number = outbox.accepted();
        push(&mut outbox, payload);
        outbox.watch(number);
    }
    // Two fragments each of the first two messages, one of the third.
    for _ in 0..5 {
        outbox.next_frame(ROOM);
    }
    outbox.on_ack(Seq(2), 1 << 20).unwrap();
    assert_eq!(outbox.take_outcome(0), Some(Outcome::Delivered));
    assert_eq!(
        (outbox.take_outcome(0), outbox.take_outcome(1)),
        (None, None)
    );
    outbox.clear();
    assert_eq!(outbox.take_outcome(1), Some(Outcome::Unknown));
    assert_eq!(outbox.take_outcome(2), Some(Outcome::Undelivered));
}

#[test]
fn a_message_that_was_dropped_does_not_settle_an_older_one() {
    let limits = QueueLimits {
        messages_max: 1,
        overflow: Overflow::DropOldest,
        ..QueueLimits::default()
    };
    let mut outbox = Outbox::new(RELIABLE, limits, 4, 1 << 20);
    outbox.on_attach(Seq::ZERO, 1 << 20).unwrap();
    push(&mut outbox, b"sent");
    drain(&mut outbox);
    push(&mut outbox, b"drop");
    push(&mut outbox, b"wait");
    assert_eq!((outbox.settled(), outbox.accepted()), (0, 3));
    outbox.on_ack(Seq(1), 1 << 20).unwrap();
    assert_eq!(
        outbox.settled(),
        2,
        "the second was dropped, the third waits"
    );
}

#[test]
fn acknowledgements_that_overtake_each_other_do_no_harm_on_an_unordered_stream() {
    let keeping = Keeping::UntilAcked(Order::Unordered);
    let mut outbox = Outbox::new(keeping, QueueLimits::default(), 4, 1 << 20);
    outbox.on_attach(Seq::ZERO, 1 << 20).unwrap();
    for _ in 0..3 {
        push(&mut outbox, b"1234");
    }
    drain(&mut outbox);
    outbox.on_ack(Seq(2), 500).unwrap();
    outbox.on_ack(Seq(1), 0).unwrap();
    outbox.on_ack(Seq(2), 100).unwrap();
    assert_eq!((outbox.acked, outbox.credit), (Seq(2), 500));
    assert!(outbox.on_ack(Seq(4), 500).is_err());
}

#[test]
fn a_lossy_outbox_forgets_what_it_sent_and_needs_no_credit() {
    let mut outbox = Outbox::new(Keeping::NotAtAll, QueueLimits::default(), 4, 0);
    outbox.on_attach(Seq::ZERO, 0).unwrap();
    push(&mut outbox, b"abcdef");
    push(&mut outbox, b"gh");
    outbox.watch(0);
    assert!(outbox.next_frame(ROOM).is_some());
    assert_eq!(outbox.take_outcome(0), None);
    // A new link: the second half is of no use there.
    outbox.on_attach(Seq::ZERO, 0).unwrap();
    assert_eq!(outbox.take_outcome(0), Some(Outcome::Undelivered));
    assert_eq!(drain(&mut outbox), [(2, true, b"gh".to_vec())]);
    assert!(outbox.is_settled());
    assert_eq!(outbox.buffered_bytes(), 0);
}

#[test]
fn a_message_for_a_peer_that_does_not_number_is_taken_whole() {
    let mut outbox = Outbox::new(Keeping::NotAtAll, QueueLimits::default(), 4, 0);
    push(&mut outbox, b"0123456789");
    let message = outbox
        .next_message(1000)
        .map(|(_, payload)| payload.to_vec());
    assert_eq!(message, Some(b"0123456789".to_vec()));
    assert_eq!((outbox.next_message(1000), outbox.settled()), (None, 1));
}

#[test]
fn what_no_link_carries_to_such_a_peer_has_never_left() {
    let mut outbox = Outbox::new(Keeping::NotAtAll, QueueLimits::default(), 4, 0);
    for (number, payload) in (0..).zip([&b""[..], b"0123456789", b"fits"]) {
        push(&mut outbox, payload);
        outbox.watch(number);
    }
    let message = outbox.next_message(4).map(|(_, payload)| payload.to_vec());
    assert_eq!(message, Some(b"fits".to_vec()));
    assert_eq!(outbox.take_refused(), 2);
    let outcomes = [0, 1, 2].map(|number| outbox.take_outcome(number));
    let undelivered = Some(Outcome::Undelivered);
    assert_eq!(outcomes, [undelivered, undelivered, Some(Outcome::Unknown)]);
}

#[test]
fn what_left_in_an_earlier_session_is_never_called_undelivered() {
    let mut outbox = outbox();
    push(&mut outbox, b"left");
    push(&mut outbox, b"large, and cut");
    outbox.watch(0);
    outbox.watch(1);
    for _ in 0..3 {
        outbox.next_frame(ROOM).unwrap();
    }
    outbox.reset();
    outbox.clear();
    assert_eq!(outbox.take_outcome(0), Some(Outcome::Unknown));
    assert_eq!(outbox.take_outcome(1), Some(Outcome::Undelivered));
}
