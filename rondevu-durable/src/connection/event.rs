//! What a connection tells the application.

use core::time::Duration;
use rondevu_core::{ChannelId, DurableConnectionState, Generation, Unconfirmed};

use crate::error::{ConnectionClosed, ConnectionFailure, ProtocolViolation};

/// What happened, for the application.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// The state changed.
    StateChanged {
        /// The state before.
        from: DurableConnectionState,
        /// The state now.
        to: DurableConnectionState,
    },
    /// A link carries the session.
    Connected {
        /// The number of the link within the session.
        generation: Generation,
    },
    /// An attempt to replace the link is planned. A first connection that fails at its time-out
    /// raises none; one that keeps trying does.
    Reconnecting {
        /// Its number, counted from 1.
        attempt: u32,
        /// How many are allowed; `None` for no limit.
        max_attempts: Option<u32>,
        /// How long until it starts.
        delay: Duration,
    },
    /// No link carries the session at the moment.
    Disconnected,
    /// The peer opened a channel.
    IncomingChannel {
        /// The channel.
        channel: ChannelId,
    },
    /// The peer has lost its memory of the session, and a new one begins.
    SessionReset {
        /// What was unconfirmed in the old session.
        unconfirmed: Unconfirmed,
    },
    /// The peer broke the protocol or is not who it should be; the link was closed, the session
    /// goes on.
    ProtocolViolation(ProtocolViolation),
    /// The connection failed for good.
    Failed {
        /// Why.
        failure: ConnectionFailure,
        /// What was unconfirmed.
        unconfirmed: Unconfirmed,
    },
    /// The connection was closed.
    Closed {
        /// Why.
        reason: ConnectionClosed,
        /// What was unconfirmed.
        unconfirmed: Unconfirmed,
    },
}
