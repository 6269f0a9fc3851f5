//! The network of a world: between each end of a dialer and the service datagrams travel on a wire of
//! their own.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rondevu_core::Instant;
use rondevu_durable::sim::{Direction, EndId, Setup};
use rondevu_transport::Datagram;
use rondevu_transport::emulator::{Conditions, Emulator};

/// All wires of a world.
#[derive(Debug)]
pub(crate) struct Network {
    seed: u64,
    calm: Conditions,
    paths: Vec<Path>,
    /// By the end of the dialer. A wire that was cut is not here any more.
    wires: BTreeMap<EndId, Wire>,
}

/// What all wires of a dialer have in common.
#[derive(Clone, Copy, Debug, Default)]
struct Path {
    to_service: Way,
    to_dialer: Way,
    loss: u8,
    disorder: u8,
}

/// One direction of a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Way {
    #[default]
    Open,
    /// It swallows everything.
    Holed,
}

#[derive(Debug)]
struct Wire {
    dialer: u8,
    lag: Duration,
    emulator: Emulator,
}

impl Network {
    pub(crate) fn new(setup: &Setup) -> Self {
        let delay = Duration::from_millis(setup.latency_ms.into());
        let calm = Conditions {
            jitter: Duration::from_millis(setup.jitter_ms.into()),
            ..Conditions::delay(delay)
        };
        Self {
            seed: setup.seed,
            calm,
            paths: vec![Path::default(); setup.paths().into()],
            wires: BTreeMap::new(),
        }
    }

    /// How long a round trip takes at most when nothing is in its way.
    pub(crate) fn calm_round_trip(&self) -> Duration {
        (self.calm.delay + self.calm.jitter) * 2
    }

    /// Connects the end of a dialer with the service.
    pub(crate) fn add_wire(&mut self, end: EndId, dialer: u8) {
        let seed = self.seed ^ u64::from(end.0) << 32;
        let conditions = self.conditions(dialer, Duration::ZERO);
        let wire = Wire {
            dialer,
            lag: Duration::ZERO,
            emulator: Emulator::new(seed, conditions),
        };
        self.wires.insert(end, wire);
    }

    /// Nothing travels there any more, nor arrives what is on its way.
    pub(crate) fn cut(&mut self, end: EndId) {
        self.wires.remove(&end);
    }

    /// The wires of a dialer, by its ends, the latest last.
    pub(crate) fn wires_of(&self, dialer: u8) -> Vec<EndId> {
        let mine = self.wires.iter().filter(|(_, wire)| wire.dialer == dialer);
        mine.map(|(end, _)| *end).collect()
    }

    /// Swallows everything until it is healed.
    pub(crate) fn hole(&mut self, dialer: u8, direction: Direction) {
        let path = &mut self.paths[usize::from(dialer)];
        if direction != Direction::ToDialer {
            path.to_service = Way::Holed;
        }
        if direction != Direction::ToService {
            path.to_dialer = Way::Holed;
        }
    }

    /// Delays what is sent over the present wires of a dialer.
    pub(crate) fn lag(&mut self, dialer: u8, lag: Duration) {
        self.for_each_of(dialer, |wire| wire.lag = lag);
    }

    /// Loses so many of a hundred datagrams of a dialer.
    pub(crate) fn lose(&mut self, dialer: u8, percent: u8) {
        self.paths[usize::from(dialer)].loss = percent;
        self.for_each_of(dialer, |_| {});
    }

    /// Repeats so many of a hundred datagrams of a dialer, and lets as many be overtaken.
    pub(crate) fn disorder(&mut self, dialer: u8, percent: u8) {
        self.paths[usize::from(dialer)].disorder = percent;
        self.for_each_of(dialer, |_| {});
    }

    /// Undoes everything but cuts.
    pub(crate) fn heal(&mut self) {
        self.paths.fill(Path::default());
        for dialer in 0..self.paths.len() {
            self.for_each_of(dialer as u8, |wire| wire.lag = Duration::ZERO);
        }
    }

    fn for_each_of(&mut self, dialer: u8, mut change: impl FnMut(&mut Wire)) {
        for end in self.wires_of(dialer) {
            if let Some(wire) = self.wires.get_mut(&end) {
                change(wire);
                let lag = wire.lag;
                let conditions = self.conditions(dialer, lag);
                if let Some(wire) = self.wires.get_mut(&end) {
                    wire.emulator.set_conditions(conditions);
                }
            }
        }
    }

    fn conditions(&self, dialer: u8, lag: Duration) -> Conditions {
        let path = self.paths[usize::from(dialer)];
        let disorder = f64::from(path.disorder) / 100.0;
        Conditions {
            delay: self.calm.delay + lag,
            loss: f64::from(path.loss) / 100.0,
            duplication: disorder,
            reordering: disorder,
            ..self.calm
        }
    }

    /// Whether the wire of a dialer's end carries datagrams in both directions.
    pub(crate) fn is_open(&self, end: EndId) -> bool {
        let path = self.wires.get(&end).map(|wire| wire.dialer.into());
        let path = path.map(|dialer: usize| self.paths[dialer]);
        path.is_some_and(|path| path.to_service == Way::Open && path.to_dialer == Way::Open)
    }

    /// Puts a datagram on its way.
    pub(crate) fn send(&mut self, datagram: Datagram, now: Instant) {
        let to_service = datagram.destination == SERVICE;
        let end = match to_service {
            true => end_at(datagram.source),
            false => end_at(datagram.destination),
        };
        let Some(wire) = self.wires.get_mut(&end) else {
            return;
        };
        let path = self.paths[usize::from(wire.dialer)];
        let way = match to_service {
            true => path.to_service,
            false => path.to_dialer,
        };
        match way {
            Way::Open => wire.emulator.send(datagram, now),
            Way::Holed => {}
        }
    }

    /// The next datagram that has arrived by `now`, with the dialer's end of its wire.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<(EndId, Datagram)> {
        let first = self.wires.iter_mut().min_by_key(|(end, wire)| {
            let due = wire.emulator.poll_timeout();
            (due.is_none(), due, **end)
        });
        let (end, wire) = first?;
        Some((*end, wire.emulator.poll(now)?))
    }

    /// When the next datagram arrives.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let due = self.wires.values();
        due.filter_map(|wire| wire.emulator.poll_timeout()).min()
    }
}

/// The address of the service, from which all its links are served.
pub(crate) const SERVICE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 5000);

/// The address of a dialer's end: each attempt has a socket of its own, as the driver does it.
pub(crate) fn address_of(end: EndId) -> SocketAddr {
    let [_, a, b, c] = end.0.to_be_bytes();
    SocketAddr::from(([10, a, b, c], 6000))
}

fn end_at(address: SocketAddr) -> EndId {
    match address {
        SocketAddr::V4(address) => {
            let [_, a, b, c] = address.ip().octets();
            EndId(u32::from_be_bytes([0, a, b, c]))
        }
        SocketAddr::V6(_) => EndId(u32::MAX),
    }
}
