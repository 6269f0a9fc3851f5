//! Two links and the network between them, in virtual time.

use std::net::SocketAddr;
use std::time::Duration;

use rondevu_core::{Instant, LinkEvent, MessageKind, StreamId, StreamOptions};

use crate::emulator::{Conditions, Emulator};
use crate::{Datagram, Transport, TransportError, TransportFactory};

/// Two links between a service, which made the offer, and a dialer, which answered it.
///
/// Nothing happens by itself: [`run_until`](Self::run_until) and [`run_for`](Self::run_for) let
/// virtual time pass.
#[derive(Debug)]
pub struct Pair {
    /// The side that made the offer.
    pub service: Side,
    /// The side that answered.
    pub dialer: Side,
    /// The network between the two.
    pub network: Emulator,
    /// What time it is.
    pub now: Instant,
    /// The stream that the offer opened, as the service knows it.
    pub first_stream: StreamId,
}

/// One end of a [`Pair`].
#[derive(Debug)]
pub struct Side {
    /// The link.
    pub transport: Box<dyn Transport>,
    /// All that it told, oldest first.
    pub events: Vec<LinkEvent>,
    /// Its address.
    pub address: SocketAddr,
    /// The latest datagram that it sent.
    pub last_sent: Option<Datagram>,
}

impl Pair {
    /// Two links that know each other's descriptions and have not exchanged a datagram yet.
    ///
    /// # Errors
    ///
    /// What the factory or the links give back.
    pub fn new(
        factory: &dyn TransportFactory,
        seed: u64,
        conditions: Conditions,
    ) -> Result<Self, TransportError> {
        let stream = StreamOptions::reliable("first", "test");
        Self::with_first_stream(factory, stream, seed, conditions)
    }

    /// The same with a first stream of one's choice.
    ///
    /// # Errors
    ///
    /// What the factory or the links give back.
    pub fn with_first_stream(
        factory: &dyn TransportFactory,
        stream: StreamOptions,
        seed: u64,
        conditions: Conditions,
    ) -> Result<Self, TransportError> {
        let now = Instant::from_origin(Duration::from_secs(1));
        let service_address = SocketAddr::from(([192, 0, 2, 1], 5000));
        let dialer_address = SocketAddr::from(([192, 0, 2, 2], 6000));
        let offered = factory.create_offer(&[service_address.into()], stream, now)?;
        let answered =
            factory.create_answer(&offered.description, &[dialer_address.into()], now)?;
        let mut service = Side::new(offered.transport, service_address);
        service
            .transport
            .accept_answer(&answered.description, now)?;
        Ok(Self {
            service,
            dialer: Side::new(answered.transport, dialer_address),
            network: Emulator::new(seed, conditions),
            now,
            first_stream: offered.stream,
        })
    }

    /// Sends what is to be sent, delivers what has arrived and takes over events, until there is
    /// nothing left to do now.
    pub fn settle(&mut self) {
        loop {
            self.service.flush(&mut self.network, self.now);
            self.dialer.flush(&mut self.network, self.now);
            let Some(datagram) = self.network.poll(self.now) else {
                return;
            };
            for side in [&mut self.service, &mut self.dialer] {
                if side.address == datagram.destination {
                    side.transport
                        .handle_datagram(datagram.as_received(), self.now);
                }
            }
        }
    }

    /// Lets time pass to the next moment at which something is due, `end` at the latest.
    ///
    /// # Panics
    ///
    /// If a link wants to be called in the past although it was just called.
    fn step(&mut self, end: Instant) {
        let due = [
            self.service.transport.poll_timeout(),
            self.dialer.transport.poll_timeout(),
            self.network.poll_timeout(),
        ];
        let next = due.into_iter().flatten().fold(end, Instant::min);
        self.now = self.now.max(next);
        for side in [&mut self.service, &mut self.dialer] {
            let due = side.transport.poll_timeout();
            if due.is_some_and(|at| at <= self.now) {
                side.transport.handle_timeout(self.now);
                let next = side.transport.poll_timeout();
                assert!(
                    next.is_none_or(|at| at > self.now),
                    "at {:?} the next timeout is {next:?}",
                    self.now
                );
            }
        }
    }

    /// Lets time pass until `condition` holds; `false` if that took longer than `limit`.
    pub fn run_until(&mut self, limit: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.settle();
            if condition(self) {
                return true;
            }
            if self.now >= end {
                return false;
            }
            self.step(end);
        }
    }

    /// Lets `time` pass.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Lets time pass until both sides have the first stream; the dialer's name for it.
    ///
    /// # Panics
    ///
    /// If that takes more than 30 s.
    pub fn connect(&mut self) -> StreamId {
        let first = self.first_stream;
        let connected = self.run_until(Duration::from_secs(30), |pair| {
            pair.service.opened(first) && pair.dialer.first_opened().is_some()
        });
        assert!(connected, "not connected after 30 s: {self:?}");
        self.dialer.first_opened().expect("it was there just now")
    }
}

impl Side {
    fn new(transport: Box<dyn Transport>, address: SocketAddr) -> Self {
        Self {
            transport,
            events: Vec::new(),
            address,
            last_sent: None,
        }
    }

    fn flush(&mut self, network: &mut Emulator, now: Instant) {
        while let Some(datagram) = self.transport.poll_transmit() {
            self.last_sent = Some(datagram.clone());
            network.send(datagram, now);
        }
        while let Some(event) = self.transport.poll_event() {
            self.events.push(event);
        }
    }

    /// Whether `stream` has been opened.
    pub fn opened(&self, stream: StreamId) -> bool {
        let opened =
            |e: &LinkEvent| matches!(e, LinkEvent::StreamOpened { stream: s, .. } if *s == stream);
        self.events.iter().any(opened)
    }

    /// The first stream that was opened, by either side.
    pub fn first_opened(&self) -> Option<StreamId> {
        self.events.iter().find_map(|event| match event {
            LinkEvent::StreamOpened { stream, .. } => Some(*stream),
            _ => None,
        })
    }

    /// The messages that came on `stream`.
    pub fn messages(&self, stream: StreamId) -> Vec<(MessageKind, bytes::Bytes)> {
        let messages = self.events.iter().filter_map(|event| match event {
            LinkEvent::StreamMessage {
                stream: on,
                kind,
                payload,
            } if *on == stream => Some((*kind, payload.clone())),
            _ => None,
        });
        messages.collect()
    }

    /// How the link ended, if it has.
    pub fn closed(&self) -> Option<&rondevu_core::LinkClosed> {
        match self.events.last() {
            Some(LinkEvent::Closed { reason }) => Some(reason),
            _ => None,
        }
    }
}
