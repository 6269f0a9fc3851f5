//! How offers are created, answered and trickled to, and how their owners hear of it.

use std::time::Duration;

use rondevu_core::{OfferId, PeerId};

use super::{Refusal, Registry};
use crate::protocol_limits::{
    BrokenLimit, check_candidates, check_offers, check_sdp, check_secret, lifetime,
};
use crate::store::{AnswerRecord, CandidateRecord, Digest, OfferDraft, OfferRecord};
use crate::{NewOffer, UnixMillis};

impl Registry {
    pub(crate) async fn create_offers(
        &self,
        peer: &PeerId,
        offers: &[NewOffer],
    ) -> Result<Vec<OfferRecord>, Refusal> {
        if offers.is_empty() {
            return Err(BrokenLimit::OffersMissing.into());
        }
        check_offers(offers)?;
        let now = self.now();
        let drafts = offers.iter().map(|offer| draft(peer, offer, now));
        self.store.create_offers(peer, drafts.collect(), now).await
    }

    pub(crate) async fn offers(&self, peer: &PeerId) -> Result<Vec<OfferRecord>, Refusal> {
        self.store.offers(peer, ANSWER_LEN_MAX, self.now()).await
    }

    pub(crate) async fn delete_offer(&self, peer: &PeerId, offer: &OfferId) -> Result<(), Refusal> {
        self.store.delete_offer(peer, offer, self.now()).await
    }

    pub(crate) async fn answer(
        &self,
        peer: &PeerId,
        offer: &OfferId,
        sdp: &str,
        secret: Option<&str>,
    ) -> Result<(), Refusal> {
        check_sdp(sdp)?;
        check_secret(secret)?;
        let secret = secret.map(|secret| secret_digest(offer, secret));
        let owner = self
            .store
            .answer(peer, offer, sdp, secret, self.now())
            .await?;
        self.bus.ring(&owner).await;
        // From now on the answerer may read the owner's candidates.
        self.bus.ring(peer).await;
        Ok(())
    }

    pub(crate) async fn answers(
        &self,
        peer: &PeerId,
        since: Option<UnixMillis>,
        wait: Duration,
    ) -> Result<Vec<AnswerRecord>, Refusal> {
        self.ask_until_some(peer, wait, || {
            self.store.answers(peer, since, ANSWER_LEN_MAX, self.now())
        })
        .await
    }

    /// Takes candidates as JSON texts.
    pub(crate) async fn add_candidates(
        &self,
        peer: &PeerId,
        offer: &OfferId,
        candidates: Vec<String>,
    ) -> Result<(), Refusal> {
        check_candidates(&candidates)?;
        let now = self.now();
        let reader = self
            .store
            .add_candidates(peer, offer, candidates, now)
            .await?;
        if let Some(reader) = reader {
            self.bus.ring(&reader).await;
        }
        Ok(())
    }

    pub(crate) async fn candidates(
        &self,
        peer: &PeerId,
        offer: &OfferId,
        since: Option<UnixMillis>,
        wait: Duration,
    ) -> Result<Vec<CandidateRecord>, Refusal> {
        let since = since.unwrap_or_default();
        self.ask_until_some(peer, wait, || {
            self.store.candidates(peer, offer, since, self.now())
        })
        .await
    }
}

fn draft(peer: &PeerId, offer: &NewOffer, now: UnixMillis) -> OfferDraft {
    let id = OfferDraft::id_of(peer, &offer.sdp.sdp).expect("hex digits are printable");
    OfferDraft {
        secret: offer.secret.as_deref().map(|s| secret_digest(&id, s)),
        id,
        sdp: offer.sdp.sdp.clone(),
        expires_at: now.saturating_add(lifetime(offer.ttl)),
        service: offer.service.clone(),
    }
}

/// Salted with the offer, so that equal secrets do not show.
fn secret_digest(offer: &OfferId, secret: &str) -> Digest {
    Digest::of("secret", &[offer.as_str().as_bytes(), secret.as_bytes()])
}

/// How many bytes of descriptions go into one answer: JSON may need twice as many, and clients
/// read 1 MiB.
const ANSWER_LEN_MAX: usize = 512 * 1024;
