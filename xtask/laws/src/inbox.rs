//! The reliable halves of a channel: a hostile sender, and an honest one across cuts.

use std::time::Duration;

use bytes::Bytes;
use rondevu_core::frame::{ChannelFrame, Part, fragment_cost};
use rondevu_core::{
    Delivery, Inbox, Instant, Keeping, Message, MessageKind, Order, Outbox, QueueLimits, Seq,
};

use crate::Script;

const WINDOW: u64 = 2000;
const MESSAGE_MAX: u64 = 1000;

/// The first byte chooses the sender.
pub(crate) fn inbox(input: &[u8]) {
    let mut script = Script::new(input);
    let order = order(&mut script);
    match script.flag() {
        true => hostile(&mut script, order),
        false => honest(&mut script, order),
    }
}

pub(crate) fn order(script: &mut Script<'_>) -> Order {
    match script.flag() {
        true => Order::Ordered,
        false => Order::Unordered,
    }
}

pub(crate) fn part(script: &mut Script<'_>) -> Part {
    Part::new(script.flag(), script.flag())
}

pub(crate) fn kind(script: &mut Script<'_>) -> MessageKind {
    match script.pick(4) {
        0 => MessageKind::Text,
        _ => MessageKind::Binary,
    }
}

/// Whatever comes: no panic, the cursor only advances, memory stays within the window and one message.
fn hostile(script: &mut Script<'_>, order: Order) {
    let mut inbox = Inbox::new(order, WINDOW, MESSAGE_MAX);
    let mut now = Instant::ORIGIN;
    let mut next = Seq::ZERO;
    while !script.is_empty() {
        now += Duration::from_millis(script.pick(40) as u64);
        match script.pick(12) {
            0..=4 => {
                let seq = position(script, inbox.next());
                let (part, kind) = (part(script), kind(script));
                let payload = Bytes::copy_from_slice(script.bytes(200));
                let _ = inbox.on_data(seq, part, kind, payload, now);
            }
            5 => {
                let from = position(script, inbox.next());
                let to = position(script, from);
                let _ = inbox.on_skip(from, to, script.number(), now);
            }
            6 => {
                let _ = inbox.on_end(position(script, inbox.next()));
            }
            7 | 8 => drop(inbox.pop()),
            9 => drop(inbox.poll_ack(now)),
            10 => drop(inbox.cursor()),
            _ => match script.pick(20) {
                0 => inbox.discard(),
                1 => {
                    inbox.reset();
                    next = Seq::ZERO;
                }
                _ => inbox.handle_timeout(now),
            },
        }
        assert!(inbox.next() >= next, "the cursor went back");
        next = inbox.next();
        // What is ready or above a hole lies in the window; one message may be under way below it, and a
        // reset leaves what was ready.
        let most = 2 * (WINDOW + 2 * MESSAGE_MAX + WINDOW);
        assert!(inbox.held_bytes() <= most, "{} held", inbox.held_bytes());
    }
}

/// Mostly near `base`.
pub(crate) fn position(script: &mut Script<'_>, base: Seq) -> Seq {
    match script.byte() {
        near @ 0..=199 => base.advance(u64::from(near % 8)),
        back @ 200..=239 => Seq(base.0.saturating_sub(u64::from(back % 8))),
        _ => Seq(script.number()),
    }
}

/// An outbox sends messages over links that are cut anywhere and, if unordered, mix everything up: each
/// arrives once, and in order if ordered.
fn honest(script: &mut Script<'_>, order: Order) {
    let keeping = Keeping::UntilAcked(order);
    let mut outbox = Outbox::new(keeping, QueueLimits::default(), 50, WINDOW);
    let mut inbox = Inbox::new(order, WINDOW, MESSAGE_MAX);
    let (mut wire, mut acks) = (Vec::new(), Vec::new());
    let (mut sent, mut got) = (0u64, Vec::new());
    let mut now = Instant::ORIGIN;
    let (next, credit) = inbox.cursor();
    outbox.on_attach(next, credit).expect("nothing was sent");
    while !script.is_empty() {
        now += Duration::from_millis(script.pick(40) as u64);
        match script.pick(8) {
            0 => {
                if outbox.push(numbered(sent), now).is_ok() {
                    sent += 1;
                }
            }
            1 | 2 => wire.extend(outbox.next_frame(usize::MAX)),
            3 | 4 => deliver(&mut inbox, take(&mut wire, script, order), now),
            5 => {
                acks.extend(inbox.poll_ack(now));
                if let Some((next, credit)) = take(&mut acks, script, order) {
                    outbox
                        .on_ack(next, credit)
                        .expect("an honest acknowledgement");
                }
            }
            6 => got.extend(inbox.pop()),
            _ => {
                if script.pick(4) == 0 {
                    wire.clear();
                    acks.clear();
                    let (next, credit) = inbox.cursor();
                    outbox.on_attach(next, credit).expect("an honest cursor");
                }
            }
        }
    }
    finish(&mut outbox, &mut inbox, wire, acks, &mut got, now);
    check_all_arrived(got, sent, order);
}

/// One of what is on its way: the first, or any.
fn take<T>(way: &mut Vec<T>, script: &mut Script<'_>, order: Order) -> Option<T> {
    if way.is_empty() {
        return None;
    }
    let at = match order {
        Order::Ordered => 0,
        Order::Unordered => script.pick(way.len()),
    };
    Some(way.remove(at))
}

fn deliver(inbox: &mut Inbox, frame: Option<ChannelFrame>, now: Instant) {
    match frame {
        Some(ChannelFrame::Data {
            seq,
            part,
            kind,
            payload,
        }) => inbox
            .on_data(seq, part, kind, payload, now)
            .expect("an honest fragment"),
        Some(other) => panic!("an outbox that drops nothing sends only data, not {other:?}"),
        None => {}
    }
}

fn finish(
    outbox: &mut Outbox,
    inbox: &mut Inbox,
    wire: Vec<ChannelFrame>,
    acks: Vec<(Seq, u64)>,
    got: &mut Vec<Delivery>,
    mut now: Instant,
) {
    for frame in wire {
        deliver(inbox, Some(frame), now);
    }
    for (next, credit) in acks {
        outbox
            .on_ack(next, credit)
            .expect("an honest acknowledgement");
    }
    while !outbox.is_settled() {
        now += Duration::from_millis(25);
        let mut moved = false;
        while let Some(frame) = outbox.next_frame(usize::MAX) {
            deliver(inbox, Some(frame), now);
            moved = true;
        }
        got.extend(std::iter::from_fn(|| inbox.pop()));
        if let Some((next, credit)) = inbox.poll_ack(now) {
            outbox
                .on_ack(next, credit)
                .expect("an honest acknowledgement");
            moved = true;
        }
        assert!(moved, "nothing moves, and something is not delivered");
    }
    got.extend(std::iter::from_fn(|| inbox.pop()));
}

/// Of one to four fragments.
fn numbered(n: u64) -> Message {
    let mut payload = n.to_be_bytes().to_vec();
    payload.resize(8 + (n as usize * 37) % 180, 0xee);
    payload.into()
}

fn check_all_arrived(got: Vec<Delivery>, sent: u64, order: Order) {
    let mut numbers: Vec<u64> = got
        .into_iter()
        .map(|delivery| {
            let message = delivery.into_message().expect("nothing was dropped");
            let (number, _) = message.as_bytes().split_first_chunk().expect("8 bytes");
            let number = u64::from_be_bytes(*number);
            assert_eq!(message, numbered(number), "a message was changed");
            number
        })
        .collect();
    if order == Order::Unordered {
        numbers.sort_unstable();
    }
    assert!(numbers.into_iter().eq(0..sent), "lost, doubled or mixed up");
}

/// The most that can be held, for other targets.
pub(crate) const fn held_max(window: u64, message: u64) -> u64 {
    2 * (window + 2 * message + window) + fragment_cost(0)
}
