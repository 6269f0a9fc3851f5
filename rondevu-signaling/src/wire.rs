//! The JSON bodies of the signaling protocol, as both ends write and read them.
//!
//! Reading is lenient where servers differ: unknown fields are skipped, absent ones have defaults.
//! Requests are here as a client writes them; a server reads them field by field, to say what is
//! wrong with each.

use rondevu_core::{OfferId, PeerId, ServiceId, ServiceName, ServiceUuid, Username};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

#[cfg(feature = "http")]
use crate::Signature;
use crate::{PublicKey, UnixMillis};

#[cfg(any(feature = "http", feature = "server"))]
/// The feature name under which a server announces that it keeps requests open.
#[cfg(any(feature = "http", feature = "server"))]
pub(crate) const FEATURE_WAIT: &str = "wait";

#[cfg(any(feature = "http", feature = "server"))]
/// What a server calls itself.
#[cfg(any(feature = "http", feature = "server"))]
pub(crate) const SERVER_NAME: &str = "Rondevu";

#[derive(Serialize, Deserialize)]
pub(crate) struct ErrorBody {
    pub(crate) error: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct ServerInfo {
    #[serde(default)]
    pub(crate) version: String,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) description: String,
    #[serde(default)]
    pub(crate) features: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Registration {
    pub(crate) peer_id: PeerId,
    pub(crate) secret: String,
}

#[cfg(feature = "http")]
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClaimRequest {
    pub(crate) username: String,
    pub(crate) public_key: PublicKey,
    pub(crate) signature: Signature,
    pub(crate) message: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClaimReply {
    pub(crate) username: Username,
    pub(crate) claimed_at: UnixMillis,
    pub(crate) expires_at: UnixMillis,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UsernameReply {
    pub(crate) username: String,
    pub(crate) available: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) claimed_at: Option<UnixMillis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<UnixMillis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) public_key: Option<PublicKey>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct ServiceList {
    pub(crate) username: String,
    pub(crate) services: Vec<ListedService>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListedService {
    pub(crate) uuid: ServiceUuid,
    #[serde(default)]
    pub(crate) is_public: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) service_fqn: Option<String>,
    /// A JSON text within the JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<Value>,
}

#[cfg(feature = "http")]
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PublishRequest {
    pub(crate) username: String,
    pub(crate) service_fqn: String,
    pub(crate) sdp: String,
    pub(crate) signature: Signature,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<u64>,
    pub(crate) is_public: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PublishReply {
    pub(crate) service_id: ServiceId,
    pub(crate) uuid: ServiceUuid,
    pub(crate) offer_id: OfferId,
    pub(crate) expires_at: UnixMillis,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServiceReply {
    pub(crate) service_id: ServiceId,
    pub(crate) username: Username,
    pub(crate) service_fqn: ServiceName,
    pub(crate) offer_id: OfferId,
    pub(crate) sdp: String,
    #[serde(default)]
    pub(crate) is_public: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<Value>,
    #[serde(default)]
    pub(crate) created_at: UnixMillis,
    pub(crate) expires_at: UnixMillis,
}

#[cfg(feature = "http")]
#[derive(Serialize)]
pub(crate) struct UnpublishRequest {
    pub(crate) username: String,
}

#[cfg(feature = "server")]
#[derive(Serialize)]
pub(crate) struct Success {
    pub(crate) success: bool,
}

#[cfg(feature = "http")]
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueryRequest {
    pub(crate) service_fqn: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct QueryReply {
    pub(crate) uuid: ServiceUuid,
    #[serde(default)]
    pub(crate) allowed: bool,
}

#[cfg(feature = "http")]
#[derive(Serialize)]
pub(crate) struct CreateOffersRequest {
    pub(crate) offers: Vec<NewOffer>,
}

#[cfg(feature = "http")]
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewOffer {
    pub(crate) sdp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service_id: Option<ServiceId>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct CreatedOffers {
    pub(crate) offers: Vec<CreatedOffer>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreatedOffer {
    pub(crate) id: OfferId,
    pub(crate) peer_id: PeerId,
    pub(crate) expires_at: UnixMillis,
    #[serde(default)]
    pub(crate) created_at: UnixMillis,
    #[serde(default)]
    pub(crate) has_secret: bool,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct OwnOffers {
    pub(crate) offers: Vec<OwnOffer>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OwnOffer {
    pub(crate) id: OfferId,
    pub(crate) sdp: String,
    pub(crate) created_at: UnixMillis,
    pub(crate) expires_at: UnixMillis,
    #[serde(default)]
    pub(crate) last_seen: UnixMillis,
    #[serde(default)]
    pub(crate) has_secret: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) answerer_peer_id: Option<PeerId>,
    #[serde(default)]
    pub(crate) answered: bool,
}

#[cfg(feature = "http")]
#[derive(Serialize)]
pub(crate) struct AnswerRequest {
    pub(crate) sdp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Answers {
    pub(crate) answers: Vec<Answer>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    pub(crate) offer_id: OfferId,
    pub(crate) answerer_id: PeerId,
    pub(crate) sdp: String,
    pub(crate) answered_at: UnixMillis,
}

/// Candidates are any JSON: they are passed on as they were written.
#[cfg(feature = "http")]
#[derive(Serialize)]
pub(crate) struct AddCandidatesRequest {
    pub(crate) candidates: Vec<Box<RawValue>>,
}

#[cfg(feature = "server")]
#[derive(Serialize)]
pub(crate) struct AddedCandidates {
    pub(crate) count: usize,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Candidates {
    pub(crate) candidates: Vec<Candidate>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Candidate {
    pub(crate) candidate: Box<RawValue>,
    pub(crate) created_at: UnixMillis,
}
