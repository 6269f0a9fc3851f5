//! Which addresses a link listens to, and what it keeps of those that come a moment too early.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::Received;

/// The addresses that have proved to be the peer's, and the DTLS datagrams that they sent before
/// this side had a path.
///
/// An address has proved itself by a STUN message that knows the password of the link. Nothing but
/// STUN is taken from any other: the first handshake message is not authenticated in itself, and a
/// stranger's would spoil the handshake.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    proven: Vec<SocketAddr>,
    mapped: Vec<SocketAddr>,
    early: VecDeque<Early>,
}

/// A DTLS datagram that waits for the path.
#[derive(Debug)]
pub(crate) struct Early {
    source: SocketAddr,
    destination: SocketAddr,
    payload: Vec<u8>,
}

impl Early {
    pub(crate) fn as_received(&self) -> Received<'_> {
        Received {
            source: self.source,
            destination: self.destination,
            payload: &self.payload,
        }
    }
}

impl Sources {
    pub(crate) fn is_proven(&self, source: SocketAddr) -> bool {
        self.proven.contains(&source)
    }

    /// Remembers an address that proved itself; `false` if there are too many already.
    pub(crate) fn admit(&mut self, source: SocketAddr) -> bool {
        admit(&mut self.proven, source)
    }

    /// Whether a response may claim that this side appears as `mapped`; `false` if it has claimed
    /// too many different things already. The engine keeps each as a candidate.
    pub(crate) fn admit_mapped(&mut self, mapped: SocketAddr) -> bool {
        admit(&mut self.mapped, mapped)
    }

    /// Keeps a datagram until there is a path. The oldest stay: a handshake begins with them, and
    /// the peer repeats what is lost.
    pub(crate) fn hold(&mut self, datagram: Received<'_>) -> bool {
        let fits = self.early.len() < EARLY_MAX && datagram.payload.len() <= EARLY_BYTES_MAX;
        if fits {
            self.early.push_back(Early {
                source: datagram.source,
                destination: datagram.destination,
                payload: datagram.payload.into(),
            });
        }
        fits
    }

    /// Gives the next datagram that was held.
    pub(crate) fn take_early(&mut self) -> Option<Early> {
        self.early.pop_front()
    }
}

fn admit(known: &mut Vec<SocketAddr>, address: SocketAddr) -> bool {
    if known.contains(&address) {
        return true;
    }
    let room = known.len() < ADDRESSES_MAX;
    if room {
        known.push(address);
    }
    room
}

/// A peer has a handful of addresses, and a NAT may give it another one now and then. The engine
/// keeps every address that proves itself and forgets none.
const ADDRESSES_MAX: usize = 128;
/// A ClientHello fits one datagram; some send two fragments, and one repetition may come.
const EARLY_MAX: usize = 4;
/// The largest datagram on an Ethernet.
const EARLY_BYTES_MAX: usize = 1500;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn addresses_are_bounded_and_stay_admitted() {
        let mut sources = Sources::default();
        for port in 0..200 {
            assert_eq!(sources.admit(address(port)), port < 128);
        }
        assert!(sources.admit(address(5)));
        assert!(sources.is_proven(address(5)));
        assert!(!sources.is_proven(address(150)));
    }

    #[test]
    fn the_first_early_datagrams_are_kept() {
        let mut sources = Sources::default();
        let held: Vec<bool> = (0..6u8)
            .map(|n| {
                sources.hold(Received {
                    source: address(1),
                    destination: address(2),
                    payload: &[22, n],
                })
            })
            .collect();
        assert_eq!(held, [true, true, true, true, false, false]);
        let kept: Vec<Vec<u8>> = std::iter::from_fn(|| sources.take_early())
            .map(|early| early.payload)
            .collect();
        assert_eq!(kept, [[22, 0], [22, 1], [22, 2], [22, 3]]);
    }
}
