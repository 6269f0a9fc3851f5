//! The path to the peer: the agent of `is`, told the time and asked for news.

use std::net::SocketAddr;

use is::stun::{StunMessage, StunPacket};
use is::{IceAgent, IceAgentEvent, IceCreds, Protocol};
use tracing::debug;

use crate::rtc::RtcConfig;
use crate::rtc::candidate::local_candidate;
use crate::rtc::remote_sdp::RemoteSdp;
use crate::rtc::remotes::Remotes;
use crate::{Datagram, LocalCandidate, Received, TransportError};

/// One side's search for a path.
#[derive(Debug)]
pub(super) struct Ice {
    agent: IceAgent,
    pub(super) remotes: Remotes,
}

/// Both ends of the path that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
}

/// What the search came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// From now on this path is used.
    Chosen(Route),
    /// There is none, or none any more.
    Lost,
}

impl Ice {
    pub(super) fn new(credentials: IceCreds, config: &RtcConfig) -> Self {
        let mut agent = IceAgent::new(credentials);
        agent.set_initial_stun_rto(config.first_probe_after);
        agent.set_max_stun_rto(config.probe_interval_max);
        agent.set_max_stun_retransmits(config.probes());
        Self {
            agent,
            remotes: Remotes::new(),
        }
    }

    /// Takes the local addresses; the candidate lines for the peer.
    pub(super) fn add_local(&mut self, candidates: &[LocalCandidate]) -> Vec<String> {
        let usable = candidates
            .iter()
            .filter_map(|&candidate| local_candidate(candidate).ok());
        usable
            .take(LOCAL_ADDRESSES_MAX)
            .filter_map(|candidate| {
                let added = self.agent.add_local_candidate(candidate)?;
                Some(added.to_sdp_string())
            })
            .collect()
    }

    /// Takes a local address that was found later; its candidate line, unless it is of no use.
    pub(super) fn add_late_local(&mut self, candidate: LocalCandidate) -> Option<String> {
        let candidate = local_candidate(candidate).ok()?;
        let added = self.agent.add_local_candidate(candidate)?;
        Some(added.to_sdp_string())
    }

    /// Gives up a local address.
    pub(super) fn remove_local(&mut self, candidate: LocalCandidate) {
        if let Ok(candidate) = local_candidate(candidate) {
            self.agent.invalidate_candidate(&candidate);
        }
    }

    /// Gives up an address that the peer has told.
    pub(super) fn forget_remote(&mut self, remote: SocketAddr) {
        let forgotten = self.remotes.forget(remote);
        if let Some(untold) = forgotten.untold {
            self.agent.add_remote_candidate(untold);
        }
        for candidate in forgotten.candidates {
            self.agent.invalidate_candidate(&candidate);
        }
    }

    /// The peer speaks from an address that may have been given up.
    pub(super) fn revive_remote(&mut self, remote: SocketAddr) {
        if let Some(candidate) = self.remotes.revive(remote) {
            debug!(%remote, "the peer is back");
            self.agent.add_remote_candidate(candidate);
        }
    }

    pub(super) fn ufrag(&self) -> &str {
        &self.agent.local_credentials().ufrag
    }

    pub(super) fn credentials(&self) -> &IceCreds {
        self.agent.local_credentials()
    }

    /// Begins to look for a path to the peer of `remote`.
    pub(super) fn begin(&mut self, remote: &RemoteSdp, role: Role) {
        // Whoever only answers checks leaves the choice to us (RFC 8445, section 6.1.1).
        let controlling = role == Role::Offerer || remote.is_lite();
        self.agent.set_controlling(controlling);
        self.agent.set_remote_credentials(remote.credentials());
        for line in &remote.candidates {
            if let Err(error) = self.add_remote(line) {
                debug!(%error, "candidate in a description ignored");
            }
        }
    }

    pub(super) fn add_remote(&mut self, line: &str) -> Result<(), TransportError> {
        if let Some(candidate) = self.remotes.enter(line)? {
            self.agent.add_remote_candidate(candidate);
        }
        Ok(())
    }

    /// Whether a STUN message was made by somebody who knows the password.
    pub(super) fn accepts(&self, datagram: Received<'_>) -> bool {
        let message = StunMessage::parse(datagram.payload);
        message.is_ok_and(|message| self.agent.accepts_message(&message))
    }

    pub(super) fn handle(&mut self, datagram: Received<'_>, now: std::time::Instant) {
        let Ok(message) = StunMessage::parse(datagram.payload) else {
            return;
        };
        let packet = StunPacket {
            proto: Protocol::Udp,
            source: datagram.source,
            destination: datagram.destination,
            message,
        };
        self.agent.handle_packet(now, packet);
        self.agent.handle_timeout(now);
    }

    pub(super) fn handle_timeout(&mut self, now: std::time::Instant) {
        self.agent.handle_timeout(now);
    }

    pub(super) fn poll_timeout(&mut self) -> Option<std::time::Instant> {
        self.agent.poll_timeout()
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Datagram> {
        let transmit = self.agent.poll_transmit()?;
        Some(Datagram {
            source: transmit.source,
            destination: transmit.destination,
            payload: transmit.contents.into(),
        })
    }

    pub(super) fn poll_news(&mut self) -> Option<News> {
        loop {
            match self.agent.poll_event()? {
                IceAgentEvent::NominatedSend {
                    source,
                    destination,
                    ..
                } => {
                    return Some(News::Chosen(Route {
                        local: source,
                        remote: destination,
                    }));
                }
                IceAgentEvent::IceConnectionStateChange(state) if state.is_disconnected() => {
                    return Some(News::Lost);
                }
                IceAgentEvent::IceConnectionStateChange(_)
                | IceAgentEvent::IceRestart(_)
                | IceAgentEvent::DiscoveredRecv { .. } => {}
            }
        }
    }
}

/// Which description this side wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Offerer,
    Answerer,
}

/// More addresses than that are of no use to a peer: each is tried with each of its own.
const LOCAL_ADDRESSES_MAX: usize = 16;
