//! What the program answers over HTTP: signaling, pages, and orders that pages give to the peer.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path as UrlPath, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use rondevu::signaling::server::{Hub, ServerConfig};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::peer::Peer;
use crate::plain;

/// What the pages of the checks report, one JSON text each.
pub(crate) type Reports = mpsc::UnboundedReceiver<Value>;

#[derive(Clone, Debug)]
struct Site {
    peer: Peer,
    reports: mpsc::UnboundedSender<Value>,
}

/// Signaling at the root, pages below `/browser` and `/check`, orders below `/peer`.
pub(crate) async fn router(peer: Peer) -> Result<(Router, Reports)> {
    let (reports, received) = mpsc::unbounded_channel();
    let site = Arc::new(Site { peer, reports });
    let router = Router::new()
        .route("/browser/{*file}", get(browser_file))
        .route("/check/{*file}", get(check_file))
        .route("/check/report", post(report))
        .route("/peer/{order}", post(order))
        .with_state(site)
        .merge(Hub::open(&ServerConfig::default()).await?.router());
    Ok((router, received))
}

async fn browser_file(UrlPath(file): UrlPath<String>) -> Response {
    serve_file(&root().join("../docs/browser"), &file)
}

async fn check_file(UrlPath(file): UrlPath<String>) -> Response {
    serve_file(&root().join("tests/browser"), &file)
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file of `folder`, and of no other place.
fn serve_file(folder: &Path, file: &str) -> Response {
    let file = Path::new(file);
    let is_below = file
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let kind = match file.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    match std::fs::read(folder.join(file)) {
        Ok(content) if is_below => ([(header::CONTENT_TYPE, kind)], content).into_response(),
        Ok(_) | Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn report(State(site): State<Arc<Site>>, body: Bytes) -> StatusCode {
    let Ok(report) = serde_json::from_slice(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    let _ = site.reports.send(report);
    StatusCode::NO_CONTENT
}

/// An order of a page; the answer says how it went.
async fn order(
    State(site): State<Arc<Site>>,
    UrlPath(order): UrlPath<String>,
    body: Bytes,
) -> Response {
    match obey(&site.peer, &order, &body).await {
        Ok(answer) => axum::Json(answer).into_response(),
        Err(error) => {
            let error = json!({ "error": format!("{error:#}") });
            (StatusCode::BAD_REQUEST, axum::Json(error)).into_response()
        }
    }
}

async fn obey(peer: &Peer, order: &str, body: &[u8]) -> Result<Value> {
    match order {
        "cut" => peer.cable().await?.cut(),
        "heal" => peer.cable().await?.heal(),
        "restart" => peer.start().await?,
        "dial" => {
            let whom: Value = serde_json::from_slice(body)?;
            let name = |key: &str| whom[key].as_str().unwrap_or_default().to_owned();
            return plain::dial(peer, &name("username"), &name("service")).await;
        }
        _ => anyhow::bail!("there is no order {order}: use cut, heal, restart or dial"),
    }
    Ok(json!({}))
}
