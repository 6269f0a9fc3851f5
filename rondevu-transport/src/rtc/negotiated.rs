//! An engine that has both descriptions, and what was agreed in them.

use std::net::SocketAddr;

use str0m::Rtc;
use tracing::debug;

use super::remote_sdp::RemoteSdp;
use super::remotes::Remotes;
use crate::{Fingerprints, TransportError};

/// An engine that knows both sides' descriptions.
pub(super) struct Negotiated {
    pub(super) rtc: Box<Rtc>,
    pub(super) fingerprints: Fingerprints,
    /// The largest message that the peer takes.
    pub(super) message_bytes_max: usize,
    pub(super) remotes: Remotes,
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
            remotes: Remotes::new(),
        };
        for line in &remote.candidates {
            if let Err(error) = negotiated.add_candidate(line) {
                debug!(%error, "candidate in a description ignored");
            }
        }
        negotiated
    }

    pub(super) fn add_candidate(&mut self, line: &str) -> Result<(), TransportError> {
        if let Some(candidate) = self.remotes.enter(line)? {
            self.rtc.add_remote_candidate(candidate);
        }
        Ok(())
    }

    /// Gives an address up that the peer has told.
    pub(super) fn forget(&mut self, remote: SocketAddr) {
        let forgotten = self.remotes.forget(remote);
        if let Some(untold) = forgotten.untold {
            self.rtc.add_remote_candidate(untold);
        }
        for candidate in forgotten.candidates {
            self.rtc.direct_api().invalidate_candidate(&candidate);
        }
    }

    /// The peer speaks from an address that may have been given up.
    pub(super) fn revive(&mut self, remote: SocketAddr) {
        if let Some(candidate) = self.remotes.revive(remote) {
            debug!(%remote, "the peer is back");
            self.rtc.add_remote_candidate(candidate);
        }
    }
}
