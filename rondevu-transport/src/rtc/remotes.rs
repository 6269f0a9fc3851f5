//! What the peer has told of its addresses.

use std::net::SocketAddr;

use is::Candidate;
use tracing::debug;

use super::candidate::RemoteLine;
use crate::{CandidateKind, NamedCandidate, TransportError};

/// The candidates that the peer has told, and that the engine was given.
#[derive(Debug)]
pub(crate) struct Remotes {
    told: Vec<Told>,
    /// How many more are taken.
    left: usize,
    /// Those that were given up, and may speak again.
    given_up: Vec<Told>,
    /// Those whose address somebody has to find out.
    named: Vec<NamedCandidate>,
    /// How many of these somebody has been given.
    given: usize,
}

#[derive(Clone, Debug)]
struct Told {
    candidate: Candidate,
    kind: CandidateKind,
}

/// What the engine has to be told so that it forgets an address.
#[derive(Debug)]
pub(crate) struct Forgotten {
    /// The candidate to add first: the engine knows the address by itself, under a name of its own.
    pub(crate) untold: Option<Candidate>,
    pub(crate) candidates: Vec<Candidate>,
}

impl Remotes {
    pub(crate) fn new() -> Self {
        Self {
            told: Vec::new(),
            left: TOLD_MAX,
            given_up: Vec::new(),
            named: Vec::new(),
            given: 0,
        }
    }

    /// Enters the candidate of a line, and gives it for the engine if it is of use.
    pub(crate) fn enter(&mut self, line: &str) -> Result<Option<Candidate>, TransportError> {
        let candidate = match RemoteLine::parse(line)? {
            RemoteLine::Address(candidate) => candidate,
            RemoteLine::Named(named) => {
                self.enter_name(named);
                return Ok(None);
            }
            RemoteLine::Unused => {
                debug!("candidate of a kind that is not used ignored");
                return Ok(None);
            }
        };
        let Some(left) = self.left.checked_sub(1) else {
            debug!("one candidate too many ignored");
            return Ok(None);
        };
        self.left = left;
        self.told.push(Told {
            kind: kind(&candidate),
            candidate: candidate.clone(),
        });
        Ok(Some(candidate))
    }

    fn enter_name(&mut self, named: NamedCandidate) {
        if self.named.len() >= NAMES_MAX {
            return debug!("one name too many ignored");
        }
        if !self.named.contains(&named) {
            self.named.push(named);
        }
    }

    /// The next candidate whose address has to be found out.
    pub(crate) fn poll_named(&mut self) -> Option<NamedCandidate> {
        let next = self.named.get(self.given)?;
        self.given += 1;
        Some(next.clone())
    }

    /// Gives an address up.
    pub(crate) fn forget(&mut self, address: SocketAddr) -> Forgotten {
        let names = |told: &mut Told| told.candidate.addr() == address;
        let mut gone: Vec<_> = self.told.extract_if(.., names).collect();
        let mut untold = None;
        if gone.is_empty()
            && let Ok(candidate) = Candidate::host(address, "udp")
        {
            untold = Some(candidate.clone());
            gone.push(Told {
                candidate,
                kind: CandidateKind::PeerReflexive,
            });
        }
        self.given_up.extend(gone.first().cloned());
        if self.given_up.len() > GIVEN_UP_MAX {
            self.given_up.remove(0);
        }
        Forgotten {
            untold,
            candidates: gone.into_iter().map(|told| told.candidate).collect(),
        }
    }

    /// Whether an address was given up.
    pub(crate) fn is_forgotten(&self, address: SocketAddr) -> bool {
        let mut addresses = self.given_up.iter().map(|gone| gone.candidate.addr());
        addresses.any(|gone| gone == address)
    }

    /// The peer speaks from an address that was given up: a candidate for the engine.
    ///
    /// It differs from all before, for the engine finds what it has given up by equality and would not
    /// give up the new one.
    pub(crate) fn revive(&mut self, address: SocketAddr) -> Option<Candidate> {
        let mut given_up = self.given_up.iter();
        let position = given_up.position(|gone| gone.candidate.addr() == address)?;
        self.left = self.left.checked_sub(1)?;
        let Told { candidate, kind } = self.given_up.remove(position);
        let line = format!(
            "candidate:again 1 udp {} {} {} typ srflx raddr 0.0.0.0 rport {}",
            candidate.prio(),
            address.ip(),
            address.port(),
            self.left
        );
        let candidate = Candidate::from_sdp_string(&line).ok()?;
        self.told.push(Told {
            candidate: candidate.clone(),
            kind,
        });
        Some(candidate)
    }

    pub(crate) fn count(&self) -> usize {
        self.told.len()
    }

    /// How the peer has come by an address.
    pub(crate) fn kind(&self, address: SocketAddr) -> CandidateKind {
        let mut told = self.told.iter();
        let told = told.find(|told| told.candidate.addr() == address);
        told.map_or(CandidateKind::PeerReflexive, |told| told.kind)
    }
}

fn kind(candidate: &Candidate) -> CandidateKind {
    match candidate.kind() {
        is::CandidateKind::Host => CandidateKind::Host,
        is::CandidateKind::ServerReflexive => CandidateKind::ServerReflexive,
        is::CandidateKind::PeerReflexive => CandidateKind::PeerReflexive,
        is::CandidateKind::Relayed => CandidateKind::Relayed,
    }
}

/// A peer's description may name 32; as many again may trickle in.
const TOLD_MAX: usize = 64;
/// A browser has one for each address family of each of its networks; each is a question to all who are
/// in ours.
const NAMES_MAX: usize = 8;
/// A peer comes back to one of the last few addresses, if to any.
const GIVEN_UP_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_known_until_it_is_given_up() {
        let mut remotes = Remotes::new();
        let line = "candidate:1 1 udp 1694498815 203.0.113.5 5000 typ srflx raddr 0.0.0.0 rport 0";
        assert!(remotes.enter(line).unwrap().is_some());
        let address = "203.0.113.5:5000".parse().unwrap();
        assert_eq!(remotes.kind(address), CandidateKind::ServerReflexive);
        let forgotten = remotes.forget(address);
        assert!(forgotten.untold.is_none());
        assert_eq!((forgotten.candidates.len(), remotes.count()), (1, 0));
        assert_eq!(remotes.kind(address), CandidateKind::PeerReflexive);
        assert!(remotes.is_forgotten(address));
        assert!(remotes.revive(address).is_some());
        assert!(remotes.revive(address).is_none());
        assert_eq!(remotes.kind(address), CandidateKind::ServerReflexive);
    }

    #[test]
    fn an_address_that_was_never_told_can_be_given_up() {
        let mut remotes = Remotes::new();
        let address = "203.0.113.5:5000".parse().unwrap();
        let forgotten = remotes.forget(address);
        assert_eq!(forgotten.untold.unwrap().addr(), address);
        assert_eq!(forgotten.candidates.len(), 1);
    }

    #[test]
    fn no_more_than_a_bound_are_taken() {
        let mut remotes = Remotes::new();
        let line = |port| format!("candidate:1 1 udp 2130706431 192.0.2.1 {port} typ host");
        let taken = (1..=100).filter(|port| remotes.enter(&line(*port)).unwrap().is_some());
        assert_eq!(taken.count(), TOLD_MAX);
        assert!(remotes.enter("nonsense").is_err());
    }

    #[test]
    fn names_wait_for_somebody_who_knows_them() {
        let mut remotes = Remotes::new();
        for n in 0..100 {
            // Each is told twice.
            let n = n / 2;
            let line = format!("candidate:1 1 udp 2130706431 name-{n}.local 5000 typ host");
            assert!(remotes.enter(&line).unwrap().is_none());
        }
        let names = std::iter::from_fn(|| remotes.poll_named());
        let names: Vec<_> = names.map(|named| named.name().to_owned()).collect();
        assert_eq!(names.len(), NAMES_MAX);
        assert_eq!(names[1], "name-1.local");
        assert_eq!(remotes.count(), 0);
    }
}
