//! What is told of messages and ends is true, however the connection comes to its end.

use super::*;
use crate::ChannelEvent;
use crate::config::HalfOpen;

fn closed(reason: ConnectionClosed, unconfirmed: Unconfirmed) -> ConnectionEvent {
    ConnectionEvent::Closed {
        reason,
        unconfirmed,
    }
}

fn unconfirmed(undelivered: u64, maybe_delivered: u64) -> Unconfirmed {
    Unconfirmed {
        undelivered,
        maybe_delivered,
    }
}

/// A channel each of whose ends keeps its own direction open after the other's has ended.
fn with_directions_that_end_apart() -> (Pair, ChannelId) {
    let keeping = ChannelConfig {
        half_open: HalfOpen::Keep,
        ..ChannelConfig::default()
    };
    let config = ConnectionConfig {
        incoming_channel: keeping,
        ..ConnectionConfig::default()
    };
    let mut pair = Pair::connected(config);
    let chat = pair.dialer.open_channel("chat", &keeping).unwrap();
    (pair, chat)
}

#[test]
fn an_end_that_closing_overtakes_is_told_as_a_last_word() {
    let (mut pair, chat) = with_directions_that_end_apart();
    pair.settle();
    pair.send(Role::Dialer, chat, "request");
    pair.dialer.channel_mut(chat).unwrap().finish();
    pair.settle();
    pair.send(Role::Acceptor, chat, "response");
    pair.wait(Duration::from_secs(1));
    assert_eq!(pair.received(Role::Dialer), ["response"]);
    let now = pair.now;
    let acceptor = pair.acceptor.as_mut().unwrap();
    assert!(acceptor.channel(chat).unwrap().outbox().is_settled());
    acceptor.channel_mut(chat).unwrap().finish();
    acceptor.close(now);
    pair.settle();
    assert!(pair.dialer.channel(chat).unwrap().has_peer_finished());
}

#[test]
fn a_channel_that_has_ended_stays_ended_in_a_new_session() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    channel(&mut pair);
    pair.settle();
    pair.send(Role::Acceptor, chat, "unread");
    pair.settle_without_reading();
    let acceptor = pair.acceptor.as_mut().unwrap();
    acceptor.channel_mut(chat).unwrap().finish();
    pair.settle_without_reading();
    let has_ended = |pair: &Pair| pair.dialer.channel(chat).unwrap().has_peer_finished();
    assert!(has_ended(&pair));
    pair.acceptor = None;
    pair.cut_all();
    pair.wait(Duration::from_secs(3));
    assert!(has_ended(&pair));
    assert_eq!(pair.received(Role::Dialer), ["unread"]);
}

#[test]
fn what_has_left_in_a_session_before_may_have_been_delivered() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.settle();
    pair.send(Role::Dialer, chat, "delivered");
    pair.pump();
    let link = pair.dialer.live_link().unwrap();
    while pair.deliver_to_acceptor(link) {}
    pair.read();
    assert_eq!(pair.received(Role::Acceptor), ["delivered"]);
    // The acceptor forgets the session before the dialer hears of it.
    pair.links.clear();
    pair.acceptor = None;
    let lost = LinkEvent::Closed {
        reason: rondevu_core::LinkClosed::NoPath,
    };
    pair.dialer.handle_link_event(link, lost, pair.now);
    let is_reset = |pair: &Pair| {
        let mut events = pair.events.iter();
        events.any(|event| matches!(event, ConnectionEvent::SessionReset { .. }))
    };
    for _ in 0..400 {
        pair.events
            .extend(core::iter::from_fn(|| pair.dialer.poll_event()));
        if is_reset(&pair) {
            break;
        }
        pair.pump();
        if pair.links.is_empty() {
            pair.now += Duration::from_millis(50);
            pair.dialer.handle_timeout(pair.now);
        }
        // The second life's welcome is the last that comes.
        for link in pair.links.keys().copied().collect::<Vec<_>>() {
            pair.deliver_to_dialer(link);
            pair.deliver_to_acceptor(link);
        }
    }
    assert!(is_reset(&pair));
    pair.dialer.abort(ByeReason::Closed);
    let channel = pair.dialer.channel_mut(chat).unwrap();
    let told: Vec<_> = core::iter::from_fn(|| channel.poll_event()).collect();
    let Some(ChannelEvent::Closed { unconfirmed, .. }) = told.last() else {
        panic!("{told:?}");
    };
    assert_eq!(*unconfirmed, self::unconfirmed(0, 1));
}

#[test]
fn closing_tells_of_what_went_with_the_peers_memory() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let news = acceptors_channel(&mut pair);
    pair.settle();
    pair.send(Role::Dialer, news, "on its way");
    pair.cut_all();
    pair.acceptor = None;
    pair.dialer.close(pair.now);
    pair.wait(Duration::from_secs(3));
    let told = closed(ConnectionClosed::LocalUnconfirmed, Unconfirmed::default());
    assert!(pair.events.contains(&told), "{:?}", pair.events);
}

#[test]
fn closing_tells_of_what_the_peer_had_no_room_for() {
    let few = ConnectionConfig {
        channels_max: 2,
        ..ConnectionConfig::default()
    };
    let mut pair = Pair::new(ConnectionConfig::default());
    pair.config = few;
    let chats = [(); 3].map(|()| channel(&mut pair));
    pair.send(Role::Dialer, chats[2], "lost");
    pair.dialer.close(pair.now);
    pair.wait(Duration::from_secs(3));
    let told = closed(ConnectionClosed::LocalUnconfirmed, unconfirmed(1, 0));
    assert!(pair.events.contains(&told), "{:?}", pair.events);
}

#[test]
fn closing_is_confirmed_though_the_peer_keeps_its_direction_open() {
    let (mut pair, chat) = with_directions_that_end_apart();
    pair.send(Role::Dialer, chat, "all");
    pair.settle();
    pair.dialer.close(pair.now);
    pair.wait(Duration::from_secs(10));
    let told = closed(ConnectionClosed::Local, Unconfirmed::default());
    assert!(pair.events.contains(&told), "{:?}", pair.events);
}

#[test]
fn whoever_waits_for_a_message_that_expires_is_called_without_a_link() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.settle();
    pair.network_up = false;
    pair.cut_all();
    pair.dialer.pause(pair.now);
    let now = pair.now;
    let machine = pair.dialer.channel_mut(chat).unwrap();
    let number = machine.send_watched("late".into(), now).unwrap();
    pair.settle();
    while pair.dialer.poll_touched().is_some() {}
    pair.now += Duration::from_secs(61);
    pair.dialer.handle_timeout(pair.now);
    assert_eq!(pair.dialer.poll_touched(), Some(chat));
    let machine = pair.dialer.channel_mut(chat).unwrap();
    assert_eq!(machine.take_outcome(number), Some(Outcome::Undelivered));
}

#[test]
fn a_plain_channel_closes_though_a_message_was_dropped() {
    let now = Instant::ORIGIN;
    let mut dialer = dialer();
    dialer.connect(now);
    let own = dialer
        .open_channel("mine", &ChannelConfig::default())
        .unwrap();
    let machine = dialer.channel_mut(own).unwrap();
    let large = Bytes::from(std::vec![0; 5000]);
    machine.send(large.into(), now).unwrap();
    let Some(Action::Dial { link }) = dialer.poll_action() else {
        panic!("it does not dial");
    };
    let info = LinkInfo {
        message_bytes_max: 1000,
        ..LinkInfo::UNKNOWN
    };
    dialer.handle_link_event(link, LinkEvent::Connected(info), now);
    for (stream, label, by) in [
        (StreamId(10), "page", OpenedBy::Remote),
        (StreamId(11), "mine", OpenedBy::Local),
    ] {
        let options = StreamOptions::reliable(label, "");
        let opened = LinkEvent::StreamOpened {
            stream,
            options,
            by,
        };
        dialer.handle_link_event(link, opened, now);
    }
    dialer.channel_mut(own).unwrap().finish();
    assert_eq!(core::iter::from_fn(|| dialer.poll_transmit(now)).count(), 0);
    let machine = dialer.channel(own).unwrap();
    assert_eq!(machine.state(), DurableChannelState::Closed);
}
