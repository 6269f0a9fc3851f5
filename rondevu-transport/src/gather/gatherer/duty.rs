//! What the embedder of a gatherer has to do, and what it learns.

use std::net::SocketAddr;

#[cfg(doc)]
use super::Gatherer;
use crate::{LocalCandidate, Received};

/// What the embedder must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatherAction {
    /// Look up the addresses of a name, then call [`Gatherer::handle_resolved`].
    Resolve {
        /// Which server it is.
        server: usize,
        /// Its name.
        host: String,
    },
    /// Open a stream to a server, then call [`Gatherer::handle_connected`], or
    /// [`Gatherer::handle_disconnected`].
    Connect {
        /// The number of the stream.
        stream: u64,
        /// Where to.
        server: SocketAddr,
        /// For TLS, the name that the certificate must be for; without it plain TCP.
        tls_name: Option<String>,
    },
    /// Write bytes to a stream; or lose them all, as a network may.
    Write {
        /// The number of the stream.
        stream: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Close a stream.
    Disconnect {
        /// The number of the stream.
        stream: u64,
    },
}

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatherEvent {
    /// This side can be reached under one more address.
    Found(LocalCandidate),
    /// It cannot be reached under this one any more.
    Lost(LocalCandidate),
}

/// A datagram that came by a TURN server.
#[derive(Clone, PartialEq, Eq)]
pub struct RelayedDatagram {
    /// The peer.
    pub source: SocketAddr,
    /// The address that the server has lent.
    pub destination: SocketAddr,
    /// The payload.
    pub payload: Vec<u8>,
}

impl std::fmt::Debug for RelayedDatagram {
    /// Shows addresses and size, never the payload.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_received().fmt(f)
    }
}

impl RelayedDatagram {
    /// The same for a link.
    pub fn as_received(&self) -> Received<'_> {
        Received {
            source: self.source,
            destination: self.destination,
            payload: &self.payload,
        }
    }
}
