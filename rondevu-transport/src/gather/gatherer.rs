//! Finds the addresses under which a set of sockets may be reached, and keeps them alive.

mod candidates;
mod duty;
mod failures;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use rondevu_core::Instant;

pub use self::duty::{GatherAction, GatherEvent, RelayedDatagram};
use super::failure::GatherFailure;
use super::ice_server::{IceServer, IceServerError, IceService, IceTransportPolicy};
use super::reflexive::Reflexive;
use super::relay::{FromPeer, Relay, Way};
use super::server::Server;
use crate::stun::Stun;
use crate::{Datagram, LocalCandidate, Received};

/// Finds addresses for a set of bound sockets: those that STUN servers see, and those that TURN
/// servers lend. Shared by all links over these sockets.
///
/// A machine like a [`Transport`](crate::Transport): facts go in by `handle_*`, what is to be done
/// comes out by `poll_*`. It contacts the servers that it is given and nobody else.
///
/// ```text
///             names, streams            questions, keep-alives, relayed datagrams
/// poll_action ◄──────────── Gatherer ────────────► poll_transmit
/// handle_resolved, …           │ ▲                 handle_datagram ──► poll_relayed
///                              │ └── relay: datagrams of links whose source was lent
///                              ▼
///                         poll_event: found, lost
/// ```
#[derive(Debug)]
pub struct Gatherer {
    policy: IceTransportPolicy,
    rng: fastrand::Rng,
    bases: Vec<SocketAddr>,
    servers: Vec<Server>,
    reflexives: Vec<Reflexive>,
    relays: Vec<(usize, Relay)>,
    streams: u64,
    candidates: Vec<LocalCandidate>,
    actions: VecDeque<GatherAction>,
    transmits: VecDeque<Datagram>,
    relayed: VecDeque<RelayedDatagram>,
    events: VecDeque<GatherEvent>,
}

impl Gatherer {
    /// A gatherer for the sockets bound to `bases`, with the help of `servers`.
    ///
    /// With [`IceTransportPolicy::Relay`] the bound addresses themselves are no candidates.
    ///
    /// # Errors
    ///
    /// [`IceServerError`] if a server lacks something, or if addresses of TURN servers are all that
    /// is allowed and there is none.
    pub fn new(
        bases: &[SocketAddr],
        servers: &[IceServer],
        policy: IceTransportPolicy,
        seed: u64,
        now: Instant,
    ) -> Result<Self, IceServerError> {
        check_servers(servers, policy)?;
        let urls = servers.iter().flat_map(Server::each);
        let mut gatherer = Self {
            policy,
            rng: fastrand::Rng::with_seed(seed),
            bases: Vec::new(),
            servers: urls.take(SERVERS_MAX).collect(),
            reflexives: Vec::new(),
            relays: Vec::new(),
            streams: 0,
            candidates: Vec::new(),
            actions: VecDeque::new(),
            transmits: VecDeque::new(),
            relayed: VecDeque::new(),
            events: VecDeque::new(),
        };
        gatherer.handle_bases(bases, now);
        Ok(gatherer)
    }

    /// The addresses found so far, the machine's own first.
    pub fn candidates(&self) -> &[LocalCandidate] {
        &self.candidates
    }

    /// Whether every server has helped or failed to, so that nothing more is to be expected soon.
    pub fn is_settled(&self) -> bool {
        self.servers.iter().all(Server::is_settled)
            && self.reflexives.iter().all(Reflexive::is_settled)
            && self.relays.iter().all(|(_, relay)| relay.is_settled())
    }

    /// Whether `address` is that of a server, so that datagrams from it are for this machine.
    pub fn is_server(&self, address: SocketAddr) -> bool {
        self.servers
            .iter()
            .any(|server| server.addresses().contains(&address))
    }

    /// The sockets are bound to these addresses now. What was found by others is lost.
    ///
    /// An address that a server has lent to one that is gone is kept while the server keeps it, as the server lends
    /// none other to the same socket if that comes back before.
    pub fn handle_bases(&mut self, bases: &[SocketAddr], now: Instant) {
        let is_gone = |base: &SocketAddr| !bases.contains(base);
        self.reflexives.retain(|one| !is_gone(&one.base()));
        // A stream from an address that is gone hangs for minutes.
        let is_lost = |local: SocketAddr| {
            let mut before = self.bases.iter();
            before.any(|base| base.ip() == local.ip())
                && !bases.iter().any(|base| base.ip() == local.ip())
        };
        for (_, relay) in &mut self.relays {
            if matches!(relay.way(), Way::Stream(_)) && relay.local().is_some_and(is_lost) {
                relay.handle_disconnected(GatherFailure::Lost, now);
            }
        }
        let new: Vec<_> = bases
            .iter()
            .filter(|base| !self.bases.contains(base))
            .copied()
            .collect();
        self.bases = bases.to_vec();
        self.forget_absent_relays();
        for index in 0..self.servers.len() {
            self.use_server(index, &new, now);
        }
        self.finish(now);
    }

    /// The addresses of a server's name, or why there are none.
    pub fn handle_resolved(
        &mut self,
        server: usize,
        addresses: Result<Vec<IpAddr>, String>,
        now: Instant,
    ) {
        let Some(known) = self.servers.get_mut(server) else {
            return;
        };
        if known.handle_resolved(addresses, now) {
            self.leave_old_addresses(server);
            let bases = self.bases.clone();
            self.use_server(server, &bases, now);
        }
        self.finish(now);
    }

    /// Asks no more where a server was before.
    fn leave_old_addresses(&mut self, index: usize) {
        let servers = &self.servers;
        let is_server = |address: SocketAddr| {
            let mut servers = servers.iter();
            servers.any(|server| server.addresses().contains(&address))
        };
        self.reflexives.retain(|one| is_server(one.server()));
        let addresses = servers[index].addresses();
        for (_, relay) in self.relays.extract_if(.., |(of, relay)| {
            *of == index && !addresses.contains(&relay.server())
        }) {
            if let Way::Stream(stream) = relay.way() {
                self.actions.push_back(GatherAction::Disconnect { stream });
            }
        }
    }

    /// A stream is open, from the address `local`.
    pub fn handle_connected(&mut self, stream: u64, local: SocketAddr, now: Instant) {
        if let Some(relay) = self.relay_on(Way::Stream(stream)) {
            relay.handle_connected(local, now);
        }
        self.finish(now);
    }

    /// A stream could not be opened, or has ended.
    pub fn handle_disconnected(&mut self, stream: u64, why: &str, now: Instant) {
        if let Some(relay) = self.relay_on(Way::Stream(stream)) {
            relay.handle_disconnected(GatherFailure::Connection(why.into()), now);
        }
        self.finish(now);
    }

    /// Bytes came in on a stream.
    pub fn handle_stream(&mut self, stream: u64, bytes: &[u8], now: Instant) {
        if let Some(relay) = self.relay_on(Way::Stream(stream)) {
            let received = relay.handle_input(bytes, now);
            let address = relay.address();
            self.take_over(received, address);
        }
        self.finish(now);
    }

    /// A datagram came in; one that is not from a server changes nothing.
    pub fn handle_datagram(&mut self, datagram: Received<'_>, now: Instant) {
        let Received {
            source,
            destination,
            payload,
        } = datagram;
        if let Some(stun) = Stun::parse(payload) {
            let asked = self
                .reflexives
                .iter_mut()
                .filter(|one| one.base() == destination && one.server() == source);
            for reflexive in asked {
                if reflexive.handle_response(&stun, now) {
                    return self.finish(now);
                }
            }
        }
        let way = Way::Datagrams(destination);
        let relay = self
            .relays
            .iter_mut()
            .find(|(_, relay)| relay.way() == way && relay.server() == source);
        if let Some((_, relay)) = relay {
            let received = relay.handle_input(payload, now);
            let address = relay.address();
            self.take_over(received, address);
            self.finish(now);
        }
    }

    /// Sends a datagram of a link by the server that has lent its source address.
    ///
    /// Does nothing if none has: as on the network, a datagram may be lost.
    pub fn relay(&mut self, datagram: &Datagram, now: Instant) {
        let lent = |relay: &Relay| relay.address().map(|(address, _)| address);
        let relay = self
            .relays
            .iter_mut()
            .find(|(_, relay)| lent(relay) == Some(datagram.source));
        if let Some((_, relay)) = relay {
            relay.send(datagram.destination, &datagram.payload, now);
            self.finish(now);
        }
    }

    /// Whether a TURN server has lent `source`.
    pub fn is_relayed(&self, source: SocketAddr) -> bool {
        let relayed = |candidate: &LocalCandidate| matches!(candidate, LocalCandidate::Relayed { address, .. } if *address == source);
        self.candidates.iter().any(relayed)
    }

    /// Does what is due at `now`; calling early or again is a no-op.
    pub fn handle_timeout(&mut self, now: Instant) {
        for index in 0..self.servers.len() {
            let is_of_use = self.failure_of(index, &self.servers[index]).is_none();
            let server = &mut self.servers[index];
            server.handle_timeout(now);
            if !is_of_use {
                server.doubt(now);
            }
        }
        for (_, relay) in &mut self.relays {
            relay.handle_timeout(now);
        }
        self.forget_absent_relays();
        self.finish(now);
    }

    /// Every link has its path: gives back what none of them has used for half a minute, and asks
    /// STUN servers no more. The addresses of links that are in use stay open by their own checks.
    pub fn release_unused(&mut self, now: Instant) {
        for reflexive in &mut self.reflexives {
            reflexive.rest();
        }
        self.release(|relay| relay.is_unused(now), now);
    }

    /// Nobody needs the addresses any more: gives back what was lent.
    pub fn close(&mut self, now: Instant) {
        for reflexive in &mut self.reflexives {
            reflexive.rest();
        }
        self.release(|_| true, now);
    }

    fn release(&mut self, which: impl Fn(&Relay) -> bool, now: Instant) {
        for (_, relay) in self.relays.iter_mut().filter(|(_, relay)| which(relay)) {
            let (way, server) = (relay.way(), relay.server());
            for bytes in relay.release(now) {
                carry(&mut self.transmits, &mut self.actions, way, server, bytes);
            }
            if let Way::Stream(stream) = way {
                self.actions.push_back(GatherAction::Disconnect { stream });
            }
        }
        self.finish(now);
    }

    /// What the embedder must do next.
    pub fn poll_action(&mut self) -> Option<GatherAction> {
        self.actions.pop_front()
    }

    /// The next datagram to send to a server.
    pub fn poll_transmit(&mut self) -> Option<Datagram> {
        self.transmits.pop_front()
    }

    /// The next datagram that came by a server.
    pub fn poll_relayed(&mut self) -> Option<RelayedDatagram> {
        self.relayed.pop_front()
    }

    /// The next thing that was found out.
    pub fn poll_event(&mut self) -> Option<GatherEvent> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Instant> {
        let servers = self.servers.iter().filter_map(Server::poll_timeout);
        let reflexives = self.reflexives.iter().filter_map(Reflexive::poll_timeout);
        let relays = self.relays.iter().filter_map(|(_, r)| r.poll_timeout());
        servers.chain(reflexives).chain(relays).min()
    }

    fn relay_on(&mut self, way: Way) -> Option<&mut Relay> {
        let mut relays = self.relays.iter_mut().map(|(_, relay)| relay);
        relays.find(|relay| relay.way() == way)
    }

    fn take_over(&mut self, received: Vec<FromPeer>, address: Option<(SocketAddr, SocketAddr)>) {
        let Some((destination, _)) = address else {
            return;
        };
        let relayed = received.into_iter().map(|one| RelayedDatagram {
            source: one.peer,
            destination,
            payload: one.payload,
        });
        self.relayed.extend(relayed);
    }

    /// Begins to ask a server whose addresses are known, on behalf of `bases`.
    fn use_server(&mut self, index: usize, bases: &[SocketAddr], now: Instant) {
        let server = &self.servers[index];
        let service = server.url.service;
        let addresses = server.addresses().to_vec();
        let credential = server.credential.clone();
        let fits = |base: &SocketAddr, server: &SocketAddr| {
            base.is_ipv4() == server.is_ipv4()
                && base.ip().is_loopback() == server.ip().is_loopback()
        };
        if matches!(service, IceService::Stun | IceService::TurnUdp) {
            for &address in &addresses {
                for &base in bases.iter().filter(|base| fits(base, &address)) {
                    self.ask(base, address, now);
                    let way = Way::Datagrams(base);
                    let is_kept = |(of, relay): &(usize, Relay)| {
                        *of == index && relay.way() == way && relay.server() == address
                    };
                    if let (IceService::TurnUdp, Some(credential)) = (service, &credential)
                        && !self.relays.iter().any(is_kept)
                    {
                        let relay = Relay::new(way, address, credential.clone(), now);
                        self.add_relay(index, relay);
                    }
                }
            }
            return;
        }
        // The system knows from where a stream starts; one is enough.
        let has_stream = self.relays.iter().any(|(of, _)| *of == index);
        if let (Some(&address), Some(credential), false) =
            (addresses.first(), credential, has_stream)
        {
            self.streams += 1;
            let way = Way::Stream(self.streams);
            self.add_relay(index, Relay::new(way, address, credential, now));
        }
    }

    /// Asks how `base` looks from outside. TURN servers over UDP answer too (RFC 8656, section 5).
    fn ask(&mut self, base: SocketAddr, server: SocketAddr, now: Instant) {
        let known = |one: &Reflexive| one.base() == base && one.server() == server;
        if self.policy == IceTransportPolicy::All
            && self.reflexives.len() < QUESTIONS_MAX
            && !self.reflexives.iter().any(known)
        {
            let seed = self.rng.u64(..);
            self.reflexives
                .push(Reflexive::new(base, server, seed, now));
        }
    }

    /// Forgets what is of no use to sockets that are gone, even if they come back.
    fn forget_absent_relays(&mut self) {
        let bases = &self.bases;
        self.relays
            .retain(|(_, relay)| is_present(relay, bases) || relay.address().is_some());
    }

    fn add_relay(&mut self, index: usize, relay: Relay) {
        if self.relays.len() >= RELAYS_MAX {
            let bases = &self.bases;
            self.relays.retain(|(_, relay)| is_present(relay, bases));
        }
        if self.relays.len() < RELAYS_MAX {
            self.relays.push((index, relay));
        }
    }

    /// After each call: takes over what the small machines have to say.
    fn finish(&mut self, now: Instant) {
        for (index, server) in self.servers.iter_mut().enumerate() {
            if let Some(host) = server.take_question() {
                self.actions.push_back(GatherAction::Resolve {
                    server: index,
                    host,
                });
            }
        }
        for reflexive in &mut self.reflexives {
            while let Some(payload) = reflexive.poll_question(now) {
                self.transmits.push_back(Datagram {
                    source: reflexive.base(),
                    destination: reflexive.server(),
                    payload,
                });
            }
        }
        for (index, relay) in &mut self.relays {
            let (way, server) = (relay.way(), relay.server());
            if let Way::Stream(stream) = way
                && relay.take_hang_up()
            {
                self.actions.push_back(GatherAction::Disconnect { stream });
            }
            if let Way::Stream(stream) = way
                && relay.take_connect()
            {
                let url = &self.servers[*index].url;
                let tls = url.service == IceService::TurnTls;
                self.actions.push_back(GatherAction::Connect {
                    stream,
                    server,
                    tls_name: tls.then(|| url.host.clone()),
                });
            }
            while let Some(bytes) = relay.poll_output() {
                carry(&mut self.transmits, &mut self.actions, way, server, bytes);
            }
        }
        self.compare();
    }
}

/// Whether the socket that leads to its server is there.
fn is_present(relay: &Relay, bases: &[SocketAddr]) -> bool {
    match relay.way() {
        Way::Datagrams(base) => bases.contains(&base),
        Way::Stream(_) => true,
    }
}

/// Hands over bytes for a server the way that they go.
fn carry(
    transmits: &mut VecDeque<Datagram>,
    actions: &mut VecDeque<GatherAction>,
    way: Way,
    server: SocketAddr,
    bytes: Vec<u8>,
) {
    match way {
        Way::Datagrams(source) => transmits.push_back(Datagram {
            source,
            destination: server,
            payload: bytes,
        }),
        Way::Stream(stream) => actions.push_back(GatherAction::Write { stream, bytes }),
    }
}

/// Checks that the servers are complete and that the policy leaves something to offer.
///
/// # Errors
///
/// [`IceServerError`] says what is missing.
pub fn check_servers(
    servers: &[IceServer],
    policy: IceTransportPolicy,
) -> Result<(), IceServerError> {
    servers.iter().try_for_each(IceServer::check)?;
    let relays = servers
        .iter()
        .flat_map(IceServer::urls)
        .any(|url| url.is_relay());
    match policy {
        IceTransportPolicy::Relay if !relays => Err(IceServerError::NoRelay),
        IceTransportPolicy::Relay | IceTransportPolicy::All => Ok(()),
    }
}

/// Browsers complain beyond five.
const SERVERS_MAX: usize = 16;
/// Each is a datagram every 15 s.
const QUESTIONS_MAX: usize = 64;
/// Each is an address of somebody's server.
const RELAYS_MAX: usize = 16;

#[cfg(test)]
mod tests;
