//! Two machines that talk across links of all fates.

mod connecting;
mod kinds;
mod ladder;
mod pair;
mod plain;
mod proofs;
mod tables;

use std::string::String;
use std::vec::Vec;

use proptest::prelude::*;
use rondevu_core::frame::{CONTROL_LABEL, CONTROL_PROTOCOL};
use rondevu_core::{DurableConnectionState as State, LinkEvent, OpenedBy};

use self::pair::{CONTROL, Pair, seeds};
use super::*;
use crate::error::{DialFailure, DialRetry};

fn dialer() -> ConnectionMachine {
    ConnectionMachine::dialer(ConnectionConfig::default(), Trust::default(), seeds(1))
}

fn channel(pair: &mut Pair) -> ChannelId {
    pair.dialer
        .open_channel("chat", &ChannelConfig::default())
        .unwrap()
}

#[test]
fn messages_sent_before_the_first_link_arrive_after_it() {
    let mut pair = Pair::new(ConnectionConfig::default());
    let chat = channel(&mut pair);
    assert!(pair.send(Role::Dialer, chat, "early"));
    pair.settle();
    assert_eq!(pair.received(Role::Acceptor), ["early"]);
}

#[test]
fn both_sides_can_open_channels_on_a_living_link() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    let acceptor = pair.acceptor.as_mut().unwrap();
    let news = acceptor
        .open_channel("news", &ChannelConfig::default())
        .unwrap();
    assert!(pair.send(Role::Dialer, chat, "question"));
    assert!(pair.send(Role::Acceptor, news, "headline"));
    pair.settle();
    assert_eq!(pair.received(Role::Acceptor), ["question"]);
    assert_eq!(pair.received(Role::Dialer), ["headline"]);
}

#[test]
fn messages_sent_while_reconnecting_arrive_once() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.settle();
    pair.cut_all();
    assert_eq!(pair.dialer.state(), State::Reconnecting);
    assert_eq!(pair.acceptor.as_ref().unwrap().state(), State::Disconnected);
    assert!(pair.send(Role::Dialer, chat, "while away"));
    assert!(pair.send(Role::Acceptor, chat, "me too"));
    pair.wait(Duration::from_secs(2));
    assert_eq!(pair.received(Role::Acceptor), ["while away"]);
    assert_eq!(pair.received(Role::Dialer), ["me too"]);
    assert_eq!(pair.dialer.generation(), Generation(2));
}

#[test]
fn an_acceptor_that_lost_its_memory_gets_everything_unconfirmed_in_a_new_session() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.settle();
    pair.cut_all();
    pair.send(Role::Dialer, chat, "first");
    pair.send(Role::Dialer, chat, "second");
    pair.acceptor = None;
    pair.wait(Duration::from_secs(3));
    assert_eq!(pair.dialer.state(), State::Connected);
    assert_eq!(pair.received(Role::Acceptor), ["first", "second"]);
    let unconfirmed = Unconfirmed {
        undelivered: 2,
        maybe_delivered: 0,
    };
    assert!(
        pair.events
            .contains(&ConnectionEvent::SessionReset { unconfirmed })
    );
}

#[test]
fn attempts_back_off_and_end_in_failure() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    pair.network_up = false;
    pair.cut_all();
    pair.wait(Duration::from_secs(600));
    assert_eq!(pair.dialer.state(), State::Failed);
    let delays: Vec<u64> = pair
        .events
        .iter()
        .filter_map(|event| match event {
            ConnectionEvent::Reconnecting { delay, .. } => Some(delay.as_secs_f64().round() as u64),
            _ => None,
        })
        .collect();
    assert_eq!(delays.len(), 10);
    assert!(delays.iter().all(|delay| *delay <= 36), "{delays:?}");
    assert_eq!(
        pair.acceptor.as_ref().unwrap().state(),
        State::Closed,
        "the session expired"
    );
}

#[test]
fn the_resume_window_ends_to_the_second() {
    for (away, resumed) in [(299, true), (301, false)] {
        let mut config = ConnectionConfig::default();
        config.backoff.attempts_max = None;
        let mut pair = Pair::connected(config);
        let chat = channel(&mut pair);
        pair.settle();
        pair.network_up = false;
        pair.cut_all();
        pair.wait(Duration::from_secs(away));
        let open = pair.acceptor.as_ref().unwrap().state() == State::Disconnected;
        assert_eq!(open, resumed, "after {away} s");
        pair.network_up = true;
        pair.send(Role::Dialer, chat, "back");
        pair.wait(Duration::from_secs(40));
        assert_eq!(pair.received(Role::Acceptor), ["back"]);
    }
}

#[test]
fn a_silent_link_is_suspected_and_a_new_one_found_beside_it() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.wait(Duration::from_secs(1));
    // A black hole: the link swallows everything and nobody is told.
    let dead = *pair.links.keys().next().unwrap();
    pair.links.remove(&dead);
    pair.send(Role::Dialer, chat, "into the hole");
    pair.wait(Duration::from_secs(2));
    assert_eq!(pair.dialer.state(), State::Connected);
    assert_eq!(pair.received(Role::Acceptor), ["into the hole"]);
    assert_ne!(pair.dialer.live_link(), Some(dead));
}

#[test]
fn a_sign_of_life_below_the_messages_hastens_the_attempt_once() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.settle();
    // The first replacement starts soon; the link that it brings is not stable yet.
    pair.cut_all();
    pair.wait(Duration::from_secs(1));
    let dead = *pair.links.keys().next().unwrap();
    pair.links.remove(&dead);
    pair.send(Role::Dialer, chat, "x");
    pair.wait(Duration::from_millis(510));
    assert_eq!(pair.dialer.state(), State::Reconnecting);
    pair.dialer.handle_path_activity(dead, pair.now);
    pair.settle();
    assert_eq!(pair.received(Role::Acceptor), ["x"]);
}

#[test]
fn a_stream_that_the_link_closes_under_a_channel_costs_the_link_and_no_message() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.settle();
    let link = pair.dialer.live_link().unwrap();
    let stream = pair.dialer.channel(chat).unwrap().stream().unwrap();
    pair.dialer
        .handle_link_event(link, LinkEvent::StreamClosed { stream }, pair.now);
    assert_eq!(pair.dialer.state(), State::Reconnecting);
    assert!(pair.send(Role::Dialer, chat, "on the next link"));
    pair.wait(Duration::from_secs(2));
    assert_eq!(pair.received(Role::Acceptor), ["on the next link"]);
}

#[test]
fn closing_delivers_what_was_sent_and_tells_the_peer() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.send(Role::Dialer, chat, "last words");
    pair.dialer.close(pair.now);
    pair.settle();
    assert_eq!(pair.received(Role::Acceptor), ["last words"]);
    assert_eq!(pair.dialer.state(), State::Closed);
    assert_eq!(pair.acceptor.as_ref().unwrap().state(), State::Closed);
    let reason = ConnectionClosed::Local;
    let closed = ConnectionEvent::Closed {
        reason,
        unconfirmed: Unconfirmed::default(),
    };
    assert!(pair.events.contains(&closed));
}

#[test]
fn a_last_acknowledgement_for_a_closed_channel_costs_nothing() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.settle();
    pair.send(Role::Dialer, chat, "bye");
    pair.dialer.channel_mut(chat).unwrap().finish();
    pair.pump();
    let link = pair.dialer.live_link().unwrap();
    while pair.deliver_to_acceptor(link) {}
    pair.pump();
    // The acknowledgement of the message follows 25 ms after that of the end.
    pair.now += Duration::from_millis(30);
    let now = pair.now;
    pair.acceptor.as_mut().unwrap().handle_timeout(now);
    pair.pump();
    assert!(pair.deliver_to_dialer(link));
    pair.pump();
    pair.wait(Duration::from_secs(1));
    let closed = DurableChannelState::Closed;
    assert_eq!(pair.dialer.channel(chat).unwrap().state(), closed);
    assert_eq!(pair.dialer.state(), State::Connected);
    assert_eq!(pair.dialer.generation(), Generation(1));
}

#[test]
fn a_channel_whose_last_confirmation_was_lost_does_no_harm_to_the_next_link() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.settle();
    pair.send(Role::Acceptor, chat, "hello");
    pair.settle();
    let acceptor = pair.acceptor.as_mut().unwrap();
    acceptor.channel_mut(chat).unwrap().finish();
    pair.pump();
    let link = pair.dialer.live_link().unwrap();
    while pair.deliver_to_dialer(link) {}
    pair.pump();
    while pair.deliver_to_acceptor(link) {}
    pair.pump();
    let closed = DurableChannelState::Closed;
    let acceptor = pair.acceptor.as_ref().unwrap();
    assert_eq!(acceptor.channel(chat).unwrap().state(), closed);
    assert_ne!(pair.dialer.channel(chat).unwrap().state(), closed);
    pair.cut_all();
    pair.wait(Duration::from_secs(2));
    assert_eq!(pair.dialer.channel(chat).unwrap().state(), closed);
    assert_eq!(pair.dialer.state(), State::Connected);
    assert_eq!(pair.dialer.generation(), Generation(2));
}

#[test]
fn closing_the_connection_leaves_what_closed_channels_hold() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.send(Role::Dialer, chat, "unread");
    pair.dialer.channel_mut(chat).unwrap().finish();
    pair.settle_without_reading();
    let now = pair.now;
    let acceptor = pair.acceptor.as_mut().unwrap();
    let closed = DurableChannelState::Closed;
    assert_eq!(acceptor.channel(chat).unwrap().state(), closed);
    acceptor.close(now);
    let unread = acceptor.channel_mut(chat).unwrap().recv();
    let message = rondevu_core::Message::from("unread");
    assert_eq!(unread, Some(rondevu_core::Delivery::Message(message)));
}

#[test]
fn a_message_that_a_reset_drops_after_it_left_may_have_arrived() {
    let mut pair = Pair::connected(ConnectionConfig {
        session_loss: crate::SessionLoss::Drop,
        ..ConnectionConfig::default()
    });
    let chat = channel(&mut pair);
    pair.settle();
    let now = pair.now;
    let channel = pair.dialer.channel_mut(chat).unwrap();
    let number = channel.send_watched("x".into(), now).unwrap();
    pair.pump();
    pair.acceptor = None;
    pair.cut_all();
    pair.wait(Duration::from_secs(3));
    assert_eq!(pair.dialer.state(), State::Connected);
    let channel = pair.dialer.channel_mut(chat).unwrap();
    let outcome = channel.take_outcome(number);
    assert_eq!(outcome, Some(rondevu_core::Outcome::Unknown));
}

#[test]
fn the_end_of_a_lossy_channel_may_overtake_its_stream() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let link = pair.dialer.live_link().unwrap();
    let wire = ChannelId(1);
    let mut payload = Vec::new();
    ControlFrame::Finish { channel: wire }.encode(&mut payload);
    let end = LinkEvent::StreamMessage {
        stream: CONTROL,
        kind: MessageKind::Binary,
        payload: payload.into(),
    };
    let opened = LinkEvent::StreamOpened {
        stream: StreamId(9),
        options: StreamOptions {
            reliability: Reliability::MaxRetransmits(0),
            ..StreamOptions::reliable("news", rondevu_core::frame::channel_protocol(wire))
        },
        by: OpenedBy::Remote,
    };
    let now = pair.now;
    pair.dialer.handle_link_event(link, end, now);
    pair.dialer.handle_link_event(link, opened, now);
    assert!(pair.dialer.channel(wire).unwrap().has_peer_finished());
}

#[test]
fn a_channel_closed_across_a_cut_is_closed_on_both_sides() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.settle();
    pair.send(Role::Dialer, chat, "bye");
    pair.dialer.channel_mut(chat).unwrap().finish();
    pair.pump();
    pair.cut_all();
    pair.wait(Duration::from_secs(3));
    assert_eq!(pair.received(Role::Acceptor), ["bye"]);
    let closed = DurableChannelState::Closed;
    assert_eq!(pair.dialer.channel(chat).unwrap().state(), closed);
    assert_eq!(
        pair.acceptor
            .as_ref()
            .unwrap()
            .channel(chat)
            .unwrap()
            .state(),
        closed
    );
}

#[test]
fn a_channel_of_the_acceptor_that_the_dialer_never_heard_of_survives_the_link() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let news = acceptors_channel(&mut pair);
    assert!(pair.send(Role::Acceptor, news, "headline"));
    pair.pump();
    pair.cut_all();
    pair.wait(Duration::from_secs(2));
    assert_eq!(pair.received(Role::Dialer), ["headline"]);
}

fn acceptors_channel(pair: &mut Pair) -> ChannelId {
    let acceptor = pair.acceptor.as_mut().unwrap();
    let config = ChannelConfig::default();
    acceptor.open_channel("news", &config).unwrap()
}

#[test]
fn a_channel_that_ends_with_its_session_says_what_may_have_arrived() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let news = acceptors_channel(&mut pair);
    pair.settle();
    pair.send(Role::Dialer, news, "on its way");
    pair.pump();
    pair.acceptor = None;
    pair.cut_all();
    pair.wait(Duration::from_secs(2));
    let channel = pair.dialer.channel_mut(news).unwrap();
    let events: Vec<_> = core::iter::from_fn(|| channel.poll_event()).collect();
    let unconfirmed = Unconfirmed {
        undelivered: 0,
        maybe_delivered: 1,
    };
    let closed = crate::ChannelEvent::Closed {
        unconfirmed,
        unread: 0,
    };
    assert_eq!(events.last(), Some(&closed));
}

#[test]
fn a_restarted_acceptor_can_use_its_ids_again_while_the_old_channels_are_still_held() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let old = acceptors_channel(&mut pair);
    pair.settle();
    for restarts in 1..4 {
        pair.acceptor = None;
        pair.cut_all();
        pair.wait(Duration::from_secs(20));
        let news = acceptors_channel(&mut pair);
        assert_eq!(news, old, "it knows nothing of the one before");
        pair.send(Role::Acceptor, news, "again");
        pair.settle();
        assert_eq!(pair.received(Role::Dialer).len(), restarts);
    }
    assert_eq!(
        pair.dialer.channels().count(),
        4,
        "each has a machine of its own"
    );
    pair.cut_all();
    pair.wait(Duration::from_secs(20));
    pair.send(Role::Acceptor, old, "resumed");
    pair.settle();
    assert_eq!(pair.received(Role::Dialer).last(), Some(&"resumed"));
}

#[test]
fn a_channel_beyond_what_the_peer_takes_is_refused_alone() {
    let few = ConnectionConfig {
        channels_max: 2,
        ..ConnectionConfig::default()
    };
    let mut pair = Pair::new(ConnectionConfig::default());
    pair.config = few;
    let chats: Vec<_> = (0..4).map(|_| channel(&mut pair)).collect();
    for chat in &chats {
        pair.send(Role::Dialer, *chat, "x");
    }
    pair.settle();
    assert_eq!(pair.received(Role::Acceptor).len(), 2);
    let state = |id| pair.dialer.channel(id).unwrap().state();
    assert_eq!(state(chats[0]), DurableChannelState::Open);
    assert_eq!(state(chats[3]), DurableChannelState::Closed);
    let refused = pair.dialer.open_channel("more", &ChannelConfig::default());
    assert_eq!(refused, Err(ChannelError::TooMany { max: 2 }));
    assert_eq!(pair.dialer.generation(), Generation(1));
}

#[test]
fn both_sides_can_open_as_many_channels_as_they_may_at_the_same_time() {
    let few = ConnectionConfig {
        channels_max: 3,
        ..ConnectionConfig::default()
    };
    let mut pair = Pair::connected(few);
    for _ in 0..3 {
        channel(&mut pair);
        acceptors_channel(&mut pair);
    }
    pair.settle();
    assert_eq!(pair.dialer.channels().count(), 6);
    assert_eq!(pair.dialer.generation(), Generation(1));
}

#[test]
fn messages_larger_than_the_window_travel_whatever_the_fragment_size() {
    let narrow = ConnectionConfig {
        window_bytes: 1024,
        ..ConnectionConfig::default()
    };
    let mut pair = Pair::connected(narrow);
    let chat = channel(&mut pair);
    let text = "x".repeat(5000);
    pair.send(Role::Dialer, chat, &text);
    pair.wait(Duration::from_secs(5));
    assert_eq!(pair.received(Role::Acceptor), [text.as_str()]);
    assert_eq!(pair.dialer.generation(), Generation(1));
}

#[test]
fn a_close_whose_messages_a_reset_has_dropped_does_not_claim_that_they_arrived() {
    let dropping = ConnectionConfig {
        session_loss: crate::SessionLoss::Drop,
        ..ConnectionConfig::default()
    };
    let mut pair = Pair::connected(dropping);
    let chat = channel(&mut pair);
    pair.settle();
    pair.cut_all();
    pair.send(Role::Dialer, chat, "lost");
    pair.acceptor = None;
    pair.dialer.close(pair.now);
    pair.wait(Duration::from_secs(4));
    let reason = ConnectionClosed::LocalUnconfirmed;
    let closed = |event: &ConnectionEvent| matches!(event, ConnectionEvent::Closed { reason: r, .. } if *r == reason);
    assert!(pair.events.iter().any(closed), "{:?}", pair.events);
}

#[test]
fn an_unknown_name_fails_the_first_attempt_at_once() {
    let mut dialer = dialer();
    dialer.connect(Instant::ORIGIN);
    let Some(Action::Dial { link }) = dialer.poll_action() else {
        panic!("dials")
    };
    let failure = DialFailure {
        reason: "no such user".into(),
        retry: DialRetry::Never,
    };
    dialer.handle_dial_failed(link, failure, Instant::ORIGIN);
    assert_eq!(dialer.state(), State::Failed);
}

#[test]
fn an_older_generation_is_refused_and_changes_nothing() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let hello = Hello {
        version: 1,
        session: SessionId(1),
        generation: Generation(1),
        incarnation: Incarnation(1),
        peer_incarnation: None,
        limits: ConnectionConfig::default().limits(),
        channels: Vec::new(),
        nonce: [0; 16],
        proof: None,
        extensions: Vec::new(),
    };
    let arrival = Arrival {
        link: LinkId(77),
        control: CONTROL,
        info: pair.info(Role::Acceptor),
    };
    let acceptor = pair.acceptor.as_mut().unwrap();
    let refused = acceptor.handle_hello(arrival, hello, pair.now);
    assert_eq!(refused, Err(rondevu_core::RejectReason::Superseded));
    assert_eq!(acceptor.state(), State::Connected);
}

#[test]
fn a_peer_that_acknowledges_and_then_breaks_the_protocol_has_shown_that_it_knows_the_channel() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let news = acceptors_channel(&mut pair);
    pair.send(Role::Acceptor, news, "headline");
    pair.pump();
    pair.pump();
    let now = pair.now;
    let info = pair.info(Role::Acceptor);
    let acceptor = pair.acceptor.as_mut().unwrap();
    let link = acceptor.live_link().unwrap();
    let stream = acceptor.channel(news).unwrap().stream().unwrap();
    // An acknowledgement of the message, and a frame that does not exist.
    let payload = Bytes::from_static(&[2, 1, 100, 99]);
    let kind = MessageKind::Binary;
    let event = LinkEvent::StreamMessage {
        stream,
        kind,
        payload,
    };
    acceptor.handle_link_event(link, event, now);
    assert_eq!(acceptor.state(), State::Disconnected);
    let hello = Hello {
        version: 1,
        session: SessionId(1),
        generation: Generation(9),
        incarnation: Incarnation(1),
        peer_incarnation: None,
        limits: ConnectionConfig::default().limits(),
        channels: Vec::new(),
        nonce: [0; 16],
        proof: None,
        extensions: Vec::new(),
    };
    let arrival = Arrival {
        link: LinkId(77),
        control: CONTROL,
        info,
    };
    acceptor.handle_hello(arrival, hello, now).unwrap();
    let state = acceptor.channel(news).unwrap().state();
    assert_eq!(state, DurableChannelState::Closed, "it is not mentioned");
}

#[derive(Clone, Debug)]
enum Op {
    Send(bool),
    Step(bool),
    Pump,
    Read,
    Cut,
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => any::<bool>().prop_map(Op::Send),
        8 => any::<bool>().prop_map(Op::Step),
        3 => Just(Op::Pump),
        1 => Just(Op::Read),
        1 => Just(Op::Cut),
        1 => (1u64..1500).prop_map(Op::Wait),
    ]
}

/// Of one to four fragments.
fn numbered(n: u32) -> String {
    std::format!("message number {n} {}", "x".repeat(n as usize * 37 % 200))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Links die at any frame of greeting, replay and acknowledgement; both sides keep sending.
    #[test]
    fn every_message_arrives_once_and_in_order_on_both_sides(
        ops in prop::collection::vec(op(), 1..150),
    ) {
        let mut config = ConnectionConfig { window_bytes: 600, ..ConnectionConfig::default() };
        config.backoff.attempts_max = None;
        config.fragment_bytes = 64;
        let mut pair = Pair::connected(config);
        let chat = channel(&mut pair);
        pair.settle();
        let mut sent = [0u32, 0];
        for op in ops {
            match op {
                Op::Send(dialer) => {
                    let side = usize::from(!dialer);
                    let from = if dialer { Role::Dialer } else { Role::Acceptor };
                    let text = numbered(sent[side]);
                    sent[side] += u32::from(pair.send(from, chat, &text));
                }
                Op::Step(dialer) => {
                    pair.pump();
                    if let Some(id) = pair.links.keys().next_back().copied() {
                        if dialer { pair.deliver_to_dialer(id); } else { pair.deliver_to_acceptor(id); }
                    }
                }
                Op::Pump => pair.pump(),
                Op::Read => pair.read(),
                Op::Cut => pair.cut_all(),
                Op::Wait(ms) => pair.wait(Duration::from_millis(ms)),
            }
        }
        pair.wait(Duration::from_secs(40));
        for (role, count) in [(Role::Acceptor, sent[0]), (Role::Dialer, sent[1])] {
            let expected: Vec<_> = (0..count).map(numbered).collect();
            prop_assert_eq!(pair.received(role), expected);
        }
    }
}
