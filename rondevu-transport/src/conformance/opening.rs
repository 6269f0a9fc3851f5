//! From descriptions to open streams.

use std::time::Duration;

use rondevu_core::{Instant, LinkClosed, LinkEvent, LinkInfo, OpenedBy, Reliability};
use rondevu_core::{SessionDescription, StreamOptions};

use super::{Pair, Side};
use crate::emulator::Conditions;
use crate::{LocalCandidate, TransportError, TransportFactory};

/// The stream of the offer opens on both sides, after the link is connected.
pub fn both_sides_open_the_first_stream(factory: &dyn TransportFactory) {
    let mut pair = Pair::over(factory, 1, SOME_DELAY);
    let at_dialer = pair.connect();
    let options = StreamOptions::reliable("first", "test");
    let opened = |side: &Side, stream, by| {
        let options = options.clone();
        let transport = &side.transport;
        let batch_bytes = match side.events.first() {
            Some(LinkEvent::Connected(info)) => info.batch_bytes,
            _ => 0,
        };
        assert!(batch_bytes <= transport.max_message_bytes());
        [
            LinkEvent::Connected(LinkInfo {
                fingerprints: transport.fingerprints(),
                message_bytes_max: transport.max_message_bytes(),
                batch_bytes,
            }),
            LinkEvent::StreamOpened {
                stream,
                options,
                by,
            },
        ]
    };
    let (service, dialer, first) = (&pair.service, &pair.dialer, pair.first_stream);
    let at_service = opened(service, first, OpenedBy::Local);
    assert_eq!(service.events, at_service);
    let at_dialer = opened(dialer, at_dialer, OpenedBy::Remote);
    assert_eq!(dialer.events, at_dialer);
}

/// Either side opens streams, and the other learns label, protocol and delivery.
pub fn streams_open_from_both_sides_with_their_options(factory: &dyn TransportFactory) {
    let mut pair = Pair::over(factory, 2, SOME_DELAY);
    pair.connect();
    let variants = [
        (true, Reliability::Reliable),
        (false, Reliability::Reliable),
        (true, Reliability::MaxRetransmits(3)),
        (
            false,
            Reliability::MaxPacketLifetime(Duration::from_millis(150)),
        ),
    ];
    for (number, (ordered, reliability)) in variants.into_iter().enumerate() {
        let options = StreamOptions {
            label: format!("label {number} ü"),
            protocol: format!("protocol {number}"),
            ordered,
            reliability,
        };
        for dialer_opens in [true, false] {
            let now = pair.now;
            let (opener, other) = match dialer_opens {
                true => (&mut pair.dialer, &mut pair.service),
                false => (&mut pair.service, &mut pair.dialer),
            };
            let (before, known) = (opener.events.len(), other.events.len());
            let stream = opener.transport.open_stream(options.clone(), now);
            let stream = stream.expect("a stream can be opened");
            pair.run_for(Duration::from_secs(1));
            let (opener, other) = match dialer_opens {
                true => (&pair.dialer, &pair.service),
                false => (&pair.service, &pair.dialer),
            };
            let local = LinkEvent::StreamOpened {
                stream,
                options: options.clone(),
                by: OpenedBy::Local,
            };
            assert_eq!(opener.events[before..], [local]);
            assert!(
                matches!(
                    &other.events[known..],
                    [LinkEvent::StreamOpened { options: seen, by: OpenedBy::Remote, .. }]
                        if *seen == options
                ),
                "{options:?} became {:?}",
                &other.events[known..]
            );
        }
    }
}

/// Both sides name the same two certificates, each its own first.
pub fn each_side_knows_both_certificates(factory: &dyn TransportFactory) {
    let mut pair = Pair::over(factory, 3, SOME_DELAY);
    pair.connect();
    let service = pair.service.transport.fingerprints();
    let dialer = pair.dialer.transport.fingerprints();
    let (service, dialer) = (service.expect("known"), dialer.expect("known"));
    assert_eq!(service.local, dialer.remote);
    assert_eq!(service.remote, dialer.local);
}

/// An offer that waits for its answer sends nothing and wants no attention.
pub fn an_open_offer_is_idle(factory: &dyn TransportFactory) {
    let offer = factory.create_offer(&[host(SERVICE)], StreamOptions::reliable("", ""), EARLY);
    let mut offer = offer.expect("an offer can be made");
    assert_eq!(offer.transport.poll_timeout(), None);
    assert_eq!(offer.transport.poll_transmit(), None);
    assert_eq!(offer.transport.poll_event(), None);
    assert_eq!(offer.transport.fingerprints(), None);
    assert!(!offer.transport.local_username_fragment().is_empty());
}

/// The answering side takes no answer, and the offering side takes one.
pub fn an_answer_is_taken_once(factory: &dyn TransportFactory) {
    let offer = factory.create_offer(&[host(SERVICE)], StreamOptions::reliable("", ""), EARLY);
    let mut offer = offer.expect("an offer can be made");
    let answer = factory.create_answer(&offer.description, &[host(DIALER)], EARLY);
    let mut answer = answer.expect("an answer can be made");
    let refused = answer.transport.accept_answer(&answer.description, EARLY);
    assert!(matches!(refused, Err(TransportError::NotExpected(_))));

    // Nonsense is refused and does not use the offer up.
    let nonsense = SessionDescription::answer("v=0\r\nnonsense\r\n");
    let refused = offer.transport.accept_answer(&nonsense, EARLY);
    assert!(matches!(refused, Err(TransportError::Description(_))));
    let later = EARLY + Duration::from_secs(100);
    let taken = offer.transport.accept_answer(&answer.description, later);
    assert_eq!(taken, Ok(()));
    let refused = offer.transport.accept_answer(&answer.description, later);
    assert!(matches!(refused, Err(TransportError::NotExpected(_))));
}

/// Descriptions that mean nothing, or the opposite, give an error.
pub fn unusable_descriptions_and_addresses_are_refused(factory: &dyn TransportFactory) {
    let stream = || StreamOptions::reliable("", "");
    let nowhere = [host(([0, 0, 0, 0], 5000))];
    for addresses in [&[][..], &nowhere] {
        let refused = factory.create_offer(addresses, stream(), EARLY);
        assert!(matches!(refused, Err(TransportError::NoAddress)));
    }
    let offer = factory.create_offer(&[host(SERVICE)], stream(), EARLY);
    let offer = offer.expect("an offer can be made").description;
    let as_answer = SessionDescription::answer(offer.sdp.clone());
    let refused = factory.create_answer(&as_answer, &[host(DIALER)], EARLY);
    assert!(matches!(refused, Err(TransportError::NotExpected(_))));
    for sdp in [String::new(), "\0".into(), offer.sdp.repeat(1000)] {
        let nonsense = SessionDescription::offer(sdp);
        let refused = factory.create_answer(&nonsense, &[host(DIALER)], EARLY);
        assert!(matches!(refused, Err(TransportError::Description(_))));
    }
    // However a description is cut short, nothing panics.
    for end in (0..offer.sdp.len()).filter(|&end| offer.sdp.is_char_boundary(end)) {
        let cut = SessionDescription::offer(&offer.sdp[..end]);
        let _ = factory.create_answer(&cut, &[host(DIALER)], EARLY);
    }
}

/// While it looks for a path, a link tries often enough to find a network that comes back.
pub fn a_network_that_comes_back_is_found_soon(factory: &dyn TransportFactory) {
    let mut pair = Pair::over(factory, 4, SOME_DELAY);
    pair.network
        .cut_both(pair.service.address, pair.dialer.address);
    pair.run_for(Duration::from_secs(8));
    assert_eq!(pair.service.events, []);
    pair.network.heal();
    let healed = pair.now;
    pair.connect();
    let took = pair.now - healed;
    assert!(took < Duration::from_millis(800), "it took {took:?}");
}

/// A link that finds no path ends by itself, but not too soon.
pub fn a_peer_that_never_answers_is_given_up(factory: &dyn TransportFactory) {
    let mut pair = Pair::over(factory, 5, SOME_DELAY);
    pair.network
        .cut_both(pair.service.address, pair.dialer.address);
    let start = pair.now;
    let given_up = pair.run_until(Duration::from_secs(60), |pair| {
        pair.service.closed().is_some() && pair.dialer.closed().is_some()
    });
    assert!(given_up, "still trying after a minute");
    assert!(pair.now - start > Duration::from_secs(10));
    assert_eq!(pair.service.closed(), Some(&LinkClosed::NoPath));
    assert_eq!(pair.dialer.closed(), Some(&LinkClosed::NoPath));
}

fn host(address: ([u8; 4], u16)) -> LocalCandidate {
    LocalCandidate::Host(address.into())
}

const SOME_DELAY: Conditions = Conditions::delay(Duration::from_millis(20));
const EARLY: Instant = Instant::ORIGIN;
const SERVICE: ([u8; 4], u16) = ([192, 0, 2, 1], 5000);
const DIALER: ([u8; 4], u16) = ([192, 0, 2, 2], 6000);
