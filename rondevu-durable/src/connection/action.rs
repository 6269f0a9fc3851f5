//! What a connection wants done: streams and links, and messages for them.

use bytes::Bytes;
use rondevu_core::{LinkId, MessageKind, StreamId, StreamOptions};

use crate::channel::Outgoing;

/// What the embedder must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Establish a link: find the peer through signaling, answer its offer, feed the link's
    /// events. Tell a failure before that with `handle_dial_failed`.
    Dial {
        /// The name of the link from now on.
        link: LinkId,
    },
    /// Open a stream.
    OpenStream {
        /// The link.
        link: LinkId,
        /// Label, sub-protocol and delivery.
        options: StreamOptions,
    },
    /// Close a stream, after what was transmitted on it.
    CloseStream {
        /// The link.
        link: LinkId,
        /// The stream.
        stream: StreamId,
    },
    /// Close the link at once, or stop dialing it.
    AbandonLink {
        /// The link.
        link: LinkId,
    },
    /// Close the link after what was transmitted on it has left, or the peer has closed it.
    FinishLink {
        /// The link.
        link: LinkId,
    },
}

/// A message for a stream. One that the link has no room for is kept by the embedder and
/// offered to the link again, before any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The link.
    pub link: LinkId,
    /// The stream.
    pub stream: StreamId,
    /// Binary, except for texts to a peer without the session protocol.
    pub kind: MessageKind,
    /// One or more whole frames, or a message to a peer without the session protocol.
    pub payload: Bytes,
}

impl Transmit {
    pub(super) fn of(link: LinkId, outgoing: Outgoing) -> Self {
        Self {
            link,
            stream: outgoing.stream,
            kind: outgoing.kind,
            payload: outgoing.payload,
        }
    }
}
