//! Datagrams and candidates that nobody asked for.

use std::time::Duration;

use rondevu_core::{IceCandidate, MessageKind};

use super::Pair;
use crate::emulator::Conditions;
use crate::{Received, TransportError, TransportFactory};

/// Whatever a stranger sends, or repeats of what it saw, changes nothing: before, during and after
/// the link is established.
pub fn strangers_change_nothing(factory: &dyn TransportFactory) {
    let mut pair = Pair::over(factory, 31, SOME_DELAY);
    let mut random = fastrand::Rng::with_seed(31);
    for _ in 0..200 {
        pair.run_for(Duration::from_millis(5));
        // The stranger repeats what it overhears, to the one that it was meant for, from its own
        // address. (One that relays in both directions is a path like any other.)
        let overheard = [&pair.service, &pair.dialer].map(|side| side.last_sent.clone());
        for side in [&mut pair.service, &mut pair.dialer] {
            let meant = overheard.iter().flatten();
            let meant = meant.filter(|datagram| datagram.destination == side.address);
            let repeated = meant.map(|datagram| datagram.payload.clone());
            for payload in repeated.chain([garbage(&mut random)]) {
                let received = Received {
                    source: STRANGER.into(),
                    destination: side.address,
                    payload: &payload,
                };
                side.transport.handle_datagram(received, pair.now);
            }
        }
    }
    assert_alive(&mut pair);
}

/// Garbage that seems to come from the peer is thrown away by an established link.
pub fn garbage_from_the_peers_address_changes_nothing(factory: &dyn TransportFactory) {
    let mut pair = Pair::over(factory, 32, SOME_DELAY);
    pair.connect();
    let mut random = fastrand::Rng::with_seed(32);
    for _ in 0..2_000 {
        let payload = garbage(&mut random);
        let (service, dialer) = (pair.service.address, pair.dialer.address);
        for (side, source) in [(&mut pair.service, dialer), (&mut pair.dialer, service)] {
            let received = Received {
                source,
                destination: side.address,
                payload: &payload,
            };
            side.transport.handle_datagram(received, pair.now);
        }
        pair.settle();
    }
    assert_alive(&mut pair);
}

/// Whatever the network does to the datagrams of a handshake, each side ends up connected or closed
/// or still trying; and an established link outlives it.
pub fn corrupted_datagrams_end_one_link_at_most(factory: &dyn TransportFactory) {
    for seed in 0..10 {
        let mut pair = Pair::over(factory, seed, SOME_DELAY);
        if seed % 2 == 0 {
            pair.connect();
        }
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..200 {
            pair.run_for(Duration::from_millis(10));
            let sent = [&pair.service, &pair.dialer].map(|side| side.last_sent.clone());
            for mut datagram in sent.into_iter().flatten() {
                for _ in 0..random.usize(1..4) {
                    let at = random.usize(..datagram.payload.len());
                    datagram.payload[at] ^= 1 << random.u8(..8);
                }
                if random.bool() {
                    datagram.payload.truncate(random.usize(..100));
                }
                pair.network.send(datagram, pair.now);
            }
            let (first, now) = (pair.first_stream, pair.now);
            let link = &mut pair.service.transport;
            let _ = link.write(first, MessageKind::Binary, &[0; 3_000], now);
        }
        if seed % 2 == 0 {
            assert_eq!(pair.service.closed(), None, "seed {seed}");
            assert_eq!(pair.dialer.closed(), None, "seed {seed}");
        }
    }
}

/// A candidate is used, ignored or refused, and none of them ends the link.
pub fn candidates_are_read_or_refused(factory: &dyn TransportFactory) {
    let mut pair = Pair::over(factory, 33, SOME_DELAY);
    let candidate = |line: &str| IceCandidate {
        candidate: line.into(),
        sdp_mid: None,
        sdp_m_line_index: Some(0),
        username_fragment: None,
    };
    let now = pair.now;
    let link = &mut pair.dialer.transport;
    for ignored in [
        "",
        "candidate:1 1 udp 2113937151 192.0.2.77 9 typ host",
        "candidate:1 1 UDP 2113937151 4a7a0d3e-0000-4000-8000-1f2d3c4b5a69.local 9 typ host",
        "candidate:1 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active",
    ] {
        let taken = link.add_remote_candidate(&candidate(ignored), now);
        assert_eq!(taken, Ok(()), "{ignored}");
    }
    for refused in ["nonsense", "a candidate", "\0", &"x".repeat(100_000)] {
        let taken = link.add_remote_candidate(&candidate(refused), now);
        assert!(matches!(taken, Err(TransportError::Candidate(_))));
    }
    for port in 0..1_000 {
        let line = format!("candidate:1 1 udp 2113937151 192.0.2.78 {port} typ host");
        let taken = link.add_remote_candidate(&candidate(&line), now);
        assert_eq!(taken, Ok(()));
    }
    assert_alive(&mut pair);
}

fn assert_alive(pair: &mut Pair) {
    let at_dialer = pair.connect();
    let (first, now) = (pair.first_stream, pair.now);
    pair.service
        .must_write(first, MessageKind::Text, b"still here", now);
    let arrived = pair.run_until(Duration::from_secs(5), |pair| {
        !pair.dialer.messages(at_dialer).is_empty()
    });
    assert!(arrived, "{pair:?}");
}

/// Bytes of any length that may look like STUN, DTLS or nothing at all.
fn garbage(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut payload = vec![0; random.usize(..200)];
    random.fill(&mut payload);
    let beginnings: [&[u8]; 6] = [
        &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42],
        &[1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42],
        &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 1, 0, 20],
        &[23, 254, 253, 0, 1, 0, 0, 0, 0, 0, 9, 0, 40],
        &[21, 254, 253, 0, 1, 0, 0, 0, 0, 0, 9, 0, 40],
        &[],
    ];
    let beginning = beginnings[random.usize(..beginnings.len())];
    let len = beginning.len().min(payload.len());
    payload[..len].copy_from_slice(&beginning[..len]);
    payload
}

const SOME_DELAY: Conditions = Conditions::delay(Duration::from_millis(20));
const STRANGER: ([u8; 4], u16) = ([203, 0, 113, 66], 666);
