//! WebRTC links against each other in virtual time.

use std::net::SocketAddr;
use std::time::Duration;

use rondevu_core::{Instant, LinkClosed, LinkEvent, SessionDescription, StreamOptions};

use super::*;
use crate::TransportFactory;
use crate::conformance::Pair;
use crate::emulator::Conditions;

mod conformance {
    crate::transport_conformance!(crate::rtc::fixture());
}

mod moving {
    crate::transport_conformance!(moving crate::rtc::fixture());
}

fn time_to_open(one_way: Duration) -> Duration {
    let mut pair = Pair::new(&fixture(), 1, Conditions::delay(one_way)).unwrap();
    let start = pair.now;
    pair.connect();
    pair.now - start
}

#[test]
fn opening_takes_six_round_trips() {
    for millis in [0, 5, 25, 50, 100] {
        let one_way = Duration::from_millis(millis);
        assert_eq!(time_to_open(one_way), one_way * 12);
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
    assert!((90..=110).contains(&sent), "{sent} datagrams in a minute");
    // A path that dies is noticed all the same.
    let (service, dialer) = (pair.service.address, pair.dialer.address);
    pair.network.cut_both(service, dialer);
    let noticed = pair.run_until(Duration::from_secs(20), |pair| {
        pair.service.closed() == Some(&LinkClosed::NoPath)
    });
    assert!(noticed, "nobody noticed within 20 s");
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
    let here = [SocketAddr::from(([192, 0, 2, 1], 5000)).into()];
    let there = [SocketAddr::from(([192, 0, 2, 2], 6000)).into()];
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

fn over_50_ms(seed: u64, loss: f64) -> Pair {
    let conditions = Conditions {
        loss,
        jitter: Duration::from_millis(10),
        ..Conditions::delay(Duration::from_millis(25))
    };
    Pair::new(&fixture(), seed, conditions).unwrap()
}
