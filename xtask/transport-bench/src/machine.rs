//! What the bare stacks have in common: one link as a machine without sockets.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::Result;
use rondevu_transport::Datagram;

/// One end of a link with one reliable and ordered stream.
pub(crate) trait Machine: Send {
    /// Hands over a message; `false` if there is no room.
    fn write(&mut self, message: &[u8], now: Instant) -> Result<bool>;

    fn handle_datagram(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
        payload: &[u8],
        now: Instant,
    ) -> Result<()>;

    fn handle_timeout(&mut self, now: Instant) -> Result<()>;

    fn poll_transmit(&mut self) -> Result<Option<Datagram>>;

    fn poll_event(&mut self) -> Result<Option<Happening>>;

    fn poll_timeout(&self) -> Option<Instant>;
}

/// What happens on a link.
pub(crate) enum Happening {
    /// The stream may be used.
    Opened,
    /// A message came in; this is its first byte.
    Message(u8),
}

/// Makes the two ends of a link; descriptions pass through `offer` and `answer`.
pub(crate) trait Maker: Send + Sync {
    /// The end that offers, its description, and what it needs for the answer.
    fn offer(&self, local: SocketAddr, now: Instant) -> Result<(Box<dyn Offering>, String)>;

    /// The end that answers, and its description.
    fn answer(
        &self,
        offer: &str,
        local: SocketAddr,
        now: Instant,
    ) -> Result<(Box<dyn Machine>, String)>;
}

/// An end that waits for its answer.
pub(crate) trait Offering: Send {
    fn accept(self: Box<Self>, answer: &str, now: Instant) -> Result<Box<dyn Machine>>;
}
