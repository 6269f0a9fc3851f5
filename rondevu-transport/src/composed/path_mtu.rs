//! How large a datagram the path carries: packetization layer path MTU discovery (RFC 8899).

use std::collections::VecDeque;
use std::time::Duration;

use rondevu_core::Instant;
use turn_client_proto::types::stun::message::TransactionId;

use crate::stun::Transaction;

/// Finds out whether the path carries larger datagrams than every path does, and watches that it goes
/// on to do so.
///
/// SCTP is told once how large its packets may be, so the search has the time of the DTLS handshake,
/// which needs two round trips where a probe needs one. A link whose path turns out to carry less
/// later cannot be helped; it ends, and for a while new links do not search.
///
/// A probe is a binding request as large as the datagrams to be. Each has a small one beside it: when the
/// small ones are answered time and again and the large ones never, it is for their size.
///
/// ```text
///             answered in time              large ones sent, now and then
/// Searching ──────────────────► Large ────────────────────────► Large, probing ──► lost
///     └────────► Base             ▲                                   │
///      not answered               └───────────────────────────────────┘ answered
/// ```
#[derive(Debug)]
pub(super) struct PathMtu {
    bytes_max: usize,
    size: Size,
    probing: Option<Probing>,
    /// Whether the path is another than the one that was probed.
    is_doubtful: bool,
    /// When the path is to be probed again.
    confirm_at: Option<Instant>,
}

/// What SCTP makes its packets for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    /// Nothing has been sent yet.
    Searching {
        found: bool,
    },
    Base,
    Large,
}

#[derive(Debug, Default)]
struct Probing {
    next_at: Instant,
    rounds: u32,
    large: VecDeque<Transaction>,
    small: VecDeque<Transaction>,
    small_answered: u32,
}

/// A binding request to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) transaction: Transaction,
    /// How large the datagram has to be; `None` for as small as possible.
    pub(super) bytes: Option<usize>,
}

impl PathMtu {
    /// Searches for datagrams of `bytes_max`.
    pub(super) fn new(bytes_max: usize) -> Self {
        // What is not a multiple of four has no STUN message of its size.
        let bytes_max = bytes_max / 4 * 4;
        let size = match bytes_max > BASE_BYTES {
            true => Size::Searching { found: false },
            false => Size::Base,
        };
        Self {
            bytes_max,
            size,
            probing: None,
            is_doubtful: false,
            confirm_at: None,
        }
    }

    /// The link goes this way from now on; what was known is of another.
    pub(super) fn on_route(&mut self, now: Instant) {
        match &mut self.size {
            Size::Base => {}
            Size::Searching { found } => {
                *found = false;
                self.probe(now);
            }
            Size::Large => {
                // A link with little to say goes on whatever the path carries.
                self.is_doubtful = true;
                self.probing = None;
                self.confirm_at = None;
            }
        }
    }

    fn probe(&mut self, now: Instant) {
        self.confirm_at = None;
        self.probing = Some(Probing {
            next_at: now,
            ..Probing::default()
        });
    }

    /// The search is over; how large datagrams may be from now on.
    pub(super) fn settle(&mut self) -> usize {
        self.probing = None;
        match self.size {
            Size::Searching { found: true } | Size::Large => {
                self.size = Size::Large;
                self.bytes_max
            }
            Size::Searching { found: false } | Size::Base => {
                self.size = Size::Base;
                BASE_BYTES
            }
        }
    }

    /// A datagram of `bytes` was sent.
    pub(super) fn on_sent(&mut self, bytes: usize, now: Instant) {
        if bytes <= BASE_BYTES || self.size != Size::Large || self.probing.is_some() {
            return;
        }
        match std::mem::take(&mut self.is_doubtful) {
            true => self.probe(now),
            false => drop(self.confirm_at.get_or_insert(now + CONFIRM_INTERVAL)),
        }
    }

    /// Whether an answer with this number is waited for.
    pub(super) fn awaits(&self, transaction: Transaction) -> bool {
        let probing = self.probing.as_ref();
        probing.is_some_and(|it| it.large.contains(&transaction) || it.small.contains(&transaction))
    }

    /// The peer has answered a probe.
    pub(super) fn on_answer(&mut self, transaction: Transaction) {
        let Some(probing) = &mut self.probing else {
            return;
        };
        if probing.large.contains(&transaction) {
            if let Size::Searching { found } = &mut self.size {
                *found = true;
            }
            self.probing = None;
        } else if let Some(at) = probing.small.iter().position(|it| *it == transaction) {
            probing.small.remove(at);
            probing.small_answered += 1;
        }
    }

    /// Whether large datagrams are in use and do not arrive.
    pub(super) fn is_lost(&self) -> bool {
        let answered = self.probing.as_ref().map_or(0, |it| it.small_answered);
        self.size == Size::Large && answered >= SMALL_ANSWERED_MAX
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.confirm_at.is_some_and(|at| at <= now) {
            self.probe(now);
        }
    }

    /// The probes to send now.
    pub(super) fn poll_probes(&mut self, now: Instant) -> Option<[Probe; 2]> {
        let searching = matches!(self.size, Size::Searching { .. });
        let bytes_max = self.bytes_max;
        let probing = self.probing.as_mut().filter(|it| it.next_at <= now)?;
        if searching && probing.rounds == SEARCHES_MAX {
            self.probing = None;
            return None;
        }
        probing.rounds += 1;
        probing.next_at = now + PROBE_INTERVAL;
        let enter = |of: &mut VecDeque<Transaction>, bytes| {
            let transaction = draw_transaction();
            of.truncate(KNOWN_MAX - 1);
            of.push_front(transaction);
            Probe { transaction, bytes }
        };
        let large = enter(&mut probing.large, Some(bytes_max));
        Some([large, enter(&mut probing.small, None)])
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let probe_at = self.probing.as_ref().map(|probing| probing.next_at);
        probe_at.or(self.confirm_at)
    }
}

/// One that nobody can guess.
pub(super) fn draw_transaction() -> Transaction {
    let [_, _, _, _, transaction @ ..] = u128::from(TransactionId::generate()).to_be_bytes();
    transaction
}

/// What every path carries: the smallest MTU of IPv6, 1,280 bytes, less its header, that of UDP and
/// that of a TURN channel.
pub(super) const BASE_BYTES: usize = 1280 - 40 - 8 - 4;
/// A round trip is rarely longer; where it is, some probes are made in vain.
const PROBE_INTERVAL: Duration = Duration::from_millis(250);
/// A peer that does not answer for so long does not want to.
const SEARCHES_MAX: u32 = 8;
/// While large datagrams are sent, whether they arrive is asked that often.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(5);
/// With a fifth of all datagrams lost in each direction, so many small ones are answered before any large one in
/// one of eight million tries.
const SMALL_ANSWERED_MAX: u32 = 12;
/// Answers to older probes come too late: 8 s at [`PROBE_INTERVAL`].
const KNOWN_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_origin(Duration::from_millis(millis))
    }

    /// A search for 1,452 bytes, and its first probes.
    fn searching() -> (PathMtu, [Probe; 2]) {
        let mut path = PathMtu::new(1452);
        path.on_route(at(0));
        let probes = path.poll_probes(at(0)).unwrap();
        (path, probes)
    }

    /// A search that has found 1,452 bytes, in use.
    fn large() -> PathMtu {
        let (mut path, [probe, _]) = searching();
        assert_eq!(probe.bytes, Some(1452));
        path.on_answer(probe.transaction);
        assert_eq!(path.settle(), 1452);
        path
    }

    /// Lets time pass and answers the probes that `is_carried` lets through, until none are made or
    /// the path is lost.
    fn run(path: &mut PathMtu, from: u64, is_carried: impl Fn(Probe) -> bool) -> u64 {
        for now in from..from + 60_000 {
            path.handle_timeout(at(now));
            for probe in path.poll_probes(at(now)).into_iter().flatten() {
                if is_carried(probe) {
                    path.on_answer(probe.transaction);
                }
            }
            if path.is_lost() || path.poll_timeout().is_none() {
                return now;
            }
        }
        panic!("no end");
    }

    #[test]
    fn a_path_that_is_not_found_in_time_keeps_the_base() {
        let (mut path, [probe, small]) = searching();
        path.on_answer(small.transaction);
        assert!(path.awaits(probe.transaction) && !path.awaits(small.transaction));
        assert_eq!(path.settle(), BASE_BYTES);
        assert!(!path.awaits(probe.transaction), "it is too late");
        path.on_route(at(10));
        path.on_sent(1452, at(10));
        assert_eq!(path.poll_timeout(), None);
        assert!(!path.is_lost());
    }

    #[test]
    fn another_path_before_the_end_of_the_search_is_another_search() {
        let (mut path, [probe, _]) = searching();
        path.on_answer(probe.transaction);
        path.on_route(at(10));
        assert_eq!(path.settle(), BASE_BYTES);
    }

    #[test]
    fn a_search_ends_without_answers_and_is_not_made_for_what_every_path_carries() {
        let mut path = PathMtu::new(1452);
        path.on_route(at(0));
        assert_eq!(run(&mut path, 0, |_| false), 8 * 250);
        assert_eq!(path.settle(), BASE_BYTES);
        let mut path = PathMtu::new(BASE_BYTES);
        path.on_route(at(0));
        assert_eq!(path.poll_probes(at(0)), None);
        assert_eq!(path.settle(), BASE_BYTES);
    }

    #[test]
    fn only_large_datagrams_are_confirmed_and_only_once_in_a_while() {
        let mut path = large();
        path.on_sent(BASE_BYTES, at(5));
        assert_eq!(path.poll_timeout(), None);
        path.on_sent(BASE_BYTES + 1, at(10));
        path.on_sent(1452, at(20));
        assert_eq!(path.poll_timeout(), Some(at(5_010)));
        assert_eq!(run(&mut path, 20, |_| true), 5_010);
        assert!(!path.is_lost());
    }

    #[test]
    fn a_path_that_only_carries_small_ones_is_lost() {
        let mut path = large();
        path.on_route(at(50));
        path.on_sent(100, at(60));
        assert_eq!(path.poll_timeout(), None, "small ones pass");
        path.on_sent(1452, at(100));
        assert_eq!(
            run(&mut path, 100, |probe| probe.bytes.is_none()),
            100 + 11 * 250
        );
        assert!(path.is_lost());
    }

    #[test]
    fn a_dead_path_is_not_lost_for_its_size() {
        let mut path = large();
        path.on_route(at(0));
        path.on_sent(1452, at(0));
        for now in 0..60_000 {
            path.poll_probes(at(now));
            let probing = path.probing.as_ref().unwrap();
            assert!(!path.is_lost() && probing.large.len() + probing.small.len() <= 64);
        }
    }
}
