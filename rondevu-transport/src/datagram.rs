//! Datagrams on their way between a link and the network.

use std::fmt;
use std::net::SocketAddr;

/// A datagram to send.
#[derive(Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The local address to send from: the [`source`](crate::LocalCandidate::source) of one of the
    /// link's candidates. If a TURN server has lent it, the datagram has to take the way over the
    /// server ([`Gatherer::relay`](crate::gather::Gatherer::relay)).
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    /// The payload, at most [`DATAGRAM_BYTES_MAX`] bytes unless larger ones were asked for.
    pub payload: Vec<u8>,
}

impl Datagram {
    /// The same datagram as the other side sees it.
    pub fn as_received(&self) -> Received<'_> {
        Received {
            source: self.source,
            destination: self.destination,
            payload: &self.payload,
        }
    }
}

impl fmt::Debug for Datagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_received().fmt(f)
    }
}

/// A datagram that came in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Received<'a> {
    /// Who sent it.
    pub source: SocketAddr,
    /// The local address that it arrived at, be it that of a TURN server.
    pub destination: SocketAddr,
    /// The payload.
    pub payload: &'a [u8],
}

impl fmt::Debug for Received<'_> {
    /// Shows addresses and size, never the payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            source,
            destination,
            payload,
        } = self;
        write!(f, "{source} -> {destination} ({} bytes)", payload.len())
    }
}

/// The largest payload of a datagram that a transport makes unless it is told to make larger ones, in
/// bytes: what fits an Ethernet frame with IPv6.
pub const DATAGRAM_BYTES_MAX: usize = 1452;

/// What [`LinkInfo::batch_bytes`](rondevu_core::LinkInfo::batch_bytes) is for a link that buffers so much: an
/// eighth of it, and no more than leaves in one system call, which takes 65,535 bytes with all headers.
pub(crate) fn batch_bytes(buffer_bytes: usize) -> usize {
    (buffer_bytes / 8).min(60 * 1024)
}
