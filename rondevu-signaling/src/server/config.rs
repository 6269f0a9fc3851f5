//! The settings of a server.

use core::fmt;
use core::str::FromStr;
#[cfg(feature = "sqlite")]
use std::path::PathBuf;

use ipnet::IpNet;

use super::RateLimit;
#[cfg(feature = "tls")]
use super::TlsIdentity;
use crate::Limits;

/// The settings of a server. The defaults are those of a public server.
#[derive(Clone)]
pub struct ServerConfig {
    pub(super) limits: Limits,
    pub(super) storage: Storage,
    pub(super) address_rate: RateLimit,
    pub(super) peer_rate: RateLimit,
    pub(super) registration_rate: RateLimit,
    pub(super) name_rate: RateLimit,
    pub(super) client_address: ClientAddress,
    pub(super) cors: Cors,
    pub(super) connections_max: usize,
    pub(super) key: Option<[u8; 32]>,
    pub(super) public_url: Option<String>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<TlsIdentity>,
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

    /// How many peers one address registers. Default 20 a second, 500 at once.
    #[must_use]
    pub fn registration_rate(mut self, rate: RateLimit) -> Self {
        self.registration_rate = rate;
        self
    }

    /// How many free usernames one address claims; renewals are not counted. Default 6 a minute,
    /// 100 at once.
    #[must_use]
    pub fn name_rate(mut self, rate: RateLimit) -> Self {
        self.name_rate = rate;
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

    /// The address at which clients reach the server, to be told to people. Default: the one at
    /// which it listens.
    #[must_use]
    pub fn public_url(mut self, url: impl Into<String>) -> Self {
        self.public_url = Some(url.into());
        self
    }

    /// Speaks HTTPS with this certificate and nothing else. Default: plain HTTP.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, identity: TlsIdentity) -> Self {
        self.tls = Some(identity);
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
            registration_rate: RateLimit::new(20, 500),
            name_rate: RateLimit::per_minute(6, 100),
            client_address: ClientAddress::Connection,
            cors: Cors::Anywhere,
            connections_max: 10_000,
            key: None,
            public_url: None,
            #[cfg(feature = "tls")]
            tls: None,
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
            .field("registration_rate", &self.registration_rate)
            .field("name_rate", &self.name_rate)
            .field("public_url", &self.public_url)
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
    /// What was answered survives the end of the process. Names survive a power failure too, and
    /// so do publications and used signatures a quarter of a second after the answer.
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
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientAddress {
    /// The other end of the connection.
    Connection,
    /// `X-Forwarded-For`, where the other end of the connection is one of these proxies: the last
    /// address there that is none of them. What anybody else writes into the header counts for
    /// nothing.
    ForwardedBy(Vec<IpNet>),
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

impl FromStr for Cors {
    type Err = UnreadableOrigin;

    /// Reads `anywhere`, `nowhere`, or origins with commas between them.
    fn from_str(text: &str) -> Result<Self, UnreadableOrigin> {
        match text {
            "anywhere" | "*" => Ok(Self::Anywhere),
            "nowhere" => Ok(Self::Nowhere),
            list => {
                let origins = list.split(',').map(|origin| match is_origin(origin) {
                    true => Ok(origin.to_owned()),
                    false => Err(UnreadableOrigin(origin.to_owned())),
                });
                origins.collect::<Result<_, _>>().map(Self::Origins)
            }
        }
    }
}

/// A browser sends an origin as scheme, host and port, and it is compared as a text.
fn is_origin(text: &str) -> bool {
    let rest = text.strip_prefix("https://");
    let rest = rest.or_else(|| text.strip_prefix("http://"));
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    rest.is_some_and(|host| !host.is_empty() && host.bytes().all(is_host))
}

/// A text that is no origin of web pages.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no origin: write `https://example.com`, without a path, several with commas between \
     them, or `anywhere` or `nowhere`"
)]
pub struct UnreadableOrigin(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_and_paths_are_refused() {
        let origins = |list: &[&str]| Cors::Origins(list.iter().map(|o| o.to_string()).collect());
        assert_eq!("anywhere".parse(), Ok(Cors::Anywhere));
        assert_eq!("nowhere".parse(), Ok(Cors::Nowhere));
        assert_eq!(
            "https://a.example,http://[::1]:80".parse(),
            Ok(origins(&["https://a.example", "http://[::1]:80"]))
        );
        for wrong in ["", "a.example", "https://a.example/", "https://", "ftp://a"] {
            assert!(wrong.parse::<Cors>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_storage_is_read_from_text() {
        assert_eq!("memory".parse(), Ok(Storage::Memory));
        for wrong in ["", "sqlite", "sqlite:", "redis:x"] {
            assert_eq!(wrong.parse::<Storage>(), Err(UnknownStorage), "{wrong}");
        }
        #[cfg(feature = "sqlite")]
        assert_eq!(
            "sqlite:/a:b".parse(),
            Ok(Storage::Sqlite(PathBuf::from("/a:b")))
        );
    }
}
