//! What a link tells those who use it.
//!
//! A *link* is one incarnation of a transport connection (one WebRTC peer connection); a *stream*
//! is one message stream in it (one WebRTC data channel). These values are all that the machines
//! above know of a transport.

use alloc::string::String;
use core::time::Duration;

use bytes::Bytes;

use crate::{MessageKind, StreamId};

/// How a stream is opened: label, sub-protocol and delivery, as DCEP carries them (RFC 8832).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// The label, any text of at most 65,535 bytes.
    pub label: String,
    /// The sub-protocol, empty if there is none.
    pub protocol: String,
    /// Whether messages arrive in the order of their sending.
    pub ordered: bool,
    /// How hard the link tries to deliver a message.
    pub reliability: Reliability,
}

impl StreamOptions {
    /// A reliable, ordered stream.
    pub fn reliable(label: impl Into<String>, protocol: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            protocol: protocol.into(),
            ordered: true,
            reliability: Reliability::Reliable,
        }
    }
}

/// How hard a link tries to deliver a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Reliability {
    /// Until it arrives or the link is lost.
    #[default]
    Reliable,
    /// At most this many retransmissions.
    MaxRetransmits(u16),
    /// For at most this long; transports count in milliseconds and up to 65,535 of them.
    MaxPacketLifetime(Duration),
}

/// Which side opened a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenedBy {
    /// This side.
    Local,
    /// The peer.
    Remote,
}

/// SHA-256 digests of the certificates that the two sides of a link present.
///
/// Both sides of one link see the same pair, swapped; a proof made over both digests is worth
/// nothing on any other link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprints {
    /// The digest of this side's certificate.
    pub local: [u8; 32],
    /// The digest of the peer's certificate.
    pub remote: [u8; 32],
}

/// What is known of a link once it is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// The certificates of both sides; `None` on a link that is not encrypted.
    pub fingerprints: Option<Fingerprints>,
    /// The largest message that the link carries, in bytes.
    pub message_bytes_max: usize,
    /// How large a message should be where much waits that can travel as one and may share its fate, in bytes:
    /// enough that there is little to do for each, little enough that several have room in the buffer of the
    /// link. What is larger by itself is sent all the same; 0 for a link that does not care.
    pub batch_bytes: usize,
}

impl LinkInfo {
    /// For an embedder that does not say what a link is like.
    pub const UNKNOWN: Self = Self {
        fingerprints: None,
        message_bytes_max: usize::MAX,
        batch_bytes: 0,
    };
}

/// A fact about a link, in the order in which things happened on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// The path is found and encrypted: streams can be opened.
    Connected(LinkInfo),
    /// A stream can carry messages.
    StreamOpened {
        /// The stream.
        stream: StreamId,
        /// What it was opened with.
        options: StreamOptions,
        /// Who opened it.
        by: OpenedBy,
    },
    /// A message came in.
    StreamMessage {
        /// The stream that carried it.
        stream: StreamId,
        /// How it was sent. The payload of a text is not yet checked to be UTF-8.
        kind: MessageKind,
        /// The payload.
        payload: Bytes,
    },
    /// Messages that were refused before may be accepted now.
    Writable,
    /// A stream carries no more messages.
    StreamClosed {
        /// The stream.
        stream: StreamId,
    },
    /// The link has ended; nothing follows.
    Closed {
        /// Why.
        reason: LinkClosed,
    },
}

/// Why a link ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkClosed {
    /// This side closed it.
    #[error("closed by this side")]
    Local,
    /// The peer closed it.
    #[error("closed by the peer")]
    Remote,
    /// No path to the peer was found or the path died.
    #[error("no path to the peer")]
    NoPath,
    /// The transport failed.
    #[error("transport failed: {0}")]
    Failed(String),
}
