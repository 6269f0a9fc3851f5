//! Links of the composed engine with each other, and with those of the other engine, in virtual
//! time.

use std::time::Duration;

use rondevu_core::{Instant, LinkClosed, LinkEvent, MessageKind, SessionDescription};
use rondevu_core::{StreamId, StreamOptions};

use super::*;
use crate::conformance::Pair;
use crate::emulator::Conditions;
use crate::rtc::RtcConfig;
use crate::{Answered, LocalCandidate, Offered, TransportError, TransportFactory, Written};

#[allow(
    clippy::disallowed_methods,
    reason = "the engine needs some std instant to count from"
)]
fn fixture() -> ComposedFactory {
    let epoch = std::time::Instant::now();
    ComposedFactory::new(RtcConfig::default(), epoch).expect("a certificate can be made")
}

mod conformance {
    crate::transport_conformance!(super::fixture());
}

/// Makes each side of a link with another engine.
#[cfg(feature = "str0m")]
#[derive(Debug)]
struct Mixed<O, A> {
    offering: O,
    answering: A,
}

#[cfg(feature = "str0m")]
impl<O: TransportFactory, A: TransportFactory> TransportFactory for Mixed<O, A> {
    fn create_offer(
        &self,
        local: &[LocalCandidate],
        stream: StreamOptions,
        now: Instant,
    ) -> Result<Offered, TransportError> {
        self.offering.create_offer(local, stream, now)
    }

    fn create_answer(
        &self,
        offer: &SessionDescription,
        local: &[LocalCandidate],
        now: Instant,
    ) -> Result<Answered, TransportError> {
        self.answering.create_answer(offer, local, now)
    }
}

#[cfg(feature = "str0m")]
mod answering_str0m {
    crate::transport_conformance!(super::Mixed {
        offering: crate::rtc::fixture(),
        answering: super::fixture(),
    });
}

#[cfg(feature = "str0m")]
mod answered_by_str0m {
    crate::transport_conformance!(super::Mixed {
        offering: super::fixture(),
        answering: crate::rtc::fixture(),
    });
}

mod moving {
    crate::transport_conformance!(moving super::fixture());
}

#[test]
fn opening_takes_eight_round_trips_at_most() {
    for millis in [5, 25, 50, 100] {
        let one_way = Duration::from_millis(millis);
        let mut pair = Pair::new(&fixture(), 1, Conditions::delay(one_way)).unwrap();
        let start = pair.now;
        pair.connect();
        let took = pair.now - start;
        assert!(took <= one_way * 16, "{took:?} at {one_way:?}");
    }
}

#[test]
fn an_idle_link_checks_its_path_once_in_a_few_seconds() {
    let mut pair = over_50_ms(1, 0.0);
    pair.connect();
    pair.run_for(Duration::from_secs(5));
    let before = pair.network.counts().sent;
    pair.run_for(Duration::from_secs(60));
    let sent = pair.network.counts().sent - before;
    // Two sides, a check and an answer each, every 2.5 s.
    assert!((80..=110).contains(&sent), "{sent} datagrams in a minute");
}

#[test]
fn a_lost_handshake_message_costs_tenths_of_a_second() {
    let slow = (0..40).filter(|&seed| {
        let mut pair = over_50_ms(seed, 0.05);
        let start = pair.now;
        pair.connect();
        pair.now - start > Duration::from_secs(1)
    });
    let slow = slow.count();
    assert!(slow <= 6, "{slow} of 40 took more than a second");
}

#[test]
fn a_certificate_that_was_not_promised_ends_the_link() {
    let (factory, other) = (fixture(), fixture());
    let here = [LocalCandidate::Host(([192, 0, 2, 1], 5000).into())];
    let there = [LocalCandidate::Host(([192, 0, 2, 2], 6000).into())];
    let now = Instant::ORIGIN;
    let offer = factory.create_offer(&here, StreamOptions::reliable("", ""), now);
    let offer = offer.unwrap();
    let answer = factory.create_answer(&offer.description, &there, now);
    let answer = answer.unwrap();
    // Whoever carries the answer swaps the fingerprint for one of another certificate.
    let foreign = other.create_answer(&offer.description, &there, now);
    let foreign = foreign.unwrap().description.sdp;
    let sdp = &answer.description.sdp;
    let sdp = sdp.replace(fingerprint_line(sdp), fingerprint_line(&foreign));
    let (mut service, mut dialer) = (offer.transport, answer.transport);
    let swapped = SessionDescription::answer(sdp);
    service.accept_answer(&swapped, now).unwrap();

    let mut events = Vec::new();
    for _ in 0..20 {
        while let Some(datagram) = service.poll_transmit() {
            dialer.handle_datagram(datagram.as_received(), now);
        }
        while let Some(datagram) = dialer.poll_transmit() {
            service.handle_datagram(datagram.as_received(), now);
        }
        events.extend(std::iter::from_fn(|| service.poll_event()));
    }
    assert!(
        matches!(
            &events[..],
            [LinkEvent::Closed {
                reason: LinkClosed::Failed(_)
            }]
        ),
        "{events:?}"
    );
}

fn fingerprint_line(sdp: &str) -> &str {
    let mut lines = sdp.lines();
    lines.find(|l| l.starts_with("a=fingerprint")).unwrap()
}

#[test]
fn ids_of_closed_streams_are_used_again() {
    let mut pair = over_50_ms(1, 0.0);
    pair.connect();
    // More than there are ids, in both directions.
    for round in 0..700 {
        let mut opened = Vec::new();
        for side in [&mut pair.service, &mut pair.dialer] {
            let options = StreamOptions::reliable(format!("round {round}"), "");
            opened.push(side.transport.open_stream(options, pair.now).unwrap());
        }
        let (at_service, at_dialer) = (opened[0], opened[1]);
        let both = pair.run_until(Duration::from_secs(5), |pair| {
            pair.service.opened(at_service) && pair.dialer.opened(at_dialer)
        });
        assert!(both, "round {round}");
        let written =
            pair.service
                .transport
                .write(at_service, MessageKind::Text, b"last", pair.now);
        assert_eq!(written, Ok(Written::Accepted));
        pair.service.transport.close_stream(at_service, pair.now);
        pair.dialer.transport.close_stream(at_dialer, pair.now);
        let closed = |stream: StreamId| LinkEvent::StreamClosed { stream };
        let both = pair.run_until(Duration::from_secs(5), |pair| {
            pair.service.events.contains(&closed(at_service))
                && pair.dialer.events.contains(&closed(at_dialer))
        });
        assert!(both, "round {round}");
        pair.service.events.clear();
        pair.dialer.events.clear();
    }
}

#[test]
fn closing_a_stream_ends_even_if_a_message_crosses_it() {
    let mut pair = over_50_ms(1, 0.0);
    let at_dialer = pair.connect();
    let (first, now) = (pair.first_stream, pair.now);
    pair.service.transport.close_stream(first, now);
    let crossing = pair
        .dialer
        .transport
        .write(at_dialer, MessageKind::Text, b"crossing", now);
    assert_eq!(crossing, Ok(Written::Accepted));
    let closed = LinkEvent::StreamClosed { stream: first };
    let ended = pair.run_until(Duration::from_secs(10), |pair| {
        pair.service.events.contains(&closed)
    });
    assert!(ended, "{:?}", pair.service.events);
}

fn over_50_ms(seed: u64, loss: f64) -> Pair {
    let conditions = Conditions {
        loss,
        jitter: Duration::from_millis(10),
        ..Conditions::delay(Duration::from_millis(25))
    };
    Pair::new(&fixture(), seed, conditions).unwrap()
}

/// Whether a large message of the service arrives before the link ends, which takes minutes on a bad path.
fn carries_a_message(pair: &mut Pair, at_dialer: StreamId) -> bool {
    let first = pair.first_stream;
    let written = pair
        .service
        .transport
        .write(first, MessageKind::Binary, &[7; 100_000], pair.now);
    assert_eq!(written, Ok(Written::Accepted));
    let arrives = |pair: &Pair| !pair.dialer.messages(at_dialer).is_empty();
    let ends = |pair: &Pair| pair.service.closed().is_some();
    let done = pair.run_until(Duration::from_secs(600), |pair| arrives(pair) || ends(pair));
    assert!(done, "neither was there a message nor an end");
    arrives(pair)
}

#[test]
fn large_datagrams_are_sent_where_they_arrive_and_nowhere_else() {
    for (carried, expected) in [(1500, 1452), (1452, 1452), (1451, 1228), (1228, 1228)] {
        let conditions = Conditions::delay(Duration::from_millis(20));
        let mut pair = Pair::new(&fixture(), 1, conditions).unwrap();
        pair.network.carry_at_most(carried);
        let at_dialer = pair.connect();
        let before = pair.network.counts();
        assert!(carries_a_message(&mut pair, at_dialer), "{carried}");
        let after = pair.network.counts();
        assert_eq!(after.too_large, before.too_large, "{carried}");
        // The first of them still fit, so many are the acknowledgements at most.
        let datagrams = (after.sent - before.sent) as usize;
        let needed = 100_000 / expected;
        assert!(
            (needed..=needed * 2).contains(&datagrams),
            "{carried}: {datagrams}"
        );
        assert!(pair.network.counts().too_large <= 2 * 8, "{carried}");
    }
}

#[test]
fn a_path_that_carries_less_than_before_ends_the_link() {
    let conditions = Conditions::delay(Duration::from_millis(20));
    let mut pair = Pair::new(&fixture(), 1, conditions).unwrap();
    let at_dialer = pair.connect();
    pair.network.carry_at_most(1300);
    let since = pair.now;
    assert!(!carries_a_message(&mut pair, at_dialer));
    let took = pair.now - since;
    assert!(took < Duration::from_secs(10), "{took:?}");
    let why = "the path does not carry datagrams as large as before";
    assert_eq!(pair.service.closed(), Some(&LinkClosed::Failed(why.into())));
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.dialer.closed(), Some(&LinkClosed::Remote));
}

#[test]
fn after_a_path_that_carries_less_others_are_not_tried_for_a_while() {
    let factory = fixture();
    let conditions = Conditions::delay(Duration::from_millis(20));
    let mut pair = Pair::new(&factory, 1, conditions).unwrap();
    let at_dialer = pair.connect();
    pair.network.carry_at_most(1300);
    assert!(!carries_a_message(&mut pair, at_dialer));
    let mut successor = Pair::new(&factory, 2, conditions).unwrap();
    successor.now = pair.now;
    let at_dialer = successor.connect();
    successor.network.carry_at_most(1300);
    assert!(carries_a_message(&mut successor, at_dialer));
}

#[test]
fn a_bad_path_is_not_taken_for_one_that_carries_less() {
    let conditions = Conditions {
        loss: 0.2,
        ..Conditions::delay(Duration::from_millis(300))
    };
    for seed in 0..8 {
        let mut pair = Pair::new(&fixture(), seed, conditions).unwrap();
        let at_dialer = pair.connect();
        for _ in 0..4 {
            assert!(carries_a_message(&mut pair, at_dialer), "seed {seed}");
            pair.dialer.events.clear();
            pair.run_for(Duration::from_secs(10));
        }
        assert_eq!(pair.service.closed(), None, "seed {seed}");
    }
}
