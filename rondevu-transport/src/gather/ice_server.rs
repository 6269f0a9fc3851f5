//! Servers that help to find addresses, as WebRTC names them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A STUN or TURN server, as in WebRTC's `RTCIceServer`: URLs of one server, and what it asks for.
///
/// ```
/// use rondevu_transport::gather::IceServer;
///
/// let stun = IceServer::new(["stun:stun.example.org"])?;
/// let turn = IceServer::new(["turn:turn.example.org?transport=udp", "turns:turn.example.org"])?
///     .credential("alice", "wonderland");
/// assert!(!format!("{turn:?}").contains("wonderland"));
/// # drop(stun);
/// # Ok::<(), rondevu_transport::gather::IceServerError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct IceServer {
    urls: Vec<IceUrl>,
    credential: Option<TurnCredential>,
}

impl IceServer {
    /// A server under each of `urls` (RFC 7064, RFC 7065): `stun:HOST[:PORT]`,
    /// `turn:HOST[:PORT][?transport=udp|tcp]`, `turns:HOST[:PORT]` (TLS over TCP). Ports default to
    /// 3478, with TLS to 5349.
    ///
    /// # Errors
    ///
    /// [`IceServerError`] for the first URL that is none, or of a kind that is not supported.
    pub fn new<U: AsRef<str>>(urls: impl IntoIterator<Item = U>) -> Result<Self, IceServerError> {
        let urls = urls.into_iter().map(|url| url.as_ref().parse());
        Ok(Self {
            urls: urls.collect::<Result<_, _>>()?,
            credential: None,
        })
    }

    /// The long-term credential (RFC 8489, section 9.2) that the server knows.
    #[must_use]
    pub fn credential(mut self, username: impl Into<String>, password: impl Into<String>) -> Self {
        self.credential = Some(TurnCredential {
            username: username.into(),
            password: password.into(),
        });
        self
    }

    /// Checks that nothing is missing.
    ///
    /// # Errors
    ///
    /// [`IceServerError::NoUrl`] without a URL, [`IceServerError::NoCredential`] for a TURN server
    /// without a user name and password.
    pub fn check(&self) -> Result<(), IceServerError> {
        if self.urls.is_empty() {
            return Err(IceServerError::NoUrl);
        }
        let relay = self.urls.iter().find(|url| url.is_relay());
        match (relay, &self.credential) {
            (Some(url), None) => Err(IceServerError::NoCredential(url.to_string())),
            (Some(_) | None, _) => Ok(()),
        }
    }

    pub(super) fn urls(&self) -> &[IceUrl] {
        &self.urls
    }

    pub(super) fn turn_credential(&self) -> Option<&TurnCredential> {
        self.credential.as_ref()
    }
}

impl fmt::Debug for IceServer {
    /// Shows the URLs, and never the credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.urls.iter().map(IceUrl::to_string))
            .finish()
    }
}

/// What a TURN server knows its user by.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct TurnCredential {
    pub(super) username: String,
    pub(super) password: String,
}

impl fmt::Debug for TurnCredential {
    /// Shows nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TurnCredential")
    }
}

/// One URL of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IceUrl {
    pub(super) service: IceService,
    pub(super) host: String,
    pub(super) port: u16,
}

/// What a server does, and how it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IceService {
    /// STUN over UDP.
    Stun,
    /// TURN over UDP.
    TurnUdp,
    /// TURN over TCP.
    TurnTcp,
    /// TURN over TLS over TCP.
    TurnTls,
}

impl IceUrl {
    pub(super) fn is_relay(&self) -> bool {
        self.service != IceService::Stun
    }
}

impl FromStr for IceUrl {
    type Err = IceServerError;

    fn from_str(url: &str) -> Result<Self, IceServerError> {
        let refused = |why| IceServerError::Url {
            url: url.into(),
            why,
        };
        let (scheme, rest) = url.split_once(':').ok_or_else(|| refused("no scheme"))?;
        let (authority, query) = match rest.split_once('?') {
            Some((authority, query)) => (authority, Some(query)),
            None => (rest, None),
        };
        let service = match (scheme.to_ascii_lowercase().as_str(), query) {
            ("stun", None) => IceService::Stun,
            ("turn", None | Some("transport=udp")) => IceService::TurnUdp,
            ("turn", Some("transport=tcp")) => IceService::TurnTcp,
            ("turns", None | Some("transport=tcp")) => IceService::TurnTls,
            ("turns", Some("transport=udp")) => {
                return Err(refused("TURN over DTLS is not supported"));
            }
            ("stuns", _) => return Err(refused("STUN over TLS is not supported")),
            ("stun" | "turn" | "turns", Some(_)) => return Err(refused("unknown parameter")),
            (_, _) => return Err(refused("the scheme is none of stun, turn, turns")),
        };
        let default = match service {
            IceService::Stun | IceService::TurnUdp | IceService::TurnTcp => 3478,
            IceService::TurnTls => 5349,
        };
        let (host, port) = split_port(authority).ok_or_else(|| refused("no host and port"))?;
        if !is_host(host) {
            return Err(refused("the host is neither a name nor an address"));
        }
        Ok(Self {
            service,
            host: host.into(),
            port: port.unwrap_or(default),
        })
    }
}

impl fmt::Display for IceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            service,
            host,
            port,
        } = self;
        let (scheme, query) = match service {
            IceService::Stun => ("stun", ""),
            IceService::TurnUdp => ("turn", ""),
            IceService::TurnTcp => ("turn", "?transport=tcp"),
            IceService::TurnTls => ("turns", ""),
        };
        match host.contains(':') {
            true => write!(f, "{scheme}:[{host}]:{port}{query}"),
            false => write!(f, "{scheme}:{host}:{port}{query}"),
        }
    }
}

/// Host without brackets, and port if there is one.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => match authority.find(':') {
            Some(colon) => authority.split_at(colon),
            None => (authority, ""),
        },
    };
    match rest.strip_prefix(':') {
        Some(port) => Some((host, Some(port.parse().ok().filter(|port| *port > 0)?))),
        None if rest.is_empty() => Some((host, None)),
        None => None,
    }
}

fn is_host(host: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    host.parse::<IpAddr>().is_ok()
        || (1..=HOST_LEN_MAX).contains(&host.len()) && host.chars().all(is_name)
}

/// What DNS allows.
const HOST_LEN_MAX: usize = 253;

/// Which kinds of addresses are told to peers (`RTCIceTransportPolicy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IceTransportPolicy {
    /// All.
    #[default]
    All,
    /// Those of TURN servers alone: a peer learns no address of this machine or its network.
    Relay,
}

/// Why a server cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IceServerError {
    /// The URL is none, or of a kind that is not supported.
    #[error("{url:?} is no ICE server: {why}")]
    Url {
        /// The text.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No URL was given.
    #[error("an ICE server without a URL")]
    NoUrl,
    /// A TURN server lends addresses to those only whom it knows.
    #[error("{0} needs a user name and a credential")]
    NoCredential(String),
    /// Only addresses of TURN servers may be told, and there is no TURN server.
    #[error("only relayed addresses are allowed, and no TURN server was named")]
    NoRelay,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<(IceService, String, u16), IceServerError> {
        let IceUrl {
            service,
            host,
            port,
        } = url.parse()?;
        Ok((service, host, port))
    }

    #[test]
    fn urls_are_read_with_their_defaults() {
        for (url, service, host, port) in [
            ("stun:example.org", IceService::Stun, "example.org", 3478),
            ("STUN:192.0.2.1:19302", IceService::Stun, "192.0.2.1", 19302),
            (
                "turn:[2001:db8::1]",
                IceService::TurnUdp,
                "2001:db8::1",
                3478,
            ),
            ("turn:a?transport=udp", IceService::TurnUdp, "a", 3478),
            ("turn:a:1?transport=tcp", IceService::TurnTcp, "a", 1),
            ("turns:a", IceService::TurnTls, "a", 5349),
            ("turns:a:443?transport=tcp", IceService::TurnTls, "a", 443),
        ] {
            assert_eq!(parse(url), Ok((service, host.into(), port)), "{url}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_supported_server_is_refused() {
        for url in [
            "",
            "example.org",
            "http://example.org",
            "stun:",
            "stun:a:0",
            "stun:a:65536",
            "stun:a?transport=udp",
            "stun://a",
            "stuns:a",
            "turns:a?transport=udp",
            "turn:a?transport=sctp",
            "turn:user@a",
            "turn:[::1",
            "turn:[::1]x",
            "turn:a b",
        ] {
            let error = parse(url).unwrap_err();
            assert!(error.to_string().contains(url), "{error}");
        }
    }

    #[test]
    fn the_written_form_is_read_again() {
        for url in ["stun:a", "turn:[::1]:5", "turn:a?transport=tcp", "turns:a"] {
            let url: IceUrl = url.parse().unwrap();
            assert_eq!(url.to_string().parse(), Ok(url));
        }
    }

    #[test]
    fn a_relay_needs_a_credential_which_is_never_shown() {
        let server = IceServer::new(["stun:a", "turn:b"]).unwrap();
        assert!(matches!(
            server.check(),
            Err(IceServerError::NoCredential(_))
        ));
        let server = server.credential("user", "secret");
        assert_eq!(server.check(), Ok(()));
        let shown = format!("{server:?} {server:#?}");
        assert!(!shown.contains("secret") && !shown.contains("user"));
        let nobody: [&str; 0] = [];
        let nowhere = IceServer::new(nobody).unwrap();
        assert_eq!(nowhere.check(), Err(IceServerError::NoUrl));
    }
}
