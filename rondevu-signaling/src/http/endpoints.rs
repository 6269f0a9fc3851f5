//! Each request of the protocol: its path, its body, and what its answer means.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Method;
use rondevu_core::{
    IceCandidate, OfferId, ServiceId, ServiceName, ServiceUuid, SessionDescription, Username,
};
use serde_json::Value;
use serde_json::value::RawValue;

use super::HttpSignaling;
use super::error_table::Asked;
use super::exchange::malformed;
use super::session::Bearing;
use crate::protocol_limits::{
    WAIT_MAX, check_candidates, check_description, check_offers, check_secret,
};
use crate::time::millis;
use crate::{
    ClaimedUsername, CreatedOffer, ListedService, NewOffer, OfferAnswer, OwnOffer, OwnOfferAnswer,
    Publication, PublishedService, RemoteCandidate, ServiceOffer, Signaling, SignalingError,
    SignedClaim, UnixMillis, UsernameStatus, Visibility, wire,
};

const NO_WAIT: Duration = Duration::ZERO;

#[async_trait]
impl Signaling for HttpSignaling {
    /// Shares the connections of this one and registers for itself.
    fn another_peer(&self) -> Option<Arc<dyn Signaling>> {
        Some(Arc::new(self.with_new_session()))
    }

    /// Opens new connections for requests from now on, of all peers that share them.
    fn handle_network_change(&self) {
        self.renew_connections();
    }

    async fn claim_username(&self, claim: &SignedClaim) -> Result<ClaimedUsername, SignalingError> {
        let request = self.request(Method::POST, &["usernames", "claim"])?;
        let request = request.json(&wire::ClaimRequest {
            username: claim.username.to_string(),
            public_key: claim.public_key,
            signature: claim.signature,
            message: claim.message(),
        })?;
        let reply: wire::ClaimReply = self.ask(Asked::Claim, request).await?.parse()?;
        Ok(ClaimedUsername {
            username: reply.username,
            claimed_at: reply.claimed_at,
            expires_at: reply.expires_at,
        })
    }

    async fn look_up_username(
        &self,
        username: &Username,
    ) -> Result<UsernameStatus, SignalingError> {
        let request = self.request(Method::GET, &["usernames", username.as_str()])?;
        let reply: wire::UsernameReply = self.ask(Asked::Username, request).await?.parse()?;
        if reply.available {
            return Ok(UsernameStatus::Available);
        }
        let (Some(public_key), Some(claimed_at), Some(expires_at)) =
            (reply.public_key, reply.claimed_at, reply.expires_at)
        else {
            return Err(malformed("it does not tell whose the username is"));
        };
        Ok(UsernameStatus::Taken {
            public_key,
            claimed_at,
            expires_at,
        })
    }

    async fn list_services(
        &self,
        username: &Username,
    ) -> Result<Vec<ListedService>, SignalingError> {
        let path = ["usernames", username.as_str(), "services"];
        let request = self.request(Method::GET, &path)?;
        let list: wire::ServiceList = self.ask(Asked::Username, request).await?.parse()?;
        Ok(list.services.into_iter().map(listed).collect())
    }

    async fn publish_service(
        &self,
        publication: &Publication,
    ) -> Result<PublishedService, SignalingError> {
        check_description(&publication.sdp)?;
        let (username, service) = (&publication.username, &publication.service);
        let request = self.request(Method::POST, &["services"])?;
        let request = request.json(&wire::PublishRequest {
            username: username.to_string(),
            service_fqn: service.to_string(),
            sdp: publication.sdp.sdp.clone(),
            signature: publication.signed.signature,
            message: publication.signed.message(username, service),
            ttl: publication.ttl.map(millis),
            is_public: publication.visibility == Visibility::Public,
            metadata: publication.metadata.clone(),
        })?;
        let reply = self.ask_as_peer(Asked::Publish, request, Bearing::Fresh, NO_WAIT);
        let reply: wire::PublishReply = reply.await?.parse()?;
        Ok(PublishedService {
            service_id: reply.service_id,
            uuid: reply.uuid,
            offer_id: reply.offer_id,
            expires_at: reply.expires_at,
        })
    }

    async fn unpublish_service(
        &self,
        service: &ServiceId,
        owner: &Username,
    ) -> Result<(), SignalingError> {
        let request = self.request(Method::DELETE, &["services", service.as_str()])?;
        let request = request.json(&wire::UnpublishRequest {
            username: owner.to_string(),
        })?;
        self.ask_as_peer(Asked::Service, request, Bearing::OwnState, NO_WAIT)
            .await?;
        Ok(())
    }

    async fn find_service(
        &self,
        username: &Username,
        service: &ServiceName,
    ) -> Result<ServiceUuid, SignalingError> {
        let path = ["index", username.as_str(), "query"];
        let request = self.request(Method::POST, &path)?;
        let request = request.json(&wire::QueryRequest {
            service_fqn: service.to_string(),
        })?;
        let reply: wire::QueryReply = self.ask(Asked::Service, request).await?.parse()?;
        Ok(reply.uuid)
    }

    async fn take_offer(&self, uuid: &ServiceUuid) -> Result<ServiceOffer, SignalingError> {
        let request = self.request(Method::GET, &["services", uuid.as_str()])?;
        let reply: wire::ServiceReply = self.ask(Asked::TakeOffer, request).await?.parse()?;
        Ok(ServiceOffer {
            service_id: reply.service_id,
            username: reply.username,
            service: reply.service_fqn,
            offer_id: reply.offer_id,
            sdp: SessionDescription::offer(reply.sdp),
            visibility: visibility(reply.is_public),
            metadata: reply.metadata,
            created_at: reply.created_at,
            expires_at: reply.expires_at,
        })
    }

    async fn create_offers(
        &self,
        offers: &[NewOffer],
    ) -> Result<Vec<CreatedOffer>, SignalingError> {
        if offers.is_empty() {
            return Ok(Vec::new());
        }
        check_offers(offers)?;
        let names_service = offers.iter().any(|offer| offer.service.is_some());
        let bearing = match names_service {
            true => Bearing::OwnState,
            false => Bearing::Fresh,
        };
        let request = self.request(Method::POST, &["offers"])?;
        let request = request.json(&wire::CreateOffersRequest {
            offers: offers.iter().map(new_offer).collect(),
        })?;
        let reply = self.ask_as_peer(Asked::CreateOffers, request, bearing, NO_WAIT);
        let created: wire::CreatedOffers = reply.await?.parse()?;
        if created.offers.len() != offers.len() {
            return Err(malformed("it created another number of offers"));
        }
        Ok(created.offers.into_iter().map(created_offer).collect())
    }

    async fn list_offers(&self) -> Result<Vec<OwnOffer>, SignalingError> {
        let request = self.request(Method::GET, &["offers", "mine"])?;
        let reply = self.ask_as_peer(Asked::OwnOffers, request, Bearing::OwnState, NO_WAIT);
        let list: wire::OwnOffers = reply.await?.parse()?;
        list.offers.into_iter().map(own_offer).collect()
    }

    async fn delete_offer(&self, offer: &OfferId) -> Result<(), SignalingError> {
        let request = self.request(Method::DELETE, &["offers", offer.as_str()])?;
        self.ask_as_peer(Asked::Offer, request, Bearing::OwnState, NO_WAIT)
            .await?;
        Ok(())
    }

    async fn answer_offer(
        &self,
        offer: &OfferId,
        answer: &SessionDescription,
        secret: Option<&str>,
    ) -> Result<(), SignalingError> {
        check_description(answer)?;
        check_secret(secret)?;
        let path = ["offers", offer.as_str(), "answer"];
        let request = self.request(Method::POST, &path)?;
        let request = request.json(&wire::AnswerRequest {
            sdp: answer.sdp.clone(),
            secret: secret.map(String::from),
        })?;
        self.ask_as_peer(Asked::Answer, request, Bearing::Fresh, NO_WAIT)
            .await?;
        Ok(())
    }

    async fn answers(
        &self,
        since: Option<UnixMillis>,
        wait: Duration,
    ) -> Result<Vec<OfferAnswer>, SignalingError> {
        let mut request = self.request(Method::GET, &["offers", "answers"])?;
        let mut wait = wait.min(WAIT_MAX);
        if self.knows_extension().await? {
            let since = since.unwrap_or_default();
            request = request.query("since", since.0).query("wait", millis(wait));
        } else {
            wait = NO_WAIT;
        }
        let reply = self.ask_as_peer(Asked::OwnOffers, request, Bearing::OwnState, wait);
        let list: wire::Answers = reply.await?.parse()?;
        Ok(list.answers.into_iter().map(offer_answer).collect())
    }

    async fn supports_wait(&self) -> Result<bool, SignalingError> {
        self.server_waits().await
    }

    async fn add_candidates(
        &self,
        offer: &OfferId,
        candidates: &[IceCandidate],
    ) -> Result<(), SignalingError> {
        if candidates.is_empty() {
            return Ok(());
        }
        let json = candidates.iter().map(candidate_json).collect::<Vec<_>>();
        check_candidates(&json)?;
        let raw = json.into_iter().map(RawValue::from_string);
        let raw = raw.collect::<Result<_, _>>();
        let path = ["offers", offer.as_str(), "ice-candidates"];
        let request = self.request(Method::POST, &path)?;
        let request = request.json(&wire::AddCandidatesRequest {
            candidates: raw.expect("a candidate serializes to JSON"),
        })?;
        self.ask_as_peer(Asked::Offer, request, Bearing::Fresh, NO_WAIT)
            .await?;
        Ok(())
    }

    async fn candidates(
        &self,
        offer: &OfferId,
        since: Option<UnixMillis>,
        wait: Duration,
    ) -> Result<Vec<RemoteCandidate>, SignalingError> {
        let path = ["offers", offer.as_str(), "ice-candidates"];
        let mut request = self.request(Method::GET, &path)?;
        let mut wait = wait.min(WAIT_MAX);
        if self.knows_extension().await? {
            let since = since.unwrap_or_default();
            request = request.query("since", since.0).query("wait", millis(wait));
        } else {
            wait = NO_WAIT;
        }
        let reply = self.ask_as_peer(Asked::Offer, request, Bearing::Fresh, wait);
        let list: wire::Candidates = reply.await?.parse()?;
        Ok(list
            .candidates
            .iter()
            .filter_map(remote_candidate)
            .collect())
    }
}

impl HttpSignaling {
    /// Whether the server takes `since` and `wait` at their word.
    async fn knows_extension(&self) -> Result<bool, SignalingError> {
        match self.server_waits().await {
            // The endpoint that counts may work nevertheless, behind a proxy for instance.
            Err(
                SignalingError::NotRondevu { .. }
                | SignalingError::Malformed { .. }
                | SignalingError::Rejected { .. },
            ) => Ok(false),
            other => other,
        }
    }
}

fn visibility(is_public: bool) -> Visibility {
    match is_public {
        true => Visibility::Public,
        false => Visibility::Private,
    }
}

fn listed(entry: wire::ListedService) -> ListedService {
    ListedService {
        uuid: entry.uuid,
        visibility: visibility(entry.is_public),
        // One odd name must not hide the others.
        service: entry.service_fqn.and_then(|fqn| fqn.parse().ok()),
        metadata: entry.metadata.map(unwrap_json_text),
    }
}

/// The list holds metadata as a JSON text; a server that sends the value itself is understood too.
fn unwrap_json_text(value: Value) -> Value {
    match &value {
        Value::String(text) => serde_json::from_str(text).unwrap_or(value),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value
        }
    }
}

fn new_offer(offer: &NewOffer) -> wire::NewOffer {
    wire::NewOffer {
        sdp: offer.sdp.sdp.clone(),
        ttl: offer.ttl.map(millis),
        secret: offer.secret.clone(),
        service_id: offer.service.clone(),
    }
}

fn created_offer(created: wire::CreatedOffer) -> CreatedOffer {
    CreatedOffer {
        id: created.id,
        peer: created.peer_id,
        created_at: created.created_at,
        expires_at: created.expires_at,
    }
}

fn own_offer(offer: wire::OwnOffer) -> Result<OwnOffer, SignalingError> {
    let answered = match (offer.answered, offer.answerer_peer_id) {
        (_, Some(peer)) => OwnOfferAnswer::By(peer),
        (false, None) => OwnOfferAnswer::Open,
        (true, None) => return Err(malformed("it does not tell who answered")),
    };
    Ok(OwnOffer {
        id: offer.id,
        sdp: SessionDescription::offer(offer.sdp),
        created_at: offer.created_at,
        expires_at: offer.expires_at,
        answered,
    })
}

fn offer_answer(answer: wire::Answer) -> OfferAnswer {
    OfferAnswer {
        offer_id: answer.offer_id,
        answerer: answer.answerer_id,
        answer: SessionDescription::answer(answer.sdp),
        answered_at: answer.answered_at,
    }
}

fn candidate_json(candidate: &IceCandidate) -> String {
    serde_json::to_string(candidate).expect("a candidate holds only texts and numbers")
}

/// `None` for a candidate that is not the browsers' kind: one odd candidate must not hide the
/// others.
fn remote_candidate(candidate: &wire::Candidate) -> Option<RemoteCandidate> {
    Some(RemoteCandidate {
        candidate: serde_json::from_str(candidate.candidate.get()).ok()?,
        created_at: candidate.created_at,
    })
}
