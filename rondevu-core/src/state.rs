//! The states of durable connections and channels as applications see them.

use core::fmt;

/// The state of a durable connection.
///
/// ```text
///               ┌───────────── link lost ─────────────┐
///               ▼                                     │
/// Connecting ─► Connected ─► Reconnecting ─► Connected …
///     │             │             │
///     │             │             ├─► Disconnected   (paused, or an acceptor whose dialer is away)
///     ▼             ▼             ▼
///   Failed        Closed        Failed               (both final)
/// ```
///
/// | state | we wait for |
/// | --- | --- |
/// | `Connecting` | the first link to finish its greeting |
/// | `Connected` | nothing: messages flow |
/// | `Reconnecting` | the next link; messages queue |
/// | `Disconnected` | the peer or the application: no attempt is under way; messages queue |
/// | `Failed` | nothing: attempts are used up or the peer refused for good |
/// | `Closed` | nothing: closed on purpose by either side |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DurableConnectionState {
    /// The first link is being established.
    Connecting,
    /// A link carries the session.
    Connected,
    /// The link was lost and a new one is being established.
    Reconnecting,
    /// The link was lost and this side is not trying to replace it.
    Disconnected,
    /// No link could be established; final.
    Failed,
    /// Closed on purpose; final.
    Closed,
}

impl DurableConnectionState {
    /// Every state, for tests and tables.
    pub const ALL: [Self; 6] = [
        Self::Connecting,
        Self::Connected,
        Self::Reconnecting,
        Self::Disconnected,
        Self::Failed,
        Self::Closed,
    ];

    /// Whether a connection may go from this state to `next`.
    pub const fn can_become(self, next: Self) -> bool {
        use DurableConnectionState::*;
        match self {
            Connecting => matches!(next, Connected | Disconnected | Failed | Closed),
            Connected => matches!(next, Reconnecting | Disconnected | Failed | Closed),
            Reconnecting => matches!(next, Connected | Disconnected | Failed | Closed),
            Disconnected => matches!(
                next,
                Connecting | Connected | Reconnecting | Failed | Closed
            ),
            Failed | Closed => false,
        }
    }

    /// Whether nothing can happen any more.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Failed | Self::Closed)
    }

    /// The name in lower case, as the TypeScript client writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Reconnecting => "reconnecting",
            Self::Disconnected => "disconnected",
            Self::Failed => "failed",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for DurableConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The state of a durable channel.
///
/// ```text
/// Connecting ─► Open ─► Closing ─► Closed
///      └──────────┴─────────────────┘
/// ```
///
/// A channel stays `Open` while its connection reconnects: that is what makes it durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DurableChannelState {
    /// Created; no link has carried it yet. Messages may be sent already.
    Connecting,
    /// The peer knows the channel.
    Open,
    /// This side or the peer closed it; what was sent before is still being delivered.
    Closing,
    /// Both sides are done; final.
    Closed,
}

impl DurableChannelState {
    /// Every state, for tests and tables.
    pub const ALL: [Self; 4] = [Self::Connecting, Self::Open, Self::Closing, Self::Closed];

    /// Whether a channel may go from this state to `next`.
    pub const fn can_become(self, next: Self) -> bool {
        use DurableChannelState::*;
        match self {
            Connecting => matches!(next, Open | Closing | Closed),
            Open => matches!(next, Closing | Closed),
            Closing => matches!(next, Closed),
            Closed => false,
        }
    }

    /// The name in lower case, as the TypeScript client writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for DurableChannelState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_connection_states_lead_nowhere_and_others_can_close() {
        for from in DurableConnectionState::ALL {
            let exits = DurableConnectionState::ALL
                .iter()
                .filter(|to| from.can_become(**to));
            assert_eq!(exits.count() == 0, from.is_final(), "{from}");
            assert!(from.is_final() || from.can_become(DurableConnectionState::Closed));
            assert!(!from.can_become(from), "{from} to itself is no transition");
        }
    }

    #[test]
    fn channel_states_only_go_forward() {
        for (i, from) in DurableChannelState::ALL.iter().enumerate() {
            for (j, to) in DurableChannelState::ALL.iter().enumerate() {
                assert_eq!(from.can_become(*to), i < j, "{from} to {to}");
            }
        }
    }
}
