//! Why a registry refuses a request, in the words of the protocol.

use std::time::Duration;

use super::Capacity;
use crate::SignalingError;
use crate::error::printable;
use crate::protocol_limits::BrokenLimit;

/// Why a registry refuses a request; displayed as the text that goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Limit(#[from] BrokenLimit),
    #[error("Username already claimed by different public key")]
    UsernameTaken,
    #[error("Username not claimed")]
    UsernameNotClaimed,
    #[error("Invalid signature: {0}")]
    ClaimSignature(&'static str),
    #[error("Invalid signature for username")]
    PublishSignature,
    #[error("Signature already used: sign a new message")]
    SignatureUsed,
    #[error("Service not found")]
    ServiceNotFound,
    #[error("Service not found or not owned by this username")]
    ServiceNotOwned,
    #[error("No available offers")]
    NoOffers,
    #[error("Offer not found or not owned by this peer")]
    OfferNotOwned,
    #[error("Offer not found")]
    OfferNotFound,
    #[error("Offer not found or expired")]
    OfferToAnswerGone,
    #[error("Invalid or missing secret")]
    Secret,
    #[error("Offer already answered")]
    AlreadyAnswered,
    #[error(transparent)]
    Full(#[from] Capacity),
    #[cfg(feature = "sqlite")]
    #[error("Server is busy, try again in a moment")]
    StoreBusy,
    #[cfg(feature = "sqlite")]
    #[error("Storage failed, try again later")]
    StoreFailed,
    #[cfg(feature = "server")]
    #[error("Internal server error")]
    Internal,
}

impl Refusal {
    /// The HTTP status that goes with it.
    #[cfg(feature = "server")]
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Limit(_)
            | Self::ClaimSignature(_)
            | Self::OfferToAnswerGone
            | Self::Secret
            | Self::AlreadyAnswered => 400,
            Self::PublishSignature | Self::SignatureUsed => 403,
            Self::UsernameNotClaimed
            | Self::ServiceNotFound
            | Self::ServiceNotOwned
            | Self::OfferNotOwned
            | Self::OfferNotFound => 404,
            Self::UsernameTaken => 409,
            Self::Full(_) => 429,
            Self::Internal => 500,
            Self::NoOffers => 503,
            #[cfg(feature = "sqlite")]
            Self::StoreBusy | Self::StoreFailed => 503,
        }
    }

    /// When a request that met a limit may succeed.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            // Limits are relieved by expiry, which takes a minute at least.
            Self::Full(_) => Some(Duration::from_secs(60)),
            #[cfg(feature = "sqlite")]
            Self::StoreBusy | Self::StoreFailed => Some(Duration::from_secs(1)),
            #[cfg(feature = "server")]
            Self::Internal => None,
            Self::Limit(_)
            | Self::UsernameTaken
            | Self::UsernameNotClaimed
            | Self::ClaimSignature(_)
            | Self::PublishSignature
            | Self::SignatureUsed
            | Self::ServiceNotFound
            | Self::ServiceNotOwned
            | Self::NoOffers
            | Self::OfferNotOwned
            | Self::OfferNotFound
            | Self::OfferToAnswerGone
            | Self::Secret
            | Self::AlreadyAnswered => None,
        }
    }
}

#[cfg(feature = "server")]
impl Refusal {
    /// The limit that was met, as operators know it.
    pub(crate) fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Limit(broken) => broken.name(),
            Self::Full(capacity) => Some(capacity.name()),
            #[cfg(feature = "sqlite")]
            Self::StoreBusy => Some("store_queue"),
            #[cfg(feature = "sqlite")]
            Self::StoreFailed => None,
            Self::UsernameTaken
            | Self::UsernameNotClaimed
            | Self::ClaimSignature(_)
            | Self::PublishSignature
            | Self::SignatureUsed
            | Self::ServiceNotFound
            | Self::ServiceNotOwned
            | Self::NoOffers
            | Self::OfferNotOwned
            | Self::OfferNotFound
            | Self::OfferToAnswerGone
            | Self::Secret
            | Self::AlreadyAnswered
            | Self::Internal => None,
        }
    }
}

impl From<Refusal> for SignalingError {
    fn from(refusal: Refusal) -> Self {
        let message = printable(&refusal.to_string());
        match refusal {
            Refusal::Limit(broken) => broken.into(),
            Refusal::UsernameTaken => Self::UsernameTaken,
            Refusal::UsernameNotClaimed => Self::UsernameNotClaimed,
            Refusal::ClaimSignature(_) | Refusal::PublishSignature | Refusal::SignatureUsed => {
                Self::SignatureRefused { message }
            }
            Refusal::ServiceNotFound | Refusal::ServiceNotOwned => Self::ServiceNotFound,
            Refusal::NoOffers => Self::NoOffers,
            Refusal::OfferNotOwned | Refusal::OfferNotFound | Refusal::OfferToAnswerGone => {
                Self::OfferGone
            }
            Refusal::Secret => Self::SecretRefused,
            Refusal::AlreadyAnswered => Self::OfferAlreadyAnswered,
            Refusal::Full(_) => Self::RateLimited {
                retry_after: refusal.retry_after(),
                message,
            },
            #[cfg(feature = "server")]
            Refusal::Internal => Self::NoRandomness,
            #[cfg(feature = "sqlite")]
            Refusal::StoreBusy | Refusal::StoreFailed => Self::ServerFailed {
                status: refusal.status(),
                retry_after: refusal.retry_after(),
                message,
            },
        }
    }
}
