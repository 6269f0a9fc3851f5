//! What the server is, that it lives, what it counts, and how to become a peer of it.

use axum::Json;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::page;
use crate::registry::Refusal;
use crate::server::Hub;
use crate::server::hub::Origin;
use crate::server::refused::Refused;
use crate::wire::{FEATURE_WAIT, Registration, SERVER_NAME, ServerInfo};

/// JSON, or a page where HTML is asked for, as browsers do.
pub(super) async fn info(State(hub): State<Hub>, headers: HeaderMap) -> Result<Response, Refused> {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    if accept.is_some_and(|accept| accept.contains("text/html")) {
        let page = page::render(&hub, VERSION).await?;
        return Ok(([(VARY, "accept")], page).into_response());
    }
    let info = ServerInfo {
        version: VERSION.into(),
        name: SERVER_NAME.into(),
        description: "Signaling for durable WebRTC connections: find a peer by its name".into(),
        features: vec![FEATURE_WAIT.into()],
    };
    Ok(([(VARY, "accept")], Json(info)).into_response())
}

/// Asks the storage too: without it the server is of no use.
pub(super) async fn health(State(hub): State<Hub>) -> (StatusCode, Json<Value>) {
    let registry = &hub.shared.registry;
    let (code, status) = match registry.store().census().await {
        Ok(_) => (StatusCode::OK, "ok"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "storage failed"),
    };
    let body = json!({
        "status": status,
        "timestamp": registry.now(),
        "version": VERSION,
    });
    (code, Json(body))
}

pub(super) async fn metrics(State(hub): State<Hub>) -> Result<Response, Refused> {
    let registry = &hub.shared.registry;
    let census = registry.store().census().await?;
    let text = hub.shared.metrics.text(census, registry.waiting());
    let text = text.map_err(|_| Refusal::Internal)?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}

/// The description of all endpoints.
pub(super) async fn description(State(hub): State<Hub>) -> Response {
    let kind = [(CONTENT_TYPE, "application/json")];
    (kind, hub.shared.openapi.clone()).into_response()
}

/// The description of all endpoints, for a server at `url`.
pub(in crate::server) fn openapi(url: Option<&str>) -> String {
    let mut description: Value =
        serde_json::from_str(include_str!("openapi.json")).expect("the file is JSON");
    description["info"]["version"] = VERSION.into();
    description["servers"] = json!([{ "url": url.unwrap_or("/") }]);
    description.to_string()
}

/// Takes any body, and reads none of it.
pub(super) async fn register(
    State(hub): State<Hub>,
    origin: Origin,
) -> Result<Json<Registration>, Refused> {
    origin.admit_registration(&hub)?;
    let peer_id = hub.shared.registry.new_peer()?;
    let secret = hub.shared.credentials.secret(&peer_id);
    Ok(Json(Registration { peer_id, secret }))
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
