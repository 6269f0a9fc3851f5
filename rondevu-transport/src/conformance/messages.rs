//! Messages on open streams.

use std::time::Duration;

use bytes::Bytes;
use rondevu_core::{LinkEvent, MessageKind, StreamId, StreamOptions};

use super::{Pair, Side};
use crate::emulator::Conditions;
use crate::{TransportError, TransportFactory, Written};

/// Texts and bytes arrive as what they were and in the order of their sending.
pub fn text_and_binary_arrive_in_order(factory: &dyn TransportFactory) {
    let mut pair = Pair::over(factory, 11, SOME_DELAY);
    let at_dialer = pair.connect();
    let messages = [
        (MessageKind::Text, Bytes::from_static("grüße".as_bytes())),
        (MessageKind::Binary, Bytes::from_static(&[0, 1, 2, 255])),
        (MessageKind::Binary, Bytes::from_static(&[0])),
        (MessageKind::Binary, Bytes::from(vec![7; 5_000])),
        (MessageKind::Text, Bytes::from_static(b"end")),
    ];
    for (kind, payload) in &messages {
        let first = pair.first_stream;
        pair.service.must_write(first, *kind, payload, pair.now);
        pair.dialer.must_write(at_dialer, *kind, payload, pair.now);
    }
    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.dialer.messages(at_dialer), messages);
    assert_eq!(pair.service.messages(pair.first_stream), messages);
}

/// A message of exactly the limit passes; one byte more is an error that names the limit, and no
/// byte at all is an error too.
pub fn the_largest_message_passes_and_a_larger_one_is_refused(factory: &dyn TransportFactory) {
    let mut pair = Pair::over(factory, 12, SOME_DELAY);
    let at_dialer = pair.connect();
    let bytes_max = pair.service.transport.max_message_bytes();
    assert!(bytes_max >= 16 * 1024, "{bytes_max} bytes are too few");
    let payload: Bytes = (0..bytes_max).map(|i| i as u8).collect();
    // It may take the whole buffer: what opened the stream must be acknowledged first.
    pair.run_for(Duration::from_secs(1));
    let (first, now) = (pair.first_stream, pair.now);
    pair.service
        .must_write(first, MessageKind::Binary, &payload, now);
    let link = &mut pair.service.transport;
    let refused = link.write(first, MessageKind::Binary, &[], now);
    assert_eq!(refused, Err(TransportError::EmptyMessage));
    let larger = vec![0; bytes_max + 1];
    let refused = pair
        .service
        .transport
        .write(first, MessageKind::Binary, &larger, now);
    let bytes = larger.len();
    assert_eq!(
        refused,
        Err(TransportError::MessageTooLarge { bytes, bytes_max })
    );
    pair.run_for(Duration::from_secs(10));
    let expected = [(MessageKind::Binary, payload)];
    assert_eq!(pair.dialer.messages(at_dialer), expected);
}

/// A writer that is faster than the network is stopped, called again, and loses nothing.
pub fn a_full_buffer_refuses_and_calls_again(factory: &dyn TransportFactory) {
    let mut pair = Pair::over(factory, 13, SOME_DELAY);
    let at_dialer = pair.connect();
    let first = pair.first_stream;
    let total = 200;
    let mut written = 0;
    let mut refusals = 0;
    let mut calls = pair.service.writable();
    while written < total {
        let payload = message(written);
        match pair.service.write(first, &payload, pair.now) {
            Written::Accepted => written += 1,
            Written::Full => {
                refusals += 1;
                let called = pair.run_until(Duration::from_secs(5), |pair| {
                    pair.service.writable() > calls
                });
                assert!(called, "message {written} was refused for ever");
                calls = pair.service.writable();
            }
        }
    }
    assert!(refusals > 0, "3 MB went into the buffer at once");
    pair.run_for(Duration::from_secs(10));
    let arrived = pair.dialer.messages(at_dialer);
    let sent: Vec<_> = (0..total)
        .map(|n| (MessageKind::Binary, message(n)))
        .collect();
    assert!(arrived == sent, "{} messages arrived", arrived.len());
    assert_eq!(pair.service.writable(), calls, "called without a refusal");
}

/// A message for a stream that is still opening is refused, and the writer called when it is open.
pub fn a_stream_that_is_not_open_yet_refuses_and_calls_again(factory: &dyn TransportFactory) {
    let mut pair = Pair::over(factory, 14, SOME_DELAY);
    let first = pair.first_stream;
    assert_eq!(pair.service.write(first, b"early", pair.now), Written::Full);
    let at_dialer = pair.connect();
    assert_eq!(pair.service.writable(), 1);
    let now = pair.now;
    pair.service
        .must_write(first, MessageKind::Binary, b"late", now);
    pair.run_for(Duration::from_secs(1));
    let arrived = pair.dialer.messages(at_dialer);
    assert_eq!(
        arrived,
        [(MessageKind::Binary, Bytes::from_static(b"late"))]
    );
    // A stream that never was is the caller's mistake.
    let unknown = StreamId(12_345);
    let refused = pair
        .service
        .transport
        .write(unknown, MessageKind::Text, b"lost", now);
    assert_eq!(refused, Err(TransportError::UnknownStream(unknown)));
}

/// A link that has rested carries messages as soon as one that has not, and each datagram once.
pub fn a_link_that_has_rested_is_as_fast_as_before(factory: &dyn TransportFactory) {
    let mut pair = Pair::over(factory, 16, SOME_DELAY);
    let at_dialer = pair.connect();
    let first = pair.first_stream;
    let mut written = 0;
    for rested in [1_300, 1_700, 2_100, 3_400, 61_000] {
        pair.run_for(Duration::from_millis(rested));
        // The second shows whether the first was taken for lost.
        for bytes in [50, 15_000] {
            let (sent, start) = (pair.network.counts().sent, pair.now);
            let payload = vec![7; bytes];
            pair.service
                .must_write(first, MessageKind::Binary, &payload, start);
            written += 1;
            let limit = Duration::from_secs(5);
            let arrived = |pair: &Pair| pair.dialer.messages(at_dialer).len() == written;
            assert!(pair.run_until(limit, arrived), "message {written} is lost");
            let took = pair.now - start;
            // Four times there and three times back, in which the congestion window opens.
            assert!(
                took <= 7 * SOME_DELAY.delay,
                "{bytes} bytes took {took:?} after {rested} ms"
            );
            let sent = pair.network.counts().sent - sent;
            // Acknowledgements and a check of the path may be among them.
            let most = 2 * bytes.div_ceil(1_000) as u64 + 4;
            assert!(sent <= most, "{sent} datagrams for {bytes} bytes");
        }
    }
}

/// One datagram in twenty is lost; no message is.
pub fn messages_survive_loss(factory: &dyn TransportFactory) {
    for seed in 0..5 {
        let lossy = Conditions {
            loss: 0.05,
            ..SOME_DELAY
        };
        survive(factory, 100 + seed, lossy);
    }
}

/// One datagram in twenty comes twice and one in twenty late; no message does.
pub fn messages_survive_repetition_and_reordering(factory: &dyn TransportFactory) {
    for seed in 0..5 {
        let disorderly = Conditions {
            jitter: Duration::from_millis(5),
            duplication: 0.05,
            reordering: 0.05,
            ..SOME_DELAY
        };
        survive(factory, 200 + seed, disorderly);
    }
}

/// A link that is cut for two seconds goes on as if nothing had been.
pub fn an_outage_delays_messages_and_loses_none(factory: &dyn TransportFactory) {
    let mut pair = Pair::over(factory, 15, SOME_DELAY);
    let at_dialer = pair.connect();
    pair.network
        .cut_both(pair.service.address, pair.dialer.address);
    let (first, now) = (pair.first_stream, pair.now);
    pair.service
        .must_write(first, MessageKind::Binary, b"queued", now);
    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.dialer.messages(at_dialer), []);
    pair.network.heal();
    pair.run_for(Duration::from_secs(10));
    assert_eq!(pair.dialer.messages(at_dialer).len(), 1);
    assert_eq!(pair.service.closed(), None);
}

fn survive(factory: &dyn TransportFactory, seed: u64, conditions: Conditions) {
    let mut pair = Pair::over(factory, seed, conditions);
    let at_dialer = pair.connect();
    let first = pair.first_stream;
    let mut sent = Vec::new();
    for number in 0..50u32 {
        let payload = Bytes::from(vec![number as u8; 1 + 97 * number as usize]);
        let now = pair.now;
        pair.service
            .must_write(first, MessageKind::Binary, &payload, now);
        sent.push((MessageKind::Binary, payload));
        pair.run_for(Duration::from_millis(50));
    }
    let complete = pair.run_until(Duration::from_secs(60), |pair| {
        pair.dialer.messages(at_dialer).len() >= sent.len()
    });
    assert!(complete, "seed {seed}: messages are missing");
    pair.run_for(Duration::from_secs(1));
    assert!(pair.dialer.messages(at_dialer) == sent, "seed {seed}");
}

fn message(number: u32) -> Bytes {
    let mut payload = vec![number as u8; 16 * 1024];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    payload.into()
}

impl Side {
    /// How often writers were called.
    fn writable(&self) -> usize {
        let calls = self.events.iter().filter(|e| **e == LinkEvent::Writable);
        calls.count()
    }

    fn write(&mut self, stream: StreamId, payload: &[u8], now: rondevu_core::Instant) -> Written {
        let written = self
            .transport
            .write(stream, MessageKind::Binary, payload, now);
        written.expect("the stream is there and the message not too large")
    }

    /// Writes a message for which there must be room.
    pub(super) fn must_write(
        &mut self,
        stream: StreamId,
        kind: MessageKind,
        payload: &[u8],
        now: rondevu_core::Instant,
    ) {
        let written = self.transport.write(stream, kind, payload, now);
        assert_eq!(written, Ok(Written::Accepted));
    }
}

impl Pair {
    /// A pair that must come about.
    pub(super) fn over(factory: &dyn TransportFactory, seed: u64, conditions: Conditions) -> Self {
        let stream = StreamOptions::reliable("first", "test");
        Self::with_first_stream(factory, stream, seed, conditions)
            .expect("offer, answer and addresses are good")
    }
}

const SOME_DELAY: Conditions = Conditions::delay(Duration::from_millis(20));
