//! Links whose ends get and lose addresses. Not every transport can do that: these checks stand for
//! themselves.

use std::net::SocketAddr;
use std::time::Duration;

use rondevu_core::MessageKind;

use super::pair::Pair;
use crate::emulator::Conditions;
use crate::{CandidateKind, TransportFactory, Written};

/// A side that gets another address, and loses the one that it had, keeps its link, though the peer
/// hears of the address by nothing but the link itself; and so again, and when it returns.
///
/// # Panics
///
/// If the link ends, or carries nothing within 10 s.
pub fn a_service_that_moves_keeps_its_link(factory: &dyn TransportFactory) {
    let mut pair = connected(factory);
    let home = pair.service.address;
    let [second, third] = [9, 10].map(|host| SocketAddr::from(([192, 0, 2, host], 5009)));
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

/// Moves, and demands that messages come through again.
fn move_service(pair: &mut Pair, new: SocketAddr) {
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
    // Messages that wait for an acknowledgement meanwhile are repeated ever more rarely.
    pair.run_for(Duration::from_secs(8));
    talk(pair);
    let path = pair.service.transport.path().expect("a path is used");
    assert_eq!(path.local, new);
    let path = pair.dialer.transport.path().expect("a path is used");
    assert_eq!(path.remote, new);
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
    let there = pair.connect();
    let (here, now) = (pair.first_stream, pair.now);
    for (side, stream) in [(&mut pair.service, here), (&mut pair.dialer, there)] {
        let written = side
            .transport
            .write(stream, MessageKind::Text, b"still here", now);
        assert!(matches!(written, Ok(Written::Accepted)), "{written:?}");
    }
    let before = [
        pair.service.messages(here).len(),
        pair.dialer.messages(there).len(),
    ];
    let heard = pair.run_until(Duration::from_secs(10), |pair| {
        pair.service.messages(here).len() > before[0]
            && pair.dialer.messages(there).len() > before[1]
    });
    assert!(heard, "nothing came within 10 s: {pair:?}");
    assert!(pair.service.closed().is_none() && pair.dialer.closed().is_none());
}
