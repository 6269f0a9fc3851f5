//! A store that lives in this process's memory and is gone with it.

mod answers;
mod offers;
mod pool;
mod services;
mod state;
#[cfg(test)]
mod tests;
mod trickle;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rondevu_core::{OfferId, PeerId, ServiceId, ServiceName, ServiceUuid, Username};

use super::{
    AnswerRecord, CandidateRecord, Digest, NameClaim, NameRecord, OfferDraft, OfferRecord,
    ServiceDraft, ServiceRecord, Store, TakenOffer,
};
#[cfg(feature = "server")]
use super::{Census, Swept};
use crate::UnixMillis;
use crate::registry::{Limits, Refusal};
use state::State;

/// Keeps everything behind one lock, which is never held across an await.
pub(crate) struct MemoryStore {
    state: Mutex<State>,
}

impl MemoryStore {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            state: Mutex::new(State::new(limits)),
        }
    }

    fn read(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Also clears away a little of what has expired, so that nothing piles up where nobody
    /// sweeps.
    fn write(&self, now: UnixMillis) -> MutexGuard<'_, State> {
        let mut state = self.read();
        state.sweep(now, SWEEP_BY_THE_WAY);
        state
    }
}

#[async_trait]
impl Store for MemoryStore {
    #[cfg(feature = "server")]
    async fn server_key(&self, fresh: [u8; 32]) -> Result<[u8; 32], Refusal> {
        Ok(*self.read().server_key.get_or_insert(fresh))
    }

    async fn claim_name(&self, claim: NameClaim, now: UnixMillis) -> Result<NameRecord, Refusal> {
        self.write(now).claim_name(claim, now)
    }

    async fn name(&self, name: &Username, now: UnixMillis) -> Result<Option<NameRecord>, Refusal> {
        Ok(self.read().name(name, now).cloned())
    }

    async fn publish(
        &self,
        draft: ServiceDraft,
        now: UnixMillis,
    ) -> Result<ServiceRecord, Refusal> {
        self.write(now).publish(draft, now)
    }

    async fn services(
        &self,
        owner: &Username,
        now: UnixMillis,
    ) -> Result<Vec<ServiceRecord>, Refusal> {
        Ok(self.read().services_of(owner, now))
    }

    async fn find_service(
        &self,
        owner: &Username,
        service: &ServiceName,
        now: UnixMillis,
    ) -> Result<ServiceUuid, Refusal> {
        self.read().find_service(owner, service, now)
    }

    async fn take_offer(
        &self,
        uuid: &ServiceUuid,
        hold: Duration,
        now: UnixMillis,
    ) -> Result<TakenOffer, Refusal> {
        self.write(now).take_offer(uuid, hold, now)
    }

    async fn unpublish(
        &self,
        peer: &PeerId,
        service: &ServiceId,
        owner: &Username,
        now: UnixMillis,
    ) -> Result<(), Refusal> {
        self.write(now).unpublish(peer, service, owner, now)
    }

    async fn create_offers(
        &self,
        peer: &PeerId,
        drafts: Vec<OfferDraft>,
        now: UnixMillis,
    ) -> Result<Vec<OfferRecord>, Refusal> {
        self.write(now).create_offers(peer, drafts, now)
    }

    async fn offers(
        &self,
        peer: &PeerId,
        bytes_max: usize,
        now: UnixMillis,
    ) -> Result<Vec<OfferRecord>, Refusal> {
        Ok(self.read().offers_of(peer, bytes_max, now))
    }

    async fn delete_offer(
        &self,
        peer: &PeerId,
        offer: &OfferId,
        now: UnixMillis,
    ) -> Result<(), Refusal> {
        self.write(now).delete_offer(peer, offer, now)
    }

    async fn answer(
        &self,
        peer: &PeerId,
        offer: &OfferId,
        sdp: &str,
        secret: Option<Digest>,
        now: UnixMillis,
    ) -> Result<PeerId, Refusal> {
        self.write(now).answer(peer, offer, sdp, secret, now)
    }

    async fn answers(
        &self,
        peer: &PeerId,
        since: Option<UnixMillis>,
        bytes_max: usize,
        now: UnixMillis,
    ) -> Result<Vec<AnswerRecord>, Refusal> {
        Ok(self.read().answers(peer, since, bytes_max, now))
    }

    async fn add_candidates(
        &self,
        peer: &PeerId,
        offer: &OfferId,
        candidates: Vec<String>,
        now: UnixMillis,
    ) -> Result<Option<PeerId>, Refusal> {
        self.write(now).add_candidates(peer, offer, candidates, now)
    }

    async fn candidates(
        &self,
        peer: &PeerId,
        offer: &OfferId,
        since: UnixMillis,
        now: UnixMillis,
    ) -> Result<Vec<CandidateRecord>, Refusal> {
        self.read().candidates(peer, offer, since, now)
    }

    #[cfg(feature = "server")]
    async fn sweep(&self, now: UnixMillis) -> Result<Swept, Refusal> {
        Ok(self.read().sweep(now, SWEEP_ON_PURPOSE))
    }

    #[cfg(feature = "server")]
    async fn census(&self) -> Result<Census, Refusal> {
        Ok(self.read().census())
    }

    #[cfg(feature = "server")]
    async fn close(&self) -> Result<(), Refusal> {
        Ok(())
    }
}

/// More than one request can add, so that the expired are cleared away faster than they come.
const SWEEP_BY_THE_WAY: usize = 8;

/// Under a millisecond with the lock held.
#[cfg(feature = "server")]
const SWEEP_ON_PURPOSE: usize = 256;
