//! How much a registry keeps, and for whom.

use std::time::Duration;

/// How much a registry keeps. The defaults suit a public server with 1 GiB of memory.
#[derive(Clone, Debug)]
pub struct Limits {
    pub(crate) offers_per_peer: usize,
    pub(crate) services_per_username: usize,
    pub(crate) bytes_total: usize,
    pub(crate) offer_hold: Duration,
}

impl Limits {
    /// How many living offers a peer may have, answered ones included. Default 1000.
    #[must_use]
    pub fn offers_per_peer(mut self, count: usize) -> Self {
        self.offers_per_peer = count;
        self
    }

    /// How many living services a username may have. Default 64.
    #[must_use]
    pub fn services_per_username(mut self, count: usize) -> Self {
        self.services_per_username = count;
        self
    }

    /// How many bytes everything together may take, roughly. Default 256 MiB.
    #[must_use]
    pub fn bytes_total(mut self, bytes: usize) -> Self {
        self.bytes_total = bytes;
        self
    }

    /// For how long an offer that was handed out is handed to others only if there is no other
    /// one. Default 3 s; longer than a dialer needs to answer, shorter than its patience.
    #[must_use]
    pub fn offer_hold(mut self, hold: Duration) -> Self {
        self.offer_hold = hold;
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            offers_per_peer: 1000,
            services_per_username: 64,
            bytes_total: 256 * 1024 * 1024,
            offer_hold: Duration::from_secs(3),
        }
    }
}
