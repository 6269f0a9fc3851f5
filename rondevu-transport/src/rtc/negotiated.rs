//! An engine that has both descriptions, and what was agreed in them.

use std::net::SocketAddr;

use str0m::{Candidate, Rtc};
use tracing::debug;

use super::candidate::{REMOTE_CANDIDATES_MAX, parse_candidate};
use super::remote_sdp::RemoteSdp;
use crate::{CandidateKind, Fingerprints, TransportError};

/// An engine that knows both sides' descriptions.
pub(super) struct Negotiated {
    pub(super) rtc: Box<Rtc>,
    pub(super) fingerprints: Fingerprints,
    /// The largest message that the peer takes.
    pub(super) message_bytes_max: usize,
    candidates_left: usize,
    /// What the peer has told of its addresses.
    pub(super) remotes: Vec<Candidate>,
}

impl Negotiated {
    pub(super) fn new(mut rtc: Box<Rtc>, remote: &RemoteSdp) -> Self {
        let mut digest = [0; 32];
        let own = rtc.direct_api().local_dtls_fingerprint().bytes.clone();
        digest.copy_from_slice(&own[..32]);
        let mut negotiated = Self {
            rtc,
            fingerprints: Fingerprints {
                local: digest,
                remote: remote.fingerprint,
            },
            message_bytes_max: usize::try_from(remote.message_bytes_max).unwrap_or(usize::MAX),
            candidates_left: REMOTE_CANDIDATES_MAX,
            remotes: Vec::new(),
        };
        for line in &remote.candidates {
            if let Err(error) = negotiated.add_candidate(line) {
                debug!(%error, "candidate in a description ignored");
            }
        }
        negotiated
    }

    pub(super) fn add_candidate(&mut self, line: &str) -> Result<(), TransportError> {
        let Some(candidate) = parse_candidate(line)? else {
            debug!("candidate of a kind that is not used ignored");
            return Ok(());
        };
        match self.candidates_left.checked_sub(1) {
            Some(left) => {
                self.candidates_left = left;
                self.remotes.push(candidate.clone());
                self.rtc.add_remote_candidate(candidate);
            }
            None => debug!("one candidate too many ignored"),
        }
        Ok(())
    }

    /// Gives an address up that the peer has told.
    pub(super) fn forget(&mut self, remote: SocketAddr) {
        for candidate in self.remotes.extract_if(.., |told| told.addr() == remote) {
            self.rtc.direct_api().invalidate_candidate(&candidate);
        }
    }

    /// How the peer has come by an address.
    pub(super) fn kind(&self, remote: SocketAddr) -> CandidateKind {
        let told = self.remotes.iter().find(|told| told.addr() == remote);
        told.map_or(CandidateKind::PeerReflexive, kind)
    }
}

fn kind(candidate: &Candidate) -> CandidateKind {
    match candidate.kind() {
        str0m::CandidateKind::Host => CandidateKind::Host,
        str0m::CandidateKind::ServerReflexive => CandidateKind::ServerReflexive,
        str0m::CandidateKind::PeerReflexive => CandidateKind::PeerReflexive,
        str0m::CandidateKind::Relayed => CandidateKind::Relayed,
    }
}
