//! The frames of the session protocol and their encoding.
//!
//! A transport message carries one or more whole frames back to back, each encoded with
//! [postcard](https://postcard.jamesmunns.com/wire-format). Control frames travel on the control
//! stream, channel frames on the stream of their channel. The layout is described byte by byte in
//! `docs/PROTOCOL.md`.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};

use crate::{
    ByeReason, ChannelId, Generation, Incarnation, MessageKind, RejectReason, Reliability, Seq,
    SessionId,
};

/// The version of the session protocol that this crate speaks.
pub const PROTOCOL_VERSION: u16 = 1;

/// The label of the control stream.
pub const CONTROL_LABEL: &str = "rondevu-service";

/// The DCEP sub-protocol of the control stream of a peer that speaks the session protocol.
pub const CONTROL_PROTOCOL: &str = "rondevu.session.v1";

/// The start of the DCEP sub-protocol of a channel's stream; the channel id follows in decimal.
const CHANNEL_PROTOCOL_PREFIX: &str = "rondevu.channel.v1;";

/// The longest label of a channel, in bytes, so that the cursors of all channels fit one message.
pub const LABEL_LEN_MAX: usize = 255;

/// The DCEP sub-protocol of the stream of channel `id`.
pub fn channel_protocol(id: ChannelId) -> String {
    alloc::format!("{CHANNEL_PROTOCOL_PREFIX}{}", id.0)
}

/// The channel whose stream has this DCEP sub-protocol, if it is one of ours.
pub fn parse_channel_protocol(protocol: &str) -> Option<ChannelId> {
    let id = protocol.strip_prefix(CHANNEL_PROTOCOL_PREFIX)?;
    // One spelling for each id: no sign, no leading zeros.
    let parsed = ChannelId(id.parse().ok()?);
    (channel_protocol(parsed).len() == protocol.len()).then_some(parsed)
}

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
    /// Random bytes for proofs.
    pub nonce: [u8; 16],
    /// A signature over the link and this frame's identifiers, if the dialer proves its key.
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
    /// Random bytes for proofs.
    pub nonce: [u8; 16],
    /// A signature with the key of the service's username, if the acceptor proves it.
    pub proof: Option<Proof>,
    /// What later versions add; unknown ones are ignored.
    pub extensions: Vec<Extension>,
}

/// What a side is prepared to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The largest payload of one [`ChannelFrame::Data`], in bytes.
    pub fragment_bytes_max: u32,
    /// The largest message, in bytes.
    pub message_bytes_max: u64,
    /// The credit of a channel on which nothing was received yet, in bytes.
    pub window_bytes: u64,
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
    /// How much may be outstanding beyond `recv_next`, in bytes as [`fragment_cost`] counts.
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

/// A frame on the stream of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelFrame {
    /// A message or a part of one.
    Data {
        /// The number of this fragment.
        seq: Seq,
        /// Whether the message ends here.
        end: MessageEnd,
        /// Text or bytes, the same in all fragments of a message.
        kind: MessageKind,
        /// The payload.
        payload: Bytes,
    },
    /// The fragments in `[from, to)` will never come.
    Skip {
        /// The first of them.
        from: Seq,
        /// The first that is not of them.
        to: Seq,
        /// How many messages are lost with them.
        messages: u64,
    },
    /// Everything below `next` was received.
    Ack {
        /// The first fragment that was not.
        next: Seq,
        /// How much may be outstanding beyond `next`, in bytes as [`fragment_cost`] counts.
        credit: u64,
    },
    /// The sender is done at `at`: no fragment has this number or a higher one.
    Fin {
        /// The number that the next fragment would have had.
        at: Seq,
    },
    /// Everything up to the peer's [`ChannelFrame::Fin`] was received.
    FinAck,
}

/// Whether a fragment is the last of its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageEnd {
    /// The message ends with this fragment.
    Last,
    /// More fragments follow.
    More,
}

/// What a fragment counts towards credit: its payload and a share for the memory around it, so
/// that many small or empty messages are bounded too.
pub const fn fragment_cost(payload_bytes: usize) -> u64 {
    payload_bytes as u64 + FRAGMENT_OVERHEAD
}

/// The share in [`fragment_cost`]: about what a queued message takes beside its payload.
pub const FRAGMENT_OVERHEAD: u64 = 64;

/// A transport message that does not decode into whole frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid frame")]
pub struct FrameError;

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

impl ChannelFrame {
    /// Appends the encoded frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let wire = match self {
            Self::Data {
                seq,
                end,
                kind,
                payload,
            } => WireFrame::Data {
                seq: *seq,
                last: *end == MessageEnd::Last,
                text: *kind == MessageKind::Text,
                payload,
            },
            Self::Skip { from, to, messages } => WireFrame::Skip {
                from: *from,
                to: *to,
                messages: *messages,
            },
            Self::Ack { next, credit } => WireFrame::Ack {
                next: *next,
                credit: *credit,
            },
            Self::Fin { at } => WireFrame::Fin { at: *at },
            Self::FinAck => WireFrame::FinAck,
        };
        encode(&wire, out);
    }

    /// Takes one frame from the start of `bytes` and leaves the rest there. The payload shares
    /// the memory of `bytes`.
    ///
    /// # Errors
    ///
    /// [`FrameError`] if no whole frame stands there.
    pub fn decode(bytes: &mut Bytes) -> Result<Self, FrameError> {
        let (wire, rest) =
            postcard::take_from_bytes::<WireFrame<'_>>(bytes).map_err(|_| FrameError)?;
        let frame = match wire {
            WireFrame::Data {
                seq,
                last,
                text,
                payload,
            } => Self::Data {
                seq,
                end: if last {
                    MessageEnd::Last
                } else {
                    MessageEnd::More
                },
                kind: if text {
                    MessageKind::Text
                } else {
                    MessageKind::Binary
                },
                payload: bytes.slice_ref(payload),
            },
            WireFrame::Skip { from, to, messages } => Self::Skip { from, to, messages },
            WireFrame::Ack { next, credit } => Self::Ack { next, credit },
            WireFrame::Fin { at } => Self::Fin { at },
            WireFrame::FinAck => Self::FinAck,
        };
        *bytes = bytes.slice_ref(rest);
        Ok(frame)
    }

    /// The most bytes that a `Data` frame takes beside its payload: tag, number, two flags and
    /// the payload's length.
    pub const DATA_HEADER_BYTES_MAX: usize = 1 + 10 + 1 + 1 + 10;
}

/// [`ChannelFrame`] as it is encoded.
#[derive(Serialize, Deserialize)]
enum WireFrame<'a> {
    Data {
        seq: Seq,
        last: bool,
        text: bool,
        #[serde(serialize_with = "as_bytes", borrow)]
        payload: &'a [u8],
    },
    Skip {
        from: Seq,
        to: Seq,
        messages: u64,
    },
    Ack {
        next: Seq,
        credit: u64,
    },
    Fin {
        at: Seq,
    },
    FinAck,
}

/// Serializes in one piece what serde would otherwise write byte by byte.
fn as_bytes<S: Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

fn encode(frame: &impl Serialize, out: &mut Vec<u8>) {
    postcard::serialize_with_flavor(frame, Append(out))
        .expect("appending to a Vec does not fail and every frame has a known length");
}

/// Lets postcard append to a buffer that the caller reuses.
struct Append<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Append<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
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

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    fn data(seq: u64, payload: &'static [u8]) -> ChannelFrame {
        ChannelFrame::Data {
            seq: Seq(seq),
            end: MessageEnd::Last,
            kind: MessageKind::Text,
            payload: Bytes::from_static(payload),
        }
    }

    fn encoded(frame: &ChannelFrame) -> Vec<u8> {
        let mut out = Vec::new();
        frame.encode(&mut out);
        out
    }

    #[test]
    fn channel_frames_have_the_documented_bytes() {
        assert_eq!(
            encoded(&data(300, b"hi")),
            [0, 0xac, 0x02, 1, 1, 2, b'h', b'i']
        );
        let skip = ChannelFrame::Skip {
            from: Seq(1),
            to: Seq(2),
            messages: 5,
        };
        assert_eq!(encoded(&skip), [1, 1, 2, 5]);
        assert_eq!(
            encoded(&ChannelFrame::Ack {
                next: Seq(7),
                credit: 128
            }),
            [2, 7, 0x80, 1]
        );
        assert_eq!(encoded(&ChannelFrame::Fin { at: Seq(9) }), [3, 9]);
        assert_eq!(encoded(&ChannelFrame::FinAck), [4]);
    }

    #[test]
    fn several_frames_travel_in_one_message_and_share_its_memory() {
        let mut out = Vec::new();
        data(0, b"a").encode(&mut out);
        data(1, b"bc").encode(&mut out);
        let mut bytes = Bytes::from(out);
        assert_eq!(ChannelFrame::decode(&mut bytes), Ok(data(0, b"a")));
        assert_eq!(ChannelFrame::decode(&mut bytes), Ok(data(1, b"bc")));
        assert!(bytes.is_empty());
    }

    #[test]
    fn channel_protocols_have_one_spelling() {
        assert_eq!(
            parse_channel_protocol("rondevu.channel.v1;42"),
            Some(ChannelId(42))
        );
        for bad in [
            "rondevu.channel.v1;",
            "rondevu.channel.v1;042",
            "rondevu.channel.v1;+42",
            "x",
        ] {
            assert_eq!(parse_channel_protocol(bad), None, "{bad}");
        }
    }

    fn any_hello() -> impl Strategy<Value = Hello> {
        let cursor = (
            any::<u32>(),
            ".{0,20}",
            any::<bool>(),
            0u8..3,
            any::<u16>(),
            any::<u64>(),
        )
            .prop_map(|(id, label, ordered, reliability, n, next)| Cursor {
                channel: ChannelId(id),
                label,
                options: ChannelOptions {
                    ordered,
                    reliability: match reliability {
                        0 => Reliability::Reliable,
                        1 => Reliability::MaxRetransmits(n),
                        _ => Reliability::MaxPacketLifetime(Duration::from_millis(n.into())),
                    },
                },
                recv_next: Seq(next),
                credit: next / 2,
            });
        (
            any::<u128>(),
            any::<u32>(),
            any::<[u64; 2]>(),
            prop::collection::vec(cursor, 0..5),
        )
            .prop_map(|(session, generation, numbers, channels)| Hello {
                version: PROTOCOL_VERSION,
                session: SessionId(session),
                generation: Generation(generation),
                incarnation: Incarnation(numbers[0]),
                peer_incarnation: (numbers[1] > 9).then_some(Incarnation(numbers[1])),
                limits: Limits {
                    fragment_bytes_max: 16384,
                    message_bytes_max: numbers[0],
                    window_bytes: numbers[1],
                },
                channels,
                nonce: [7; 16],
                proof: Some(Proof {
                    public_key: [1; 32],
                    signature: vec![2; 64],
                }),
                extensions: vec![Extension {
                    id: 9,
                    content: vec![1, 2],
                }],
            })
    }

    proptest! {
        #[test]
        fn what_was_encoded_decodes_to_the_same(hello in any_hello()) {
            let frame = ControlFrame::Hello(hello);
            let mut out = Vec::new();
            frame.encode(&mut out);
            let mut bytes = Bytes::from(out);
            prop_assert_eq!(ControlFrame::decode(&mut bytes), Ok(frame));
            prop_assert!(bytes.is_empty());
        }

        #[test]
        fn garbage_is_an_error_or_a_frame_but_never_a_panic(garbage: Vec<u8>) {
            let _ = ControlFrame::decode(&mut Bytes::from(garbage.clone()));
            let _ = ChannelFrame::decode(&mut Bytes::from(garbage));
        }

        #[test]
        fn a_data_header_is_as_small_as_promised(seq: u64, len in 0usize..70_000) {
            let frame = ChannelFrame::Data {
                seq: Seq(seq),
                end: MessageEnd::More,
                kind: MessageKind::Binary,
                payload: vec![0; len].into(),
            };
            prop_assert!(encoded(&frame).len() <= len + ChannelFrame::DATA_HEADER_BYTES_MAX);
        }
    }
}
