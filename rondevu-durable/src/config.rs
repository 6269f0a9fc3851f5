//! The limits and time-outs of durable connections and channels.

use core::time::Duration;

use rondevu_core::frame::{ChannelOptions, Limits};
use rondevu_core::{BackoffPolicy, LivenessConfig, QueueLimits};

/// How a connection behaves. The defaults are good for most programs.
///
/// ```
/// use std::time::Duration;
/// use rondevu_durable::ConnectionConfig;
///
/// let patient = ConnectionConfig {
///     connection_timeout: Duration::from_secs(120),
///     ..ConnectionConfig::default()
/// };
/// # let _ = patient;
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionConfig {
    /// Delays between attempts to replace a lost link. Default 1 s doubling to 30 s, ±20 %, 10
    /// attempts.
    pub backoff: BackoffPolicy,
    /// When a link is lost, the first attempt to replace it starts after a random time up to this,
    /// so that many peers that lost the same thing do not come back in one instant. After a peer
    /// that closed the link it is the base of the backoff instead: such a peer has often ended, and
    /// everybody it talked to knows at once. Default 250 ms.
    pub reconnect_spread: Duration,
    /// After a link that was up for this long and carried an acknowledgement the delays between
    /// attempts begin anew. Default 10 s.
    pub stable_after: Duration,
    /// How long the first connection may take, all attempts together. Default 30 s.
    pub connection_timeout: Duration,
    /// How long one attempt may take, from the first question to signaling to the greeting.
    /// Default 10 s.
    pub attempt_timeout: Duration,
    /// How long finding the peer through signaling and getting one of its offers may take within an
    /// attempt. Default 5 s.
    pub signaling_timeout: Duration,
    /// How long the peer may take to answer the greeting on a link that is up. Default 5 s.
    pub greeting_timeout: Duration,
    /// How long closing waits for the peer to confirm what was sent. Default 5 s.
    pub close_timeout: Duration,
    /// How long an acceptor keeps a session whose dialer is away. Default 5 min.
    pub resume_window: Duration,
    /// When a silent link becomes suspect.
    pub liveness: LivenessConfig,
    /// How many received bytes may wait for the application on each channel. At least 1 KiB. Default
    /// 1 MiB.
    pub window_bytes: u64,
    /// The largest message, either way. Default 16 MiB.
    pub message_bytes_max: u64,
    /// Messages above this size travel in fragments, or above what the link carries or three quarters
    /// of the smaller window if that is less. At least 64. Default 16 KiB, where WebRTC's SCTP is fastest.
    pub fragment_bytes: u32,
    /// How many channels each side may have open that it created; the smaller of both sides' settings
    /// counts. Default 128.
    pub channels_max: usize,
    /// What happens to unconfirmed messages when the peer has lost its memory of the session.
    pub session_loss: SessionLoss,
    /// What happens when the very first attempt fails.
    pub first_attempt: FirstAttempt,
    /// How channels behave that the peer opens.
    pub incoming_channel: ChannelConfig,
    /// Whether peers that do not speak the session protocol are talked to.
    pub plain_peers: PlainPeers,
    /// A peer that has opened no stream for this long after the link was connected does not speak
    /// the session protocol, unless it has announced it, as services of this library do. Default 3 s.
    pub plain_after: Duration,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            backoff: BackoffPolicy::default(),
            reconnect_spread: Duration::from_millis(250),
            stable_after: Duration::from_secs(10),
            connection_timeout: Duration::from_secs(30),
            attempt_timeout: Duration::from_secs(10),
            signaling_timeout: Duration::from_secs(5),
            greeting_timeout: Duration::from_secs(5),
            close_timeout: Duration::from_secs(5),
            resume_window: Duration::from_secs(300),
            liveness: LivenessConfig::default(),
            window_bytes: 1024 * 1024,
            message_bytes_max: 16 * 1024 * 1024,
            fragment_bytes: 16 * 1024,
            channels_max: 128,
            session_loss: SessionLoss::default(),
            first_attempt: FirstAttempt::default(),
            incoming_channel: ChannelConfig::default(),
            plain_peers: PlainPeers::default(),
            plain_after: Duration::from_secs(3),
        }
    }
}

impl ConnectionConfig {
    /// What is told to the peer.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            fragment_bytes_max: self.fragment_bytes_max(),
            message_bytes_max: self.message_bytes_max,
            window_bytes: self.window(),
            channels_max: u32::try_from(self.channels_max).unwrap_or(u32::MAX),
        }
    }

    /// `window_bytes` within what makes sense.
    pub(crate) fn window(&self) -> u64 {
        self.window_bytes.max(WINDOW_BYTES_MIN)
    }

    /// `fragment_bytes` within what makes sense: smaller ones would be mostly headers.
    pub(crate) fn fragment_bytes_max(&self) -> u32 {
        self.fragment_bytes.max(FRAGMENT_BYTES_MIN)
    }
}

/// What happens to unconfirmed messages when the peer has lost its memory of the session, for
/// instance because its process was restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SessionLoss {
    /// They are sent again into the new session. One that had arrived before arrives twice, once
    /// in each life of the peer.
    #[default]
    Resend,
    /// They are dropped; the event says how many.
    Drop,
}

/// Whether peers without the session protocol are talked to: web pages, for instance.
///
/// Their messages are carried as they are. Nothing is resumed: what was on its way when a link was
/// lost is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PlainPeers {
    /// They are, unless a proof of the peer's key is required.
    #[default]
    Accept,
    /// They are refused.
    Refuse,
}

/// What happens when the first attempt to connect cannot succeed at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FirstAttempt {
    /// The connection fails when the time-out passes or the signaling server cannot be reached.
    #[default]
    FailFast,
    /// It is tried again with backoff, as after a lost link.
    KeepTrying,
}

/// How a channel behaves. Delivery options are told to the peer; limits are this side's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ChannelConfig {
    /// What may wait to be sent.
    pub queue: QueueLimits,
    /// Order and reliability. Default reliable and ordered.
    pub options: ChannelOptions,
    /// What happens when the peer is done sending.
    pub half_open: HalfOpen,
}

/// What a channel does when the peer has closed its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum HalfOpen {
    /// It closes its own direction too, after what was sent before is delivered.
    #[default]
    Close,
    /// It can go on sending, as a TCP connection can after a half close.
    Keep,
}

/// Below this a message would take more memory for its fragments than for its content.
const FRAGMENT_BYTES_MIN: u32 = 64;
/// A few of the smallest fragments.
const WINDOW_BYTES_MIN: u64 = 1024;
