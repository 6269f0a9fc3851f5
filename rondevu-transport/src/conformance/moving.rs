//! Links whose ends get and lose addresses. Not every transport can do that: these checks stand for
//! themselves.

use std::net::SocketAddr;
use std::time::Duration;

use rondevu_core::MessageKind;

use super::pair::Pair;
use crate::emulator::Conditions;
use crate::{CandidateKind, Received, TransportFactory, Written};

/// A side that gets another address, and loses the one that it had, keeps its link, though the peer
/// hears of the address by nothing but the link itself; and so again, and when it returns.
///
/// # Panics
///
/// If the link ends, or carries nothing within 10 s.
pub fn a_service_that_moves_keeps_its_link(factory: &dyn TransportFactory) {
    let mut pair = connected(factory);
    let home = pair.service.address;
    let [second, third] = ELSEWHERE.map(SocketAddr::from);
    move_service(&mut pair, second);
    let path = pair.dialer.transport.path().expect("a path is used");
    assert_eq!(path.remote_kind, CandidateKind::PeerReflexive);
    assert_eq!(path.local_kind, CandidateKind::Host);
    for new in [third, home, second] {
        pair.run_for(Duration::from_secs(1));
        pair.network.heal();
        move_service(&mut pair, new);
    }
}

/// Nor can anybody hold the link back who sends, in the name of the address that the side has left, what
/// looks like STUN and DTLS.
///
/// # Panics
///
/// If the link ends, or carries nothing within 10 s.
pub fn a_forger_cannot_hold_a_link_back(factory: &dyn TransportFactory) {
    let mut pair = connected(factory);
    let left = pair.service.address;
    take_service_to(&mut pair, ELSEWHERE[0].into());
    let request = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42].repeat(3)[..20].to_vec();
    let response = [&[1, 1], &request[2..]].concat();
    let header = [23, 254, 253, 0, 1, 0, 0, 0, 0, 0, 9, 0, 40];
    let record = [&header[..], &[7; 40]].concat();
    let before = say(&mut pair);
    for _ in 0..100 {
        pair.run_for(Duration::from_millis(100));
        for payload in [&request, &response, &record] {
            let received = Received {
                source: left,
                destination: pair.dialer.address,
                payload,
            };
            pair.dialer.transport.handle_datagram(received, pair.now);
        }
    }
    assert!(
        has_heard(&pair, before),
        "nothing came within 10 s: {pair:?}"
    );
}

/// Moves, and demands that messages come through again.
fn move_service(pair: &mut Pair, new: SocketAddr) {
    take_service_to(pair, new);
    // Messages that wait for an acknowledgement meanwhile are repeated ever more rarely.
    pair.run_for(Duration::from_secs(8));
    talk(pair);
    let path = pair.service.transport.path().expect("a path is used");
    assert_eq!(path.local, new);
    let path = pair.dialer.transport.path().expect("a path is used");
    assert_eq!(path.remote, new);
}

/// The service gets another address, and nothing comes through at the old one any more.
fn take_service_to(pair: &mut Pair, new: SocketAddr) {
    let old = pair.service.address;
    pair.network.cut_both(old, pair.dialer.address);
    // As is noticed after a while.
    pair.run_for(Duration::from_millis(700));
    pair.service.address = new;
    pair.service
        .transport
        .add_local_candidate(new.into(), pair.now);
    pair.service
        .transport
        .remove_local_candidate(old.into(), pair.now);
}

/// An address that is found later is for the peer to be told, once, and connects where the others do
/// not.
///
/// # Panics
///
/// If it is not given, or not used.
pub fn an_address_that_is_found_later_is_told_and_used(factory: &dyn TransportFactory) {
    let mut pair = new_pair(factory);
    let (old, new) = (
        pair.dialer.address,
        SocketAddr::from(([192, 0, 2, 8], 6008)),
    );
    pair.network.cut_both(old, pair.service.address);
    pair.run_for(Duration::from_millis(300));
    assert_eq!(pair.dialer.transport.poll_candidate(), None);
    pair.dialer
        .transport
        .add_local_candidate(new.into(), pair.now);
    // What is known already is no news.
    for known in [old, new] {
        pair.dialer
            .transport
            .add_local_candidate(known.into(), pair.now);
    }
    pair.dialer.address = new;
    let told = pair.dialer.transport.poll_candidate();
    let told = told.expect("the peer has to be told");
    assert_eq!(pair.dialer.transport.poll_candidate(), None);
    pair.service
        .transport
        .add_remote_candidate(&told, pair.now)
        .expect("a candidate of one side is good for the other");
    talk(&mut pair);
    let path = pair.service.transport.path().expect("a path is used");
    assert_eq!((path.remote, path.remote_kind), (new, CandidateKind::Host));
}

/// A peer that tells a name of the local network in place of its address is reached by whoever finds
/// the address out.
///
/// # Panics
///
/// If the name is not given back once, or the address is not used.
pub fn a_name_in_place_of_an_address_is_for_the_embedder(factory: &dyn TransportFactory) {
    let mut pair = new_pair(factory);
    let (old, new) = (
        pair.dialer.address,
        SocketAddr::from(([192, 0, 2, 8], 6008)),
    );
    pair.network.cut_both(old, pair.service.address);
    pair.dialer
        .transport
        .add_local_candidate(new.into(), pair.now);
    pair.dialer.address = new;
    let mut told = pair
        .dialer
        .transport
        .poll_candidate()
        .expect("the peer has to be told");
    let (name, address) = ("d5d4a2f0-6bb5-4f23-9d8c-2d6d2b0d3d5d.local", new.ip());
    told.candidate = told.candidate.replace(&address.to_string(), name);
    let service = &mut pair.service.transport;
    assert_eq!(service.poll_named_candidate(), None);
    service
        .add_remote_candidate(&told, pair.now)
        .expect("a name is no error");
    let named = service.poll_named_candidate().expect("it is to be found");
    assert_eq!(named.name(), name);
    assert_eq!(service.poll_named_candidate(), None);
    service
        .add_remote_candidate(&named.with_address(address), pair.now)
        .expect("it is a candidate like others");
    talk(&mut pair);
    let path = pair.service.transport.path().expect("a path is used");
    assert_eq!((path.remote, path.remote_kind), (new, CandidateKind::Host));
}

fn new_pair(factory: &dyn TransportFactory) -> Pair {
    let conditions = Conditions::delay(Duration::from_millis(10));
    Pair::new(factory, 1, conditions).expect("two links can be made")
}

fn connected(factory: &dyn TransportFactory) -> Pair {
    let mut pair = new_pair(factory);
    pair.connect();
    pair.run_for(Duration::from_secs(1));
    pair
}

/// A message in each direction, after the first stream is open.
fn talk(pair: &mut Pair) {
    let before = say(pair);
    let heard = pair.run_until(Duration::from_secs(10), |pair| has_heard(pair, before));
    assert!(heard, "nothing came within 10 s: {pair:?}");
    assert!(pair.service.closed().is_none() && pair.dialer.closed().is_none());
}

/// Writes a message on each side; how many have come to each so far.
fn say(pair: &mut Pair) -> [usize; 2] {
    let there = pair.connect();
    let (here, now) = (pair.first_stream, pair.now);
    for (side, stream) in [(&mut pair.service, here), (&mut pair.dialer, there)] {
        let written = side
            .transport
            .write(stream, MessageKind::Text, b"still here", now);
        assert!(matches!(written, Ok(Written::Accepted)), "{written:?}");
    }
    heard(pair)
}

/// How many messages have come to each side on the first stream.
fn heard(pair: &Pair) -> [usize; 2] {
    let there = pair.dialer.first_opened().expect("the stream is open");
    let (service, dialer) = (&pair.service, &pair.dialer);
    [
        service.messages(pair.first_stream).len(),
        dialer.messages(there).len(),
    ]
}

fn has_heard(pair: &Pair, before: [usize; 2]) -> bool {
    heard(pair)
        .iter()
        .zip(before)
        .all(|(now, before)| *now > before)
}

/// Where a side moves to.
const ELSEWHERE: [([u8; 4], u16); 2] = [([192, 0, 2, 9], 5009), ([192, 0, 2, 10], 5009)];
