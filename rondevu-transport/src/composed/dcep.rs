//! The messages that open a data channel (RFC 8832).

use std::time::Duration;

use rondevu_core::{Reliability, StreamOptions};

use crate::TransportError;

/// A message of the data channel establishment protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dcep {
    /// Asks for a channel.
    Open(StreamOptions),
    /// Consents to one.
    Ack,
}

impl Dcep {
    /// Reads a message, `None` if it is malformed.
    pub(crate) fn parse(message: &[u8]) -> Option<Self> {
        match message.split_first()? {
            (&ACK, _) => Some(Self::Ack),
            (&OPEN, rest) => parse_open(rest).map(Self::Open),
            _ => None,
        }
    }

    /// The message as it travels.
    ///
    /// # Errors
    ///
    /// [`TransportError::Options`] if the options do not fit.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, TransportError> {
        match self {
            Self::Ack => Ok(vec![ACK]),
            Self::Open(options) => encode_open(options),
        }
    }
}

/// ```text
/// channel type (1), priority (2), reliability parameter (4), length of the label (2), length of
/// the protocol (2), label, protocol
/// ```
fn parse_open(message: &[u8]) -> Option<StreamOptions> {
    let (header, names) = message.split_first_chunk::<11>()?;
    let [channel_type, _, _, p0, p1, p2, p3, l0, l1, n0, n1] = *header;
    let (label, rest) = names.split_at_checked(u16::from_be_bytes([l0, l1]).into())?;
    let protocol = rest.get(..u16::from_be_bytes([n0, n1]).into())?;
    // Whoever asks for more than fits our words gets what comes nearest.
    let parameter = u32::from_be_bytes([p0, p1, p2, p3]).min(u16::MAX.into()) as u16;
    let reliability = match channel_type & !UNORDERED {
        RELIABLE => Reliability::Reliable,
        RETRANSMITS => Reliability::MaxRetransmits(parameter),
        LIFETIME => Reliability::MaxPacketLifetime(Duration::from_millis(parameter.into())),
        _ => return None,
    };
    Some(StreamOptions {
        label: std::str::from_utf8(label).ok()?.into(),
        protocol: std::str::from_utf8(protocol).ok()?.into(),
        ordered: channel_type & UNORDERED == 0,
        reliability,
    })
}

fn encode_open(options: &StreamOptions) -> Result<Vec<u8>, TransportError> {
    let StreamOptions {
        label,
        protocol,
        ordered,
        reliability,
    } = options;
    if label.len() + protocol.len() > NAMES_BYTES_MAX {
        return Err(TransportError::Options(
            "label and protocol have more than 1,024 bytes together",
        ));
    }
    let (channel_type, parameter) = match reliability {
        Reliability::Reliable => (RELIABLE, 0),
        Reliability::MaxRetransmits(retransmits) => (RETRANSMITS, *retransmits),
        Reliability::MaxPacketLifetime(lifetime) => {
            let lifetime = u16::try_from(lifetime.as_millis())
                .map_err(|_| TransportError::Options("lifetime above 65,535 ms"))?;
            (LIFETIME, lifetime)
        }
    };
    let unordered = if *ordered { 0 } else { UNORDERED };
    let mut message = vec![OPEN, channel_type | unordered];
    message.extend(PRIORITY_NORMAL.to_be_bytes());
    message.extend(u32::from(parameter).to_be_bytes());
    for name in [label, protocol] {
        // Checked above.
        message.extend((name.len() as u16).to_be_bytes());
    }
    message.extend(label.as_bytes());
    message.extend(protocol.as_bytes());
    Ok(message)
}

const ACK: u8 = 2;
const OPEN: u8 = 3;
const RELIABLE: u8 = 0;
const RETRANSMITS: u8 = 1;
const LIFETIME: u8 = 2;
/// Added to one of the three.
const UNORDERED: u8 = 0x80;
/// RFC 8831, section 6.4.
const PRIORITY_NORMAL: u16 = 256;
/// The same as with the other engine: a program does not depend on which it has.
const NAMES_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_survive_the_way_there_and_back() {
        for reliability in [
            Reliability::Reliable,
            Reliability::MaxRetransmits(3),
            Reliability::MaxPacketLifetime(Duration::from_millis(65_535)),
        ] {
            for ordered in [true, false] {
                let open = Dcep::Open(StreamOptions {
                    label: "grüße".into(),
                    protocol: "protocol".into(),
                    ordered,
                    reliability,
                });
                let message = open.encode().unwrap();
                assert_eq!(Dcep::parse(&message), Some(open));
                for end in 0..message.len() {
                    assert_eq!(Dcep::parse(&message[..end]), None, "cut at {end}");
                }
            }
        }
        assert_eq!(Dcep::parse(&Dcep::Ack.encode().unwrap()), Some(Dcep::Ack));
    }

    #[test]
    fn an_opening_message_is_as_in_the_rfc() {
        let mut options = StreamOptions::reliable("ab", "c");
        options.ordered = false;
        options.reliability = Reliability::MaxRetransmits(0x0102);
        let message = Dcep::Open(options).encode().unwrap();
        let expected = [3, 0x81, 1, 0, 0, 0, 1, 2, 0, 2, 0, 1, b'a', b'b', b'c'];
        assert_eq!(message, expected);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let long = StreamOptions::reliable("l".repeat(1000), "p".repeat(25));
        assert!(Dcep::Open(long).encode().is_err());
        let mut slow = StreamOptions::reliable("l", "");
        slow.reliability = Reliability::MaxPacketLifetime(Duration::from_secs(66));
        assert!(Dcep::Open(slow).encode().is_err());
        for malformed in [
            &[][..],
            &[1],
            // An unknown type of channel, and a label that is no text.
            &[3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0xff],
        ] {
            assert_eq!(Dcep::parse(malformed), None, "{malformed:?}");
        }
    }
}
