//! The addresses of both sides: the peer's as descriptions and signaling name them, and our own.

use is::Candidate;
use rondevu_core::IceCandidate;

use crate::{LocalCandidate, NamedCandidate, TransportError};

/// The line of a candidate that came through signaling; `None` if it marks the end.
pub(crate) fn candidate_line(candidate: &IceCandidate) -> Result<Option<&str>, TransportError> {
    let line = candidate.candidate.trim();
    let line = line.strip_prefix("a=").unwrap_or(line);
    if line.len() > CANDIDATE_BYTES_MAX {
        return Err(TransportError::Candidate("too long".into()));
    }
    Ok((!line.is_empty()).then_some(line))
}

/// What a candidate line of the peer is good for.
#[derive(Debug)]
pub(crate) enum RemoteLine {
    /// Checks can be sent there.
    Address(Candidate),
    /// Somebody has to find out the address first.
    Named(NamedCandidate),
    /// Well-formed, but of a kind that is not used.
    Unused,
}

impl RemoteLine {
    pub(crate) fn parse(line: &str) -> Result<Self, TransportError> {
        let read = |line: &str| {
            Candidate::from_sdp_string(line)
                .map_err(|error| TransportError::Candidate(error.to_string()))
        };
        if let Some(named) = NamedCandidate::parse(line) {
            // It has to be one with whichever address.
            read(&named.with_address([192, 0, 2, 1].into()).candidate)?;
            return Ok(Self::Named(named));
        }
        match is_unusable(line) {
            true => Ok(Self::Unused),
            false => read(line).map(Self::Address),
        }
    }
}

/// An address of this side in the engine's words.
pub(crate) fn local_candidate(candidate: LocalCandidate) -> Result<Candidate, TransportError> {
    match candidate {
        LocalCandidate::Host(address) => Candidate::host(address, "udp"),
        LocalCandidate::ServerReflexive { address, base } => {
            Candidate::server_reflexive(address, base, "udp")
        }
        LocalCandidate::Relayed { address, base } => Candidate::relayed(address, base, "udp"),
    }
    .map_err(|error| TransportError::Candidate(error.to_string()))
}

/// Whether a candidate is of a kind that is well-formed but not used: TCP, or a name of no browser.
fn is_unusable(line: &str) -> bool {
    let mut words = line.split(' ').skip(2);
    let tcp = words.next().is_some_and(|w| !w.eq_ignore_ascii_case("udp"));
    let name = words
        .nth(1)
        .is_some_and(|w| w.to_ascii_lowercase().ends_with(".local"));
    tcp || name
}

/// The longest candidate line in the wild has about 200 bytes.
const CANDIDATE_BYTES_MAX: usize = 1024;
