//! Usernames: who has one, and how to get one.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use rondevu_core::Username;
use serde::Deserialize;

use crate::server::Hub;
use crate::server::body::{BODY_LEN_MAX, read, required};
use crate::server::hub::Origin;
use crate::server::parameters::Segment;
use crate::server::refused::Refused;
use crate::wire::{ClaimReply, UsernameReply};
use crate::{SignedClaim, UnixMillis};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct ClaimBody {
    username: Option<String>,
    public_key: Option<String>,
    signature: Option<String>,
    message: Option<String>,
}

pub(super) async fn claim(
    State(hub): State<Hub>,
    origin: Origin,
    body: Body,
) -> Result<Json<ClaimReply>, Refused> {
    let body: ClaimBody = read(body, BODY_LEN_MAX).await?;
    let claim = parse_claim(&body)?;
    let registry = &hub.shared.registry;
    if registry.name(&claim.username).await?.is_none() {
        // Whoever renews names takes none away from others.
        origin.admit_name(&hub)?;
    }
    let claimed = registry.claim_username(&claim).await?;
    Ok(Json(ClaimReply {
        username: claimed.username,
        claimed_at: claimed.claimed_at,
        expires_at: claimed.expires_at,
    }))
}

fn parse_claim(body: &ClaimBody) -> Result<SignedClaim, Refused> {
    let username = required(&body.username, MISSING)?;
    let public_key = required(&body.public_key, MISSING)?;
    let signature = required(&body.signature, MISSING)?;
    let message = required(&body.message, MISSING)?;
    let username = parse_username(username)?;
    let public_key = public_key
        .parse()
        .map_err(|error| Refused::bad_request(format!("Invalid public key: {error}")))?;
    let signature = signature
        .parse()
        .map_err(|error| Refused::bad_request(format!("Invalid signature: {error}")))?;
    let signed_at = signed_at(message)
        .filter(|at| SignedClaim::message_for(&username, *at) == message)
        .ok_or_else(|| Refused::bad_request(MESSAGE))?;
    Ok(SignedClaim {
        username,
        public_key,
        signed_at,
        signature,
    })
}

pub(super) async fn look_up(
    State(hub): State<Hub>,
    Segment(username): Segment,
) -> Result<Json<UsernameReply>, Refused> {
    let name = hub
        .shared
        .registry
        .name(&parse_username(&username)?)
        .await?;
    Ok(Json(UsernameReply {
        username,
        available: name.is_none(),
        claimed_at: name.as_ref().map(|name| name.claimed_at),
        expires_at: name.as_ref().map(|name| name.expires_at),
        public_key: name.as_ref().map(|name| name.key),
    }))
}

pub(super) fn parse_username(text: &str) -> Result<Username, Refused> {
    Username::parse(text)
        .map_err(|error| Refused::bad_request(format!("Invalid username: {error}")))
}

/// The time at the end of a signed message.
pub(super) fn signed_at(message: &str) -> Option<UnixMillis> {
    let (_, millis) = message.rsplit_once(':')?;
    millis.parse().ok().map(UnixMillis)
}

const MISSING: &str = "Missing required parameters: username, publicKey, signature, message";
const MESSAGE: &str = "Invalid signature: the message must be claim:{username}:{timestamp}";
