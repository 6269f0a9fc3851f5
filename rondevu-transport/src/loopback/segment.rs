//! What travels in one datagram: a numbered frame in the guise of a DTLS record.

use super::pipe::Segment;

/// Dressed as a DTLS record with application data, so that a router treats it like one.
pub(super) fn encode(segment: &Segment, tag: [u8; 8]) -> Vec<u8> {
    let length = (16 + segment.frame.len()) as u16;
    let mut out = RECORD_HEADER.to_vec();
    out.extend(length.to_be_bytes());
    out.extend(tag);
    out.extend(segment.number.to_be_bytes());
    out.extend(segment.ack.to_be_bytes());
    out.extend(&segment.frame);
    out
}

pub(super) fn decode(payload: &[u8], expected: [u8; 8]) -> Option<Segment> {
    let rest = payload.strip_prefix(&RECORD_HEADER)?;
    let (length, rest) = rest.split_first_chunk()?;
    let (tag, body) = rest.split_first_chunk()?;
    if usize::from(u16::from_be_bytes(*length)) != rest.len() || *tag != expected {
        return None;
    }
    let (number, body) = body.split_first_chunk()?;
    let (ack, frame) = body.split_first_chunk()?;
    Some(Segment {
        number: u32::from_be_bytes(*number),
        ack: u32::from_be_bytes(*ack),
        frame: frame.into(),
    })
}

/// Type 23, version 1.2, epoch 1, sequence number 0.
const RECORD_HEADER: [u8; 11] = [23, 254, 253, 0, 1, 0, 0, 0, 0, 0, 0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_survive_the_way_there_and_back_and_nothing_else_does() {
        let segment = Segment {
            number: 7,
            ack: 8,
            frame: vec![1, 2, 3],
        };
        let payload = encode(&segment, *b"whosewho");
        assert_eq!(decode(&payload, *b"whosewho"), Some(segment));
        assert_eq!(decode(&payload, *b"somebody"), None);
        for end in 0..payload.len() {
            assert_eq!(decode(&payload[..end], *b"whosewho"), None);
        }
    }
}
