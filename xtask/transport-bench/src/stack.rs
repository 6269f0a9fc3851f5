//! What each measured stack can do: connect two ends in this process, and move messages between them.

use anyhow::Result;
use async_trait::async_trait;

use crate::wire::Wire;

/// A stack that connects two ends in this process.
#[async_trait]
pub(crate) trait Stack: Send + Sync {
    /// Connects two fresh ends over `wire`; done when the side that sends may send.
    async fn connect(&self, wire: Wire) -> Result<Box<dyn Pair>>;

    /// Whether there is a handshake at all.
    fn has_set_up(&self) -> bool {
        true
    }
}

/// Two connected ends.
#[async_trait]
pub(crate) trait Pair: Send {
    /// A message of 64 bytes there and one back.
    async fn round_trip(&mut self) -> Result<()>;

    /// `count` messages of `size` bytes in one direction; done when the other end has them all.
    async fn bulk(&mut self, size: usize, count: usize) -> Result<()>;
}

/// The first byte of a message that is to come back.
pub(crate) const ECHO: u8 = 1;
/// The first byte of a message that is swallowed.
pub(crate) const SWALLOW: u8 = 0;
