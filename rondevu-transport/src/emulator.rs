//! A network of datagrams in virtual time that loses, delays, repeats and reorders on request.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::net::SocketAddr;
use std::time::Duration;

use rondevu_core::Instant;

use crate::Datagram;

/// What a network does to datagrams; the default does nothing and takes no time.
///
/// Probabilities lie between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// How long each datagram takes.
    pub delay: Duration,
    /// How much longer it may take: uniformly distributed, so datagrams overtake each other.
    pub jitter: Duration,
    /// How likely a datagram is lost.
    pub loss: f64,
    /// How likely a datagram arrives twice, each copy with its own delay.
    pub duplication: f64,
    /// How likely a datagram is held up by another [`delay`](Self::delay) or 10 ms, whichever is
    /// longer, so that those behind it overtake it.
    pub reordering: f64,
}

impl Conditions {
    /// A network that does nothing but take time.
    pub const fn delay(delay: Duration) -> Self {
        Self {
            delay,
            jitter: Duration::ZERO,
            loss: 0.0,
            duplication: 0.0,
            reordering: 0.0,
        }
    }
}

impl Default for Conditions {
    fn default() -> Self {
        Self::delay(Duration::ZERO)
    }
}

/// A network between any number of socket addresses, in virtual time.
///
/// The same seed and the same calls give the same deliveries. Datagrams are held in memory until
/// they are due: a test bounds them by polling.
#[derive(Debug)]
pub struct Emulator {
    random: fastrand::Rng,
    conditions: Conditions,
    datagram_bytes_max: usize,
    cut: BTreeSet<(SocketAddr, SocketAddr)>,
    in_flight: BinaryHeap<Reverse<InFlight>>,
    sent: u64,
    counts: Counts,
}

/// What became of the datagrams so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Given to [`Emulator::send`].
    pub sent: u64,
    /// Given out by [`Emulator::poll`], repetitions included.
    pub delivered: u64,
    /// Lost at random.
    pub lost: u64,
    /// Swallowed by a cut.
    pub cut: u64,
    /// Lost for their size.
    pub too_large: u64,
}

#[derive(Debug)]
struct InFlight {
    due: Instant,
    /// Breaks ties in the order of sending.
    number: u64,
    datagram: Datagram,
}

impl Emulator {
    /// An empty network.
    pub fn new(seed: u64, conditions: Conditions) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            conditions,
            datagram_bytes_max: usize::MAX,
            cut: BTreeSet::new(),
            in_flight: BinaryHeap::new(),
            sent: 0,
            counts: Counts::default(),
        }
    }

    /// Changes what happens to datagrams that are sent from now on.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// From now on datagrams with a payload of more than `bytes` are lost without a word.
    pub fn carry_at_most(&mut self, bytes: usize) {
        self.datagram_bytes_max = bytes;
    }

    /// From now on nothing sent from `source` reaches `destination`.
    pub fn cut(&mut self, source: SocketAddr, destination: SocketAddr) {
        self.cut.insert((source, destination));
    }

    /// From now on nothing sent between `a` and `b` arrives, in either direction.
    pub fn cut_both(&mut self, a: SocketAddr, b: SocketAddr) {
        self.cut(a, b);
        self.cut(b, a);
    }

    /// Mends every cut.
    pub fn heal(&mut self) {
        self.cut.clear();
    }

    /// Forgets everything that is on its way.
    pub fn drop_in_flight(&mut self) {
        self.in_flight.clear();
    }

    /// Puts a datagram on its way.
    pub fn send(&mut self, datagram: Datagram, now: Instant) {
        self.counts.sent += 1;
        if self.cut.contains(&(datagram.source, datagram.destination)) {
            self.counts.cut += 1;
            return;
        }
        if datagram.payload.len() > self.datagram_bytes_max {
            self.counts.too_large += 1;
            return;
        }
        if self.happens(self.conditions.loss) {
            self.counts.lost += 1;
            return;
        }
        if self.happens(self.conditions.duplication) {
            self.launch(datagram.clone(), now);
        }
        self.launch(datagram, now);
    }

    fn launch(&mut self, datagram: Datagram, now: Instant) {
        let Conditions {
            delay,
            jitter,
            reordering,
            ..
        } = self.conditions;
        let mut due = now + delay + jitter.mul_f64(self.random.f64());
        if self.happens(reordering) {
            due += delay.max(Duration::from_millis(10));
        }
        self.sent += 1;
        self.in_flight.push(Reverse(InFlight {
            due,
            number: self.sent,
            datagram,
        }));
    }

    fn happens(&mut self, probability: f64) -> bool {
        // No number is drawn for what never happens: a run without losses stays the same run.
        probability > 0.0 && self.random.f64() < probability
    }

    /// The next datagram that has arrived by `now`.
    pub fn poll(&mut self, now: Instant) -> Option<Datagram> {
        if self.poll_timeout()? > now {
            return None;
        }
        let Reverse(arrived) = self.in_flight.pop()?;
        self.counts.delivered += 1;
        Some(arrived.datagram)
    }

    /// When the next datagram arrives.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.in_flight.peek().map(|Reverse(first)| first.due)
    }

    /// What became of the datagrams so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

impl InFlight {
    fn key(&self) -> (Instant, u64) {
        (self.due, self.number)
    }
}

impl PartialEq for InFlight {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for InFlight {}

impl PartialOrd for InFlight {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for InFlight {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn datagram(number: u64) -> Datagram {
        Datagram {
            source: address(1),
            destination: address(2),
            payload: number.to_be_bytes().into(),
        }
    }

    fn at(millis: u64) -> Instant {
        Instant::from_origin(Duration::from_millis(millis))
    }

    fn arrivals(emulator: &mut Emulator, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| emulator.poll(now))
            .map(|d| u64::from_be_bytes(d.payload.try_into().unwrap()))
            .collect()
    }

    fn run(seed: u64, conditions: Conditions) -> Vec<u64> {
        let mut emulator = Emulator::new(seed, conditions);
        (0..10_000).for_each(|n| emulator.send(datagram(n), at(n)));
        arrivals(&mut emulator, at(1_000_000))
    }

    #[test]
    fn a_plain_network_keeps_order_and_takes_its_time() {
        let mut emulator = Emulator::new(1, Conditions::delay(Duration::from_millis(25)));
        (0..3).for_each(|n| emulator.send(datagram(n), at(n)));
        assert_eq!(emulator.poll_timeout(), Some(at(25)));
        assert_eq!(arrivals(&mut emulator, at(24)), []);
        assert_eq!(arrivals(&mut emulator, at(26)), [0, 1]);
        assert_eq!(arrivals(&mut emulator, at(27)), [2]);
        assert_eq!(emulator.poll_timeout(), None);
    }

    #[test]
    fn the_same_seed_gives_the_same_run() {
        let conditions = Conditions {
            jitter: Duration::from_millis(5),
            loss: 0.1,
            duplication: 0.1,
            reordering: 0.1,
            ..Conditions::default()
        };
        assert_eq!(run(7, conditions), run(7, conditions));
        assert_ne!(run(7, conditions), run(8, conditions));
    }

    #[test]
    fn impairments_are_as_likely_as_asked_for() {
        let lossy = Conditions {
            loss: 0.2,
            ..Conditions::default()
        };
        assert!((7_700..8_300).contains(&run(1, lossy).len()));
        let repeating = Conditions {
            duplication: 0.2,
            ..Conditions::default()
        };
        assert!((11_700..12_300).contains(&run(1, repeating).len()));
        let reordering = Conditions {
            reordering: 0.2,
            ..Conditions::default()
        };
        let arrived = run(1, reordering);
        assert_eq!(arrived.len(), 10_000);
        assert!(!arrived.is_sorted());
    }

    #[test]
    fn a_cut_works_in_the_direction_that_was_cut() {
        let mut emulator = Emulator::new(1, Conditions::default());
        emulator.cut(address(2), address(1));
        emulator.send(datagram(1), at(0));
        assert_eq!(arrivals(&mut emulator, at(0)), [1]);
        emulator.cut_both(address(1), address(2));
        emulator.send(datagram(2), at(0));
        assert_eq!(arrivals(&mut emulator, at(0)), []);
        emulator.heal();
        emulator.send(datagram(3), at(0));
        assert_eq!(arrivals(&mut emulator, at(0)), [3]);
        assert_eq!(emulator.counts().cut, 1);
    }
}
