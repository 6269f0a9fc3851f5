//! The frames of the session protocol and their encoding.
//!
//! A transport message carries one or more whole frames back to back, each encoded with
//! [postcard](https://postcard.jamesmunns.com/wire-format). Control frames travel on the control
//! stream, channel frames on the stream of their channel. The layout is described byte by byte in
//! `docs/PROTOCOL.md`.

mod control;
mod encoding;

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use self::control::{
    ChannelOptions, ControlFrame, Cursor, Extension, Hello, Limits, Proof, Welcome,
};
use self::encoding::{as_bytes, encode};
use crate::{ChannelId, MessageKind, Seq};

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

/// A frame on the stream of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelFrame {
    /// A message or a part of one.
    Data {
        /// The number of this fragment.
        seq: Seq,
        /// Which part of its message this is.
        part: Part,
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

/// Which part of its message a fragment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first of several.
    First,
    /// Neither the first nor the last.
    Middle,
    /// The last of several.
    Last,
}

impl Part {
    /// The part that is the message's first, its last, both or neither.
    pub const fn new(starts: bool, ends: bool) -> Self {
        match (starts, ends) {
            (true, true) => Self::Whole,
            (true, false) => Self::First,
            (false, false) => Self::Middle,
            (false, true) => Self::Last,
        }
    }

    /// Whether the message begins here.
    pub const fn starts(self) -> bool {
        matches!(self, Self::Whole | Self::First)
    }

    /// Whether the message ends here.
    pub const fn ends(self) -> bool {
        matches!(self, Self::Whole | Self::Last)
    }
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

impl ChannelFrame {
    /// Appends the encoded frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let wire = match self {
            Self::Data {
                seq,
                part,
                kind,
                payload,
            } => {
                out.reserve(Self::DATA_HEADER_BYTES_MAX + payload.len());
                WireFrame::Data {
                    seq: *seq,
                    flags: flags(*part, *kind),
                    payload,
                }
            }
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
                flags,
                payload,
            } => {
                let (part, kind) = parse_flags(flags)?;
                Self::Data {
                    seq,
                    part,
                    kind,
                    payload: bytes.slice_ref(payload),
                }
            }
            WireFrame::Skip { from, to, messages } => Self::Skip { from, to, messages },
            WireFrame::Ack { next, credit } => Self::Ack { next, credit },
            WireFrame::Fin { at } => Self::Fin { at },
            WireFrame::FinAck => Self::FinAck,
        };
        *bytes = bytes.slice_ref(rest);
        Ok(frame)
    }

    /// The most bytes that a `Data` frame takes beside its payload: tag, number, flags and the
    /// payload's length.
    pub const DATA_HEADER_BYTES_MAX: usize = 1 + 10 + 1 + 10;
}

/// [`ChannelFrame`] as it is encoded.
#[derive(Serialize, Deserialize)]
enum WireFrame<'a> {
    Data {
        seq: Seq,
        flags: u8,
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

const STARTS: u8 = 1;
const ENDS: u8 = 2;
const TEXT: u8 = 4;

fn flags(part: Part, kind: MessageKind) -> u8 {
    let part = match part {
        Part::Whole => STARTS | ENDS,
        Part::First => STARTS,
        Part::Middle => 0,
        Part::Last => ENDS,
    };
    match kind {
        MessageKind::Text => part | TEXT,
        MessageKind::Binary => part,
    }
}

fn parse_flags(flags: u8) -> Result<(Part, MessageKind), FrameError> {
    if flags & !(STARTS | ENDS | TEXT) != 0 {
        return Err(FrameError);
    }
    let kind = match flags & TEXT {
        0 => MessageKind::Binary,
        _ => MessageKind::Text,
    };
    Ok((Part::new(flags & STARTS != 0, flags & ENDS != 0), kind))
}

#[cfg(test)]
mod tests;
