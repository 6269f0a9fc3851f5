//! Offers: created, listed, answered, trickled to, deleted.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use rondevu_core::{OfferId, ServiceId, SessionDescription};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::NewOffer;
use crate::protocol_limits::{BrokenLimit, CANDIDATES_MAX, OFFERS_PER_REQUEST_MAX};
use crate::registry::Refusal;
use crate::server::Hub;
use crate::server::body::{BODY_LEN_MAX, OFFERS_LEN_MAX, read, required, ttl};
use crate::server::hub::Peer;
use crate::server::parameters::{News, Segment};
use crate::server::refused::Refused;
use crate::store::{AnswerRecord, CandidateRecord, OfferRecord};
use crate::wire::{
    AddedCandidates, Answer, Answers, Candidate, Candidates, CreatedOffer, CreatedOffers, OwnOffer,
    OwnOffers, Success,
};

#[derive(Default, Deserialize)]
#[serde(default)]
struct CreateBody {
    offers: Vec<OfferBody>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OfferBody {
    sdp: Option<String>,
    ttl: Option<f64>,
    secret: Option<String>,
    service_id: Option<String>,
}

pub(super) async fn create(
    State(hub): State<Hub>,
    Peer(peer): Peer,
    body: Body,
) -> Result<(StatusCode, Json<CreatedOffers>), Refused> {
    let body: CreateBody = read(body, OFFERS_LEN_MAX).await?;
    if body.offers.len() > OFFERS_PER_REQUEST_MAX {
        return Err(Refusal::from(BrokenLimit::TooManyOffers).into());
    }
    let offers = body.offers.into_iter().map(parse_offer);
    let offers = offers.collect::<Result<Vec<_>, _>>()?;
    let created = hub.shared.registry.create_offers(&peer, &offers).await?;
    let offers = created.into_iter().map(created_offer).collect();
    Ok((StatusCode::CREATED, Json(CreatedOffers { offers })))
}

fn parse_offer(body: OfferBody) -> Result<NewOffer, Refused> {
    let sdp = required(&body.sdp, MISSING_SDP)?;
    let service = body.service_id.map(ServiceId::new).transpose();
    Ok(NewOffer {
        ttl: ttl(body.ttl),
        secret: body.secret.filter(|secret| !secret.is_empty()),
        service: service.map_err(|_| Refusal::ServiceNotFound)?,
        ..NewOffer::new(SessionDescription::offer(sdp))
    })
}

fn created_offer(record: OfferRecord) -> CreatedOffer {
    CreatedOffer {
        id: record.id,
        peer_id: record.peer,
        expires_at: record.expires_at,
        created_at: record.created_at,
        has_secret: record.secret.is_some(),
    }
}

pub(super) async fn mine(
    State(hub): State<Hub>,
    Peer(peer): Peer,
) -> Result<Json<OwnOffers>, Refused> {
    let offers = hub.shared.registry.offers(&peer).await?;
    let offers = offers.into_iter().map(own_offer).collect();
    Ok(Json(OwnOffers { offers }))
}

fn own_offer(record: OfferRecord) -> OwnOffer {
    OwnOffer {
        id: record.id,
        sdp: record.sdp,
        created_at: record.created_at,
        expires_at: record.expires_at,
        last_seen: record.last_seen,
        has_secret: record.secret.is_some(),
        answered: record.answerer.is_some(),
        answerer_peer_id: record.answerer,
    }
}

pub(super) async fn delete(
    State(hub): State<Hub>,
    Peer(peer): Peer,
    Segment(id): Segment,
) -> Result<Json<Success>, Refused> {
    let id = OfferId::new(id).map_err(|_| Refusal::OfferNotOwned)?;
    hub.shared.registry.delete_offer(&peer, &id).await?;
    Ok(Json(Success { success: true }))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AnswerBody {
    sdp: Option<String>,
    secret: Option<String>,
}

pub(super) async fn answer(
    State(hub): State<Hub>,
    Peer(peer): Peer,
    Segment(id): Segment,
    body: Body,
) -> Result<Json<Success>, Refused> {
    let body: AnswerBody = read(body, BODY_LEN_MAX).await?;
    let sdp = required(&body.sdp, MISSING_SDP)?;
    let id = OfferId::new(id).map_err(|_| Refusal::OfferToAnswerGone)?;
    let secret = body.secret.as_deref().filter(|secret| !secret.is_empty());
    let registry = &hub.shared.registry;
    registry.answer(&peer, &id, sdp, secret).await?;
    Ok(Json(Success { success: true }))
}

pub(super) async fn answers(
    State(hub): State<Hub>,
    Peer(peer): Peer,
    news: News,
) -> Result<Json<Answers>, Refused> {
    let answers = hub.shared.registry.answers(&peer, news.since, news.wait);
    let answers = answers.await?;
    let answers = answers.into_iter().map(answer_reply).collect();
    Ok(Json(Answers { answers }))
}

fn answer_reply(record: AnswerRecord) -> Answer {
    Answer {
        offer_id: record.offer,
        answerer_id: record.answerer,
        sdp: record.sdp,
        answered_at: record.answered_at,
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CandidatesBody {
    candidates: Vec<Box<RawValue>>,
}

pub(super) async fn add_candidates(
    State(hub): State<Hub>,
    Peer(peer): Peer,
    Segment(id): Segment,
    body: Body,
) -> Result<Json<AddedCandidates>, Refused> {
    let body: CandidatesBody = read(body, BODY_LEN_MAX).await?;
    let count = body.candidates.len();
    if count == 0 {
        return Err(Refused::bad_request(MISSING_CANDIDATES));
    }
    if count > CANDIDATES_MAX {
        return Err(Refusal::from(BrokenLimit::TooManyCandidates).into());
    }
    let id = OfferId::new(id).map_err(|_| Refusal::OfferNotFound)?;
    let candidates = body.candidates.iter().map(|json| json.get().to_owned());
    let registry = &hub.shared.registry;
    registry
        .add_candidates(&peer, &id, candidates.collect())
        .await?;
    Ok(Json(AddedCandidates { count }))
}

pub(super) async fn candidates(
    State(hub): State<Hub>,
    Peer(peer): Peer,
    Segment(id): Segment,
    news: News,
) -> Result<Json<Candidates>, Refused> {
    let id = OfferId::new(id).map_err(|_| Refusal::OfferNotFound)?;
    let registry = &hub.shared.registry;
    let found = registry
        .candidates(&peer, &id, news.since, news.wait)
        .await?;
    let candidates = found.into_iter().filter_map(candidate_reply).collect();
    Ok(Json(Candidates { candidates }))
}

fn candidate_reply(record: CandidateRecord) -> Option<Candidate> {
    Some(Candidate {
        candidate: RawValue::from_string(record.candidate).ok()?,
        created_at: record.created_at,
    })
}

const MISSING_SDP: &str = "Missing required parameter: sdp";
const MISSING_CANDIDATES: &str = "Missing or invalid required parameter: candidates";
