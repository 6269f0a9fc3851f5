//! Fragments in every order, and those that no correct sender sends.

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

fn reassembly() -> Reassembly {
    Reassembly::new(1000, 1000)
}

fn insert(
    reassembly: &mut Reassembly,
    seq: u64,
    part: Part,
    payload: &[u8],
) -> Result<Option<Message>, InboxViolation> {
    let payload = Bytes::copy_from_slice(payload);
    let complete = reassembly.insert(Seq(seq), part, MessageKind::Binary, payload)?;
    Ok(complete.map(|complete| complete.message))
}

proptest! {
    #[test]
    fn messages_come_out_whole_in_any_order_of_arrival(
        fragments in prop::collection::vec(1usize..6, 1..6),
        seed: u64,
    ) {
        let mut all: Vec<(u64, Part, Vec<u8>)> = Vec::new();
        let mut messages = Vec::new();
        for count in fragments {
            let mut message = Vec::new();
            for i in 0..count {
                let payload = vec![all.len() as u8; i + 1];
                message.extend_from_slice(&payload);
                let part = Part::new(i == 0, i + 1 == count);
                all.push((all.len() as u64, part, payload));
            }
            messages.push(message);
        }
        fastrand::Rng::with_seed(seed).shuffle(&mut all);
        let mut reassembly = reassembly();
        let mut got: Vec<Vec<u8>> = Vec::new();
        for (seq, part, payload) in all {
            let message = insert(&mut reassembly, seq, part, &payload).unwrap();
            got.extend(message.map(|m| m.into_bytes().to_vec()));
        }
        prop_assert!(reassembly.is_empty());
        prop_assert_eq!(reassembly.cost(), 0);
        got.sort();
        messages.sort();
        prop_assert_eq!(got, messages);
    }
}

#[test]
fn neighbours_that_do_not_fit_are_a_violation() {
    let broken = Err(InboxViolation::BrokenMessage);
    for (first, second) in [
        (Part::First, Part::First),
        (Part::First, Part::Whole),
        (Part::Last, Part::Middle),
        (Part::Last, Part::Last),
    ] {
        let mut forwards = reassembly();
        insert(&mut forwards, 0, first, b"a").unwrap();
        assert_eq!(insert(&mut forwards, 1, second, b"b"), broken, "{first:?}");
        let mut backwards = reassembly();
        if second != Part::Whole {
            insert(&mut backwards, 1, second, b"b").unwrap();
            assert_eq!(insert(&mut backwards, 0, first, b"a"), broken, "{first:?}");
        }
    }
}

#[test]
fn a_message_does_not_change_between_text_and_bytes() {
    let mut reassembly = reassembly();
    insert(&mut reassembly, 0, Part::First, b"a").unwrap();
    let text = reassembly.insert(
        Seq(1),
        Part::Last,
        MessageKind::Text,
        Bytes::from_static(b"b"),
    );
    assert_eq!(text.err(), Some(InboxViolation::BrokenMessage));
}

#[test]
fn tiny_fragments_do_not_take_more_memory_than_the_limit_allows() {
    let mut reassembly = reassembly();
    insert(&mut reassembly, 0, Part::First, b"x").unwrap();
    let violation = (1..1000)
        .map(|seq| insert(&mut reassembly, seq, Part::Middle, b"x"))
        .find_map(Result::err);
    assert_eq!(
        violation,
        Some(InboxViolation::MessageTooLarge { max: 1000 })
    );
    assert!(reassembly.cost() <= 3000);
}

#[test]
fn below_the_first_missing_fragment_only_one_message_may_be_incomplete() {
    let mut reassembly = reassembly();
    insert(&mut reassembly, 0, Part::First, b"a").unwrap();
    assert_eq!(reassembly.check_below(Seq(1)), Ok(()));
    assert_eq!(
        reassembly.check_below(Seq(2)),
        Err(InboxViolation::BrokenMessage),
        "it does not go on"
    );
    let mut dangling = Reassembly::new(1000, 1000);
    insert(&mut dangling, 0, Part::Middle, b"a").unwrap();
    assert_eq!(
        dangling.check_below(Seq(1)),
        Err(InboxViolation::BrokenMessage),
        "it has no beginning"
    );
}
