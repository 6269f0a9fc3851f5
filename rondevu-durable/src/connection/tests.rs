//! Two machines that talk across links of all fates.

mod any_cuts;
mod connecting;
mod ending;
mod honesty;
mod kinds;
mod ladder;
mod pair;
mod plain;
mod proofs;
mod sessions;
mod tables;

use std::string::String;
use std::vec::Vec;

use bytes::Bytes;
use rondevu_core::frame::{CONTROL_LABEL, CONTROL_PROTOCOL, ControlFrame, Hello, PROTOCOL_VERSION};
use rondevu_core::{
    ByeReason, DurableConnectionState as State, LinkEvent, LinkInfo, MessageKind, OpenedBy,
    Outcome, StreamId, StreamOptions, Unconfirmed,
};

use self::pair::{CONTROL, Pair, seeds};
use super::*;
use crate::error::{DialFailure, DialRetry, ProtocolViolation};

fn dialer() -> ConnectionMachine {
    ConnectionMachine::dialer(ConnectionConfig::default(), Trust::default(), seeds(1))
}

fn channel(pair: &mut Pair) -> ChannelId {
    pair.dialer
        .open_channel("chat", &ChannelConfig::default())
        .unwrap()
}

fn acceptors_channel(pair: &mut Pair) -> ChannelId {
    let acceptor = pair.acceptor.as_mut().unwrap();
    let config = ChannelConfig::default();
    acceptor.open_channel("news", &config).unwrap()
}

/// The first hello of the session that [`Pair`] makes, without channels.
fn hello() -> Hello {
    Hello {
        version: PROTOCOL_VERSION,
        session: SessionId(1),
        generation: Generation(1),
        incarnation: Incarnation(1),
        peer_incarnation: None,
        limits: ConnectionConfig::default().limits(),
        channels: Vec::new(),
        nonce: [0; 16],
        proof: None,
        extensions: Vec::new(),
    }
}

/// It comes on a link of its own.
fn arrival(info: LinkInfo) -> Arrival {
    Arrival {
        link: OTHER_LINK,
        control: CONTROL,
        info,
    }
}

const OTHER_LINK: LinkId = LinkId(77);

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
fn a_channel_of_the_acceptor_that_the_dialer_never_heard_of_survives_the_link() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let news = acceptors_channel(&mut pair);
    assert!(pair.send(Role::Acceptor, news, "headline"));
    pair.pump();
    pair.cut_all();
    pair.wait(Duration::from_secs(2));
    assert_eq!(pair.received(Role::Dialer), ["headline"]);
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
fn a_channel_that_is_refused_after_the_link_that_it_was_opened_on_confirms_nothing() {
    let few = ConnectionConfig {
        channels_max: 2,
        ..ConnectionConfig::default()
    };
    let mut pair = Pair::connected(few);
    let [ending, _] = [(); 2].map(|()| channel(&mut pair));
    pair.settle();
    // The last word of one that ends is lost, so the acceptor still has it.
    pair.dialer.channel_mut(ending).unwrap().finish();
    let has_ended = |pair: &Pair| {
        let ended = pair.dialer.channel(ending);
        ended.is_none_or(|c| c.state() == DurableChannelState::Closed)
    };
    for _ in 0..20 {
        pair.pump();
        if has_ended(&pair) {
            break;
        }
        pair.deliver_some();
        pair.read();
    }
    assert!(has_ended(&pair));
    let late = channel(&mut pair);
    let now = pair.now;
    let machine = pair.dialer.channel_mut(late).unwrap();
    let number = machine.send_watched("lost".into(), now).unwrap();
    pair.pump();
    pair.cut_all();
    pair.wait(Duration::from_secs(2));
    assert_eq!(pair.dialer.state(), State::Connected);
    assert_eq!(pair.received(Role::Acceptor), [""; 0]);
    let machine = pair.dialer.channel_mut(late).unwrap();
    assert_eq!(machine.state(), DurableChannelState::Closed);
    assert_eq!(machine.take_outcome(number), Some(Outcome::Unknown));
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
