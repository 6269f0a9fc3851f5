//! What each status and text of a signaling server means.
//!
//! | request | status | text | error |
//! | --- | --- | --- | --- |
//! | claim | 400 | speaks of signature, timestamp or time | `SignatureRefused` |
//! | claim | 409 | | `UsernameTaken` |
//! | claim, publish | 403 | | `SignatureRefused` |
//! | publish | 404 | | `UsernameNotClaimed` |
//! | publish, create offers | 500 | speaks of a unique constraint | `DescriptionKnown` |
//! | find, unpublish, create offers | 404 | | `ServiceNotFound` |
//! | take | 404 | | `ServiceMoved` |
//! | take | 503 | in JSON | `NoOffers` |
//! | answer | 400 | already answered | `OfferAlreadyAnswered` |
//! | answer | 400 | secret | `SecretRefused` |
//! | answer | 400 | not found | `OfferGone` |
//! | answer, delete offer, candidates | 404 | | `OfferGone` |
//! | any | 401 | | `Unauthorized` |
//! | any | 429 | | `RateLimited` |
//! | any | 5xx | | `ServerFailed` |
//! | any | 3xx, or 404, 405 and 501 not in JSON | | `NotRondevu` |
//! | any | other | | `Rejected` |

use super::exchange::Reply;
use crate::SignalingError;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Information,
    Registration,
    Claim,
    Username,
    Publish,
    Service,
    TakeOffer,
    CreateOffers,
    OwnOffers,
    Offer,
    Answer,
}

/// The meaning of an answer that is no success.
pub(super) fn meaning(asked: Asked, reply: &Reply) -> SignalingError {
    let text = reply.error_text();
    let spoken = text.is_some();
    let message = text.unwrap_or_else(|| reply.any_text());
    match (reply.status, asked) {
        (300..=399, _) => SignalingError::NotRondevu {
            reason: format!("it redirects to {}", reply.location()),
        },
        (404 | 405 | 501, _) if !spoken => SignalingError::NotRondevu {
            reason: "it does not know this request".into(),
        },
        (400, Asked::Claim) if speaks_of_signature(&message) => {
            SignalingError::SignatureRefused { message }
        }
        (409, Asked::Claim) => SignalingError::UsernameTaken,
        (403, Asked::Claim | Asked::Publish) => SignalingError::SignatureRefused { message },
        (404, Asked::Publish) => SignalingError::UsernameNotClaimed,
        (404, Asked::Service | Asked::CreateOffers) => SignalingError::ServiceNotFound,
        (404, Asked::TakeOffer) => SignalingError::ServiceMoved,
        (503, Asked::TakeOffer) if spoken => SignalingError::NoOffers,
        (400, Asked::Answer) => refused_answer(message),
        (404, Asked::Offer | Asked::Answer) => SignalingError::OfferGone,
        (401, _) => SignalingError::Unauthorized { message },
        (429, _) => SignalingError::RateLimited {
            retry_after: reply.retry_after,
            message,
        },
        (500, Asked::Publish | Asked::CreateOffers) if speaks_of_uniqueness(&message) => {
            SignalingError::DescriptionKnown
        }
        (status @ 500.., _) => SignalingError::ServerFailed {
            status,
            retry_after: reply.retry_after,
            message,
        },
        (status, _) => SignalingError::Rejected { status, message },
    }
}

fn refused_answer(message: String) -> SignalingError {
    let text = message.to_lowercase();
    if text.contains("already answered") {
        SignalingError::OfferAlreadyAnswered
    } else if text.contains("secret") && !text.contains("too long") {
        SignalingError::SecretRefused
    } else if text.contains("not found") {
        SignalingError::OfferGone
    } else {
        SignalingError::Rejected {
            status: 400,
            message,
        }
    }
}

/// Some servers name offers by their description, and pass on what their database says.
fn speaks_of_uniqueness(message: &str) -> bool {
    message.to_lowercase().contains("unique constraint")
}

fn speaks_of_signature(message: &str) -> bool {
    let text = message.to_lowercase();
    ["signature", "timestamp", "expired", "too old"]
        .iter()
        .any(|word| text.contains(word))
}
