//! The little of STUN (RFC 8489) that routing, bookkeeping and the question for one's own address need:
//! class, transaction, four attributes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A datagram that has the shape of a STUN message; nothing in it is authenticated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stun<'a> {
    class: Class,
    transaction: Transaction,
    attributes: &'a [u8],
}

/// What kind of STUN message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Request,
    Indication,
    Success,
    Failure,
}

/// The number that a response shares with its request.
pub(crate) type Transaction = [u8; 12];

impl<'a> Stun<'a> {
    /// Reads the header of `payload`, `None` if it is no STUN message.
    pub(crate) fn parse(payload: &'a [u8]) -> Option<Self> {
        let (header, attributes) = payload.split_first_chunk::<HEADER_BYTES>()?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        // The two topmost bits are zero in STUN and tell it from DTLS and RTP (RFC 7983).
        if header[0] > 3 || header[4..8] != COOKIE || length != attributes.len() || length % 4 != 0
        {
            return None;
        }
        let class = match (header[0] & 0x01, header[1] & 0x10) {
            (0, 0) => Class::Request,
            (0, _) => Class::Indication,
            (_, 0) => Class::Success,
            (_, _) => Class::Failure,
        };
        let mut transaction = [0; 12];
        transaction.copy_from_slice(&header[8..]);
        Some(Self {
            class,
            transaction,
            attributes,
        })
    }

    pub(crate) const fn class(&self) -> Class {
        self.class
    }

    pub(crate) const fn transaction(&self) -> Transaction {
        self.transaction
    }

    /// The part of USERNAME before the colon: the user name fragment of the side that receives.
    pub(crate) fn receiver_username_fragment(&self) -> Option<&'a str> {
        let (receiver, _sender) = self.username()?.split_once(':')?;
        Some(receiver)
    }

    /// USERNAME: the fragments of the receiver and of the sender with a colon between.
    pub(crate) fn username(&self) -> Option<&'a str> {
        std::str::from_utf8(self.attribute(USERNAME)?).ok()
    }

    /// USE-CANDIDATE: the controlling side chooses the path of this request (RFC 8445, section 7.1.2).
    #[cfg(any(feature = "str0m", feature = "engine-composed"))]
    pub(crate) fn chooses(&self) -> bool {
        self.attribute(USE_CANDIDATE).is_some()
    }

    /// XOR-MAPPED-ADDRESS: where the responder saw the request come from.
    pub(crate) fn mapped_address(&self) -> Option<SocketAddr> {
        let value = self.attribute(XOR_MAPPED_ADDRESS)?;
        let (&[_, family, port_high, port_low], ip) = value.split_first_chunk::<4>()?;
        let port = u16::from_be_bytes([port_high ^ COOKIE[0], port_low ^ COOKIE[1]]);
        let ip = match family {
            1 => IpAddr::V4(Ipv4Addr::from(self.unmask::<4>(ip)?)),
            2 => IpAddr::V6(Ipv6Addr::from(self.unmask::<16>(ip)?)),
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    }

    /// ERROR-CODE: why a request failed, as in 401.
    pub(crate) fn error_code(&self) -> Option<u16> {
        let value = self.attribute(ERROR_CODE)?;
        let &[_, _, class, number] = value.first_chunk::<4>()?;
        Some(u16::from(class & 0x07) * 100 + u16::from(number))
    }

    fn unmask<const N: usize>(&self, masked: &[u8]) -> Option<[u8; N]> {
        let mut address: [u8; N] = masked.try_into().ok()?;
        let mask = COOKIE.iter().chain(&self.transaction);
        address.iter_mut().zip(mask).for_each(|(a, m)| *a ^= m);
        Some(address)
    }

    fn attribute(&self, wanted: u16) -> Option<&'a [u8]> {
        let mut rest = self.attributes;
        loop {
            let (&[k0, k1, l0, l1], tail) = rest.split_first_chunk::<4>()?;
            let length = usize::from(u16::from_be_bytes([l0, l1]));
            let value = tail.get(..length)?;
            if u16::from_be_bytes([k0, k1]) == wanted {
                return Some(value);
            }
            rest = tail.get(length.next_multiple_of(4)..)?;
        }
    }
}

const HEADER_BYTES: usize = 20;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const USERNAME: u16 = 0x0006;
const ERROR_CODE: u16 = 0x0009;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
#[cfg(any(feature = "str0m", feature = "engine-composed"))]
const USE_CANDIDATE: u16 = 0x0025;

/// A binding request to the side whose fragment stands first in `username`; not authenticated.
pub(crate) fn request(username: &str, transaction: Transaction) -> Vec<u8> {
    let padded = username.len().next_multiple_of(4);
    let mut message = header(0x0001, transaction, padded + 4);
    message.extend(USERNAME.to_be_bytes());
    message.extend((username.len() as u16).to_be_bytes());
    message.extend(username.as_bytes());
    message.resize(HEADER_BYTES + 4 + padded, 0);
    message
}

/// A binding request to a STUN server.
pub(crate) fn question(transaction: Transaction) -> Vec<u8> {
    header(0x0001, transaction, 0)
}

/// What keeps the way to a STUN server open, and asks for nothing.
pub(crate) fn keep_alive(transaction: Transaction) -> Vec<u8> {
    header(0x0011, transaction, 0)
}

/// How many bytes of a stream of STUN messages the first of them takes; `None` while that cannot be told.
///
/// # Errors
///
/// There is something else.
pub(crate) fn first_in_stream(stream: &[u8]) -> Result<Option<usize>, NoStun> {
    if stream.first().is_some_and(|first| *first > 3) {
        return Err(NoStun);
    }
    let Some(&[_, _, l0, l1, ref cookie @ ..]) = stream.first_chunk::<8>() else {
        return Ok(None);
    };
    match *cookie == COOKIE {
        true => Ok(Some(
            HEADER_BYTES + usize::from(u16::from_be_bytes([l0, l1])),
        )),
        false => Err(NoStun),
    }
}

/// A stream of something else.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoStun;

/// A binding response without attributes; not authenticated.
pub(crate) fn success(transaction: Transaction) -> Vec<u8> {
    header(0x0101, transaction, 0)
}

/// A binding response that names an IPv4 address; not authenticated.
#[cfg(test)]
pub(crate) fn mapped(transaction: Transaction, address: SocketAddr) -> Vec<u8> {
    let IpAddr::V4(ip) = address.ip() else {
        panic!("an IPv4 address is needed here");
    };
    let mut message = header(0x0101, transaction, 12);
    message.extend(XOR_MAPPED_ADDRESS.to_be_bytes());
    message.extend([0, 8, 0, 1]);
    let port = address.port() ^ u16::from_be_bytes([COOKIE[0], COOKIE[1]]);
    message.extend(port.to_be_bytes());
    let masked = ip.octets().into_iter().zip(COOKIE);
    message.extend(masked.map(|(octet, mask)| octet ^ mask));
    message
}

fn header(kind: u16, transaction: Transaction, length: usize) -> Vec<u8> {
    let mut message = kind.to_be_bytes().to_vec();
    message.extend((length as u16).to_be_bytes());
    message.extend(COOKIE);
    message.extend(transaction);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_receiver() {
        let message = request("abcde:xyz", [7; 12]);
        let stun = Stun::parse(&message).unwrap();
        assert_eq!(stun.class(), Class::Request);
        assert_eq!(stun.transaction(), [7; 12]);
        assert_eq!(stun.receiver_username_fragment(), Some("abcde"));
        assert_eq!(stun.mapped_address(), None);
    }

    #[test]
    fn messages_of_a_stream_are_found_and_something_else_is_noticed() {
        let stream = [request("ab:cd", [7; 12]), question([8; 12])].concat();
        let first = stream.len() - HEADER_BYTES;
        for end in 0..8 {
            assert_eq!(first_in_stream(&stream[..end]), Ok(None));
        }
        for end in 8..=stream.len() {
            assert_eq!(first_in_stream(&stream[..end]), Ok(Some(first)));
        }
        assert_eq!(first_in_stream(b"H"), Err(NoStun));
        // Channel data, which nobody asked for on a stream.
        assert_eq!(first_in_stream(&[0x40, 0, 0, 4, 1, 2, 3, 4]), Err(NoStun));
        assert_eq!(first_in_stream(&[0; 8]), Err(NoStun));
    }

    #[test]
    fn classes_are_told_apart() {
        let success = success([1; 12]);
        assert_eq!(Stun::parse(&success).unwrap().class(), Class::Success);
        let mut failure = success;
        failure[1] = 0x11;
        assert_eq!(Stun::parse(&failure).unwrap().class(), Class::Failure);
        failure[0] = 0;
        assert_eq!(Stun::parse(&failure).unwrap().class(), Class::Indication);
    }

    /// The sample response of RFC 5769, section 2.2, up to its address.
    #[test]
    fn a_mapped_address_is_unmasked() {
        let mut message = success([
            0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
        ]);
        message.extend([0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47]);
        message.extend([0xe1, 0x12, 0xa6, 0x43]);
        message[3] = 12;
        let stun = Stun::parse(&message).unwrap();
        assert_eq!(
            stun.mapped_address(),
            Some("192.0.2.1:32853".parse().unwrap())
        );
    }

    #[test]
    fn every_truncation_and_bit_flip_is_read_without_a_panic() {
        let message = request("abcde:xyz", [7; 12]);
        for end in 0..message.len() {
            assert!(Stun::parse(&message[..end]).is_none(), "cut at {end}");
        }
        for bit in 0..message.len() * 8 {
            let mut flipped = message.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Some(stun) = Stun::parse(&flipped) {
                let _ = (stun.receiver_username_fragment(), stun.mapped_address());
            }
        }
    }
}
