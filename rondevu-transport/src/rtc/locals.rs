//! The candidates of this side of a link, those that the peer has to be told, and the path in use.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use rondevu_core::{IceCandidate, Instant};

use crate::stun::Transaction;
use crate::{CandidateKind, Datagram, LinkPath, LocalCandidate, Received};

/// What a link knows of its own addresses.
#[derive(Debug)]
pub(crate) struct Locals {
    /// The tag of the media section that candidates are told for.
    mid: String,
    known: Vec<LocalCandidate>,
    /// Candidate lines that the description does not have.
    news: VecDeque<String>,
    /// Where the latest datagram that was no check went from and to.
    used: Option<(SocketAddr, SocketAddr)>,
    /// How this side looks to the peer on each path, the latest last.
    mapped: VecDeque<Mapped>,
    /// Checks that were sent, the latest last.
    checks: VecDeque<(Transaction, Instant)>,
    /// Those that were found later, the ones that are gone included: the engine keeps each.
    added: Vec<LocalCandidate>,
}

#[derive(Debug)]
struct Mapped {
    path: (SocketAddr, SocketAddr),
    address: SocketAddr,
    round_trip: Option<Duration>,
}

impl Locals {
    /// Those that the description has.
    pub(crate) fn new(described: &[LocalCandidate], mid: String) -> Self {
        Self {
            mid,
            known: described.to_vec(),
            news: VecDeque::new(),
            used: None,
            mapped: VecDeque::new(),
            checks: VecDeque::new(),
            added: Vec::new(),
        }
    }

    /// Whether `candidate` is new and may be added.
    pub(crate) fn has_room(&self, candidate: LocalCandidate) -> bool {
        let returns = self.added.contains(&candidate);
        !self.known.contains(&candidate) && (returns || self.added.len() < ADDED_MAX)
    }

    /// Enters a candidate; `line` is for the peer.
    pub(crate) fn add(&mut self, candidate: LocalCandidate, line: Option<String>) {
        if !self.added.contains(&candidate) {
            self.added.push(candidate);
        }
        self.known.push(candidate);
        self.news.extend(line);
    }

    pub(crate) fn remove(&mut self, candidate: LocalCandidate) {
        self.known.retain(|known| *known != candidate);
    }

    pub(crate) fn count(&self) -> usize {
        self.known.len()
    }

    /// The next candidate that the peer has not been told.
    pub(crate) fn poll_news(&mut self, ufrag: &str) -> Option<IceCandidate> {
        Some(IceCandidate {
            candidate: self.news.pop_front()?,
            sdp_mid: Some(self.mid.clone()),
            sdp_m_line_index: Some(0),
            username_fragment: Some(ufrag.into()),
        })
    }

    /// A datagram that is no check was sent.
    pub(crate) fn on_sent(&mut self, datagram: &Datagram) {
        self.used = Some((datagram.source, datagram.destination));
    }

    /// A check was sent.
    pub(crate) fn on_check(&mut self, transaction: Transaction, now: Instant) {
        // A check that is repeated is timed from the first: better too long than too short.
        if self.checks.iter().any(|(known, _)| *known == transaction) {
            return;
        }
        self.checks.push_back((transaction, now));
        if self.checks.len() > CHECKS_MAX {
            self.checks.pop_front();
        }
    }

    /// The peer, in `answer` to a check, says that it saw it come from `address`.
    pub(crate) fn on_mapped(
        &mut self,
        answer: Received<'_>,
        address: SocketAddr,
        transaction: Transaction,
        now: Instant,
    ) {
        let path = (answer.destination, answer.source);
        let check = self.checks.iter().position(|(id, _)| *id == transaction);
        let check = check.and_then(|index| self.checks.remove(index));
        let round_trip = check.map(|(_, sent)| now.saturating_since(sent));
        match self.mapped.iter_mut().find(|mapped| mapped.path == path) {
            Some(mapped) => {
                mapped.address = address;
                mapped.round_trip = round_trip.or(mapped.round_trip);
            }
            None => {
                self.mapped.push_back(Mapped {
                    path,
                    address,
                    round_trip,
                });
                if self.mapped.len() > MAPPED_MAX {
                    self.mapped.pop_front();
                }
            }
        }
    }

    /// The path in use; `remote_kind` tells how the peer has come by an address.
    pub(crate) fn path(
        &self,
        remote_kind: impl FnOnce(SocketAddr) -> CandidateKind,
    ) -> Option<LinkPath> {
        let (source, remote) = self.used?;
        let (local, local_kind) = self.seen(source, remote);
        let mapped = self.mapped.iter().find(|m| m.path == (source, remote));
        Some(LinkPath {
            local,
            local_kind,
            remote,
            remote_kind: remote_kind(remote),
            round_trip: mapped.and_then(|mapped| mapped.round_trip),
        })
    }

    /// How this side looks to the peer at `remote`, when it sends from `source`.
    fn seen(&self, source: SocketAddr, remote: SocketAddr) -> (SocketAddr, CandidateKind) {
        let kind_of = |address| {
            let mut known = self.known.iter();
            known.find(|c| c.source() == source && c.address() == address)
        };
        if let Some(LocalCandidate::Relayed { address, .. }) = kind_of(source) {
            return (*address, CandidateKind::Relayed);
        }
        let mapped = self.mapped.iter().find(|m| m.path == (source, remote));
        match mapped.map(|mapped| mapped.address) {
            None => (source, CandidateKind::Host),
            Some(address) if address == source => (source, CandidateKind::Host),
            Some(address) => {
                let kind = kind_of(address).map(|candidate| candidate.kind());
                (address, kind.unwrap_or(CandidateKind::PeerReflexive))
            }
        }
    }
}

/// A machine that moves between networks all day gets that many new addresses, and no more are
/// kept by the engine and told to the peer.
const ADDED_MAX: usize = 64;
/// A checklist has up to a hundred pairs, but few that answer.
const MAPPED_MAX: usize = 32;
/// They go out 50 ms apart at most; that is a round trip of more than a second.
const CHECKS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn sent(source: SocketAddr, destination: SocketAddr) -> Datagram {
        Datagram {
            source,
            destination,
            payload: vec![22],
        }
    }

    #[test]
    fn the_path_says_how_each_side_came_by_its_address() {
        let (base, relayed) = (address("10.0.0.2:5000"), address("203.0.113.9:6000"));
        let seen = address("203.0.113.1:7000");
        let peer = address("198.51.100.1:8000");
        let told = |address| {
            assert_eq!(address, peer);
            CandidateKind::ServerReflexive
        };
        let described = [
            LocalCandidate::Host(base),
            LocalCandidate::ServerReflexive {
                address: seen,
                base,
            },
            LocalCandidate::Relayed {
                address: relayed,
                base,
            },
        ];
        let mut locals = Locals::new(&described, "0".into());
        assert_eq!(locals.path(told), None);
        locals.on_sent(&sent(base, peer));
        let path = locals.path(told).unwrap();
        assert_eq!((path.local, path.local_kind), (base, CandidateKind::Host));
        assert_eq!(path.remote_kind, CandidateKind::ServerReflexive);

        let answer = Received {
            source: peer,
            destination: base,
            payload: &[],
        };
        let at = |millis| Instant::from_origin(Duration::from_millis(millis));
        locals.on_check([1; 12], at(100));
        locals.on_mapped(answer, seen, [1; 12], at(130));
        let path = locals.path(told).unwrap();
        assert_eq!(path.local_kind, CandidateKind::ServerReflexive);
        assert_eq!(path.local, seen);
        assert_eq!(path.round_trip, Some(Duration::from_millis(30)));
        locals.on_mapped(answer, address("203.0.113.1:7001"), [2; 12], at(140));
        let path = locals.path(told).unwrap();
        assert_eq!(path.local_kind, CandidateKind::PeerReflexive);
        assert!(!path.is_relayed());

        locals.on_sent(&sent(relayed, peer));
        let path = locals.path(told).unwrap();
        assert_eq!((path.local, path.is_relayed()), (relayed, true));
    }

    #[test]
    fn news_are_told_once_and_bounded() {
        let mut locals = Locals::new(&[], "0".into());
        let candidate = |port| LocalCandidate::Host(SocketAddr::from(([10, 0, 0, 2], port)));
        for port in 1..=100 {
            if locals.has_room(candidate(port)) {
                locals.add(candidate(port), Some(format!("line {port}")));
            }
        }
        assert!(!locals.has_room(candidate(1)));
        // One that comes back takes no room.
        locals.remove(candidate(1));
        assert!(locals.has_room(candidate(1)) && !locals.has_room(candidate(101)));
        let told = std::iter::from_fn(|| locals.poll_news("abcd"));
        let told: Vec<_> = told.map(|one| one.candidate).collect();
        assert_eq!(told.len(), ADDED_MAX);
        assert_eq!(told[0], "line 1");
    }
}
