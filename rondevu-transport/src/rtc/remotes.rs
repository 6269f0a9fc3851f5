//! What the peer has told of its addresses.

use std::net::SocketAddr;

use is::Candidate;
use tracing::debug;

use super::candidate::parse_candidate;
use crate::{CandidateKind, TransportError};

/// The candidates that the peer has told, and that the engine was given.
#[derive(Debug)]
pub(crate) struct Remotes {
    told: Vec<Candidate>,
    /// How many more are taken.
    left: usize,
}

impl Remotes {
    pub(crate) fn new() -> Self {
        Self {
            told: Vec::new(),
            left: TOLD_MAX,
        }
    }

    /// Enters the candidate of a line, and gives it for the engine if it is of use.
    pub(crate) fn enter(&mut self, line: &str) -> Result<Option<Candidate>, TransportError> {
        let Some(candidate) = parse_candidate(line)? else {
            debug!("candidate of a kind that is not used ignored");
            return Ok(None);
        };
        let Some(left) = self.left.checked_sub(1) else {
            debug!("one candidate too many ignored");
            return Ok(None);
        };
        self.left = left;
        self.told.push(candidate.clone());
        Ok(Some(candidate))
    }

    /// Gives an address up; the candidates that name it, for the engine.
    pub(crate) fn forget(&mut self, address: SocketAddr) -> Vec<Candidate> {
        let names = |told: &mut Candidate| told.addr() == address;
        self.told.extract_if(.., names).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.told.len()
    }

    /// How the peer has come by an address.
    pub(crate) fn kind(&self, address: SocketAddr) -> CandidateKind {
        let told = self.told.iter().find(|told| told.addr() == address);
        told.map_or(CandidateKind::PeerReflexive, |told| match told.kind() {
            is::CandidateKind::Host => CandidateKind::Host,
            is::CandidateKind::ServerReflexive => CandidateKind::ServerReflexive,
            is::CandidateKind::PeerReflexive => CandidateKind::PeerReflexive,
            is::CandidateKind::Relayed => CandidateKind::Relayed,
        })
    }
}

/// A peer's description may name 32; as many again may trickle in.
const TOLD_MAX: usize = 64;

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
        assert_eq!((remotes.forget(address).len(), remotes.count()), (1, 0));
        assert_eq!(remotes.kind(address), CandidateKind::PeerReflexive);
    }

    #[test]
    fn no_more_than_a_bound_are_taken() {
        let mut remotes = Remotes::new();
        let line = |port| format!("candidate:1 1 udp 2130706431 192.0.2.1 {port} typ host");
        let taken = (1..=100).filter(|port| remotes.enter(&line(*port)).unwrap().is_some());
        assert_eq!(taken.count(), TOLD_MAX);
        assert!(remotes.enter("nonsense").is_err());
    }
}
