//! One allocation on a TURN server, in this crate's words.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rondevu_core::Instant;
use turn_client_proto::api::{
    Transmit, TurnClientApi, TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet,
};
use turn_client_proto::client::TurnClient;
use turn_client_proto::tcp::TurnClientTcp;
use turn_client_proto::types::{TransportType, TurnCredentials};
use turn_client_proto::udp::TurnClientUdp;

use super::super::failure::GatherFailure;
use super::super::ice_server::TurnCredential;
use super::Way;
use crate::stun::{Class, Stun, Transaction, first_in_stream, keep_alive};

/// What came from a peer over the relay.
#[derive(Debug)]
pub(in crate::gather) struct FromPeer {
    pub(in crate::gather) peer: SocketAddr,
    pub(in crate::gather) payload: Vec<u8>,
}

/// An allocation (RFC 8656): asked for, kept, and used.
///
/// The crate below does the protocol. This adds what it leaves open: which datagrams wait for a
/// permission, when a channel is worth binding, and why an allocation was refused.
pub(super) struct Client {
    turn: TurnClient,
    way: Way,
    local: SocketAddr,
    server: SocketAddr,
    address: Option<SocketAddr>,
    /// Datagrams for peers whose permission is asked for.
    waiting: VecDeque<(SocketAddr, Vec<u8>)>,
    /// Peers that have a permission or will.
    permitted: BTreeSet<IpAddr>,
    /// Those of them that the server was asked about and has not answered.
    asking: BTreeSet<IpAddr>,
    /// Peers that have a channel or will.
    channels: BTreeSet<SocketAddr>,
    /// The latest requests to the server.
    requests: VecDeque<Transaction>,
    /// The request that the server has last asked for credentials.
    unauthorized: Option<Transaction>,
    refused: Option<u16>,
    /// What has come by a stream of a message that is not whole yet.
    stream: Vec<u8>,
    sent_at: Instant,
    output: VecDeque<Vec<u8>>,
    wake_at: Option<Instant>,
    failure: Option<GatherFailure>,
}

impl Client {
    /// Asks `server` for an address, from `local`.
    pub(super) fn new(
        way: Way,
        local: SocketAddr,
        server: SocketAddr,
        credential: &TurnCredential,
        now: Instant,
    ) -> Self {
        let credentials = TurnCredentials::new(&credential.username, &credential.password);
        let config = TurnConfig::new(credentials);
        let turn = match way {
            Way::Datagrams(_) => TurnClientUdp::allocate(local, server, config).into(),
            Way::Stream(_) => TurnClientTcp::allocate(local, server, config).into(),
        };
        let mut client = Self {
            turn,
            way,
            local,
            server,
            address: None,
            waiting: VecDeque::new(),
            permitted: BTreeSet::new(),
            asking: BTreeSet::new(),
            channels: BTreeSet::new(),
            requests: VecDeque::new(),
            unauthorized: None,
            refused: None,
            stream: Vec::new(),
            sent_at: now,
            output: VecDeque::new(),
            wake_at: None,
            failure: None,
        };
        client.turn(now);
        client
    }

    /// The address that the server has lent.
    pub(super) const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The local address that the server is reached from.
    pub(super) const fn local(&self) -> SocketAddr {
        self.local
    }

    /// Why there is no address and will be none.
    pub(super) fn failure(&self) -> Option<&GatherFailure> {
        self.failure.as_ref()
    }

    /// The next bytes for the server: a datagram, or a part of the stream.
    pub(super) fn poll_output(&mut self) -> Option<Vec<u8>> {
        self.output.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.wake_at.into_iter().chain(self.keep_alive_at()).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.wake_at.is_some_and(|at| at <= now) {
            self.turn(now);
        }
        if self.keep_alive_at().is_some_and(|at| at <= now) {
            let transaction = self.requests.back().copied().unwrap_or_default();
            self.push(keep_alive(transaction), now);
        }
    }

    /// A NAT before the server forgets whom nothing is sent for.
    fn keep_alive_at(&self) -> Option<Instant> {
        let is_needed = self.address.is_some() && matches!(self.way, Way::Datagrams(_));
        is_needed.then(|| self.sent_at + KEEP_ALIVE)
    }

    /// Bytes from the server: a datagram, or the next part of a stream.
    pub(super) fn handle_input(&mut self, bytes: &[u8], now: Instant) -> Vec<FromPeer> {
        if let Way::Datagrams(_) = self.way {
            return self.handle_message(bytes, now);
        }
        self.stream.extend_from_slice(bytes);
        let stream = std::mem::take(&mut self.stream);
        let mut rest = &stream[..];
        let mut received = Vec::new();
        loop {
            match first_in_stream(rest) {
                Ok(Some(len)) if len <= rest.len() => {
                    let (message, behind) = rest.split_at(len);
                    received.extend(self.handle_message(message, now));
                    rest = behind;
                }
                Ok(_) => {
                    self.stream = rest.to_vec();
                    return received;
                }
                Err(_) => {
                    let why = "what comes from there is no STUN".into();
                    self.fail(match self.address {
                        Some(_) => GatherFailure::Lost,
                        None => GatherFailure::Connection(why),
                    });
                    return received;
                }
            }
        }
    }

    /// One message from the server.
    fn handle_message(&mut self, bytes: &[u8], now: Instant) -> Vec<FromPeer> {
        self.note_refusal(bytes);
        let transmit = Transmit::new(bytes, self.transport(), self.server, self.local);
        let mut received = Vec::new();
        if let TurnRecvRet::PeerData(data) = self.turn.recv(transmit, at(now)) {
            received.push(FromPeer {
                peer: data.peer,
                payload: data.data().to_vec(),
            });
        }
        while let Some(data) = self.turn.poll_recv(at(now)) {
            received.push(FromPeer {
                peer: data.peer,
                payload: data.data().to_vec(),
            });
        }
        self.turn(now);
        received
    }

    /// Sends `payload` to `peer` from the address that was lent.
    ///
    /// Until the server has heard that the peer is wanted, a few datagrams wait.
    pub(super) fn send(&mut self, peer: SocketAddr, payload: &[u8], now: Instant) {
        if self
            .address
            .is_none_or(|own| own.is_ipv4() != peer.is_ipv4())
        {
            return;
        }
        if !self.turn.have_permission(TransportType::Udp, peer.ip()) {
            return self.wait_for_permission(peer, payload, now);
        }
        // Checks come from many peers' addresses; what follows them comes from the chosen one, and
        // a channel spares it 32 bytes a datagram.
        let is_check = Stun::parse(payload).is_some();
        // On a stream channel data is padded (RFC 8656, section 12.5), which the crate below neither
        // writes nor reads; indications work.
        let may_bind = matches!(self.way, Way::Datagrams(_)) && !is_check;
        if may_bind && self.channels.len() < CHANNELS_MAX && self.channels.insert(peer) {
            let bound = self.turn.bind_channel(TransportType::Udp, peer, at(now));
            tracing::trace!(?bound, "channel asked for");
        }
        self.pass_on(peer, payload, now);
        self.turn(now);
    }

    fn wait_for_permission(&mut self, peer: SocketAddr, payload: &[u8], now: Instant) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back((peer, payload.into()));
        }
        self.ask_permissions(now);
        self.turn(now);
    }

    /// Asks for the permissions that datagrams wait for, a few at a time: all requests that were signed before the
    /// server wants a fresh nonce are refused, and the crate below gives up after ten of them.
    fn ask_permissions(&mut self, now: Instant) {
        for (peer, _) in &self.waiting {
            if self.asking.len() >= ASKING_MAX || self.permitted.len() >= PERMISSIONS_MAX {
                return;
            }
            let ip = peer.ip();
            if self.permitted.insert(ip) {
                self.asking.insert(ip);
                let asked = self.turn.create_permission(TransportType::Udp, ip, at(now));
                tracing::trace!(?asked, "permission asked for");
            }
        }
    }

    fn pass_on(&mut self, peer: SocketAddr, payload: &[u8], now: Instant) {
        match self
            .turn
            .send_to(TransportType::Udp, peer, payload, at(now))
        {
            Ok(Some(built)) => {
                let bytes = built.build().data;
                self.push(bytes, now);
            }
            Ok(None) => {}
            Err(error) => tracing::trace!(%error, "datagram not relayed"),
        }
    }

    /// Gives the address back, as far as one message can.
    pub(super) fn close(&mut self, now: Instant) {
        if self.turn.delete(at(now)).is_ok() {
            // Requests are paced, and this one is the last.
            self.turn(now);
            self.turn(now + PACE);
        }
        self.address = None;
        self.wake_at = None;
        self.failure.get_or_insert(GatherFailure::Lost);
    }

    fn transport(&self) -> TransportType {
        match self.way {
            Way::Datagrams(_) => TransportType::Udp,
            Way::Stream(_) => TransportType::Tcp,
        }
    }

    /// Remembers why the server refuses; the crate below does not tell.
    fn note_refusal(&mut self, bytes: &[u8]) {
        // Others may send from the server's address.
        let refusal = Stun::parse(bytes).filter(|stun| {
            stun.class() == Class::Failure && self.requests.contains(&stun.transaction())
        });
        let Some((refused, code)) =
            refusal.and_then(|stun| Some((stun.transaction(), stun.error_code()?)))
        else {
            return;
        };
        match code {
            // The first one is the question for the credentials; a request that was sent twice is answered twice.
            UNAUTHORIZED => {
                let before = self.unauthorized.replace(refused);
                let is_other = before.is_some_and(|before| before != refused);
                if is_other && self.address.is_none() {
                    self.fail(GatherFailure::Unauthorized);
                }
            }
            STALE_NONCE => {}
            // The server has forgotten what it lent, after a restart for instance.
            MISMATCH if self.address.is_some() => self.fail(GatherFailure::Lost),
            _ => self.refused = Some(code),
        }
    }

    fn fail(&mut self, failure: GatherFailure) {
        self.failure.get_or_insert(failure);
        self.address = None;
        self.wake_at = None;
        self.waiting.clear();
    }

    /// Takes over what the crate below has to say.
    fn turn(&mut self, now: Instant) {
        for _ in 0..TURNS_MAX {
            while let Some(transmit) = self.turn.poll_transmit(at(now)) {
                let bytes = transmit.data.to_vec();
                self.note_request(&bytes);
                self.push(bytes, now);
            }
            while let Some(event) = self.turn.poll_event() {
                self.on_event(&event, now);
            }
            if self.failure.is_some() {
                return;
            }
            match self.turn.poll(at(now)) {
                TurnPollRet::WaitUntil(until) if until <= at(now) => {}
                TurnPollRet::WaitUntil(until) => {
                    let mut wait = until.duration_since(at(now));
                    if self.address.is_none() {
                        // After the last repetition it says for how long to wait, and only then that it has failed.
                        wait = wait.min(ASK_AGAIN);
                    }
                    self.wake_at = Some(now + wait);
                    return;
                }
                _ => {
                    let lost = self.address.is_some();
                    return self.fail(match (self.refused, lost) {
                        (_, true) => GatherFailure::Lost,
                        (Some(code), false) => GatherFailure::Refused(code),
                        (None, false) => GatherFailure::Unreachable,
                    });
                }
            }
        }
        // It asks for the past again and again: it may do so, but not spin the embedder.
        self.wake_at = Some(now + Duration::from_millis(1));
    }

    fn on_event(&mut self, event: &TurnEvent, now: Instant) {
        match event {
            TurnEvent::AllocationCreated(_, address) => self.address = Some(*address),
            TurnEvent::AllocationCreateFailed(_) => {
                let failure = self.refused.map(GatherFailure::Refused);
                self.fail(failure.unwrap_or(GatherFailure::Unreachable));
            }
            TurnEvent::PermissionCreated(_, peer) => {
                self.asking.remove(peer);
                let waiting = std::mem::take(&mut self.waiting);
                for (to, payload) in waiting {
                    match to.ip() == *peer {
                        true => self.pass_on(to, &payload, now),
                        false => self.waiting.push_back((to, payload)),
                    }
                }
                self.ask_permissions(now);
            }
            TurnEvent::PermissionCreateFailed(_, peer) => {
                self.asking.remove(peer);
                self.waiting.retain(|(to, _)| to.ip() != *peer);
                self.permitted.remove(peer);
                self.ask_permissions(now);
            }
            TurnEvent::ChannelCreateFailed(_, peer) => {
                self.channels.remove(peer);
            }
            // The rest is about channels that work, and about relayed TCP, which is not used.
            _ => {}
        }
    }

    fn push(&mut self, bytes: Vec<u8>, now: Instant) {
        if self.output.len() < OUTPUT_MAX {
            self.sent_at = now;
            self.output.push_back(bytes);
        }
    }

    /// Remembers what was asked, for the refusals.
    fn note_request(&mut self, bytes: &[u8]) {
        if let Some(stun) = Stun::parse(bytes)
            && stun.class() == Class::Request
            && !self.requests.contains(&stun.transaction())
        {
            self.requests.push_back(stun.transaction());
            if self.requests.len() > REQUESTS_MAX {
                self.requests.pop_front();
            }
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("server", &self.server)
            .field("address", &self.address)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

/// The clock of the crate below, which counts from the same origin.
fn at(now: Instant) -> turn_client_proto::types::Instant {
    let nanos = i64::try_from(now.since_origin().as_nanos()).unwrap_or(i64::MAX);
    turn_client_proto::types::Instant::from_nanos(nanos)
}

const UNAUTHORIZED: u16 = 401;
const STALE_NONCE: u16 = 438;
const MISMATCH: u16 = 437;
/// A checklist sends to each of a peer's addresses, and repeats itself soon.
const WAITING_MAX: usize = 32;
/// Of each link some dozen; a service has many links.
const PERMISSIONS_MAX: usize = 4096;
/// Less than half of what the crate below takes for an endless demand for fresh nonces.
const ASKING_MAX: usize = 4;
/// More than are repeated at the same time: one leaves in 50 ms, and is given up after half a minute.
const REQUESTS_MAX: usize = 1024;
/// As often as a STUN server is asked.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long the end of an allocation that was asked for may go unnoticed.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// There are 16,384 numbers for channels; without one a datagram is longer, and that is all.
const CHANNELS_MAX: usize = 4096;
/// As a socket buffer that is full.
const OUTPUT_MAX: usize = 1024;
const TURNS_MAX: usize = 16;
/// The crate below waits so long between two requests.
const PACE: Duration = Duration::from_millis(50);
