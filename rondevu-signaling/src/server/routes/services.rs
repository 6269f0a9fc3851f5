//! Services: published, listed, found, handed out to dialers, withdrawn.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use rondevu_core::{ServiceId, ServiceName, ServiceUuid, SessionDescription};
use serde::Deserialize;
use serde_json::Value;

use super::names::{parse_username, signed_at};
use crate::registry::Refusal;
use crate::server::Hub;
use crate::server::body::{BODY_LEN_MAX, read, required, ttl};
use crate::server::hub::Peer;
use crate::server::parameters::Segment;
use crate::server::refused::Refused;
use crate::store::ServiceRecord;
use crate::wire::{ListedService, PublishReply, QueryReply, ServiceList, ServiceReply, Success};
use crate::{Publication, SignedPublish, Visibility};

pub(super) async fn list(
    State(hub): State<Hub>,
    Segment(username): Segment,
) -> Result<Json<ServiceList>, Refused> {
    let owner = parse_username(&username)?;
    let services = hub.shared.registry.services(&owner).await?;
    Ok(Json(ServiceList {
        username,
        services: services.into_iter().map(listed).collect(),
    }))
}

fn listed(record: ServiceRecord) -> ListedService {
    let is_public = record.visibility == Visibility::Public;
    ListedService {
        uuid: record.uuid,
        is_public,
        service_fqn: is_public.then(|| record.service.into()),
        metadata: record.metadata.filter(|_| is_public).map(Value::String),
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PublishBody {
    username: Option<String>,
    service_fqn: Option<String>,
    sdp: Option<String>,
    signature: Option<String>,
    message: Option<String>,
    ttl: Option<f64>,
    is_public: Option<bool>,
    metadata: Option<Value>,
}

pub(super) async fn publish(
    State(hub): State<Hub>,
    Peer(peer): Peer,
    body: Body,
) -> Result<(StatusCode, Json<PublishReply>), Refused> {
    let publication = parse_publication(read(body, BODY_LEN_MAX).await?)?;
    let published = hub.shared.registry.publish(&peer, &publication).await?;
    let reply = PublishReply {
        service_id: published.service_id,
        uuid: published.uuid,
        offer_id: published.offer_id,
        expires_at: published.expires_at,
    };
    Ok((StatusCode::CREATED, Json(reply)))
}

fn parse_publication(body: PublishBody) -> Result<Publication, Refused> {
    let username = parse_username(required(&body.username, MISSING)?)?;
    let service = parse_service(required(&body.service_fqn, MISSING)?)?;
    let sdp = required(&body.sdp, MISSING)?;
    let signature = required(&body.signature, MISSING_SIGNATURE)?;
    let message = required(&body.message, MISSING_SIGNATURE)?;
    let signed_at = signed_at(message)
        .filter(|at| SignedPublish::message_for(&username, &service, *at) == message);
    // Whatever is wrong with it, the protocol has one text for it.
    let signed = SignedPublish {
        signed_at: signed_at.ok_or(Refusal::PublishSignature)?,
        signature: signature.parse().map_err(|_| Refusal::PublishSignature)?,
    };
    let visibility = match body.is_public {
        Some(true) => Visibility::Public,
        Some(false) | None => Visibility::Private,
    };
    Ok(Publication {
        ttl: ttl(body.ttl),
        visibility,
        metadata: body.metadata,
        ..Publication::new(username, service, SessionDescription::offer(sdp), signed)
    })
}

pub(super) async fn take_offer(
    State(hub): State<Hub>,
    Segment(uuid): Segment,
) -> Result<Json<ServiceReply>, Refused> {
    let uuid = ServiceUuid::new(uuid).map_err(|_| Refusal::ServiceNotFound)?;
    let taken = hub.shared.registry.take_offer(&uuid).await?;
    let service = taken.service;
    Ok(Json(ServiceReply {
        service_id: service.id,
        username: service.owner,
        service_fqn: service.service,
        offer_id: taken.offer,
        sdp: taken.sdp,
        is_public: service.visibility == Visibility::Public,
        metadata: service
            .metadata
            .and_then(|json| serde_json::from_str(&json).ok()),
        created_at: service.created_at,
        expires_at: service.expires_at,
    }))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct UnpublishBody {
    username: Option<String>,
}

pub(super) async fn unpublish(
    State(hub): State<Hub>,
    Peer(peer): Peer,
    Segment(id): Segment,
    body: Body,
) -> Result<Json<Success>, Refused> {
    let body: UnpublishBody = read(body, BODY_LEN_MAX).await?;
    let owner = required(&body.username, "Missing required parameter: username")?;
    let owner = parse_username(owner)?;
    let id = ServiceId::new(id).map_err(|_| Refusal::ServiceNotOwned)?;
    hub.shared.registry.unpublish(&peer, &id, &owner).await?;
    Ok(Json(Success { success: true }))
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct QueryBody {
    service_fqn: Option<String>,
}

pub(super) async fn query(
    State(hub): State<Hub>,
    Segment(username): Segment,
    body: Body,
) -> Result<Json<QueryReply>, Refused> {
    let body: QueryBody = read(body, BODY_LEN_MAX).await?;
    let service = required(&body.service_fqn, "Missing required parameter: serviceFqn")?;
    let (owner, service) = (parse_username(&username)?, parse_service(service)?);
    let uuid = hub.shared.registry.find_service(&owner, &service).await?;
    Ok(Json(QueryReply {
        uuid,
        allowed: true,
    }))
}

fn parse_service(text: &str) -> Result<ServiceName, Refused> {
    ServiceName::parse(text)
        .map_err(|error| Refused::bad_request(format!("Invalid service FQN: {error}")))
}

const MISSING: &str = "Missing required parameters: username, serviceFqn, sdp";
const MISSING_SIGNATURE: &str = "Missing required parameters: signature, message";
