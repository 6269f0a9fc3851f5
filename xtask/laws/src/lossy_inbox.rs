//! The lossy half of a channel under any fragments.

use bytes::Bytes;
use rondevu_core::frame::{Part, fragment_cost};
use rondevu_core::{LossyInbox, Order, Seq};

use crate::Script;
use crate::inbox::{kind, order, part, position};

const WINDOW: u64 = 2000;
const MESSAGE_MAX: u64 = 1000;

/// The first byte chooses the sender.
pub(crate) fn lossy_inbox(input: &[u8]) {
    let mut script = Script::new(input);
    let order = order(&mut script);
    match script.flag() {
        true => hostile(&mut script, order),
        false => honest(&mut script, order),
    }
}

/// Whatever comes: no panic, and memory stays within its bounds.
fn hostile(script: &mut Script<'_>, order: Order) {
    let mut inbox = LossyInbox::new(order, WINDOW, MESSAGE_MAX);
    let mut next = Seq::ZERO;
    while !script.is_empty() {
        match script.pick(10) {
            0..=4 => {
                let seq = position(script, next);
                next = seq.advance(1);
                let (part, kind) = (part(script), kind(script));
                let payload = Bytes::copy_from_slice(script.bytes(200));
                let _ = inbox.on_data(seq, part, kind, payload);
            }
            5 => {
                let from = position(script, next);
                next = position(script, from);
                let _ = inbox.on_skip(from, next, script.number());
            }
            6 => inbox.on_attach(),
            7 => drop(inbox.pop()),
            8 => drop(inbox.take_overflowed()),
            _ => match script.pick(20) {
                0 => inbox.discard(),
                1 => inbox.reset(),
                2 => inbox.on_end(),
                _ => inbox.on_message("plain".into()),
            },
        }
        let _ = inbox.missed();
        // One message larger than the window is kept alone.
        let most = WINDOW.max(2 * MESSAGE_MAX + WINDOW) + WINDOW;
        assert!(inbox.held_bytes() <= most, "{} held", inbox.held_bytes());
    }
    while inbox.pop().is_some() {}
    inbox.on_attach();
    assert_eq!(inbox.held_bytes(), 0);
}

/// Numbered messages of one or two fragments, some lost, some late: what arrives does so once, unchanged,
/// and in order if ordered.
fn honest(script: &mut Script<'_>, order: Order) {
    let mut inbox = LossyInbox::new(order, 1 << 20, MESSAGE_MAX);
    let (mut seq, mut wire, mut got) = (0, Vec::new(), Vec::new());
    for number in 0..u8::MAX {
        if script.is_empty() {
            break;
        }
        let parts = match script.flag() {
            true => &[Part::Whole][..],
            false => &[Part::First, Part::Last],
        };
        for part in parts {
            wire.push((Seq(seq), *part, number));
            seq += 1;
        }
        while !wire.is_empty() && script.pick(3) > 0 {
            let at = match order {
                Order::Ordered => 0,
                Order::Unordered => script.pick(wire.len()),
            };
            let (seq, part, number) = wire.remove(at);
            if script.pick(4) > 0 {
                let payload = Bytes::copy_from_slice(&[number]);
                let kind = rondevu_core::MessageKind::Binary;
                inbox
                    .on_data(seq, part, kind, payload)
                    .expect("an honest fragment");
            }
        }
        got.extend(std::iter::from_fn(|| inbox.pop()));
    }
    let mut numbers: Vec<u8> = got
        .into_iter()
        .map(|delivery| {
            let message = delivery.into_message().expect("nothing was dropped");
            let bytes = message.as_bytes();
            assert!(bytes.iter().all(|byte| *byte == bytes[0]), "mixed up");
            bytes[0]
        })
        .collect();
    if order == Order::Unordered {
        numbers.sort_unstable();
    }
    assert!(
        numbers.is_sorted_by(|a, b| a < b),
        "doubled or out of order"
    );
    assert!(inbox.held_bytes() <= fragment_cost(1) * seq);
}
