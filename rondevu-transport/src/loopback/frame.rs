//! What loopback links say to each other once they have a path.

use std::time::Duration;

use bytes::Bytes;
use rondevu_core::{MessageKind, Reliability, StreamOptions};

/// One statement; `stream` numbers are the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Open {
        stream: u32,
        options: StreamOptions,
    },
    Opened {
        stream: u32,
    },
    /// A piece of a message.
    Data {
        stream: u32,
        kind: MessageKind,
        piece: Piece,
        payload: Bytes,
    },
    Close {
        stream: u32,
    },
    Closed {
        stream: u32,
    },
    /// The link ends; goes unnumbered.
    Goodbye,
}

/// Whether more of the same message follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Inner,
    Last,
}

impl Frame {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut head = |tag: u8, stream: u32| {
            out.push(tag);
            out.extend(stream.to_be_bytes());
        };
        match self {
            Self::Open { stream, options } => {
                head(OPEN, *stream);
                let (tag, value) = match options.reliability {
                    Reliability::Reliable => (0, 0),
                    Reliability::MaxRetransmits(n) => (1, u64::from(n)),
                    Reliability::MaxPacketLifetime(time) => (2, time.as_millis() as u64),
                };
                out.push(tag);
                out.push(options.ordered.into());
                out.extend(value.to_be_bytes());
                out.extend((options.label.len() as u16).to_be_bytes());
                out.extend(options.label.as_bytes());
                out.extend(options.protocol.as_bytes());
            }
            Self::Opened { stream } => head(OPENED, *stream),
            Self::Data {
                stream,
                kind,
                piece,
                payload,
            } => {
                head(DATA, *stream);
                out.push(u8::from(*kind == MessageKind::Text));
                out.push(u8::from(*piece == Piece::Last));
                out.extend(payload);
            }
            Self::Close { stream } => head(CLOSE, *stream),
            Self::Closed { stream } => head(CLOSED, *stream),
            Self::Goodbye => head(GOODBYE, 0),
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[tag, a, b, c, d], rest) = bytes.split_first_chunk()?;
        let stream = u32::from_be_bytes([a, b, c, d]);
        Some(match tag {
            OPEN => Self::Open {
                stream,
                options: decode_options(rest)?,
            },
            OPENED => Self::Opened { stream },
            DATA => {
                let (&[text, last], payload) = rest.split_first_chunk()?;
                Self::Data {
                    stream,
                    kind: match text {
                        0 => MessageKind::Binary,
                        _ => MessageKind::Text,
                    },
                    piece: match last {
                        0 => Piece::Inner,
                        _ => Piece::Last,
                    },
                    payload: Bytes::copy_from_slice(payload),
                }
            }
            CLOSE => Self::Close { stream },
            CLOSED => Self::Closed { stream },
            GOODBYE => Self::Goodbye,
            _ => return None,
        })
    }
}

fn decode_options(bytes: &[u8]) -> Option<StreamOptions> {
    let (&[tag, ordered], rest) = bytes.split_first_chunk()?;
    let (value, rest) = rest.split_first_chunk()?;
    let value = u64::from_be_bytes(*value);
    let (label_len, rest) = rest.split_first_chunk()?;
    let (label, protocol) = rest.split_at_checked(u16::from_be_bytes(*label_len).into())?;
    Some(StreamOptions {
        label: str::from_utf8(label).ok()?.into(),
        protocol: str::from_utf8(protocol).ok()?.into(),
        ordered: ordered != 0,
        reliability: match tag {
            0 => Reliability::Reliable,
            1 => Reliability::MaxRetransmits(value.try_into().ok()?),
            _ => Reliability::MaxPacketLifetime(Duration::from_millis(value)),
        },
    })
}

const OPEN: u8 = 1;
const OPENED: u8 = 2;
const DATA: u8 = 3;
const CLOSE: u8 = 4;
const CLOSED: u8 = 5;
const GOODBYE: u8 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_the_way_there_and_back() {
        let options = StreamOptions {
            label: "lübeck".into(),
            protocol: "p".into(),
            ordered: false,
            reliability: Reliability::MaxPacketLifetime(Duration::from_millis(7)),
        };
        let frames = [
            Frame::Open { stream: 3, options },
            Frame::Opened { stream: 3 },
            Frame::Data {
                stream: 9,
                kind: MessageKind::Text,
                piece: Piece::Last,
                payload: Bytes::from_static(b"hello"),
            },
            Frame::Close { stream: 1 },
            Frame::Closed { stream: 1 },
            Frame::Goodbye,
        ];
        for frame in frames {
            let bytes = frame.encode();
            assert_eq!(Frame::decode(&bytes).as_ref(), Some(&frame));
            for end in 0..bytes.len() {
                let _ = Frame::decode(&bytes[..end]);
            }
        }
    }
}
