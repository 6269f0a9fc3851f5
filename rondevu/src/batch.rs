//! Datagrams that leave in one system call.

use std::net::SocketAddr;

use rondevu_transport::{Buffer, Datagram};

/// Datagrams of one size from one address to one other, end to end; only the last may be shorter.
///
/// That is what the system can cut up again by itself (generic segmentation offload). The order of
/// the datagrams is the order of their coming, but for a short first one that a longer one follows: an
/// acknowledgement and an answer leave together.
#[derive(Debug)]
pub(crate) struct Batch {
    source: SocketAddr,
    destination: SocketAddr,
    contents: Buffer,
    /// The size of all but the last.
    stride: usize,
    datagrams: usize,
    /// Whether the second was there first.
    is_turned: bool,
}

impl Batch {
    /// A batch of one.
    pub(crate) fn of(datagram: &Datagram) -> Self {
        let contents = Buffer::copy_of(&datagram.payload);
        Self {
            source: datagram.source,
            destination: datagram.destination,
            contents,
            stride: datagram.payload.len(),
            datagrams: 1,
            is_turned: false,
        }
    }

    /// Appends a datagram if it can leave together with those before; whether it was taken.
    pub(crate) fn push(&mut self, datagram: &Datagram) -> bool {
        let fits = (1..=self.stride).contains(&datagram.payload.len())
            && self.goes_with(datagram)
            // A shorter one was the last.
            && self.contents.len() == self.stride * self.datagrams
            && self.datagrams < DATAGRAMS_MAX;
        if fits {
            if self.datagrams == 1 {
                let mut contents = Buffer::with_capacity(BUFFER_BYTES);
                contents.extend_from_slice(&self.contents);
                self.contents = contents;
            }
            self.contents.extend_from_slice(&datagram.payload);
            self.datagrams += 1;
        }
        fits
    }

    /// Puts a message before an acknowledgement that is alone in the batch, so that both leave together;
    /// whether it was taken. Not while an SCTP association begins, whose first words have a size and a type
    /// like these.
    pub(crate) fn push_before(&mut self, datagram: &Datagram) -> bool {
        let payload = &datagram.payload;
        let fits = self.datagrams == 1
            && payload.len() > self.stride
            && self.stride <= ACKNOWLEDGEMENT_BYTES_MAX
            && is_message(payload)
            && is_message(&self.contents)
            && self.goes_with(datagram);
        if fits {
            let mut contents = Buffer::with_capacity(payload.len() + self.contents.len());
            contents.extend_from_slice(payload);
            contents.extend_from_slice(&self.contents);
            self.contents = contents;
            self.stride = payload.len();
            self.datagrams = 2;
            self.is_turned = true;
        }
        fits
    }

    fn goes_with(&self, datagram: &Datagram) -> bool {
        self.source == datagram.source
            && self.destination == datagram.destination
            // A probe may be too large for the interface, which would refuse the others with it.
            && !is_stun(&self.contents)
            && !is_stun(&datagram.payload)
            && self.contents.len() + datagram.payload.len() <= BYTES_MAX
    }

    pub(crate) fn source(&self) -> SocketAddr {
        self.source
    }

    pub(crate) fn destination(&self) -> SocketAddr {
        self.destination
    }

    /// The size of each datagram but the last.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// The batch in parts of at most so many datagrams; one by one they come in the order of their coming.
    pub(crate) fn parts(&self, datagrams_max: usize) -> impl Iterator<Item = &[u8]> {
        let bytes_max = self.stride.saturating_mul(datagrams_max).max(1);
        let (first, then) = match self.is_turned && datagrams_max == 1 {
            true => {
                let (second, first) = self.contents.split_at(self.stride);
                (first, second)
            }
            false => (&self.contents[..], &[][..]),
        };
        first.chunks(bytes_max).chain(then.chunks(bytes_max))
    }
}

/// RFC 7983 tells protocols apart by their first byte.
fn is_stun(payload: &[u8]) -> bool {
    matches!(payload.first(), Some(0..=3))
}

/// A record of application data (RFC 5246, section 6.2.1).
fn is_message(payload: &[u8]) -> bool {
    payload.first() == Some(&23)
}

/// A DTLS record of an SCTP packet with nothing but a selective acknowledgement has about 60.
const ACKNOWLEDGEMENT_BYTES_MAX: usize = 100;
/// What Linux takes at once.
const DATAGRAMS_MAX: usize = 64;
/// As large as what is received at once, so that each may take the place of the other.
const BUFFER_BYTES: usize = 64 * 1024;
/// The length field of IPv4 counts its own header of up to 60 bytes and the 8 of UDP.
const BYTES_MAX: usize = 65_535 - 60 - 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(destination: u8, len: usize) -> Datagram {
        Datagram {
            source: ([192, 0, 2, 1], 1).into(),
            destination: ([192, 0, 2, destination], 2).into(),
            payload: vec![7; len],
        }
    }

    #[test]
    fn equal_datagrams_and_a_shorter_one_travel_together() {
        let mut batch = Batch::of(&datagram(2, 1150));
        assert!(batch.push(&datagram(2, 1150)));
        assert!(!batch.push(&datagram(2, 1151)));
        assert!(!batch.push(&datagram(3, 1150)));
        assert!(batch.push(&datagram(2, 80)));
        // Behind a shorter one the system would not find the border.
        assert!(!batch.push(&datagram(2, 80)));
        assert!(!batch.push(&datagram(2, 1150)));
        let lens = |max| batch.parts(max).map(<[u8]>::len).collect::<Vec<_>>();
        assert_eq!(lens(64), [2380]);
        assert_eq!(lens(2), [2300, 80]);
        assert_eq!(lens(1), [1150, 1150, 80]);
    }

    #[test]
    fn an_acknowledgement_leaves_with_the_answer_behind_it() {
        let record = |kind, len, mark| {
            let mut payload = vec![mark; len];
            payload[0] = kind;
            Datagram {
                payload,
                ..datagram(2, 0)
            }
        };
        let (short, long) = (record(23, 60, 1), record(23, 100, 2));
        let mut batch = Batch::of(&short);
        assert!(!batch.push(&long));
        assert!(batch.push_before(&long));
        assert!(!batch.push(&short) && !batch.push_before(&record(23, 110, 3)));
        // Cut up by the system, and one by one.
        let together: Vec<_> = batch.parts(64).collect();
        assert_eq!(together, [[&long.payload[..], &short.payload].concat()]);
        assert_eq!(batch.contents.chunks(batch.stride()).count(), 2);
        let parts: Vec<_> = batch.parts(1).collect();
        assert_eq!(parts, [&short.payload[..], &long.payload]);
        // Handshakes, alerts, messages and what follows others of one size keep their order.
        let keeps = |first: Datagram, then| !Batch::of(&first).push_before(&then);
        assert!(keeps(record(20, 60, 1), record(22, 100, 2)));
        assert!(keeps(record(23, 60, 1), record(21, 100, 2)));
        assert!(keeps(record(23, 600, 1), record(23, 1000, 2)));
        let mut batch = Batch::of(&short);
        assert!(batch.push(&short) && !batch.push_before(&long));
    }

    #[test]
    fn a_probe_travels_alone() {
        let probe = |len| Datagram {
            payload: vec![0; len],
            ..datagram(2, 0)
        };
        assert!(!Batch::of(&probe(1452)).push(&probe(100)));
        assert!(!Batch::of(&probe(1452)).push(&datagram(2, 100)));
        assert!(!Batch::of(&datagram(2, 1452)).push(&probe(100)));
    }

    #[test]
    fn a_batch_is_bounded() {
        for (len, expected) in [(100, 64), (1150, 56)] {
            let mut batch = Batch::of(&datagram(2, len));
            let pushed = (0..100).filter(|_| batch.push(&datagram(2, len))).count();
            assert_eq!(pushed + 1, expected);
        }
    }
}
