//! Signaling between peers of one process, without a server or a socket.

use core::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rondevu_core::{
    IceCandidate, OfferId, PeerId, ServiceId, ServiceName, ServiceUuid, SessionDescription,
    Username,
};

use crate::protocol_limits::check_description;
use crate::registry::{Entropy, Limits, Refusal, Registry};
use crate::store::{AnswerRecord, CandidateRecord, OfferRecord, ServiceRecord, TakenOffer};
use crate::{
    ClaimedUsername, CreatedOffer, ListedService, NewOffer, OfferAnswer, OwnOffer, OwnOfferAnswer,
    Publication, PublishedService, RemoteCandidate, ServiceOffer, Signaling, SignalingError,
    SignedClaim, UnixMillis, UsernameStatus, Visibility,
};

/// A signaling server without the server, for tests, simulations and demonstrations.
///
/// Keeps the same rules as the server of this crate. Cheap to clone; all clones are the same.
/// Identifiers are counted, so that a run can be repeated.
#[derive(Clone, Debug)]
pub struct MemorySignaling {
    registry: Arc<Registry>,
}

impl MemorySignaling {
    /// An empty one, with the default limits and this machine's clock.
    pub fn new() -> Self {
        Self::with(Limits::default(), UnixMillis::now)
    }

    /// An empty one with other limits and another clock.
    ///
    /// Requests that wait measure their time with tokio's clock.
    pub fn with(limits: Limits, clock: impl Fn() -> UnixMillis + Send + Sync + 'static) -> Self {
        let registry = Registry::in_memory(limits, Arc::new(clock), Entropy::counter());
        Self {
            registry: Arc::new(registry),
        }
    }

    /// A new peer; clone the handle to use the same peer from several places.
    pub fn peer(&self) -> MemoryPeer {
        MemoryPeer {
            registry: Arc::clone(&self.registry),
            id: self.registry.new_peer().expect("a counter never fails"),
        }
    }
}

impl Default for MemorySignaling {
    fn default() -> Self {
        Self::new()
    }
}

/// One peer of a [`MemorySignaling`].
#[derive(Clone)]
pub struct MemoryPeer {
    registry: Arc<Registry>,
    id: PeerId,
}

impl MemoryPeer {
    /// Who this peer is to others.
    pub fn id(&self) -> &PeerId {
        &self.id
    }
}

impl fmt::Debug for MemoryPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryPeer").field(&self.id).finish()
    }
}

#[async_trait]
impl Signaling for MemoryPeer {
    fn another_peer(&self) -> Option<Arc<dyn Signaling>> {
        let signaling = MemorySignaling {
            registry: Arc::clone(&self.registry),
        };
        Some(Arc::new(signaling.peer()))
    }

    async fn claim_username(&self, claim: &SignedClaim) -> Result<ClaimedUsername, SignalingError> {
        Ok(self.registry.claim_username(claim).await?)
    }

    async fn look_up_username(
        &self,
        username: &Username,
    ) -> Result<UsernameStatus, SignalingError> {
        Ok(match self.registry.name(username).await? {
            None => UsernameStatus::Available,
            Some(name) => UsernameStatus::Taken {
                public_key: name.key,
                claimed_at: name.claimed_at,
                expires_at: name.expires_at,
            },
        })
    }

    async fn list_services(
        &self,
        username: &Username,
    ) -> Result<Vec<ListedService>, SignalingError> {
        let services = self.registry.services(username).await?;
        Ok(services.into_iter().map(listed).collect())
    }

    async fn publish_service(
        &self,
        publication: &Publication,
    ) -> Result<PublishedService, SignalingError> {
        Ok(self.registry.publish(&self.id, publication).await?)
    }

    async fn unpublish_service(
        &self,
        service: &ServiceId,
        owner: &Username,
    ) -> Result<(), SignalingError> {
        Ok(self.registry.unpublish(&self.id, service, owner).await?)
    }

    async fn find_service(
        &self,
        username: &Username,
        service: &ServiceName,
    ) -> Result<ServiceUuid, SignalingError> {
        Ok(self.registry.find_service(username, service).await?)
    }

    async fn take_offer(&self, uuid: &ServiceUuid) -> Result<ServiceOffer, SignalingError> {
        match self.registry.take_offer(uuid).await {
            Ok(taken) => Ok(offered(taken)),
            Err(Refusal::ServiceNotFound) => Err(SignalingError::ServiceMoved),
            Err(refusal) => Err(refusal.into()),
        }
    }

    async fn create_offers(
        &self,
        offers: &[NewOffer],
    ) -> Result<Vec<CreatedOffer>, SignalingError> {
        if offers.is_empty() {
            return Ok(Vec::new());
        }
        let created = self.registry.create_offers(&self.id, offers).await?;
        Ok(created.into_iter().map(created_offer).collect())
    }

    async fn list_offers(&self) -> Result<Vec<OwnOffer>, SignalingError> {
        let offers = self.registry.offers(&self.id).await?;
        Ok(offers.into_iter().map(own_offer).collect())
    }

    async fn delete_offer(&self, offer: &OfferId) -> Result<(), SignalingError> {
        Ok(self.registry.delete_offer(&self.id, offer).await?)
    }

    async fn answer_offer(
        &self,
        offer: &OfferId,
        answer: &SessionDescription,
        secret: Option<&str>,
    ) -> Result<(), SignalingError> {
        check_description(answer)?;
        let answered = self.registry.answer(&self.id, offer, &answer.sdp, secret);
        Ok(answered.await?)
    }

    async fn answers(
        &self,
        since: Option<UnixMillis>,
        wait: Duration,
    ) -> Result<Vec<OfferAnswer>, SignalingError> {
        let since = Some(since.unwrap_or_default());
        let answers = self.registry.answers(&self.id, since, wait).await?;
        Ok(answers.into_iter().map(answer).collect())
    }

    async fn supports_wait(&self) -> Result<bool, SignalingError> {
        Ok(true)
    }

    async fn add_candidates(
        &self,
        offer: &OfferId,
        candidates: &[IceCandidate],
    ) -> Result<(), SignalingError> {
        if candidates.is_empty() {
            return Ok(());
        }
        let json = candidates
            .iter()
            .map(|c| serde_json::to_string(c).expect("a candidate holds only texts and numbers"));
        let added = self
            .registry
            .add_candidates(&self.id, offer, json.collect());
        Ok(added.await?)
    }

    async fn candidates(
        &self,
        offer: &OfferId,
        since: Option<UnixMillis>,
        wait: Duration,
    ) -> Result<Vec<RemoteCandidate>, SignalingError> {
        let found = self.registry.candidates(&self.id, offer, since, wait);
        Ok(found.await?.into_iter().filter_map(candidate).collect())
    }
}

fn listed(record: ServiceRecord) -> ListedService {
    let (service, metadata) = match record.visibility {
        Visibility::Public => (Some(record.service), json_value(record.metadata)),
        Visibility::Private => (None, None),
    };
    ListedService {
        uuid: record.uuid,
        visibility: record.visibility,
        service,
        metadata,
    }
}

fn offered(taken: TakenOffer) -> ServiceOffer {
    let service = taken.service;
    ServiceOffer {
        service_id: service.id,
        username: service.owner,
        service: service.service,
        offer_id: taken.offer,
        sdp: SessionDescription::offer(taken.sdp),
        visibility: service.visibility,
        metadata: json_value(service.metadata),
        created_at: service.created_at,
        expires_at: service.expires_at,
    }
}

fn json_value(json: Option<String>) -> Option<serde_json::Value> {
    json.and_then(|json| serde_json::from_str(&json).ok())
}

fn created_offer(record: OfferRecord) -> CreatedOffer {
    CreatedOffer {
        id: record.id,
        peer: record.peer,
        created_at: record.created_at,
        expires_at: record.expires_at,
    }
}

fn own_offer(record: OfferRecord) -> OwnOffer {
    OwnOffer {
        id: record.id,
        sdp: SessionDescription::offer(record.sdp),
        created_at: record.created_at,
        expires_at: record.expires_at,
        answered: record
            .answerer
            .map_or(OwnOfferAnswer::Open, OwnOfferAnswer::By),
    }
}

fn answer(record: AnswerRecord) -> OfferAnswer {
    OfferAnswer {
        offer_id: record.offer,
        answerer: record.answerer,
        answer: SessionDescription::answer(record.sdp),
        answered_at: record.answered_at,
    }
}

/// `None` for a candidate that is not the browsers' kind; only other programs post such.
fn candidate(record: CandidateRecord) -> Option<RemoteCandidate> {
    Some(RemoteCandidate {
        candidate: serde_json::from_str(&record.candidate).ok()?,
        created_at: record.created_at,
    })
}
