//! Real links behind routers: processes with one socket each.

use std::collections::BTreeMap;
use std::time::Duration;

use rondevu_core::{Instant, LinkEvent, MessageKind, StreamId, StreamOptions};

use super::*;
use crate::emulator::{Conditions, Emulator};
use crate::loopback::LoopbackFactory;
use crate::{Transport, TransportFactory, Written};

/// A process with one socket for each address that it uses.
struct Process {
    router: Router<u32>,
    links: BTreeMap<u32, Box<dyn Transport>>,
    streams: BTreeMap<u32, StreamId>,
    messages: Vec<(u32, Vec<u8>)>,
}

struct World {
    factory: Box<dyn TransportFactory>,
    network: Emulator,
    service: Process,
    dialer: Process,
    now: Instant,
}

const SERVICE: ([u8; 4], u16) = ([192, 0, 2, 1], 5000);
const DIALER: ([u8; 4], u16) = ([192, 0, 2, 2], 6000);

impl Process {
    fn new() -> Self {
        Self {
            router: Router::new(),
            links: BTreeMap::new(),
            streams: BTreeMap::new(),
            messages: Vec::new(),
        }
    }

    fn add(&mut self, key: u32, link: Box<dyn Transport>) {
        self.router.register(key, link.local_username_fragment());
        self.links.insert(key, link);
    }

    fn forget(&mut self, key: u32) {
        self.router.unregister(key);
        self.links.remove(&key);
        self.streams.remove(&key);
    }

    fn flush(&mut self, network: &mut Emulator, now: Instant) {
        for (&key, link) in &mut self.links {
            while let Some(datagram) = link.poll_transmit() {
                self.router.sent(key, &datagram);
                network.send(datagram, now);
            }
            while let Some(event) = link.poll_event() {
                match event {
                    LinkEvent::StreamOpened { stream, .. } => {
                        self.streams.insert(key, stream);
                    }
                    LinkEvent::StreamMessage { payload, .. } => {
                        self.messages.push((key, payload.into()));
                    }
                    LinkEvent::Closed { reason } => panic!("link {key} ended: {reason}"),
                    _ => {}
                }
            }
        }
    }

    fn write(&mut self, key: u32, payload: &[u8], now: Instant) {
        let link = self.links.get_mut(&key).unwrap();
        let written = link.write(self.streams[&key], MessageKind::Binary, payload, now);
        assert_eq!(written, Ok(Written::Accepted));
    }
}

impl World {
    fn new(factory: Box<dyn TransportFactory>) -> Self {
        Self {
            factory,
            network: Emulator::new(1, Conditions::delay(Duration::from_millis(20))),
            service: Process::new(),
            dialer: Process::new(),
            now: Instant::ORIGIN,
        }
    }

    /// Starts a link that both sides call `key`; the dialer uses `socket`.
    fn dial(&mut self, key: u32, socket: ([u8; 4], u16)) {
        let options = StreamOptions::reliable("s", "");
        let offer =
            self.factory
                .create_offer(&[SocketAddr::from(SERVICE).into()], options, self.now);
        let mut offer = offer.unwrap();
        let answer = self.factory.create_answer(
            &offer.description,
            &[SocketAddr::from(socket).into()],
            self.now,
        );
        let answer = answer.unwrap();
        let taken = offer.transport.accept_answer(&answer.description, self.now);
        taken.unwrap();
        self.service.add(key, offer.transport);
        self.dialer.add(key, answer.transport);
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            for process in [&mut self.service, &mut self.dialer] {
                process.flush(&mut self.network, self.now);
            }
            while let Some(datagram) = self.network.poll(self.now) {
                let process = match datagram.destination == SERVICE.into() {
                    true => &mut self.service,
                    false => &mut self.dialer,
                };
                for key in process.router.route(datagram.as_received()) {
                    let link = process.links.get_mut(&key).unwrap();
                    link.handle_datagram(datagram.as_received(), self.now);
                    process.flush(&mut self.network, self.now);
                }
            }
            self.now += Duration::from_millis(1);
            for process in [&mut self.service, &mut self.dialer] {
                for link in process.links.values_mut() {
                    link.handle_timeout(self.now);
                }
            }
        }
    }

    fn connect(&mut self, key: u32, socket: ([u8; 4], u16)) {
        self.dial(key, socket);
        self.run(Duration::from_secs(2));
        assert!(self.service.streams.contains_key(&key), "link {key}");
        assert!(self.dialer.streams.contains_key(&key), "link {key}");
    }

    /// Sends messages on the link `key` both ways, and nothing comes out elsewhere.
    fn exchange(&mut self, key: u32) {
        self.service.messages.clear();
        self.dialer.messages.clear();
        for _ in 0..10 {
            self.service.write(key, &[1; 5_000], self.now);
            self.dialer.write(key, &[2; 5_000], self.now);
            self.run(Duration::from_millis(100));
        }
        self.run(Duration::from_secs(1));
        assert_eq!(self.service.messages, vec![(key, vec![2; 5_000]); 10]);
        assert_eq!(self.dialer.messages, vec![(key, vec![1; 5_000]); 10]);
    }
}

fn factories() -> Vec<Box<dyn TransportFactory>> {
    vec![
        Box::new(LoopbackFactory::new(1)),
        #[cfg(feature = "str0m")]
        Box::new(crate::rtc::fixture()),
    ]
}

#[test]
fn two_links_live_between_the_same_two_sockets() {
    for factory in factories() {
        let mut world = World::new(factory);
        world.connect(0, DIALER);
        world.exchange(0);
        world.connect(1, DIALER);
        world.exchange(0);
        world.exchange(1);
        world.exchange(0);
    }
}

#[test]
fn a_successor_connects_while_the_service_still_holds_the_old_link() {
    for factory in factories() {
        let mut world = World::new(factory);
        world.connect(0, DIALER);
        world.exchange(0);
        // The dialer forgets the link without a word; the service does not know and goes on.
        world.dialer.forget(0);
        world.service.write(0, b"to nobody", world.now);
        world.connect(1, DIALER);
        world.exchange(1);
        world.service.forget(0);
        world.exchange(1);
    }
}

#[test]
fn attempts_with_sockets_of_their_own_connect_at_the_same_time() {
    for factory in factories() {
        let mut world = World::new(factory);
        for key in 0..20 {
            world.dial(key, (DIALER.0, DIALER.1 + key as u16));
        }
        world.run(Duration::from_secs(2));
        for key in 0..20 {
            assert!(world.dialer.streams.contains_key(&key), "link {key}");
            world.exchange(key);
        }
    }
}
