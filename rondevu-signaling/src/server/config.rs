//! The settings of a server.

use core::fmt;
use core::str::FromStr;
#[cfg(feature = "sqlite")]
use std::path::PathBuf;

use super::RateLimit;
use crate::Limits;

/// The settings of a server. The defaults are those of a public server.
#[derive(Clone)]
pub struct ServerConfig {
    pub(super) limits: Limits,
    pub(super) storage: Storage,
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

    /// Where names, services and offers are kept. Default [`Storage::Memory`].
    #[must_use]
    pub fn storage(mut self, storage: Storage) -> Self {
        self.storage = storage;
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
    /// restart. Default: the one that the storage keeps, made when it is first opened.
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
            storage: Storage::Memory,
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
            .field("storage", &self.storage)
            .field("address_rate", &self.address_rate)
            .field("peer_rate", &self.peer_rate)
            .field("client_address", &self.client_address)
            .field("cors", &self.cors)
            .field("connections_max", &self.connections_max)
            .finish_non_exhaustive()
    }
}

/// Where a server keeps names, services and offers.
///
/// Written `memory` or `sqlite:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Storage {
    /// In this process; gone with it.
    Memory,
    /// In a file of SQLite, made if need be, with two more beside it while the server runs and one
    /// that keeps a second server away. Feature `sqlite`.
    ///
    /// What was answered survives the end of the process, and names, publications and used
    /// signatures survive a power failure.
    #[cfg(feature = "sqlite")]
    Sqlite(PathBuf),
}

impl FromStr for Storage {
    type Err = UnknownStorage;

    fn from_str(text: &str) -> Result<Self, UnknownStorage> {
        match text.split_once(':') {
            None if text == "memory" => Ok(Self::Memory),
            #[cfg(feature = "sqlite")]
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            None | Some(_) => Err(UnknownStorage),
        }
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
        }
    }
}

/// A text that names no storage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown storage: write `memory` or `sqlite:PATH`")]
pub struct UnknownStorage;

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
