//! A gatherer and servers that answer by the book, or not at all.

use std::time::Duration;

use turn_client_proto::types::attribute::{Lifetime, XorRelayedAddress};
use turn_client_proto::types::stun::attribute::XorMappedAddress;
use turn_client_proto::types::stun::message::{
    IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageWriteVec,
};
use turn_client_proto::types::stun::prelude::{MessageWrite, MessageWriteExt};

use super::*;
use crate::stun::{Class, mapped};

const BASE: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2)), 5000);

fn at(millis: u64) -> Instant {
    Instant::from_origin(Duration::from_millis(millis))
}

fn public(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, last], port))
}

fn gatherer(urls: &[&str], policy: IceTransportPolicy) -> Gatherer {
    let server = IceServer::new(urls).unwrap().credential("user", "secret");
    Gatherer::new(&[BASE], &[server], policy, 1, at(0)).unwrap()
}

/// Answers every question to a STUN server as a NAT with the address `seen` would make it look.
fn answer(gatherer: &mut Gatherer, seen: SocketAddr, now: Instant) -> usize {
    let mut answered = 0;
    while let Some(question) = gatherer.poll_transmit() {
        let stun = Stun::parse(&question.payload).unwrap();
        if stun.class() == Class::Request && question.payload.len() == 20 {
            let answer = mapped(stun.transaction(), seen);
            let received = Received {
                source: question.destination,
                destination: question.source,
                payload: &answer,
            };
            gatherer.handle_datagram(received, now);
            answered += 1;
        }
    }
    answered
}

fn events(gatherer: &mut Gatherer) -> Vec<GatherEvent> {
    std::iter::from_fn(|| gatherer.poll_event()).collect()
}

#[test]
fn names_are_looked_up_and_what_servers_see_is_found() {
    let mut gatherer = gatherer(&["stun:example.org"], IceTransportPolicy::All);
    let host = LocalCandidate::Host(BASE);
    assert_eq!(gatherer.candidates(), [host]);
    let asked = GatherAction::Resolve {
        server: 0,
        host: "example.org".into(),
    };
    assert_eq!(gatherer.poll_action(), Some(asked));
    assert_eq!(gatherer.poll_action(), None);
    assert!(!gatherer.is_settled());
    let addresses = vec![public(9, 0).ip(), public(8, 0).ip()];
    gatherer.handle_resolved(0, Ok(addresses), at(5));
    assert!(gatherer.is_server(public(9, 3478)));
    assert!(!gatherer.is_server(public(8, 3478)), "one is enough");

    assert_eq!(answer(&mut gatherer, public(1, 7000), at(30)), 1);
    let found = LocalCandidate::ServerReflexive {
        address: public(1, 7000),
        base: BASE,
    };
    assert_eq!(gatherer.candidates(), [host, found]);
    assert!(gatherer.is_settled());
    let told = events(&mut gatherer);
    assert_eq!(told.last(), Some(&GatherEvent::Found(found)));

    // The NAT forgets, and lends another address.
    gatherer.handle_timeout(at(15_030));
    assert_eq!(answer(&mut gatherer, public(1, 7001), at(15_060)), 1);
    assert!(events(&mut gatherer).contains(&GatherEvent::Lost(found)));
    assert_eq!(gatherer.candidates().len(), 2);
    assert_eq!(gatherer.failures(), []);
}

#[test]
fn without_a_nat_nothing_is_found_twice() {
    let urls = ["stun:203.0.113.9", "stun:203.0.113.8"];
    let mut gatherer = gatherer(&urls, IceTransportPolicy::All);
    assert_eq!(answer(&mut gatherer, BASE, at(30)), 2);
    assert_eq!(gatherer.candidates(), [LocalCandidate::Host(BASE)]);
    assert!(gatherer.is_settled());
}

#[test]
fn silence_and_unknown_names_are_reported() {
    let urls = [
        "stun:203.0.113.9",
        "stun:nowhere.example",
        "stun:[2001:db8::1]",
    ];
    let mut gatherer = gatherer(&urls, IceTransportPolicy::All);
    gatherer.handle_resolved(1, Err("no such name".into()), at(0));
    while !gatherer.is_settled() {
        let next = gatherer.poll_timeout().unwrap();
        gatherer.handle_timeout(next);
        while gatherer.poll_transmit().is_some() {}
    }
    let failures = gatherer.failures();
    assert_eq!(
        failures,
        [
            ("stun:203.0.113.9:3478".into(), GatherFailure::Unreachable),
            (
                "stun:nowhere.example:3478".into(),
                GatherFailure::Name("no such name".into())
            ),
            ("stun:[2001:db8::1]:3478".into(), GatherFailure::NoBase),
        ]
    );
}

#[test]
fn with_relays_alone_nobody_learns_an_address_of_this_machine() {
    let urls = ["turn:203.0.113.9", "stun:203.0.113.8"];
    let mut gatherer = gatherer(&urls, IceTransportPolicy::Relay);
    assert_eq!(gatherer.candidates(), []);
    // It asks for an allocation, and not how it looks.
    assert_eq!(answer(&mut gatherer, public(1, 7000), at(30)), 0);
    assert_eq!(gatherer.candidates(), []);
    let stun = IceServer::new(["stun:203.0.113.9"]).unwrap();
    let refused = check_servers(&[stun], IceTransportPolicy::Relay);
    assert_eq!(refused, Err(IceServerError::NoRelay));
}

#[test]
fn streams_are_opened_for_servers_over_tcp_and_tls() {
    let urls = ["turn:203.0.113.9?transport=tcp", "turns:203.0.113.9"];
    let mut gatherer = gatherer(&urls, IceTransportPolicy::All);
    let connect = |stream, port, tls_name: Option<&str>| GatherAction::Connect {
        stream,
        server: public(9, port),
        tls_name: tls_name.map(str::to_owned),
    };
    assert_eq!(gatherer.poll_action(), Some(connect(1, 3478, None)));
    let tls = connect(2, 5349, Some("203.0.113.9"));
    assert_eq!(gatherer.poll_action(), Some(tls));
    gatherer.handle_connected(1, BASE, at(10));
    let Some(GatherAction::Write { stream: 1, bytes }) = gatherer.poll_action() else {
        panic!("nothing is asked for");
    };
    assert!(Stun::parse(&bytes).is_some());
    // The stream ends before there is an answer, and another one never comes.
    gatherer.handle_disconnected(1, "reset", at(20));
    gatherer.handle_disconnected(2, "refused", at(20));
    let why = |why: &str| GatherFailure::Connection(why.into());
    let failures: Vec<_> = gatherer.failures().into_iter().map(|(_, f)| f).collect();
    assert_eq!(failures, [why("reset"), why("refused")]);
    assert!(gatherer.is_settled());
    // Tried again after a pause.
    let hung_up: Vec<_> = std::iter::from_fn(|| gatherer.poll_action()).collect();
    assert_eq!(hung_up.len(), 2);
    let retry = gatherer.poll_timeout().unwrap();
    gatherer.handle_timeout(retry);
    assert_eq!(gatherer.poll_action(), Some(connect(1, 3478, None)));
}

#[test]
fn sockets_come_and_go() {
    let mut gatherer = gatherer(&["stun:203.0.113.9"], IceTransportPolicy::All);
    answer(&mut gatherer, public(1, 7000), at(30));
    events(&mut gatherer);
    let other = SocketAddr::from(([192, 168, 7, 2], 5001));
    gatherer.handle_bases(&[other], at(100));
    assert_eq!(gatherer.candidates(), [LocalCandidate::Host(other)]);
    assert_eq!(answer(&mut gatherer, public(2, 9000), at(130)), 1);
    assert_eq!(gatherer.candidates().len(), 2);
    assert_eq!(events(&mut gatherer).len(), 4);
}

#[test]
fn strangers_and_garbage_change_nothing() {
    let urls = ["stun:203.0.113.9", "turn:203.0.113.7"];
    let mut gatherer = gatherer(&urls, IceTransportPolicy::All);
    let before = gatherer.candidates().to_vec();
    let question = gatherer.poll_transmit().unwrap();
    let transaction = Stun::parse(&question.payload).unwrap().transaction();
    let answer = mapped(transaction, public(1, 7000));
    let datagram = |source, payload| Received {
        source,
        destination: BASE,
        payload,
    };
    gatherer.handle_datagram(datagram(public(66, 3478), &answer), at(1));
    for source in [public(9, 3478), public(7, 3478)] {
        for end in 0..answer.len() {
            gatherer.handle_datagram(datagram(source, &answer[..end]), at(1));
        }
        gatherer.handle_datagram(datagram(source, &[0x40, 0, 0, 4, 1, 2, 3, 4]), at(1));
        gatherer.handle_datagram(datagram(source, &[]), at(1));
    }
    assert_eq!(gatherer.candidates(), before);
    assert!(gatherer.poll_relayed().is_none());
}

/// The requests for an allocation among what is to be sent.
fn allocations(gatherer: &mut Gatherer) -> Vec<Datagram> {
    let sent = std::iter::from_fn(|| gatherer.poll_transmit());
    sent.filter(|datagram| datagram.payload.starts_with(&[0, 3]))
        .collect()
}

fn from_server(gatherer: &mut Gatherer, request: &Datagram, payload: &[u8], now: Instant) {
    let received = Received {
        source: request.destination,
        destination: request.source,
        payload,
    };
    gatherer.handle_datagram(received, now);
}

/// A message of this type with the transaction of `request`.
fn response(kind: u16, request: &Datagram, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut message = kind.to_be_bytes().to_vec();
    message.extend([0, 0]);
    message.extend(&request.payload[4..20]);
    for (attribute, value) in attributes {
        message.extend(attribute.to_be_bytes());
        message.extend((value.len() as u16).to_be_bytes());
        message.extend(*value);
        message.resize(message.len().next_multiple_of(4), 0);
    }
    let length = (message.len() - 20) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    message
}

/// The server's question for credentials.
fn challenge(request: &Datagram) -> Vec<u8> {
    let error: &[u8] = &[0, 0, 4, 1];
    let attributes = [
        (0x0009, error),
        (0x0014, b"example.org"),
        (0x0015, b"a fresh nonce"),
    ];
    response(0x0113, request, &attributes)
}

#[test]
fn a_question_for_credentials_that_comes_twice_refuses_nothing() {
    let mut gatherer = gatherer(&["turn:203.0.113.9"], IceTransportPolicy::Relay);
    let first = allocations(&mut gatherer).remove(0);
    // The way is slow, so the request was repeated and is answered twice.
    gatherer.handle_timeout(at(500));
    assert_eq!(allocations(&mut gatherer), std::slice::from_ref(&first));
    let question = challenge(&first);
    from_server(&mut gatherer, &first, &question, at(600));
    let signed = allocations(&mut gatherer).remove(0);
    assert!(signed.payload.len() > first.payload.len());
    from_server(&mut gatherer, &first, &question, at(1_100));
    assert_eq!(gatherer.failures(), []);
    // What somebody else sends in the server's name says nothing.
    let mut forged = challenge(&signed);
    forged[19] ^= 1;
    from_server(&mut gatherer, &first, &forged, at(1_150));
    assert_eq!(gatherer.failures(), []);
    from_server(&mut gatherer, &first, &challenge(&signed), at(1_200));
    let failures: Vec<_> = gatherer.failures().into_iter().map(|(_, f)| f).collect();
    assert_eq!(failures, [GatherFailure::Unauthorized]);
}

#[test]
fn a_server_that_asks_for_credentials_and_then_nothing_is_given_up_and_asked_again() {
    let mut gatherer = gatherer(&["turn:203.0.113.9"], IceTransportPolicy::Relay);
    let first = allocations(&mut gatherer).remove(0);
    from_server(&mut gatherer, &first, &challenge(&first), at(20));
    while gatherer.failures().is_empty() {
        let due = gatherer.poll_timeout().unwrap();
        assert!(due < at(60_000), "nobody noticed");
        gatherer.handle_timeout(due);
    }
    allocations(&mut gatherer);
    let retry = gatherer.poll_timeout().unwrap();
    gatherer.handle_timeout(retry);
    assert_eq!(allocations(&mut gatherer).len(), 1);
}

#[test]
fn a_stream_of_something_else_is_ended() {
    let mut gatherer = gatherer(&["turn:203.0.113.9?transport=tcp"], IceTransportPolicy::All);
    gatherer.handle_connected(1, BASE, at(10));
    gatherer.handle_stream(1, b"HTTP/1.1 400 Bad Request", at(20));
    let (_, failure) = gatherer.failures().remove(0);
    assert!(matches!(failure, GatherFailure::Connection(_)), "{failure}");
    let actions: Vec<_> = std::iter::from_fn(|| gatherer.poll_action()).collect();
    assert!(actions.contains(&GatherAction::Disconnect { stream: 1 }));
}

/// The server's answer to a signed request: it lends `address` for ten minutes.
fn grant(request: &Datagram, address: SocketAddr) -> Vec<u8> {
    let request = Message::from_bytes(&request.payload).unwrap();
    let transaction = request.transaction_id();
    let mut answer = Message::builder_success(&request, MessageWriteVec::new());
    let relayed = XorRelayedAddress::new(address, transaction);
    answer.add_attribute(&relayed).unwrap();
    answer.add_attribute(&Lifetime::new(600)).unwrap();
    let mapped = XorMappedAddress::new(BASE, transaction);
    answer.add_attribute(&mapped).unwrap();
    let credentials =
        LongTermKeyCredentials::new("user".into(), "secret".into(), "example.org".into());
    let algorithm = IntegrityAlgorithm::Sha1;
    answer
        .add_message_integrity(&credentials.into(), algorithm)
        .unwrap();
    answer.finish()
}

/// A gatherer with an address that a server has lent.
fn with_relay() -> (Gatherer, LocalCandidate) {
    let mut gatherer = gatherer(&["turn:203.0.113.9"], IceTransportPolicy::Relay);
    let first = allocations(&mut gatherer).remove(0);
    from_server(&mut gatherer, &first, &challenge(&first), at(10));
    // Requests are paced.
    gatherer.handle_timeout(at(60));
    let signed = allocations(&mut gatherer).remove(0);
    let address = public(9, 50_000);
    from_server(&mut gatherer, &signed, &grant(&signed, address), at(70));
    let relayed = LocalCandidate::Relayed {
        address,
        base: BASE,
    };
    assert_eq!(gatherer.candidates(), [relayed]);
    (gatherer, relayed)
}

#[test]
fn the_way_to_a_relay_is_kept_open() {
    let (mut gatherer, _) = with_relay();
    for seconds in [15, 30, 45] {
        let due = gatherer.poll_timeout().unwrap();
        assert_eq!(due, at(60) + Duration::from_secs(seconds));
        gatherer.handle_timeout(due);
        let sent = gatherer.poll_transmit().unwrap();
        let stun = Stun::parse(&sent.payload).unwrap();
        assert_eq!(stun.class(), Class::Indication);
        assert_eq!(gatherer.poll_transmit(), None);
    }
}

#[test]
fn what_a_server_lends_outlives_the_absence_of_the_socket() {
    let (mut gatherer, relayed) = with_relay();
    gatherer.handle_bases(&[], at(1_000));
    assert_eq!(gatherer.candidates(), []);
    gatherer.handle_bases(&[BASE], at(6_000));
    assert_eq!(gatherer.candidates(), [relayed]);
    // The server would refuse to lend another one to the same socket.
    assert_eq!(allocations(&mut gatherer), []);
    // It is forgotten once the server must have forgotten it.
    gatherer.handle_bases(&[], at(7_000));
    while let Some(due) = gatherer.poll_timeout() {
        assert!(due < at(700_000), "never forgotten");
        gatherer.handle_timeout(due);
        while gatherer.poll_transmit().is_some() {}
    }
    gatherer.handle_bases(&[BASE], at(700_000));
    assert_eq!(gatherer.candidates(), []);
    assert_eq!(allocations(&mut gatherer).len(), 1);
}

#[test]
fn a_server_that_has_moved_is_found_again() {
    let urls = ["stun:example.org", "turn:example.org?transport=tcp"];
    let mut gatherer = gatherer(&urls, IceTransportPolicy::All);
    let (mut now, mut moved, mut connects) = (at(0), at(0), Vec::new());
    // For a minute and more nobody is at the address that is known first.
    for asked in 1.. {
        while gatherer.poll_transmit().is_some() {}
        while let Some(action) = gatherer.poll_action() {
            match action {
                GatherAction::Resolve { server, .. } => {
                    let last = if asked > 1 { 8 } else { 9 };
                    gatherer.handle_resolved(server, Ok(vec![public(last, 0).ip()]), now);
                    moved = now;
                }
                GatherAction::Connect { stream, server, .. } => {
                    connects.push(server.ip());
                    gatherer.handle_disconnected(stream, "refused", now);
                }
                _ => {}
            }
        }
        if gatherer.is_server(public(8, 3478)) && !gatherer.is_server(public(9, 3478)) {
            break;
        }
        now = gatherer.poll_timeout().unwrap();
        assert!(now < at(200_000), "nobody asked");
        gatherer.handle_timeout(now);
    }
    assert!(moved >= at(60_000), "asked after {moved:?}");
    assert_eq!(connects.last(), Some(&public(8, 0).ip()));
    let due = gatherer.poll_timeout().unwrap();
    gatherer.handle_timeout(due);
    assert!(answer(&mut gatherer, public(1, 7000), due) > 0);
    assert_eq!(gatherer.candidates().len(), 2);
}
