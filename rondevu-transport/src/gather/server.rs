//! What is known of one STUN or TURN server: its URL and the addresses of its name.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rondevu_core::Instant;

use super::failure::GatherFailure;
use super::ice_server::{IceServer, IceUrl, TurnCredential};

/// A server under one of its URLs.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) url: IceUrl,
    pub(super) credential: Option<TurnCredential>,
    addresses: Vec<SocketAddr>,
    name: Name,
    /// Why it had no address the last time.
    failure: Option<GatherFailure>,
}

/// How far its name is resolved.
#[derive(Debug)]
enum Name {
    /// The embedder has to be asked.
    Wanted,
    /// It was asked.
    Asked,
    /// It is an address.
    Literal,
    /// The addresses were known at the given time.
    Known { at: Instant },
    /// There are none; asked again later.
    Unknown { ask_at: Instant },
}

impl Server {
    /// A server for each URL.
    pub(super) fn each(server: &IceServer) -> impl Iterator<Item = Self> {
        server.urls().iter().map(|url| {
            let address = url.host.parse().map(|ip| SocketAddr::new(ip, url.port));
            Self {
                url: url.clone(),
                credential: server.turn_credential().cloned(),
                name: match address {
                    Ok(_) => Name::Literal,
                    Err(_) => Name::Wanted,
                },
                addresses: address.into_iter().collect(),
                failure: None,
            }
        })
    }

    /// At most one address of each kind.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub(super) fn failure(&self) -> Option<&GatherFailure> {
        self.failure.as_ref()
    }

    /// Whether the name was resolved, or was found to have no address.
    pub(super) fn is_settled(&self) -> bool {
        self.failure.is_some() || !self.addresses.is_empty()
    }

    /// The name to resolve; told once.
    pub(super) fn take_question(&mut self) -> Option<String> {
        match self.name {
            Name::Wanted => {
                self.name = Name::Asked;
                Some(self.url.host.clone())
            }
            Name::Asked | Name::Literal | Name::Known { .. } | Name::Unknown { .. } => None,
        }
    }

    /// The answer; whether there are addresses now.
    pub(super) fn handle_resolved(
        &mut self,
        resolved: Result<Vec<IpAddr>, String>,
        now: Instant,
    ) -> bool {
        let Name::Asked = self.name else {
            return false;
        };
        if resolved.is_err() && !self.addresses.is_empty() {
            // What is known may still be true.
            self.name = Name::Known { at: now };
            return true;
        }
        let (addresses, why) = match resolved {
            Ok(addresses) => (addresses, "no address".to_owned()),
            Err(error) => (Vec::new(), error),
        };
        // One IPv4 and one IPv6 address are enough: names with many are for sharing the load.
        let first = |is_v4: bool| addresses.iter().find(|ip| ip.is_ipv4() == is_v4);
        let chosen = [first(true), first(false)].into_iter().flatten();
        let chosen = chosen.map(|ip| SocketAddr::new(*ip, self.url.port));
        self.addresses = chosen.collect();
        let found = !self.addresses.is_empty();
        self.name = match found {
            true => Name::Known { at: now },
            false => Name::Unknown {
                ask_at: now + RETRY,
            },
        };
        self.failure = (!found).then_some(GatherFailure::Name(why));
        found
    }

    /// The server does not help: it may have moved.
    pub(super) fn doubt(&mut self, now: Instant) {
        if let Name::Known { at } = self.name
            && at + DOUBT_AFTER <= now
        {
            self.name = Name::Wanted;
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Name::Unknown { ask_at, .. } = self.name
            && ask_at <= now
        {
            self.name = Name::Wanted;
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.name {
            Name::Unknown { ask_at, .. } => Some(ask_at),
            Name::Wanted | Name::Asked | Name::Literal | Name::Known { .. } => None,
        }
    }
}

/// Names of servers are made to be kept for a while.
const DOUBT_AFTER: Duration = Duration::from_secs(60);
/// A machine that has just woken up has no name server yet.
const RETRY: Duration = Duration::from_secs(5);
