//! Where a registry keeps names, services and offers.
//!
//! Each method of [`Store`] is one atomic step: it checks what must hold and changes everything or
//! nothing, a compare-and-set on names, services and offers that live until a given time. Rules that
//! need no state (signatures, sizes, lifetimes) stand in the registry above. The waking of those who
//! wait is the bus's, and each step returns whom to wake. So a store may also be a database shared
//! by several servers. Time is an argument; whatever has expired by `now` does not exist.
//!
//! | store | keeps |
//! | --- | --- |
//! | `memory` | everything in this process, behind one lock |
//! | `sqlite` | everything in a file (feature `sqlite`) |

mod cost;
mod memory;
mod records;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::time::Duration;

use async_trait::async_trait;
use rondevu_core::{OfferId, PeerId, ServiceId, ServiceName, ServiceUuid, Username};

use crate::UnixMillis;
use crate::registry::Refusal;

pub(crate) use memory::MemoryStore;
#[cfg(feature = "server")]
pub(crate) use records::Census;
pub(crate) use records::{
    AnswerRecord, CandidateRecord, Digest, NameClaim, NameRecord, OfferDraft, OfferRecord,
    ServiceDraft, ServiceRecord, TakenOffer, UsedSignature,
};
#[cfg(feature = "sqlite")]
pub(crate) use sqlite::{QUEUE_LEN, SqliteStore};

/// The state of a registry.
#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// The key that the servers of this store make credentials with: the one that is kept, else
    /// `fresh`, which is kept from now on.
    #[cfg(feature = "server")]
    async fn server_key(&self, fresh: [u8; 32]) -> Result<[u8; 32], Refusal>;

    /// Gives a free name to a key, or renews the name of the same key; uses the signature up.
    async fn claim_name(&self, claim: NameClaim, now: UnixMillis) -> Result<NameRecord, Refusal>;

    /// The owner of a name.
    async fn name(&self, name: &Username, now: UnixMillis) -> Result<Option<NameRecord>, Refusal>;

    /// Publishes a service with its first offer, if the name still belongs to the draft's key;
    /// uses the signature up and renews the name. A living service of the same key and name keeps
    /// its ids.
    async fn publish(&self, draft: ServiceDraft, now: UnixMillis)
    -> Result<ServiceRecord, Refusal>;

    /// The services of a name, the latest published first.
    async fn services(
        &self,
        owner: &Username,
        now: UnixMillis,
    ) -> Result<Vec<ServiceRecord>, Refusal>;

    /// A service by its owner and name.
    async fn find_service(
        &self,
        owner: &Username,
        service: &ServiceName,
        now: UnixMillis,
    ) -> Result<ServiceUuid, Refusal>;

    /// The newest open offer of a service that was not handed out within `hold`; if there is none,
    /// the one that was handed out first.
    async fn take_offer(
        &self,
        uuid: &ServiceUuid,
        hold: Duration,
        now: UnixMillis,
    ) -> Result<TakenOffer, Refusal>;

    /// Removes a service that `peer` published under `owner`.
    async fn unpublish(
        &self,
        peer: &PeerId,
        service: &ServiceId,
        owner: &Username,
        now: UnixMillis,
    ) -> Result<(), Refusal>;

    /// Adds offers of `peer`, all or none. An open offer that is there already is renewed, an
    /// answered one is left alone.
    async fn create_offers(
        &self,
        peer: &PeerId,
        drafts: Vec<OfferDraft>,
        now: UnixMillis,
    ) -> Result<Vec<OfferRecord>, Refusal>;

    /// The offers of `peer`, newest first, as many as fit in `bytes_max`.
    async fn offers(
        &self,
        peer: &PeerId,
        bytes_max: usize,
        now: UnixMillis,
    ) -> Result<Vec<OfferRecord>, Refusal>;

    /// Deletes an offer of `peer`.
    async fn delete_offer(
        &self,
        peer: &PeerId,
        offer: &OfferId,
        now: UnixMillis,
    ) -> Result<(), Refusal>;

    /// Answers an open offer; returns whose it is.
    async fn answer(
        &self,
        peer: &PeerId,
        offer: &OfferId,
        sdp: &str,
        secret: Option<Digest>,
        now: UnixMillis,
    ) -> Result<PeerId, Refusal>;

    /// The answers to the offers of `peer`, newest first, as many as fit in `bytes_max`: without
    /// `since` the newest of all, with it the oldest of those after it.
    async fn answers(
        &self,
        peer: &PeerId,
        since: Option<UnixMillis>,
        bytes_max: usize,
        now: UnixMillis,
    ) -> Result<Vec<AnswerRecord>, Refusal>;

    /// Adds candidates of `peer`; returns who may read them, if anybody may yet.
    async fn add_candidates(
        &self,
        peer: &PeerId,
        offer: &OfferId,
        candidates: Vec<String>,
        now: UnixMillis,
    ) -> Result<Option<PeerId>, Refusal>;

    /// The candidates for `peer` after `since`, oldest first.
    async fn candidates(
        &self,
        peer: &PeerId,
        offer: &OfferId,
        since: UnixMillis,
        now: UnixMillis,
    ) -> Result<Vec<CandidateRecord>, Refusal>;

    /// Removes some of what has expired; returns whether there may be more.
    #[cfg(feature = "server")]
    async fn sweep(&self, now: UnixMillis) -> Result<Swept, Refusal>;

    /// How much there is.
    #[cfg(feature = "server")]
    async fn census(&self) -> Result<Census, Refusal>;

    /// Finishes what is under way and lets go of files; whatever comes later fails.
    #[cfg(feature = "server")]
    async fn close(&self) -> Result<(), Refusal>;
}

/// Whether a sweep came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swept {
    /// Nothing expired is left.
    Clean,
    /// It stopped so as not to hold others up.
    Partly,
}

/// How many peers may post candidates to one offer: the owner, and a handful of dialers whose
/// answers are on their way.
pub(crate) const POSTERS_MAX: usize = 8;
