//! What is on its way over a link in memory, and when it arrives.

use bytes::Bytes;
use rondevu_core::{
    Instant, LinkClosed, MessageKind, OpenedBy, Reliability, StreamId, StreamOptions,
};

use crate::sim::fabric::EndId;

/// How a stream carries messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) ordered: bool,
    pub(super) lossy: bool,
}

impl From<&StreamOptions> for Way {
    fn from(options: &StreamOptions) -> Self {
        Self {
            ordered: options.ordered,
            lossy: options.reliability != Reliability::Reliable,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) due: Instant,
    pub(super) number: u64,
    pub(super) to: EndId,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Connected,
    Opened(StreamId, StreamOptions, OpenedBy),
    Message(StreamId, MessageKind, Bytes),
    StreamClosed(StreamId),
    /// So many bytes have arrived.
    Taken(usize),
    Ended(LinkClosed),
    /// The engine gives the link up.
    Death(Doom),
}

/// When an engine gives a link up.
#[derive(Clone, Copy, Debug)]
pub(super) enum Doom {
    /// In any case: the link was cut or the peer has gone.
    Certain,
    /// If the hole with this number is still there.
    Hole(u32),
    /// If no path was found.
    NoPath,
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        (self.due, self.number) == (other.due, other.number)
    }
}

impl Eq for Flight {}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flight {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}
