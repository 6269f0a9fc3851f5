//! The limits on how much is kept, and how they are called.

/// A limit on how much is kept that a request met; displayed as the text that goes over the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Capacity {
    #[error("Too many offers for this peer (max {0})")]
    OffersPerPeer(usize),
    #[error("Too many services for this username (max {0})")]
    ServicesPerUsername(usize),
    #[error("Too many peers post candidates")]
    PostersPerOffer,
    #[error("Server is full, try again later")]
    Bytes,
}

#[cfg(feature = "server")]
impl Capacity {
    /// What operators know it as.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::OffersPerPeer(_) => "offers_per_peer",
            Self::ServicesPerUsername(_) => "services_per_username",
            Self::PostersPerOffer => "posters_per_offer",
            Self::Bytes => "stored_bytes",
        }
    }
}
