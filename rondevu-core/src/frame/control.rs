//! The frames of the control stream: greetings, liveness, the end.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{FrameError, encode};
use crate::{
    ByeReason, ChannelId, Generation, Incarnation, RejectReason, Reliability, Seq, SessionId,
};

/// A frame on the control stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlFrame {
    /// The dialer begins or resumes a session on this link.
    Hello(Hello),
    /// The acceptor attaches the link to the session.
    Welcome(Welcome),
    /// The acceptor refuses to.
    Reject {
        /// Why.
        reason: RejectReason,
    },
    /// Asks for a [`ControlFrame::Pong`] with the same number.
    Ping {
        /// Chosen by the sender.
        id: u32,
    },
    /// Answers a [`ControlFrame::Ping`].
    Pong {
        /// The number of the ping.
        id: u32,
    },
    /// Ends the session on purpose: no reconnecting, no resuming.
    Bye {
        /// Why.
        reason: ByeReason,
    },
    /// The sender is done with a lossy channel. Its own stream might lose the news.
    Finish {
        /// The channel.
        channel: ChannelId,
    },
    /// Answers [`ControlFrame::Finish`].
    Finished {
        /// The channel.
        channel: ChannelId,
    },
}

/// What the dialer says first on each link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The highest version of the protocol that the dialer speaks.
    pub version: u16,
    /// The session that this link is to carry.
    pub session: SessionId,
    /// The number of this link, above that of every earlier link of the session.
    pub generation: Generation,
    /// This life of the dialer's memory of the session.
    pub incarnation: Incarnation,
    /// The life of the acceptor's memory that the dialer knows; `None` if it never got a welcome.
    pub peer_incarnation: Option<Incarnation>,
    /// What the dialer is prepared to receive.
    pub limits: Limits,
    /// What the dialer has received on each channel.
    pub channels: Vec<Cursor>,
    /// Random bytes that the acceptor's proof covers.
    pub nonce: [u8; 16],
    /// A signature with the dialer's key, if it has one.
    pub proof: Option<Proof>,
    /// What later versions add; unknown ones are ignored.
    pub extensions: Vec<Extension>,
}

/// The acceptor's answer to a [`Hello`] that it agrees to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version spoken on this link, at most that of the hello.
    pub version: u16,
    /// The generation of the hello.
    pub generation: Generation,
    /// This life of the acceptor's memory of the session.
    pub incarnation: Incarnation,
    /// Whether the session existed before this hello.
    pub resumed: bool,
    /// What the acceptor is prepared to receive.
    pub limits: Limits,
    /// What the acceptor has received on each channel.
    pub channels: Vec<Cursor>,
    /// Random bytes that the acceptor's proof covers.
    pub nonce: [u8; 16],
    /// A signature with the key of the service's username, if the acceptor proves it.
    pub proof: Option<Proof>,
    /// What later versions add; unknown ones are ignored.
    pub extensions: Vec<Extension>,
}

/// What a side is prepared to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The largest payload of one [`ChannelFrame::Data`](super::ChannelFrame::Data), in bytes.
    pub fragment_bytes_max: u32,
    /// The largest message, in bytes.
    pub message_bytes_max: u64,
    /// The credit of a channel on which nothing was received yet, in bytes.
    pub window_bytes: u64,
    /// How many channels the other side may have open that it created.
    pub channels_max: u32,
}

/// What a side has received on one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The channel.
    pub channel: ChannelId,
    /// Its label.
    pub label: String,
    /// How it delivers.
    pub options: ChannelOptions,
    /// All fragments below this number were received.
    pub recv_next: Seq,
    /// How much may be outstanding beyond `recv_next`, in bytes as [`fragment_cost`](super::fragment_cost) counts.
    pub credit: u64,
}

/// How a channel delivers its messages; the same on each link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelOptions {
    /// Whether messages arrive in the order of their sending. Default yes.
    pub ordered: bool,
    /// How hard it tries. Anything but [`Reliability::Reliable`] is never replayed.
    #[serde(with = "reliability")]
    pub reliability: Reliability,
}

impl Default for ChannelOptions {
    fn default() -> Self {
        Self {
            ordered: true,
            reliability: Reliability::Reliable,
        }
    }
}

/// A public key with a signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// An Ed25519 public key (RFC 8032).
    pub public_key: [u8; 32],
    /// The signature, 64 bytes.
    pub signature: Vec<u8>,
}

/// Something that a later version added to a greeting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// What it is.
    pub id: u16,
    /// Its content.
    pub content: Vec<u8>,
}

impl ControlFrame {
    /// Appends the encoded frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode(self, out);
    }

    /// Takes one frame from the start of `bytes` and leaves the rest there.
    ///
    /// # Errors
    ///
    /// [`FrameError`] if no whole frame stands there.
    pub fn decode(bytes: &mut Bytes) -> Result<Self, FrameError> {
        let (frame, rest) = postcard::take_from_bytes(bytes).map_err(|_| FrameError)?;
        *bytes = bytes.slice_ref(rest);
        Ok(frame)
    }
}

/// [`Reliability`] as it is encoded: lifetimes in whole milliseconds, as DCEP has them.
mod reliability {
    use serde::{Deserializer, Serializer};

    use super::{Deserialize, Duration, Reliability, Serialize};

    #[derive(Serialize, Deserialize)]
    enum Wire {
        Reliable,
        MaxRetransmits(u16),
        MaxPacketLifetimeMs(u16),
    }

    pub(super) fn serialize<S: Serializer>(value: &Reliability, s: S) -> Result<S::Ok, S::Error> {
        match *value {
            Reliability::Reliable => Wire::Reliable,
            Reliability::MaxRetransmits(count) => Wire::MaxRetransmits(count),
            Reliability::MaxPacketLifetime(lifetime) => {
                Wire::MaxPacketLifetimeMs(lifetime.as_millis().try_into().unwrap_or(u16::MAX))
            }
        }
        .serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Reliability, D::Error> {
        Ok(match Wire::deserialize(d)? {
            Wire::Reliable => Reliability::Reliable,
            Wire::MaxRetransmits(count) => Reliability::MaxRetransmits(count),
            Wire::MaxPacketLifetimeMs(ms) => {
                Reliability::MaxPacketLifetime(Duration::from_millis(ms.into()))
            }
        })
    }
}
