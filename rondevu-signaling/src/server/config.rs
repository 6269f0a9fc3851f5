//! The settings of a server.

use core::fmt;

use super::RateLimit;
use crate::Limits;

/// The settings of a server. The defaults are those of a public server.
#[derive(Clone)]
pub struct ServerConfig {
    pub(super) limits: Limits,
    pub(super) address_rate: RateLimit,
    pub(super) peer_rate: RateLimit,
    pub(super) client_address: ClientAddress,
    pub(super) cors: Cors,
    pub(super) connections_max: usize,
    pub(super) key: Option<[u8; 32]>,
}

impl ServerConfig {
    /// How much the server keeps. Default [`Limits::default`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How many requests come from one address, or from one /64 network of IPv6. Default 200 a
    /// second, 2000 at once.
    #[must_use]
    pub fn address_rate(mut self, rate: RateLimit) -> Self {
        self.address_rate = rate;
        self
    }

    /// How many requests a registered peer makes. Default 50 a second, 500 at once.
    #[must_use]
    pub fn peer_rate(mut self, rate: RateLimit) -> Self {
        self.peer_rate = rate;
        self
    }

    /// Where the address of a client is read. Default [`ClientAddress::Connection`].
    #[must_use]
    pub fn client_address(mut self, source: ClientAddress) -> Self {
        self.client_address = source;
        self
    }

    /// From which web pages the server may be used. Default [`Cors::Anywhere`].
    #[must_use]
    pub fn cors(mut self, cors: Cors) -> Self {
        self.cors = cors;
        self
    }

    /// How many connections are open at once; later ones wait to be accepted. Default 10000. A
    /// waiting client keeps one open, which takes a file descriptor and about 15 KiB.
    #[must_use]
    pub fn connections_max(mut self, count: usize) -> Self {
        self.connections_max = count;
        self
    }

    /// The key that credentials are made with. With the same key, peers stay registered over a
    /// restart. Default: a new one at each start.
    #[must_use]
    pub fn key(mut self, key: [u8; 32]) -> Self {
        self.key = Some(key);
        self
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            address_rate: RateLimit::new(200, 2000),
            peer_rate: RateLimit::new(50, 500),
            client_address: ClientAddress::Connection,
            cors: Cors::Anywhere,
            connections_max: 10_000,
            key: None,
        }
    }
}

impl fmt::Debug for ServerConfig {
    /// Leaves out the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig")
            .field("limits", &self.limits)
            .field("address_rate", &self.address_rate)
            .field("peer_rate", &self.peer_rate)
            .field("client_address", &self.client_address)
            .field("cors", &self.cors)
            .field("connections_max", &self.connections_max)
            .finish_non_exhaustive()
    }
}

/// Where the address of a client is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientAddress {
    /// The other end of the connection.
    Connection,
    /// The last address in `X-Forwarded-For`: for a server behind exactly one proxy that sets it.
    /// Anywhere else, clients could choose their address.
    ForwardedFor,
}

/// From which web pages a server may be used (cross-origin resource sharing).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cors {
    /// From all. Safe, as credentials are never sent by a browser of its own accord.
    Anywhere,
    /// From pages of these origins, such as `https://example.com`.
    Origins(Vec<String>),
    /// From none but the server's own.
    Nowhere,
}
