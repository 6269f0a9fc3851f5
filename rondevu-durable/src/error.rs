//! What can go wrong, by who can do something about it.

use core::time::Duration;
use std::string::String;

use rondevu_core::{
    ByeReason, InboxViolation, Message, OutboxViolation, RejectReason, frame::FrameError,
};

/// A message that was not accepted for sending; it is given back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no room at the moment; trying again later helps.
    #[error("the send queue is full")]
    Full(Message),
    /// The message is larger than this side or the peer allows.
    #[error("the message has {} bytes, more than the limit of {max}", message.len())]
    TooLarge {
        /// The message.
        message: Message,
        /// The limit in bytes.
        max: u64,
    },
    /// The channel is closed or closing.
    #[error("the channel is closed")]
    Closed(Message),
}

impl SendError {
    /// The message that was not accepted.
    pub fn into_message(self) -> Message {
        match self {
            Self::Full(message) | Self::TooLarge { message, .. } | Self::Closed(message) => message,
        }
    }
}

/// A channel that could not be created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The connection has ended.
    #[error("the connection is closed")]
    ConnectionClosed,
    /// Too many channels are open; close one or raise `channels_max`.
    #[error("the connection has {max} channels already, close one or raise channels_max")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// The label is too long.
    #[error("a channel label has at most 255 bytes, this one has {len}")]
    LabelTooLong {
        /// The length in bytes.
        len: usize,
    },
    /// The lifetime of packets does not fit on the wire.
    #[error("max_packet_lifetime is at most 65,535 ms, this one is {lifetime:?}")]
    LifetimeTooLong {
        /// The lifetime that was asked for.
        lifetime: Duration,
    },
}

/// An attempt that did not get as far as a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialFailure {
    /// Why, for people.
    pub reason: String,
    /// Whether trying again can help.
    pub retry: DialRetry,
}

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialRetry {
    /// Never: the name is unknown, the address is wrong.
    Never,
    /// After the usual delay, but a first connection need not wait for it.
    Later,
    /// Very soon: another dialer was faster, or the next offer is on its way.
    After(Duration),
}

/// Why a connection failed for good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionFailure {
    /// The peer could not be found or called.
    #[error("{0}")]
    Dial(String),
    /// No link came up in time.
    #[error("no connection within {after:?}: {last}")]
    TimedOut {
        /// The time that was allowed.
        after: Duration,
        /// What went wrong last.
        last: String,
    },
    /// All attempts were made.
    #[error("gave up after {attempts} attempts: {last}")]
    AttemptsExhausted {
        /// How many.
        attempts: u32,
        /// What went wrong last.
        last: String,
    },
    /// The peer refuses the session for good.
    #[error("refused: {0}")]
    Rejected(RejectReason),
    /// The peer does not speak the session protocol, and this side insists on it.
    #[error("the peer does not speak the Rondevu session protocol")]
    NotDurable,
    /// The peer is not who it should be.
    #[error(transparent)]
    Untrusted(ProofFailure),
}

impl ConnectionFailure {
    /// Whether connecting again, without changing anything first, would fail the same way.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Rejected(_) | Self::NotDurable | Self::Untrusted(_) => true,
            Self::Dial(_) | Self::TimedOut { .. } | Self::AttemptsExhausted { .. } => false,
        }
    }
}

/// Why a peer is not taken for who it says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofFailure {
    /// It proved no key, although one was required.
    #[error(
        "the peer did not prove its key: it has none, or somebody in between, such as the signaling \
         server, has taken the proof out"
    )]
    Missing,
    /// Its signature does not fit this link.
    #[error(
        "the peer's proof does not fit this link: somebody in between, most likely the signaling \
         server, has swapped the session descriptions"
    )]
    Invalid,
    /// It proved another key than the one that was expected.
    #[error(
        "the peer proved another key than the one that is known: somebody else answers under its \
         name, or its owner has a new key; then forget the old one"
    )]
    OtherKey,
}

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionClosed {
    /// This side closed it and the peer confirmed everything.
    #[error("closed by this side")]
    Local,
    /// This side closed it, but the peer did not confirm everything in time.
    #[error("closed by this side before the peer confirmed everything")]
    LocalUnconfirmed,
    /// The peer closed it.
    #[error("closed by the peer: {0}")]
    Remote(ByeReason),
    /// The peer stayed away for longer than the resume window.
    #[error("the peer did not come back within the resume window")]
    SessionExpired,
    /// The peer was away, and the service had no room for so many sessions that wait.
    #[error("the peer was away, and its session had to make room for others")]
    SessionEvicted,
    /// The link of a peer that does not speak the session protocol is gone.
    #[error("the link was lost, and the peer cannot resume")]
    LinkLost,
}

/// What a correct peer never does; ends the link, not the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolViolation {
    /// Bytes that are no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A message or fragment out of place.
    #[error(transparent)]
    Inbox(#[from] InboxViolation),
    /// An acknowledgement out of place.
    #[error(transparent)]
    Outbox(#[from] OutboxViolation),
    /// A frame that does not belong here.
    #[error("a frame came at the wrong time")]
    Unexpected,
    /// A greeting that contradicts what is known of the session.
    #[error("the greeting does not match the session")]
    Greeting,
    /// More channels than allowed.
    #[error("the peer opened too many channels")]
    TooManyChannels,
    /// The link cannot carry fragments that were cut for an earlier one.
    #[error("the link carries smaller messages than the ones before it")]
    LinkTooNarrow,
    /// The peer is not who it should be.
    #[error(transparent)]
    Untrusted(#[from] ProofFailure),
}
