//! Addresses under which one side of a link may be reached, and the path that a link has chosen.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

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
