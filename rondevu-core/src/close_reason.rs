//! Why a conversation was ended or refused, in words that travel between peers.

use core::time::Duration;

use serde::{Deserialize, Serialize};

/// Why a side ended a session on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum ByeReason {
    /// The application closed the connection.
    #[error("closed by the application")]
    Closed,
    /// The program or the service is shutting down.
    #[error("the peer is shutting down")]
    ShuttingDown,
    /// The dialer stayed away for longer than the resume window.
    #[error("the session expired")]
    SessionExpired,
    /// The other side broke the protocol.
    #[error("protocol error")]
    ProtocolError,
}

/// Why an acceptor refuses to attach a link to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum RejectReason {
    /// It does not know the session. The dialer may begin a new one.
    #[error("the peer does not know the session")]
    UnknownSession,
    /// It knows the session, but not this life of the dialer's memory. The dialer may begin a new
    /// session.
    #[error("the peer remembers another life of this session")]
    IncarnationMismatch,
    /// A newer link already carries the session. The dialer may try again with a newer generation.
    #[error("a newer link carries the session")]
    Superseded,
    /// It does not talk to this dialer; final. A proof that does not fit the link it came over looks
    /// the same to it as one of a stranger.
    #[error(
        "the peer refuses to talk to this program: it does not take its key, or somebody in between, \
         such as the signaling server, has swapped the session descriptions"
    )]
    NotAuthorised,
    /// It does not speak the dialer's version of the protocol; final.
    #[error("the peer speaks no common version of the session protocol")]
    Version,
    /// It has no room at the moment. The dialer may try again later.
    #[error("the peer is busy")]
    Busy {
        /// After how many milliseconds trying again makes sense.
        retry_after_ms: u32,
    },
}

impl RejectReason {
    /// Whether trying again can never help.
    pub const fn is_final(self) -> bool {
        match self {
            Self::NotAuthorised | Self::Version => true,
            Self::UnknownSession
            | Self::IncarnationMismatch
            | Self::Superseded
            | Self::Busy { .. } => false,
        }
    }

    /// Whether the acceptor's memory of the session is gone.
    pub const fn means_session_lost(self) -> bool {
        matches!(self, Self::UnknownSession | Self::IncarnationMismatch)
    }

    /// How long the acceptor asks to be left alone.
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after_ms } => Some(Duration::from_millis(retry_after_ms as u64)),
            Self::UnknownSession
            | Self::IncarnationMismatch
            | Self::Superseded
            | Self::NotAuthorised
            | Self::Version => None,
        }
    }
}
