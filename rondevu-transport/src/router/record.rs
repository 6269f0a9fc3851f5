//! The headers of DTLS records, as far as they tell links apart.

/// What kind of record a datagram begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Belongs to a handshake: sent in the clear, or the Finished that ends it.
    Handshake,
    /// Only its association can read it.
    Encrypted,
}

/// How far a link has come with its handshake, as its own records show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Progress {
    /// It answered a check, or sent records in the clear.
    Handshaking,
    /// It sent its Finished; the peer's may still be on its way.
    Finishing,
    /// It sent application data.
    Established,
}

impl Record {
    /// The first record of `payload`, `None` if that is not DTLS.
    pub(super) fn first(payload: &[u8]) -> Option<Self> {
        let header = Header::parse(payload)?;
        Some(match header.progress {
            Progress::Handshaking | Progress::Finishing => Self::Handshake,
            Progress::Established => Self::Encrypted,
        })
    }
}

/// How far a link is that sends `payload`, `None` if that is not DTLS.
pub(super) fn furthest_progress(payload: &[u8]) -> Option<Progress> {
    let mut header = Header::parse(payload)?;
    let mut furthest = header.progress;
    // The last flight of a handshake begins in the clear and ends encrypted, in one datagram.
    while let Some(next) = Header::parse(header.rest) {
        furthest = furthest.max(next.progress);
        header = next;
    }
    Some(furthest)
}

struct Header<'a> {
    progress: Progress,
    rest: &'a [u8],
}

impl<'a> Header<'a> {
    fn parse(payload: &'a [u8]) -> Option<Self> {
        // DTLS 1.3 hides type and epoch in its encrypted records (RFC 9147, section 4).
        if let Some(32..=63) = payload.first() {
            return Some(Self {
                progress: Progress::Established,
                rest: &[],
            });
        }
        // DTLS 1.2: type, version (2), epoch (2), sequence number (6), length (2).
        let (header, rest) = payload.split_first_chunk::<13>()?;
        let progress = match (header[0], u16::from_be_bytes([header[3], header[4]])) {
            (20..=31, 0) => Progress::Handshaking,
            (HANDSHAKE, _) => Progress::Finishing,
            (20..=31, _) => Progress::Established,
            (_, _) => return None,
        };
        let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
        Some(Self {
            progress,
            rest: rest.get(length..).unwrap_or_default(),
        })
    }
}

const HANDSHAKE: u8 = 22;

#[cfg(test)]
pub(super) fn fixture(content_type: u8, epoch: u8) -> Vec<u8> {
    vec![
        content_type,
        254,
        253,
        0,
        epoch,
        0,
        0,
        0,
        0,
        0,
        1,
        0,
        2,
        7,
        7,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_apart() {
        for (content_type, epoch, record) in [
            (22, 0, Record::Handshake),
            (20, 0, Record::Handshake),
            (21, 0, Record::Handshake),
            (22, 1, Record::Handshake),
            (21, 1, Record::Encrypted),
            (23, 1, Record::Encrypted),
        ] {
            let payload = fixture(content_type, epoch);
            assert_eq!(Record::first(&payload), Some(record));
        }
        assert_eq!(Record::first(&[0x2f, 1, 2]), Some(Record::Encrypted));
        assert_eq!(Record::first(&[]), None);
        assert_eq!(Record::first(&[22, 254, 253]), None);
        assert_eq!(Record::first(&fixture(64, 0)), None);
    }

    #[test]
    fn the_furthest_record_of_a_datagram_counts() {
        let flight = [fixture(22, 0), fixture(20, 0), fixture(22, 1)].concat();
        assert_eq!(furthest_progress(&flight), Some(Progress::Finishing));
        assert_eq!(Record::first(&flight), Some(Record::Handshake));
        let cut = &flight[..flight.len() - 1];
        assert_eq!(furthest_progress(cut), Some(Progress::Finishing));
    }
}
