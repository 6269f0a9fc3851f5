//! Peers that greet, that do not, and that stop to: by hand, and each state against each fact.

use std::format;
use std::string::String;

use rondevu_core::{LinkClosed, StreamOptions};

use super::*;
use crate::state_table;

const CONTROL: StreamId = StreamId(0);

fn reception() -> Reception {
    Reception::new(CONTROL, Duration::from_secs(20), Instant::ORIGIN)
}

fn message(stream: StreamId, kind: MessageKind, payload: &'static [u8]) -> LinkEvent {
    LinkEvent::StreamMessage {
        stream,
        kind,
        payload: Bytes::from_static(payload),
    }
}

#[test]
fn what_is_not_a_hello_shows_a_plain_peer() {
    let stream = LinkEvent::StreamOpened {
        stream: StreamId(1),
        options: StreamOptions::reliable("page", ""),
        by: OpenedBy::Remote,
    };
    for event in [
        stream,
        message(CONTROL, MessageKind::Text, b"hi"),
        message(CONTROL, MessageKind::Binary, b"hi"),
    ] {
        let caller = reception().handle_link_event(event.clone());
        let info = LinkInfo::UNKNOWN;
        assert_eq!(caller, Some(Caller::Plain { info, event }));
    }
}

#[test]
fn a_peer_that_was_refused_too_often_or_stops_to_greet_is_given_up() {
    let mut often = reception();
    for over in [false, false, true] {
        often.refuse(RejectReason::UnknownSession);
        assert_eq!(often.is_over(), over);
    }
    let mut stops = reception();
    stops.refuse(RejectReason::UnknownSession);
    let junk = message(CONTROL, MessageKind::Binary, b"junk");
    assert_eq!(stops.handle_link_event(junk), None);
    assert!(stops.is_over());
}

#[test]
fn a_hello_that_comes_too_late_names_nobody() {
    let mut late = reception();
    late.handle_timeout(late.poll_timeout().unwrap().at);
    // Tag, version, session, generation, incarnation, no peer_incarnation, four limits, no
    // channels, nonce, no proof, no extensions.
    let hello: &[u8] = &[
        0, 1, 5, 1, 7, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let hello = message(CONTROL, MessageKind::Binary, hello);
    let in_time = reception().handle_link_event(hello.clone());
    assert!(matches!(in_time, Some(Caller::Session { .. })));
    assert_eq!(late.handle_link_event(hello), None);
}

#[test]
fn silence_and_a_lost_link_end_it() {
    let mut silent = reception();
    let at = silent.poll_timeout().unwrap().at;
    silent.handle_timeout(at);
    assert!(silent.is_over());
    assert_eq!(silent.poll_timeout(), None);
    let mut lost = reception();
    let reason = LinkClosed::NoPath;
    assert_eq!(lost.handle_link_event(LinkEvent::Closed { reason }), None);
    assert!(lost.is_over());
}

/// Something that happens on the link.
#[derive(Clone, Copy, Debug)]
enum Fact {
    Link(LinkFact),
    Refuse,
    Timeout { secs: u64 },
}

/// What the link says.
#[derive(Clone, Copy, Debug)]
enum LinkFact {
    Connected,
    OwnOpened,
    PeersOpened,
    Hello,
    OtherFrame,
    Garbage,
    Text,
    OnAnotherStream,
    Writable,
    ControlClosed,
    OtherClosed,
    Lost,
}

const FACTS: [(&str, Fact); 15] = [
    ("connected", Fact::Link(LinkFact::Connected)),
    ("control stream opened", Fact::Link(LinkFact::OwnOpened)),
    ("peer's stream opened", Fact::Link(LinkFact::PeersOpened)),
    ("Hello", Fact::Link(LinkFact::Hello)),
    ("Ping", Fact::Link(LinkFact::OtherFrame)),
    ("garbage", Fact::Link(LinkFact::Garbage)),
    ("text", Fact::Link(LinkFact::Text)),
    (
        "Hello on another stream",
        Fact::Link(LinkFact::OnAnotherStream),
    ),
    ("writable", Fact::Link(LinkFact::Writable)),
    ("control stream closed", Fact::Link(LinkFact::ControlClosed)),
    ("another stream closed", Fact::Link(LinkFact::OtherClosed)),
    ("lost", Fact::Link(LinkFact::Lost)),
    ("refuse", Fact::Refuse),
    ("19 s pass", Fact::Timeout { secs: 19 }),
    ("20 s pass", Fact::Timeout { secs: 20 }),
];

const HELLO: &[u8] = &[
    0, 1, 5, 1, 7, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];
const PING: &[u8] = &[3, 9];

fn event(fact: LinkFact) -> LinkEvent {
    let other = StreamId(1);
    let opened = |by| LinkEvent::StreamOpened {
        stream: other,
        options: StreamOptions::reliable("page", ""),
        by,
    };
    match fact {
        LinkFact::Connected => LinkEvent::Connected(LinkInfo::UNKNOWN),
        LinkFact::OwnOpened => opened(OpenedBy::Local),
        LinkFact::PeersOpened => opened(OpenedBy::Remote),
        LinkFact::Hello => message(CONTROL, MessageKind::Binary, HELLO),
        LinkFact::OtherFrame => message(CONTROL, MessageKind::Binary, PING),
        LinkFact::Garbage => message(CONTROL, MessageKind::Binary, &[0xff; 9]),
        LinkFact::Text => message(CONTROL, MessageKind::Text, HELLO),
        LinkFact::OnAnotherStream => message(other, MessageKind::Binary, HELLO),
        LinkFact::Writable => LinkEvent::Writable,
        LinkFact::ControlClosed => LinkEvent::StreamClosed { stream: CONTROL },
        LinkFact::OtherClosed => LinkEvent::StreamClosed { stream: other },
        LinkFact::Lost => LinkEvent::Closed {
            reason: LinkClosed::NoPath,
        },
    }
}

fn name_of(reception: &Reception) -> &'static str {
    match (reception.phase, reception.refusals) {
        (Phase::Waiting, _) => "waiting",
        (Phase::Refused, 1) => "refused",
        (Phase::Refused, _) => "refused twice",
        (Phase::Over, _) => "over",
    }
}

/// Each state against each fact; 20 s is as long as the reception waits.
const TABLE: &str = "\
waiting
    peer's stream opened     a plain peer
    Hello                    a session
    Ping                     a plain peer
    garbage                  a plain peer
    text                     a plain peer
    Hello on another stream  a plain peer
    control stream closed    → over
    lost                     → over
    refuse                   → refused; Reject
    20 s pass                → over
    nothing: connected, control stream opened, writable, another stream closed, 19 s pass
refused
    peer's stream opened     → over
    Hello                    a session
    Ping                     → over
    garbage                  → over
    text                     → over
    Hello on another stream  → over
    control stream closed    → over
    lost                     → over
    refuse                   → refused twice; Reject
    20 s pass                → over
    nothing: connected, control stream opened, writable, another stream closed, 19 s pass
refused twice
    peer's stream opened     → over
    Hello                    a session
    Ping                     → over
    garbage                  → over
    text                     → over
    Hello on another stream  → over
    control stream closed    → over
    lost                     → over
    refuse                   → over; Reject
    20 s pass                → over
    nothing: connected, control stream opened, writable, another stream closed, 19 s pass
over
    nothing: connected, control stream opened, peer's stream opened, Hello, Ping, garbage, text, Hello on another stream, writable, control stream closed, another stream closed, lost, 19 s pass, 20 s pass
";

#[test]
fn each_state_against_each_fact() {
    let refused = |times: u32| {
        let mut reception = reception();
        for _ in 0..times {
            reception.refuse(RejectReason::UnknownSession);
        }
        reception
    };
    let makers: [&dyn Fn() -> Reception; 4] =
        [&|| refused(0), &|| refused(1), &|| refused(2), &|| {
            refused(3)
        }];
    let states = makers.map(|make| (name_of(&make()), make));
    let written = state_table::write(&states, &FACTS, |make, fact| {
        let mut reception = make();
        let before = name_of(&reception);
        let mut effects = Vec::new();
        let said = match fact {
            // Nobody refuses who was given up.
            Fact::Refuse if reception.is_over() => return None,
            Fact::Refuse => {
                let frame = ControlFrame::decode(&mut reception.refuse(RejectReason::Version));
                matches!(frame, Ok(ControlFrame::Reject { .. })).then(|| "Reject".into())
            }
            Fact::Timeout { secs } => {
                reception.handle_timeout(Instant::from_origin(Duration::from_secs(secs)));
                None
            }
            Fact::Link(fact) => reception.handle_link_event(event(fact)).map(|caller| {
                let name = match caller {
                    Caller::Session { .. } => "a session",
                    Caller::Plain { .. } => "a plain peer",
                };
                String::from(name)
            }),
        };
        if name_of(&reception) != before {
            effects.push(format!("→ {}", name_of(&reception)));
        }
        effects.extend(said);
        Some(effects.join("; "))
    });
    state_table::check(&written, TABLE);
    let commands = state_table::commands_in(include_str!("../reception.rs"));
    assert_eq!(commands, ["handle_link_event", "handle_timeout", "refuse"]);
}
