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
        }
    }

    /// Adds a datagram if it can leave together with those before; whether it was taken.
    pub(crate) fn push(&mut self, datagram: &Datagram) -> bool {
        let payload = &datagram.payload;
        let fits = self.source == datagram.source
            && self.destination == datagram.destination
            && !payload.is_empty()
            // A probe may be too large for the interface, which would refuse the others with it.
            && !is_stun(&self.contents)
            && !is_stun(payload)
            // A shorter one was the last.
            && self.contents.len() == self.stride * self.datagrams
            && self.datagrams < DATAGRAMS_MAX
            && self.contents.len() + payload.len() <= BYTES_MAX;
        if !fits || payload.len() > self.stride && !self.lets_pass(payload) {
            return false;
        }
        if self.datagrams == 1 {
            let first = std::mem::replace(&mut self.contents, Buffer::with_capacity(BUFFER_BYTES));
            let (long, short) = match payload.len() > self.stride {
                true => (&payload[..], &first[..]),
                false => (&first[..], &payload[..]),
            };
            self.stride = long.len();
            self.contents.extend_from_slice(long);
            self.contents.extend_from_slice(short);
        } else {
            self.contents.extend_from_slice(payload);
        }
        self.datagrams += 1;
        true
    }

    /// Whether a longer datagram may overtake: only messages may, as a handshake is slow if its records come
    /// in another order.
    fn lets_pass(&self, longer: &[u8]) -> bool {
        self.datagrams == 1 && is_message(&self.contents) && is_message(longer)
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

    /// The batch in parts of at most so many datagrams.
    pub(crate) fn parts(&self, datagrams_max: usize) -> impl Iterator<Item = &[u8]> {
        let bytes_max = self.stride.saturating_mul(datagrams_max);
        self.contents.chunks(bytes_max.max(1))
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
        let record = |kind, len| Datagram {
            payload: vec![kind; len],
            ..datagram(2, 0)
        };
        let mut batch = Batch::of(&record(23, 60));
        assert!(batch.push(&record(23, 100)));
        assert_eq!((batch.stride(), batch.contents.len()), (100, 160));
        assert!(!batch.push(&record(23, 100)));
        // Those of a handshake keep their order.
        assert!(!Batch::of(&record(20, 60)).push(&record(22, 100)));
        assert!(!Batch::of(&record(22, 60)).push(&record(23, 100)));
        // So does what follows others of one size.
        let mut batch = Batch::of(&record(23, 60));
        assert!(batch.push(&record(23, 60)));
        assert!(!batch.push(&record(23, 100)));
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
