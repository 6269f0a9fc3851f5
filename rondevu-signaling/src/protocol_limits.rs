//! The sizes and times that the signaling protocol allows.

use std::time::Duration;

use rondevu_core::{SDP_LEN_MAX, SessionDescription};

use crate::{NewOffer, SignalingError};

/// A request that breaks a limit; displayed as servers say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BrokenLimit {
    #[error("Invalid SDP")]
    SdpEmpty,
    #[error("SDP too large (max 64KB)")]
    SdpTooLarge,
    #[error("No offers given")]
    OffersMissing,
    #[error("Too many offers (max 100 per request)")]
    TooManyOffers,
    #[error("Secret too long (max 128 bytes)")]
    SecretTooLong,
    #[error("Metadata too large (max 8KB)")]
    MetadataTooLarge,
    #[error("Too many candidates (max 64 per peer and offer)")]
    TooManyCandidates,
    #[error("Candidate too large (max 4KB)")]
    CandidateTooLarge,
}

#[cfg(feature = "server")]
impl BrokenLimit {
    /// What operators know it as; nothing where something is missing.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::SdpEmpty | Self::OffersMissing => None,
            Self::SdpTooLarge => Some("sdp_bytes"),
            Self::TooManyOffers => Some("offers_per_request"),
            Self::SecretTooLong => Some("secret_bytes"),
            Self::MetadataTooLarge => Some("metadata_bytes"),
            Self::TooManyCandidates => Some("candidates_per_peer_and_offer"),
            Self::CandidateTooLarge => Some("candidate_bytes"),
        }
    }
}

impl From<BrokenLimit> for SignalingError {
    fn from(broken: BrokenLimit) -> Self {
        Self::Invalid {
            reason: broken.to_string(),
        }
    }
}

/// Offers and answers have a description, of 64 KiB at most.
pub(crate) fn check_sdp(sdp: &str) -> Result<(), BrokenLimit> {
    match sdp.len() {
        0 => Err(BrokenLimit::SdpEmpty),
        1..=SDP_LEN_MAX => Ok(()),
        _ => Err(BrokenLimit::SdpTooLarge),
    }
}

/// A request creates 1 to 100 offers.
pub(crate) fn check_offers(offers: &[NewOffer]) -> Result<(), BrokenLimit> {
    if offers.len() > OFFERS_PER_REQUEST_MAX {
        return Err(BrokenLimit::TooManyOffers);
    }
    offers.iter().try_for_each(|offer| {
        check_secret(offer.secret.as_deref())?;
        check_description(&offer.sdp)
    })
}

/// Like [`check_sdp`].
pub(crate) fn check_description(description: &SessionDescription) -> Result<(), BrokenLimit> {
    check_sdp(&description.sdp)
}

/// A secret has 128 bytes at most.
pub(crate) fn check_secret(secret: Option<&str>) -> Result<(), BrokenLimit> {
    match secret {
        Some(secret) if secret.len() > SECRET_LEN_MAX => Err(BrokenLimit::SecretTooLong),
        Some(_) | None => Ok(()),
    }
}

/// Each candidate, in JSON, has 4 KiB at most, and no request has more than 64.
pub(crate) fn check_candidates(candidates: &[String]) -> Result<(), BrokenLimit> {
    if candidates.len() > CANDIDATES_MAX {
        return Err(BrokenLimit::TooManyCandidates);
    }
    match candidates
        .iter()
        .all(|json| json.len() <= CANDIDATE_LEN_MAX)
    {
        true => Ok(()),
        false => Err(BrokenLimit::CandidateTooLarge),
    }
}

/// How long a server keeps an offer or a service that asks for `ttl`.
pub(crate) fn lifetime(ttl: Option<Duration>) -> Duration {
    ttl.unwrap_or(TTL_MIN).clamp(TTL_MIN, TTL_MAX)
}

/// The most offers in one request.
pub(crate) const OFFERS_PER_REQUEST_MAX: usize = 100;
/// The most candidates of one peer for one offer.
pub(crate) const CANDIDATES_MAX: usize = 64;
/// The longest candidate in JSON, in bytes.
pub(crate) const CANDIDATE_LEN_MAX: usize = 4 * 1024;
/// The longest secret of an offer, in bytes.
pub(crate) const SECRET_LEN_MAX: usize = 128;
/// The longest metadata of a service in JSON, in bytes: 64 services of a username, escaped as the
/// list writes them, fit in the 1 MiB that a client reads.
pub(crate) const METADATA_LEN_MAX: usize = 8 * 1024;
/// The longest that a request is kept open.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a username stays with its key without being claimed or used.
pub(crate) const USERNAME_LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

const TTL_MIN: Duration = Duration::from_secs(60);
const TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_between_a_minute_and_a_day() {
        let minutes = |m: u64| Duration::from_secs(60 * m);
        assert_eq!(lifetime(None), minutes(1));
        assert_eq!(lifetime(Some(Duration::ZERO)), minutes(1));
        assert_eq!(lifetime(Some(minutes(5))), minutes(5));
        assert_eq!(lifetime(Some(Duration::MAX)), minutes(24 * 60));
    }

    #[test]
    fn a_description_of_64_kib_is_the_largest() {
        assert_eq!(check_sdp(""), Err(BrokenLimit::SdpEmpty));
        assert_eq!(check_sdp(&"x".repeat(65536)), Ok(()));
        assert_eq!(check_sdp(&"x".repeat(65537)), Err(BrokenLimit::SdpTooLarge));
    }
}
