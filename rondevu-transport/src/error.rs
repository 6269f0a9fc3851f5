//! Why a command to a link was refused.

use rondevu_core::StreamId;

/// Why a command to a link was refused.
///
/// | who can act | variants |
/// | --- | --- |
/// | the caller | `NotExpected`, `UnknownStream`, `EmptyMessage`, `MessageTooLarge`, `Options`, `TooManyStreams`, `NoAddress` |
/// | the peer, or whoever carried its words | `Description`, `Candidate` |
/// | a new link | `Closed`, `Engine` |
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The command does not fit: a second answer, an answer to an answerer, an answer where an
    /// offer belongs.
    #[error("not expected here: {0}")]
    NotExpected(&'static str),
    /// The stream was never opened or has closed.
    #[error("stream {} is not open", .0.0)]
    UnknownStream(StreamId),
    /// The message has no bytes. Not every engine can carry that.
    #[error("a message without bytes cannot be sent")]
    EmptyMessage,
    /// The message can never be accepted on this link.
    #[error("a message of {bytes} bytes is above this link's limit of {bytes_max}")]
    MessageTooLarge {
        /// The size of the message.
        bytes: usize,
        /// The size that the link takes.
        bytes_max: usize,
    },
    /// The stream options do not fit on the wire.
    #[error("stream options: {0}")]
    Options(&'static str),
    /// The link has as many streams as it may have.
    #[error("the link has {streams_max} streams, which is the limit")]
    TooManyStreams {
        /// The limit.
        streams_max: usize,
    },
    /// None of the local addresses can be used.
    #[error("no usable local address")]
    NoAddress,
    /// The peer's description cannot be used.
    #[error("description: {0}")]
    Description(String),
    /// The peer's candidate is none.
    #[error("candidate: {0}")]
    Candidate(String),
    /// The link has ended.
    #[error("the link has ended")]
    Closed,
    /// The engine failed; the link has ended.
    #[error("engine: {0}")]
    Engine(String),
}

impl TransportError {
    /// Whether the same command may succeed on a new link.
    pub fn is_fixed_by_new_link(&self) -> bool {
        match self {
            Self::Closed | Self::Engine(_) | Self::UnknownStream(_) => true,
            Self::NotExpected(_)
            | Self::EmptyMessage
            | Self::MessageTooLarge { .. }
            | Self::Options(_)
            | Self::TooManyStreams { .. }
            | Self::NoAddress
            | Self::Description(_)
            | Self::Candidate(_) => false,
        }
    }
}
