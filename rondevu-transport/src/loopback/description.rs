//! What two loopback links must know of each other, as text.

use std::net::SocketAddr;

use rondevu_core::{DescriptionKind, SDP_LEN_MAX, SessionDescription};

use crate::TransportError;

/// One side of a loopback link; travels as five words and more in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Description {
    pub(super) username_fragment: String,
    pub(super) fingerprint: [u8; 32],
    pub(super) message_bytes_max: usize,
    pub(super) addresses: Vec<SocketAddr>,
}

impl Description {
    pub(super) fn to_text(&self) -> String {
        let digest: String = self.fingerprint.map(|b| format!("{b:02x}")).concat();
        let mut words = vec![
            MAGIC.to_owned(),
            self.username_fragment.clone(),
            digest,
            self.message_bytes_max.to_string(),
        ];
        words.extend(self.addresses.iter().map(SocketAddr::to_string));
        words.join(" ")
    }

    pub(super) fn parse(
        description: &SessionDescription,
        expected: DescriptionKind,
    ) -> Result<Self, TransportError> {
        if description.kind != expected {
            return Err(TransportError::NotExpected("offer and answer confused"));
        }
        let text = Some(description.sdp.as_str()).filter(|text| text.len() <= SDP_LEN_MAX);
        text.and_then(Self::parse_text)
            .ok_or_else(|| TransportError::Description("not of a loopback link".into()))
    }

    fn parse_text(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        if words.next()? != MAGIC {
            return None;
        }
        let username_fragment = words.next()?;
        let digest = words.next()?;
        let message_bytes_max = words.next()?.parse().ok()?;
        let addresses = words.take(ADDRESSES_MAX).map(|word| word.parse().ok());
        Some(Self {
            username_fragment: (username_fragment.len() <= 64).then(|| username_fragment.into())?,
            fingerprint: parse_digest(digest)?,
            message_bytes_max,
            addresses: addresses.collect::<Option<_>>()?,
        })
    }
}

fn parse_digest(hex: &str) -> Option<[u8; 32]> {
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(bytes)
}

const MAGIC: &str = "rondevu-loopback-1";
const ADDRESSES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_the_same() {
        let description = Description {
            username_fragment: "abc".into(),
            fingerprint: [0xa7; 32],
            message_bytes_max: 1000,
            addresses: vec!["127.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap()],
        };
        let offer = SessionDescription::offer(description.to_text());
        let parsed = Description::parse(&offer, DescriptionKind::Offer);
        assert_eq!(parsed, Ok(description));
        assert!(Description::parse(&offer, DescriptionKind::Answer).is_err());
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "v=0\r\n",
            "rondevu-loopback-1 a b c",
            "rondevu-loopback-1",
        ] {
            let offer = SessionDescription::offer(text);
            assert!(Description::parse(&offer, DescriptionKind::Offer).is_err());
        }
    }
}
