//! Addresses under which one side of a link may be reached, and the path that a link has chosen.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use rondevu_core::IceCandidate;

/// An address under which this side may be reached.
///
/// Whoever finds it ([`gather`](crate::gather)) tells the links
/// ([`Transport::add_local_candidate`](crate::Transport::add_local_candidate)), and these tell their
/// peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LocalCandidate {
    /// An address of this machine that the embedder has bound.
    Host(SocketAddr),
    /// Where a server beyond a NAT sees the datagrams come from that are sent from `base`.
    ServerReflexive {
        /// The address that the NAT has lent.
        address: SocketAddr,
        /// The bound address behind it.
        base: SocketAddr,
    },
    /// An address of a TURN server that passes on what arrives there. A link names it as the source
    /// of the datagrams that have to take the way over the server.
    Relayed {
        /// The address that the server has lent.
        address: SocketAddr,
        /// The address of this machine from which the server is reached.
        base: SocketAddr,
    },
}

impl LocalCandidate {
    /// The address for the peer.
    pub const fn address(self) -> SocketAddr {
        match self {
            Self::Host(address)
            | Self::ServerReflexive { address, .. }
            | Self::Relayed { address, .. } => address,
        }
    }

    /// The [`source`](crate::Datagram::source) of datagrams that leave by this candidate.
    pub const fn source(self) -> SocketAddr {
        match self {
            Self::Host(address) | Self::Relayed { address, .. } => address,
            Self::ServerReflexive { base, .. } => base,
        }
    }

    /// What kind of address it is.
    pub const fn kind(self) -> CandidateKind {
        match self {
            Self::Host(_) => CandidateKind::Host,
            Self::ServerReflexive { .. } => CandidateKind::ServerReflexive,
            Self::Relayed { .. } => CandidateKind::Relayed,
        }
    }
}

impl From<SocketAddr> for LocalCandidate {
    /// A bound address of this machine.
    fn from(address: SocketAddr) -> Self {
        Self::Host(address)
    }
}

/// A candidate of the peer that stands under a name of the local network (RFC 6762), as in
/// `d5d4a2f0-6bb5-4f23-9d8c-2d6d2b0d3d5d.local`, so that only those who are there learn the address.
/// Browsers hide the addresses of their machine so (draft-ietf-mmusic-mdns-ice-candidates).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedCandidate {
    line: String,
    /// Where the name stands in the line.
    name: Range<usize>,
}

impl NamedCandidate {
    /// A candidate line without `a=`; `None` unless it is for UDP and has a name of one label
    /// below `.local` in place of the address (section 3.2.1 of the draft).
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let transport = words.nth(2)?;
        let name = words.nth(1)?;
        let (label, domain) = name.split_once('.')?;
        let is_label = (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let is_named = is_label
            && domain.eq_ignore_ascii_case("local")
            && transport.eq_ignore_ascii_case("udp");
        let at = name.as_ptr().addr() - line.as_ptr().addr();
        is_named.then(|| Self {
            line: line.to_owned(),
            name: at..at + name.len(),
        })
    }

    /// The name, which ends in `.local` and has no dot at its end.
    pub fn name(&self) -> &str {
        &self.line[self.name.clone()]
    }

    /// The same candidate under the address that the name stands for.
    pub fn with_address(&self, address: IpAddr) -> IceCandidate {
        let (before, after) = (&self.line[..self.name.start], &self.line[self.name.end..]);
        IceCandidate {
            candidate: format!("{before}{address}{after}"),
            sdp_mid: None,
            sdp_m_line_index: None,
            username_fragment: None,
        }
    }
}

/// How a side came by an address (RFC 8445, section 5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CandidateKind {
    /// It is the machine's own.
    Host,
    /// A server saw it.
    ServerReflexive,
    /// The peer saw it.
    PeerReflexive,
    /// A TURN server has lent it.
    Relayed,
}

impl fmt::Display for CandidateKind {
    /// The word that stands in a candidate line: `host`, `srflx`, `prflx` or `relay`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::ServerReflexive => "srflx",
            Self::PeerReflexive => "prflx",
            Self::Relayed => "relay",
        })
    }
}

/// How far a link has come on its way to be connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkStage {
    /// The transport does not say.
    Unknown,
    /// It has no answer yet.
    Offered,
    /// It looks for a path.
    Searching {
        /// How many addresses of this side it tries.
        local: usize,
        /// How many the peer has told.
        remote: usize,
    },
    /// It has a path, and the handshake is under way.
    Securing,
    /// It is, or was, connected.
    Connected,
}

/// The way that the datagrams of a link take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkPath {
    /// This side's address, as the peer sees it where that is known.
    pub local: SocketAddr,
    /// How this side came by it.
    pub local_kind: CandidateKind,
    /// The peer's address.
    pub remote: SocketAddr,
    /// How the peer came by it, as far as it has said so.
    pub remote_kind: CandidateKind,
    /// How long the latest connectivity check took to be answered; `None` before the first.
    pub round_trip: Option<Duration>,
}

impl LinkPath {
    /// Whether a TURN server passes the datagrams on, on either side.
    pub fn is_relayed(&self) -> bool {
        [self.local_kind, self.remote_kind].contains(&CandidateKind::Relayed)
    }
}

impl fmt::Display for LinkPath {
    /// As in `srflx 203.0.113.1:5000 - relay 203.0.113.9:6000, 12.3 ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            local,
            local_kind,
            remote,
            remote_kind,
            round_trip,
        } = self;
        write!(f, "{local_kind} {local} - {remote_kind} {remote}")?;
        match round_trip {
            Some(time) => write!(f, ", {:.1} ms", time.as_secs_f64() * 1e3),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_in_a_candidate_can_be_replaced() {
        let line = "candidate:1 1 udp 2113937151 d5d4-2d6d.local 51234 typ host generation 0";
        let named = NamedCandidate::parse(line).unwrap();
        assert_eq!(named.name(), "d5d4-2d6d.local");
        let address = "192.0.2.7".parse().unwrap();
        assert_eq!(
            named.with_address(address).candidate,
            "candidate:1 1 udp 2113937151 192.0.2.7 51234 typ host generation 0"
        );
    }

    #[test]
    fn only_names_of_browsers_are_names() {
        let with = |transport: &str, name: &str| {
            let line = format!("candidate:1 1 {transport} 1 {name} 9 typ host");
            NamedCandidate::parse(&line).is_some()
        };
        assert!(with("UDP", "a.LOCAL"));
        let label = "a".repeat(63);
        assert!(with("udp", &format!("{label}.local")));
        for name in [
            "192.0.2.1",
            "example.com",
            "a.b.local",
            ".local",
            "local",
            "a.local.",
            "ä.local",
            "a_b.local",
            "",
        ] {
            assert!(!with("udp", name), "{name}");
        }
        assert!(!with("udp", &format!("{label}a.local")));
        assert!(!with("tcp", "a.local"));
        assert_eq!(NamedCandidate::parse("candidate:1 1 udp"), None);
    }
}
