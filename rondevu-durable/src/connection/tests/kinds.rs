//! Channels that are unordered or lossy, and what becomes of single messages.

use std::collections::BTreeSet;

use rondevu_core::frame::ChannelOptions;
use rondevu_core::{DurableChannelState, Outcome, QueueLimits};

use super::*;

fn open(pair: &mut Pair, ordered: bool, reliability: Reliability) -> ChannelId {
    let options = ChannelOptions {
        ordered,
        reliability,
    };
    let config = ChannelConfig {
        options,
        ..ChannelConfig::default()
    };
    pair.dialer.open_channel("kind", &config).unwrap()
}

fn acceptors(pair: &Pair, id: ChannelId) -> &ChannelMachine {
    pair.acceptor.as_ref().unwrap().channel(id).unwrap()
}

#[test]
fn an_unordered_channel_delivers_each_message_once_across_cuts() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let id = open(&mut pair, false, Reliability::Reliable);
    let mut expected = BTreeSet::new();
    for round in 0..5 {
        for n in 0..20 {
            let text = std::format!("{round}/{n}");
            assert!(pair.send(Role::Dialer, id, &text));
            expected.insert(text);
        }
        pair.pump();
        pair.deliver_some();
        pair.cut_all();
        pair.wait(Duration::from_secs(40));
    }
    let got = pair.received(Role::Acceptor);
    assert_eq!(got.len(), expected.len());
    assert_eq!(
        got.into_iter().map(String::from).collect::<BTreeSet<_>>(),
        expected
    );
}

#[test]
fn channel_options_survive_a_reconnect_and_a_new_session() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let id = open(&mut pair, false, Reliability::MaxRetransmits(3));
    pair.settle();
    let options = acceptors(&pair, id).options();
    assert_eq!(options.reliability, Reliability::MaxRetransmits(3));
    pair.cut_all();
    pair.wait(Duration::from_secs(2));
    assert_eq!(acceptors(&pair, id).options(), options);
    pair.acceptor = None;
    pair.cut_all();
    pair.wait(Duration::from_secs(9));
    assert_eq!(acceptors(&pair, id).options(), options);
}

#[test]
fn a_lossy_channel_does_not_replay_what_a_lost_link_carried() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let id = open(&mut pair, true, Reliability::MaxRetransmits(0));
    pair.settle();
    pair.send(Role::Dialer, id, "on the lost link");
    pair.pump();
    pair.cut_all();
    pair.send(Role::Dialer, id, "waits for the next");
    pair.wait(Duration::from_secs(2));
    assert_eq!(pair.received(Role::Acceptor), ["waits for the next"]);
    assert_eq!(acceptors(&pair, id).missed_fragments(), 1);
}

#[test]
fn what_has_a_lifetime_waits_no_longer_than_that() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let lifetime = Duration::from_millis(100);
    let id = open(&mut pair, true, Reliability::MaxPacketLifetime(lifetime));
    pair.settle();
    pair.network_up = false;
    pair.cut_all();
    pair.send(Role::Dialer, id, "stale");
    pair.wait(Duration::from_secs(1));
    let events = core::iter::from_fn(|| pair.dialer.channel_mut(id)?.poll_event());
    assert!(
        events
            .into_iter()
            .any(|e| e == crate::ChannelEvent::Expired { dropped: 1 })
    );
}

#[test]
fn every_kind_of_channel_closes_on_both_sides_and_frees_its_stream() {
    let lifetime = Reliability::MaxPacketLifetime(Duration::from_secs(1));
    for reliability in [
        Reliability::Reliable,
        Reliability::MaxRetransmits(1),
        lifetime,
    ] {
        for ordered in [true, false] {
            let mut pair = Pair::connected(ConnectionConfig::default());
            let id = open(&mut pair, ordered, reliability);
            pair.send(Role::Dialer, id, "last");
            pair.dialer.channel_mut(id).unwrap().finish();
            pair.settle();
            assert_eq!(pair.received(Role::Acceptor), ["last"]);
            let state = pair.dialer.channel(id).unwrap().state();
            assert_eq!(
                state,
                DurableChannelState::Closed,
                "{ordered} {reliability:?}"
            );
            assert_eq!(acceptors(&pair, id).state(), DurableChannelState::Closed);
            assert!(pair.closed_streams >= 1, "the link has room for others");
        }
    }
}

#[test]
fn a_lossy_channel_that_closes_while_the_link_is_down_closes_on_the_next() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let id = open(&mut pair, false, Reliability::MaxRetransmits(0));
    pair.settle();
    pair.cut_all();
    pair.dialer.channel_mut(id).unwrap().finish();
    pair.wait(Duration::from_secs(2));
    assert_eq!(acceptors(&pair, id).state(), DurableChannelState::Closed);
    assert_eq!(
        pair.dialer.channel(id).unwrap().state(),
        DurableChannelState::Closed
    );
}

#[test]
fn a_label_can_be_used_again_after_its_channel_has_closed() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    for n in 0..300 {
        let id = open(&mut pair, true, Reliability::Reliable);
        pair.send(Role::Dialer, id, "x");
        pair.dialer.channel_mut(id).unwrap().finish();
        pair.settle();
        pair.dialer.forget_channel(id);
        pair.acceptor.as_mut().unwrap().forget_channel(id);
        assert_eq!(pair.received(Role::Acceptor).len(), n + 1);
    }
    assert_eq!(pair.dialer.generation(), Generation(1));
}

#[test]
fn each_watched_message_is_delivered_undelivered_or_unknown() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let id = open(&mut pair, true, Reliability::Reliable);
    let now = pair.now;
    let watch = |pair: &mut Pair, text: &str| {
        let channel = pair.dialer.channel_mut(id).unwrap();
        channel.send_watched(text.into(), now).unwrap()
    };
    let delivered = watch(&mut pair, "arrives");
    pair.wait(Duration::from_millis(100));
    let unknown = watch(&mut pair, "on its way");
    pair.pump();
    pair.network_up = false;
    pair.cut_all();
    let undelivered = watch(&mut pair, "never leaves");
    pair.dialer.abort(ByeReason::Closed);
    let channel = pair.dialer.channel_mut(id).unwrap();
    assert_eq!(channel.take_outcome(delivered), Some(Outcome::Delivered));
    assert_eq!(channel.take_outcome(unknown), Some(Outcome::Unknown));
    assert_eq!(
        channel.take_outcome(undelivered),
        Some(Outcome::Undelivered)
    );
}

#[test]
fn a_message_that_the_peer_does_not_take_is_reported_and_holds_up_nothing() {
    let small = ConnectionConfig {
        message_bytes_max: 10,
        ..ConnectionConfig::default()
    };
    let mut pair = Pair::new(ConnectionConfig::default());
    pair.config = small;
    let id = open(&mut pair, true, Reliability::Reliable);
    pair.send(Role::Dialer, id, "far too long for the peer");
    pair.send(Role::Dialer, id, "short");
    pair.settle();
    let refused = crate::ChannelEvent::Refused { dropped: 1 };
    let mut events = core::iter::from_fn(|| pair.dialer.channel_mut(id)?.poll_event());
    assert!(events.any(|event| event == refused));
    let lost = rondevu_core::Delivery::Lost { messages: 1 };
    assert_eq!(pair.got[1][0], lost);
    assert_eq!(pair.got[1].len(), 2);
}

#[test]
fn a_slow_reader_holds_the_sender_back_and_memory_stays_bounded() {
    let config = ConnectionConfig {
        window_bytes: 10_000,
        incoming_channel: ChannelConfig {
            queue: QueueLimits {
                messages_max: 10,
                ..QueueLimits::default()
            },
            ..ChannelConfig::default()
        },
        ..ConnectionConfig::default()
    };
    let mut pair = Pair::connected(config);
    let id = open(&mut pair, true, Reliability::Reliable);
    let text = "x".repeat(1000);
    for _ in 0..100 {
        pair.send(Role::Dialer, id, &text);
    }
    pair.settle_without_reading();
    assert!(acceptors(&pair, id).held_bytes() <= 10_000);
    assert!(pair.dialer.channel(id).unwrap().outbox().queue_len() > 80);
    pair.settle();
    assert_eq!(pair.received(Role::Acceptor).len(), 100);
}
