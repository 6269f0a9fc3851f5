//! The path to the peer: the agent of `is`, told the time and asked for news.

use std::net::SocketAddr;

use is::stun::{StunMessage, StunPacket};
use is::{IceAgent, IceAgentEvent, IceCreds, Protocol};
use tracing::debug;
use turn_client_proto::types::stun::attribute::{AttributeType, RawAttribute, Username};
use turn_client_proto::types::stun::message::{
    BINDING, IntegrityAlgorithm, Message, MessageClass, MessageType, MessageWrite as _,
    MessageWriteExt as _, MessageWriteVec, ShortTermCredentials, StunWriteError,
};

use super::path_mtu::Probe;
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

    /// A binding request on `route` that is no check: it chooses nothing, and the agent does not hear of
    /// its answer. `None` before the peer's credentials are known.
    pub(super) fn request(&self, probe: Probe, route: Route) -> Option<Datagram> {
        let remote = self.agent.remote_credentials()?;
        let username = format!("{}:{}", remote.ufrag, self.ufrag());
        let role = match self.agent.controlling() {
            true => ICE_CONTROLLING,
            false => ICE_CONTROLLED,
        };
        match request(probe, &username, &remote.pass, role) {
            Ok(payload) => Some(Datagram {
                source: route.local,
                destination: route.remote,
                payload,
            }),
            Err(error) => {
                debug!(%error, "no probe can be made");
                None
            }
        }
    }

    /// Whether the peer has made this response: nobody else has its password.
    pub(super) fn is_answer_of_peer(&self, response: &[u8]) -> bool {
        let remote = self.agent.remote_credentials();
        let (Some(remote), Ok(message)) = (remote, Message::from_bytes(response)) else {
            return false;
        };
        let credentials = ShortTermCredentials::new(remote.pass.clone());
        message.validate_integrity(&credentials.into()).is_ok()
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

fn request(
    probe: Probe,
    username: &str,
    password: &str,
    role: AttributeType,
) -> Result<Vec<u8>, StunWriteError> {
    let kind = MessageType::from_class_method(MessageClass::Request, BINDING);
    let mut transaction = [0; 16];
    transaction[4..].copy_from_slice(&probe.transaction);
    let transaction = u128::from_be_bytes(transaction).into();
    let mut message = Message::builder(kind, transaction, MessageWriteVec::new());
    message.add_attribute(&Username::new(username)?)?;
    message.add_attribute(&RawAttribute::new(PRIORITY, &PRIORITY_PEER_REFLEXIVE))?;
    // No path is chosen before the roles are settled, so the tie-breaker is looked at by nobody.
    message.add_attribute(&RawAttribute::new(role, &[0; 8]))?;
    if let Some(bytes) = probe.bytes {
        let others = message.len() + ATTRIBUTE_HEADER_BYTES + INTEGRITY_BYTES + FINGERPRINT_BYTES;
        let padding = vec![0; bytes.saturating_sub(others)];
        message.add_attribute(&RawAttribute::new(PADDING, &padding))?;
    }
    let credentials = ShortTermCredentials::new(password.into());
    message.add_message_integrity(&credentials.into(), IntegrityAlgorithm::Sha1)?;
    message.add_fingerprint()?;
    Ok(message.finish())
}

/// Which description this side wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Offerer,
    Answerer,
}

/// More addresses than that are of no use to a peer: each is tried with each of its own.
const LOCAL_ADDRESSES_MAX: usize = 16;
/// RFC 8445, section 16.1.
const PRIORITY: AttributeType = AttributeType::new(0x0024);
const ICE_CONTROLLED: AttributeType = AttributeType::new(0x8029);
const ICE_CONTROLLING: AttributeType = AttributeType::new(0x802a);
/// Of no registered meaning, and in the range that whoever does not know it has to ignore (RFC 8489,
/// section 14). PADDING of RFC 5780 is in the range that has to be understood.
const PADDING: AttributeType = AttributeType::new(0xfffe);
/// As of a peer-reflexive candidate (RFC 8445, section 5.1.2.1).
const PRIORITY_PEER_REFLEXIVE: [u8; 4] = [110, 0xff, 0xff, 0xff];
const ATTRIBUTE_HEADER_BYTES: usize = 4;
const INTEGRITY_BYTES: usize = ATTRIBUTE_HEADER_BYTES + 20;
const FINGERPRINT_BYTES: usize = ATTRIBUTE_HEADER_BYTES + 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::composed::path_mtu::draw_transaction;
    use crate::stun::Stun;

    #[test]
    fn a_probe_has_the_size_that_is_asked_for_and_is_accepted_by_an_agent() {
        for bytes in [None, Some(1228), Some(1452), Some(9000)] {
            let probe = Probe {
                transaction: draw_transaction(),
                bytes,
            };
            let payload = request(probe, "abcd:efghij", "secret", ICE_CONTROLLED).unwrap();
            assert_eq!(payload.len(), bytes.unwrap_or(payload.len()));
            let stun = Stun::parse(&payload).unwrap();
            assert_eq!(stun.transaction(), probe.transaction);
            let agent = IceAgent::new(IceCreds {
                ufrag: "abcd".into(),
                pass: "secret".into(),
            });
            let message = StunMessage::parse(&payload).unwrap();
            assert!(agent.accepts_message(&message));
            assert!(!message.use_candidate());
        }
    }
}
