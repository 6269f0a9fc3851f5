//! Links without WebRTC, for tests that must be fast: no certificates, no encryption, little code.

mod description;
mod frame;
mod link;
mod pipe;
mod segment;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use rondevu_core::{DescriptionKind, Instant, SessionDescription, StreamOptions};

use self::description::Description;
use self::link::{Link, Role};
use crate::{Answered, LocalCandidate, Offered, TransportError, TransportFactory};

/// Makes links that speak a small protocol of their own over whatever carries their datagrams.
///
/// They find each other, share one UDP socket behind a [`Router`](crate::Router), repeat what is
/// lost and hold back a writer that is too fast, as WebRTC links do. They keep nothing secret and
/// believe whoever knows their descriptions: **not for production**. Unordered and unreliable
/// streams are carried like the others.
#[derive(Debug)]
pub struct LoopbackFactory {
    buffer_bytes: usize,
    seed: u64,
    made: AtomicU64,
}

impl LoopbackFactory {
    /// A factory whose links are called differently from those of a factory with another seed.
    pub const fn new(seed: u64) -> Self {
        Self {
            buffer_bytes: BUFFER_BYTES,
            seed,
            made: AtomicU64::new(0),
        }
    }

    /// Changes how many bytes of unacknowledged messages a link holds. Default 128 KiB.
    #[must_use]
    pub const fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes;
        self
    }

    fn describe(&self, local: &[LocalCandidate]) -> Result<Description, TransportError> {
        let usable = |address: &SocketAddr| !address.ip().is_unspecified();
        let addresses = local.iter().map(|candidate| candidate.address());
        let addresses: Vec<_> = addresses.filter(usable).collect();
        if addresses.is_empty() {
            return Err(TransportError::NoAddress);
        }
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let mut random = fastrand::Rng::with_seed(self.seed ^ number.rotate_left(32));
        let mut fingerprint = [0; 32];
        fastrand::Rng::with_seed(self.seed).fill(&mut fingerprint);
        Ok(Description {
            username_fragment: format!("{:016x}{number:x}", random.u64(..)),
            fingerprint,
            message_bytes_max: self.buffer_bytes,
            addresses,
        })
    }
}

impl TransportFactory for LoopbackFactory {
    fn create_offer(
        &self,
        local: &[LocalCandidate],
        stream: StreamOptions,
        now: Instant,
    ) -> Result<Offered, TransportError> {
        let own = self.describe(local)?;
        let description = SessionDescription::offer(own.to_text());
        let mut link = Link::new(Role::Offerer, own, self.buffer_bytes, now);
        let stream = link.open(stream)?;
        Ok(Offered {
            transport: Box::new(link),
            description,
            stream,
        })
    }

    fn create_answer(
        &self,
        offer: &SessionDescription,
        local: &[LocalCandidate],
        now: Instant,
    ) -> Result<Answered, TransportError> {
        let peer = Description::parse(offer, DescriptionKind::Offer)?;
        let own = self.describe(local)?;
        let description = SessionDescription::answer(own.to_text());
        let mut link = Link::new(Role::Answerer, own, self.buffer_bytes, now);
        link.meet(peer, now);
        Ok(Answered {
            transport: Box::new(link),
            description,
        })
    }
}

/// What WebRTC links buffer, so that tests meet the same limits.
const BUFFER_BYTES: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    crate::transport_conformance!(super::LoopbackFactory::new(1));
}
