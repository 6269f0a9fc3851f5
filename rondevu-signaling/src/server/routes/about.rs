//! What the server is, that it lives, and how to become a peer of it.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::server::Hub;
use crate::server::refused::Refused;
use crate::wire::{FEATURE_WAIT, Registration, SERVER_NAME, ServerInfo};

pub(super) async fn info() -> Json<ServerInfo> {
    Json(ServerInfo {
        version: VERSION.into(),
        name: SERVER_NAME.into(),
        description: "Signaling for durable WebRTC connections: find a peer by its name".into(),
        features: vec![FEATURE_WAIT.into()],
    })
}

pub(super) async fn health(State(hub): State<Hub>) -> Json<Value> {
    Json(json!({
        "status": "ok",
        "timestamp": hub.shared.registry.now(),
        "version": VERSION,
    }))
}

/// Takes any body, and reads none of it.
pub(super) async fn register(State(hub): State<Hub>) -> Result<Json<Registration>, Refused> {
    let peer_id = hub.shared.registry.new_peer()?;
    let secret = hub.shared.credentials.secret(&peer_id);
    Ok(Json(Registration { peer_id, secret }))
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
