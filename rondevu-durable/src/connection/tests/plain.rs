//! Peers without the session protocol.

use rondevu_core::{LinkClosed, OpenedBy};

use super::*;
use crate::config::PlainPeers;
use crate::error::ConnectionFailure;

const FIRST: StreamId = StreamId(10);

fn info() -> LinkInfo {
    LinkInfo {
        message_bytes_max: 1000,
        ..LinkInfo::UNKNOWN
    }
}

fn opened(stream: StreamId, label: &str, by: OpenedBy) -> LinkEvent {
    LinkEvent::StreamOpened {
        stream,
        options: StreamOptions::reliable(label, ""),
        by,
    }
}

fn message(stream: StreamId, text: &'static str) -> LinkEvent {
    LinkEvent::StreamMessage {
        stream,
        kind: MessageKind::Text,
        payload: text.into(),
    }
}

/// A dialer whose peer has just opened a stream without a sub-protocol.
fn met(dialer: &mut ConnectionMachine, now: Instant) -> LinkId {
    let Some(Action::Dial { link }) = dialer.poll_action() else {
        panic!("dials")
    };
    dialer.handle_link_event(link, LinkEvent::Connected(info()), now);
    dialer.handle_link_event(link, opened(FIRST, "page", OpenedBy::Remote), now);
    link
}

fn incoming(machine: &mut ConnectionMachine) -> Option<ChannelId> {
    core::iter::from_fn(|| machine.poll_event()).find_map(|event| match event {
        ConnectionEvent::IncomingChannel { channel } => Some(channel),
        _ => None,
    })
}

#[test]
fn a_dialer_talks_plainly_with_a_peer_that_speaks_no_session_protocol() {
    let now = Instant::ORIGIN;
    let mut dialer = dialer();
    dialer.connect(now);
    let link = met(&mut dialer, now);
    assert_eq!(dialer.state(), State::Connected);
    assert_eq!(dialer.durability(), Some(Durability::Plain));
    let page = incoming(&mut dialer).unwrap();
    dialer.handle_link_event(link, message(FIRST, "hello"), now);
    let channel = dialer.channel_mut(page).unwrap();
    assert_eq!(
        channel.recv().and_then(|d| d.into_message()),
        Some("hello".into())
    );
    channel.send("text".into(), now).unwrap();
    channel
        .send(Bytes::from_static(b"bytes").into(), now)
        .unwrap();
    let sent: Vec<_> = core::iter::from_fn(|| dialer.poll_transmit(now)).collect();
    assert_eq!(
        sent.iter()
            .map(|t| (t.kind, &t.payload[..]))
            .collect::<Vec<_>>(),
        [
            (MessageKind::Text, &b"text"[..]),
            (MessageKind::Binary, b"bytes")
        ]
    );
}

#[test]
fn what_waits_while_a_plain_peer_is_away_is_sent_on_the_next_link() {
    let now = Instant::ORIGIN;
    let mut dialer = dialer();
    dialer.connect(now);
    let link = met(&mut dialer, now);
    let page = incoming(&mut dialer).unwrap();
    let own = dialer
        .open_channel("mine", &ChannelConfig::default())
        .unwrap();
    let reason = LinkClosed::NoPath;
    dialer.handle_link_event(link, LinkEvent::Closed { reason }, now);
    assert_eq!(dialer.state(), State::Reconnecting);
    for id in [page, own] {
        dialer
            .channel_mut(id)
            .unwrap()
            .send("queued".into(), now)
            .unwrap();
    }
    let now = dialer.poll_timeout().unwrap().at;
    dialer.handle_timeout(now);
    while !matches!(dialer.actions.front(), Some(Action::Dial { .. })) {
        dialer.poll_action();
    }
    let link = met(&mut dialer, now);
    let Some(Action::OpenStream { options, .. }) = dialer.poll_action() else {
        panic!("opens its own channel again")
    };
    assert_eq!(
        (options.label.as_str(), options.protocol.as_str()),
        ("mine", "")
    );
    let local = opened(StreamId(11), "mine", OpenedBy::Local);
    dialer.handle_link_event(link, local, now);
    let mut streams: Vec<_> = core::iter::from_fn(|| dialer.poll_transmit(now))
        .map(|transmit| transmit.stream)
        .collect();
    streams.sort();
    assert_eq!(streams, [FIRST, StreamId(11)]);
    assert_eq!(
        incoming(&mut dialer),
        None,
        "the page's channel is known by its label"
    );
}

#[test]
fn a_peer_that_opens_nothing_is_plain_after_a_while() {
    let now = Instant::ORIGIN;
    let mut dialer = dialer();
    dialer.connect(now);
    let Some(Action::Dial { link }) = dialer.poll_action() else {
        panic!("dials")
    };
    dialer.handle_link_event(link, LinkEvent::Connected(info()), now);
    let at = dialer.poll_timeout().unwrap().at;
    assert_eq!(at - now, ConnectionConfig::default().plain_after);
    dialer.handle_timeout(at);
    assert_eq!(dialer.durability(), Some(Durability::Plain));
}

#[test]
fn a_peer_that_has_announced_the_session_protocol_is_waited_for() {
    let now = Instant::ORIGIN;
    let mut dialer = dialer();
    dialer.connect(now);
    let Some(Action::Dial { link }) = dialer.poll_action() else {
        panic!("dials")
    };
    dialer.handle_announcement(link);
    dialer.handle_link_event(link, LinkEvent::Connected(info()), now);
    let later = now + ConnectionConfig::default().plain_after * 2;
    dialer.handle_timeout(later);
    assert_eq!(dialer.durability(), None);
    dialer.handle_link_event(link, control(), later);
    let hello = dialer.poll_transmit(later).expect("says hello");
    assert_eq!((hello.link, hello.stream), (link, CONTROL));
}

/// The stream on which a service waits for a hello.
fn control() -> LinkEvent {
    LinkEvent::StreamOpened {
        stream: CONTROL,
        options: StreamOptions::reliable(CONTROL_LABEL, CONTROL_PROTOCOL),
        by: OpenedBy::Remote,
    }
}

#[test]
fn what_began_plainly_with_a_slow_service_stays_so_on_this_link_and_the_next() {
    let mut now = Instant::ORIGIN;
    let mut dialer = dialer();
    dialer.connect(now);
    let Some(Action::Dial { link }) = dialer.poll_action() else {
        panic!("dials")
    };
    dialer.handle_link_event(link, LinkEvent::Connected(info()), now);
    now = dialer.poll_timeout().unwrap().at;
    dialer.handle_timeout(now);
    dialer.handle_link_event(link, control(), now);
    assert_eq!(incoming(&mut dialer), None, "no channel of the application");
    assert!(dialer.poll_transmit(now).is_none());

    let reason = LinkClosed::NoPath;
    dialer.handle_link_event(link, LinkEvent::Closed { reason }, now);
    now = dialer.poll_timeout().unwrap().at;
    dialer.handle_timeout(now);
    let next = core::iter::from_fn(|| dialer.poll_action()).find_map(|action| match action {
        Action::Dial { link } => Some(link),
        _ => None,
    });
    let next = next.expect("dials again");
    dialer.handle_link_event(next, LinkEvent::Connected(info()), now);
    dialer.handle_link_event(next, control(), now);
    assert_eq!(dialer.state(), State::Connected);
    assert_eq!(dialer.durability(), Some(Durability::Plain));
}

#[test]
fn plain_peers_are_refused_by_choice_or_when_a_proof_is_required() {
    let key = Trust {
        identity: None,
        peer: RequiredProof::Key([7; 32]),
    };
    let refusing = ConnectionConfig {
        plain_peers: PlainPeers::Refuse,
        ..ConnectionConfig::default()
    };
    for (config, trust) in [
        (refusing, Trust::default()),
        (ConnectionConfig::default(), key),
    ] {
        let mut dialer = ConnectionMachine::dialer(config, trust, seeds(1));
        dialer.connect(Instant::ORIGIN);
        met(&mut dialer, Instant::ORIGIN);
        assert_eq!(dialer.state(), State::Failed);
        let failed = core::iter::from_fn(|| dialer.poll_event()).any(|event| {
            matches!(
                event,
                ConnectionEvent::Failed {
                    failure: ConnectionFailure::NotDurable,
                    ..
                }
            )
        });
        assert!(failed);
    }
}

fn acceptor() -> ConnectionMachine {
    ConnectionMachine::plain_acceptor(
        ConnectionConfig::default(),
        Trust::default(),
        LinkId(5),
        CONTROL,
        info(),
        seeds(9),
        Instant::ORIGIN,
    )
    .unwrap()
}

#[test]
fn an_acceptor_serves_a_page_on_the_offered_stream_and_on_its_own() {
    let now = Instant::ORIGIN;
    let mut service = acceptor();
    service.handle_link_event(LinkId(5), opened(FIRST, "mine", OpenedBy::Remote), now);
    let first = incoming(&mut service).unwrap();
    assert_eq!(service.channel(first).unwrap().label(), "mine");
    service.handle_link_event(LinkId(5), message(CONTROL, "on yours"), now);
    let second = incoming(&mut service).unwrap();
    let channel = service.channel_mut(second).unwrap();
    assert_eq!(channel.label(), "rondevu-service");
    assert!(channel.recv().is_some());
    channel.send("answer".into(), now).unwrap();
    assert_eq!(service.poll_transmit(now).map(|t| t.stream), Some(CONTROL));
}

#[test]
fn the_end_of_a_plain_link_is_the_end_of_the_acceptors_connection() {
    let mut service = acceptor();
    let reason = LinkClosed::Remote;
    service.handle_link_event(LinkId(5), LinkEvent::Closed { reason }, Instant::ORIGIN);
    assert_eq!(service.state(), State::Closed);
}

#[test]
fn closing_a_plain_channel_hands_over_what_waits_and_closes_its_stream() {
    let now = Instant::ORIGIN;
    let mut service = acceptor();
    service.handle_link_event(LinkId(5), opened(FIRST, "mine", OpenedBy::Remote), now);
    let id = incoming(&mut service).unwrap();
    let channel = service.channel_mut(id).unwrap();
    channel.send("last".into(), now).unwrap();
    channel.finish();
    assert!(service.poll_transmit(now).is_some());
    assert!(service.poll_transmit(now).is_none());
    let closing = Action::CloseStream {
        link: LinkId(5),
        stream: FIRST,
    };
    assert_eq!(service.poll_action(), Some(closing));
}

#[test]
fn what_a_plain_peer_cannot_be_sent_is_reported() {
    let now = Instant::ORIGIN;
    let mut service = acceptor();
    let id = service
        .open_channel("news", &ChannelConfig::default())
        .unwrap();
    service
        .channel_mut(id)
        .unwrap()
        .send("".into(), now)
        .unwrap();
    let local = opened(FIRST, "news", OpenedBy::Local);
    service.handle_link_event(LinkId(5), local, now);
    assert!(service.poll_transmit(now).is_none());
    let mut events = core::iter::from_fn(|| service.channel_mut(id)?.poll_event());
    assert!(events.any(|event| event == crate::ChannelEvent::Refused { dropped: 1 }));
}

#[test]
fn closing_a_plain_connection_ends_when_what_waits_was_handed_over() {
    let now = Instant::ORIGIN;
    let mut dialer = dialer();
    dialer.connect(now);
    let link = met(&mut dialer, now);
    let page = incoming(&mut dialer).unwrap();
    let channel = dialer.channel_mut(page).unwrap();
    channel.send("last words".into(), now).unwrap();
    dialer.close(now);
    assert_eq!(dialer.state(), State::Connected, "something waits");
    let sent = core::iter::from_fn(|| dialer.poll_transmit(now)).count();
    assert_eq!((sent, dialer.state()), (1, State::Closed));
    let finish = Action::FinishLink { link };
    assert!(core::iter::from_fn(|| dialer.poll_action()).any(|action| action == finish));
}
