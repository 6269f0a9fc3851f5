//! The rows of a store, and the drafts that become rows.

use rondevu_core::{IdError, OfferId, PeerId, ServiceId, ServiceName, ServiceUuid, Username};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::{PublicKey, UnixMillis, Visibility};

/// A SHA-256 hash that stands for a text which the store need not know.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Digest(pub(crate) [u8; 32]);

impl Digest {
    /// The hash of `parts`, kept apart by their lengths.
    pub(crate) fn of(purpose: &str, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in [purpose.as_bytes()].iter().chain(parts) {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// Compares in a time that does not depend on where the difference is.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A signature that must not come again.
#[derive(Clone, Debug)]
pub(crate) struct UsedSignature {
    /// Stands for key and message.
    pub(crate) digest: Digest,
    /// When its message is too old anyway.
    pub(crate) forget_at: UnixMillis,
}

#[derive(Clone, Debug)]
pub(crate) struct NameClaim {
    pub(crate) name: Username,
    pub(crate) key: PublicKey,
    pub(crate) expires_at: UnixMillis,
    pub(crate) signature: UsedSignature,
}

#[derive(Clone, Debug)]
pub(crate) struct NameRecord {
    pub(crate) key: PublicKey,
    pub(crate) claimed_at: UnixMillis,
    pub(crate) expires_at: UnixMillis,
}

#[derive(Clone, Debug)]
pub(crate) struct ServiceDraft {
    pub(crate) peer: PeerId,
    pub(crate) owner: Username,
    pub(crate) key: PublicKey,
    pub(crate) signature: UsedSignature,
    pub(crate) owner_expires_at: UnixMillis,
    pub(crate) service: ServiceName,
    /// For a service that is not there yet.
    pub(crate) new_id: ServiceId,
    /// For a service that is not there yet.
    pub(crate) new_uuid: ServiceUuid,
    pub(crate) visibility: Visibility,
    /// JSON.
    pub(crate) metadata: Option<String>,
    pub(crate) expires_at: UnixMillis,
    pub(crate) offer: OfferDraft,
}

#[derive(Clone, Debug)]
pub(crate) struct ServiceRecord {
    pub(crate) id: ServiceId,
    pub(crate) uuid: ServiceUuid,
    pub(crate) peer: PeerId,
    pub(crate) owner: Username,
    pub(crate) key: PublicKey,
    pub(crate) service: ServiceName,
    pub(crate) visibility: Visibility,
    /// JSON.
    pub(crate) metadata: Option<String>,
    pub(crate) created_at: UnixMillis,
    pub(crate) expires_at: UnixMillis,
}

#[derive(Clone)]
pub(crate) struct OfferDraft {
    pub(crate) id: OfferId,
    pub(crate) sdp: String,
    pub(crate) expires_at: UnixMillis,
    pub(crate) secret: Option<Digest>,
    /// The service that it is for, which must be the same peer's.
    pub(crate) service: Option<ServiceId>,
}

impl OfferDraft {
    /// The id of an offer: the same peer's same description is the same offer.
    pub(crate) fn id_of(peer: &PeerId, sdp: &str) -> Result<OfferId, IdError> {
        OfferId::new(Digest::of("offer", &[peer.as_str().as_bytes(), sdp.as_bytes()]).hex())
    }
}

#[derive(Clone)]
pub(crate) struct OfferRecord {
    pub(crate) id: OfferId,
    pub(crate) peer: PeerId,
    pub(crate) sdp: String,
    pub(crate) created_at: UnixMillis,
    pub(crate) expires_at: UnixMillis,
    pub(crate) last_seen: UnixMillis,
    pub(crate) secret: Option<Digest>,
    pub(crate) answerer: Option<PeerId>,
}

pub(crate) struct TakenOffer {
    pub(crate) service: ServiceRecord,
    pub(crate) offer: OfferId,
    pub(crate) sdp: String,
}

pub(crate) struct AnswerRecord {
    pub(crate) offer: OfferId,
    pub(crate) answerer: PeerId,
    pub(crate) sdp: String,
    pub(crate) answered_at: UnixMillis,
}

pub(crate) struct CandidateRecord {
    /// JSON.
    pub(crate) candidate: String,
    pub(crate) created_at: UnixMillis,
}

/// How much a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg(feature = "server")]
pub(crate) struct Census {
    pub(crate) names: usize,
    pub(crate) services: usize,
    pub(crate) offers: usize,
    pub(crate) bytes: usize,
}

macro_rules! debug_without_content {
    ($($name:ident { $field:ident }),*) => {$(
        impl core::fmt::Debug for $name {
            /// Leaves out descriptions, candidates and hashes.
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.debug_struct(stringify!($name))
                    .field(stringify!($field), &self.$field)
                    .finish_non_exhaustive()
            }
        }
    )*};
}

debug_without_content!(
    OfferDraft { id },
    OfferRecord { id },
    TakenOffer { offer },
    AnswerRecord { offer },
    CandidateRecord { created_at }
);

impl core::fmt::Debug for Digest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Digest(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_digest_do_not_run_into_each_other() {
        let one = Digest::of("x", &[b"ab", b"c"]);
        assert!(!one.matches(&Digest::of("x", &[b"a", b"bc"])));
        assert!(!one.matches(&Digest::of("y", &[b"ab", b"c"])));
        assert!(one.matches(&Digest::of("x", &[b"ab", b"c"])));
    }
}
