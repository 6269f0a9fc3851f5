//! An address that a TURN server lends: asked for, used, asked for again after a failure.

use std::net::SocketAddr;
use std::time::Duration;

use rondevu_core::Instant;

use self::client::Client;
use super::failure::GatherFailure;
use super::ice_server::TurnCredential;

mod client;

pub(super) use self::client::FromPeer;

/// How messages reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Over UDP, from this bound address.
    Datagrams(SocketAddr),
    /// Over a stream (TCP, or TLS over TCP) with this number.
    Stream(u64),
}

/// One allocation, for as long as somebody needs it.
///
/// ```text
///              connected              failed or lost
/// Connecting ─────────────► Asking ───────────────────► Failed
///      ▲      (at once over UDP)                          │
///      └───────────────── a growing pause ────────────────┘
/// ```
#[derive(Debug)]
pub(super) struct Relay {
    way: Way,
    server: SocketAddr,
    credential: TurnCredential,
    state: State,
    failures: u32,
    /// Why it failed the last time; `None` once an address was lent.
    failure: Option<GatherFailure>,
    used_at: Instant,
    /// The stream is of no use any more; the embedder has not been told yet.
    hang_up: bool,
}

#[derive(Debug)]
enum State {
    /// The embedder is to connect (not yet told), or is connecting.
    Connecting { told: bool },
    /// The server is asked, or lends an address.
    Asking(Box<Client>),
    /// It lends none; asked again at the given time.
    Failed { retry_at: Instant },
    /// Nobody needs it any more.
    Released,
}

impl Relay {
    pub(super) fn new(
        way: Way,
        server: SocketAddr,
        credential: TurnCredential,
        now: Instant,
    ) -> Self {
        let mut relay = Self {
            way,
            server,
            credential,
            state: State::Released,
            failures: 0,
            failure: None,
            used_at: now,
            hang_up: false,
        };
        relay.start(now);
        relay
    }

    fn start(&mut self, now: Instant) {
        self.used_at = now;
        self.state = match self.way {
            Way::Datagrams(base) => State::Asking(self.client(base, now)),
            Way::Stream(_) => State::Connecting { told: false },
        };
    }

    fn client(&self, local: SocketAddr, now: Instant) -> Box<Client> {
        Box::new(Client::new(
            self.way,
            local,
            self.server,
            &self.credential,
            now,
        ))
    }

    pub(super) const fn way(&self) -> Way {
        self.way
    }

    pub(super) const fn server(&self) -> SocketAddr {
        self.server
    }

    /// The address that the server lends, and the local one that it is reached from.
    pub(super) fn address(&self) -> Option<(SocketAddr, SocketAddr)> {
        match &self.state {
            State::Asking(client) => Some((client.address()?, client.local())),
            State::Connecting { .. } | State::Failed { .. } | State::Released => None,
        }
    }

    /// The local address of what leads to the server.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        match &self.state {
            State::Asking(client) => Some(client.local()),
            State::Connecting { .. } | State::Failed { .. } | State::Released => None,
        }
    }

    pub(super) fn failure(&self) -> Option<&GatherFailure> {
        self.failure.as_ref()
    }

    /// Whether the server has lent an address, or has been found not to.
    pub(super) fn is_settled(&self) -> bool {
        self.failure.is_some() || self.address().is_some() || matches!(self.state, State::Released)
    }

    /// Whether the embedder has to connect; told once for each attempt.
    pub(super) fn take_connect(&mut self) -> bool {
        match &mut self.state {
            State::Connecting { told } => !std::mem::replace(told, true),
            State::Asking(_) | State::Failed { .. } | State::Released => false,
        }
    }

    /// Whether the embedder has to close the stream; told once.
    pub(super) fn take_hang_up(&mut self) -> bool {
        std::mem::take(&mut self.hang_up)
    }

    /// The stream to the server is there.
    pub(super) fn handle_connected(&mut self, local: SocketAddr, now: Instant) {
        if let State::Connecting { .. } = self.state {
            self.state = State::Asking(self.client(local, now));
        }
    }

    /// There is no stream, or no more.
    pub(super) fn handle_disconnected(&mut self, failure: GatherFailure, now: Instant) {
        match &self.state {
            State::Connecting { .. } => self.fail(failure, now),
            State::Asking(client) => match client.address() {
                Some(_) => self.fail(GatherFailure::Lost, now),
                None => self.fail(failure, now),
            },
            State::Failed { .. } | State::Released => {}
        }
    }

    /// Bytes from the server.
    pub(super) fn handle_input(&mut self, bytes: &[u8], now: Instant) -> Vec<FromPeer> {
        let State::Asking(client) = &mut self.state else {
            return Vec::new();
        };
        let received = client.handle_input(bytes, now);
        if !received.is_empty() {
            self.used_at = now;
        }
        self.review(now);
        received
    }

    /// Sends `payload` to `peer` by the server.
    pub(super) fn send(&mut self, peer: SocketAddr, payload: &[u8], now: Instant) {
        if let State::Asking(client) = &mut self.state {
            client.send(peer, payload, now);
            self.used_at = now;
            self.review(now);
        }
    }

    /// The next bytes for the server: one datagram, or the next part of the stream.
    pub(super) fn poll_output(&mut self) -> Option<Vec<u8>> {
        match &mut self.state {
            State::Asking(client) => client.poll_output(),
            State::Connecting { .. } | State::Failed { .. } | State::Released => None,
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match &mut self.state {
            State::Asking(client) => client.handle_timeout(now),
            State::Failed { retry_at } if *retry_at <= now => self.start(now),
            State::Connecting { .. } | State::Failed { .. } | State::Released => {}
        }
        self.review(now);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Asking(client) => client.poll_timeout(),
            State::Failed { retry_at } => Some(*retry_at),
            State::Connecting { .. } | State::Released => None,
        }
    }

    /// Whether nothing went through it for a while.
    pub(super) fn is_unused(&self, now: Instant) -> bool {
        now.saturating_since(self.used_at) >= UNUSED_AFTER
    }

    /// Gives the address back; returns the last messages to the server.
    pub(super) fn release(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let State::Asking(mut client) = std::mem::replace(&mut self.state, State::Released) else {
            return Vec::new();
        };
        client.close(now);
        std::iter::from_fn(|| client.poll_output()).collect()
    }

    /// Takes notice of what the client has come to.
    fn review(&mut self, now: Instant) {
        let State::Asking(client) = &self.state else {
            return;
        };
        if client.address().is_some() {
            self.failures = 0;
            self.failure = None;
        }
        if let Some(failure) = client.failure() {
            self.fail(failure.clone(), now);
        }
    }

    fn fail(&mut self, failure: GatherFailure, now: Instant) {
        tracing::debug!(server = %self.server, %failure, "no relay");
        let pause = RETRY_MIN * 2_u32.pow(self.failures.min(5));
        self.failures += 1;
        self.hang_up = matches!(self.way, Way::Stream(_));
        self.failure = Some(failure);
        self.state = State::Failed {
            retry_at: now + pause.min(RETRY_MAX),
        };
    }
}

/// A link that has not used its relay for so long has a better path.
const UNUSED_AFTER: Duration = Duration::from_secs(30);
/// Networks come back, and so do servers.
const RETRY_MIN: Duration = Duration::from_secs(3);
/// Wrong credentials stay wrong, but a service runs for weeks.
const RETRY_MAX: Duration = Duration::from_secs(60);
