//! The ends of streams and links.

use std::time::Duration;

use rondevu_core::{LinkClosed, LinkEvent, MessageKind, StreamOptions};

use super::Pair;
use crate::emulator::Conditions;
use crate::{LocalCandidate, Received, TransportError, TransportFactory};

/// What was written before a stream is closed arrives; then both sides see it close.
pub fn closing_a_stream_is_seen_by_the_peer_after_its_messages(factory: &dyn TransportFactory) {
    let mut pair = Pair::over(factory, 21, SOME_DELAY);
    let at_dialer = pair.connect();
    let (first, now) = (pair.first_stream, pair.now);
    for number in 0..20u8 {
        let payload = vec![number; 3_000];
        pair.service
            .must_write(first, MessageKind::Binary, &payload, now);
    }
    pair.service.transport.close_stream(first, now);
    let refused = pair
        .service
        .transport
        .write(first, MessageKind::Text, b"late", now);
    assert_eq!(refused, Err(TransportError::UnknownStream(first)));
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.dialer.messages(at_dialer).len(), 20);
    let closed = |stream| LinkEvent::StreamClosed { stream };
    assert_eq!(pair.dialer.events.last(), Some(&closed(at_dialer)));
    assert_eq!(pair.service.events.last(), Some(&closed(first)));
    // The link lives on: another stream can be opened.
    let now = pair.now;
    let stream = pair
        .dialer
        .transport
        .open_stream(StreamOptions::reliable("second", ""), now)
        .expect("the link is alive");
    let opened = pair.run_until(Duration::from_secs(5), |pair| pair.dialer.opened(stream));
    assert!(opened);
}

/// A stream that is closed while it opens is reported closed, and never open.
pub fn a_stream_closed_before_it_opened_never_opens(factory: &dyn TransportFactory) {
    let mut pair = Pair::over(factory, 22, SOME_DELAY);
    let now = pair.now;
    let options = StreamOptions::reliable("regretted", "");
    let stream = pair.service.transport.open_stream(options, now);
    let stream = stream.expect("a stream can be opened before the link is");
    pair.service.transport.close_stream(stream, now);
    pair.connect();
    let closed = LinkEvent::StreamClosed { stream };
    let seen = pair.run_until(Duration::from_secs(5), |pair| {
        pair.service.events.contains(&closed)
    });
    assert!(seen, "{:?}", pair.service.events);
    assert!(!pair.service.opened(stream));
}

/// A link that is closed says so to the peer, at once.
pub fn closing_the_link_is_seen_by_the_peer(factory: &dyn TransportFactory) {
    for dialer_closes in [true, false] {
        let mut pair = Pair::over(factory, 23, SOME_DELAY);
        pair.connect();
        let now = pair.now;
        let closing = match dialer_closes {
            true => &mut pair.dialer,
            false => &mut pair.service,
        };
        closing.transport.close(now);
        let ended = pair.run_until(Duration::from_millis(100), |pair| {
            pair.dialer.closed().is_some() && pair.service.closed().is_some()
        });
        assert!(ended, "the peer does not know");
        let (dialer, service) = match dialer_closes {
            true => (LinkClosed::Local, LinkClosed::Remote),
            false => (LinkClosed::Remote, LinkClosed::Local),
        };
        assert_eq!(pair.dialer.closed(), Some(&dialer));
        assert_eq!(pair.service.closed(), Some(&service));
    }
}

/// After its end a link refuses commands, ignores facts and wants nothing.
pub fn a_closed_link_does_nothing(factory: &dyn TransportFactory) {
    let mut pair = Pair::over(factory, 24, SOME_DELAY);
    pair.connect();
    pair.service.transport.close(pair.now);
    pair.run_for(Duration::from_secs(1));
    let events = pair.service.events.len();
    let (first, now) = (pair.first_stream, pair.now);
    let link = &mut pair.service.transport;
    assert_eq!(link.poll_timeout(), None);
    assert_eq!(
        link.write(first, MessageKind::Text, b"late", now),
        Err(TransportError::Closed)
    );
    let opened = link.open_stream(StreamOptions::reliable("", ""), now);
    assert_eq!(opened, Err(TransportError::Closed));
    link.close_stream(first, now);
    link.close(now);
    link.handle_timeout(now);
    link.handle_datagram(
        Received {
            source: pair.dialer.address,
            destination: pair.service.address,
            payload: &[22, 254, 253],
        },
        now,
    );
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.service.events.len(), events);
}

/// An offer that nobody answered ends like any link, without a word to anybody.
pub fn an_offer_can_be_withdrawn(factory: &dyn TransportFactory) {
    let now = rondevu_core::Instant::ORIGIN;
    let local = [LocalCandidate::Host(([192, 0, 2, 1], 5000).into())];
    let offer = factory.create_offer(&local, StreamOptions::reliable("", ""), now);
    let mut link = offer.expect("an offer can be made").transport;
    link.close(now);
    let closed = LinkEvent::Closed {
        reason: LinkClosed::Local,
    };
    assert_eq!(link.poll_event(), Some(closed));
    assert_eq!(link.poll_event(), None);
    assert_eq!(link.poll_transmit(), None);
}

const SOME_DELAY: Conditions = Conditions::delay(Duration::from_millis(20));
