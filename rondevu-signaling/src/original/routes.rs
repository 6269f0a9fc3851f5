//! The endpoints of the original server.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Availability, Shared};

type App = State<Arc<Shared>>;
type Reply = Result<Json<Value>, Problem>;
type Created = Result<(StatusCode, Json<Value>), Problem>;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(info))
        .route("/health", get(health))
        .route("/register", post(register))
        .route("/usernames/claim", post(claim))
        .route("/usernames/{username}", get(name))
        .route("/usernames/{username}/services", get(services_of))
        .route("/services", post(publish))
        .route("/services/{id}", get(take).delete(unpublish))
        .route("/index/{username}/query", post(query))
        .route("/offers", post(create_offers))
        .route("/offers/mine", get(own_offers))
        .route("/offers/answers", get(answers))
        .route("/offers/{id}", delete(delete_offer))
        .route("/offers/{id}/answer", post(answer))
        .route(
            "/offers/{id}/ice-candidates",
            get(candidates).post(add_candidates),
        )
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        .layer(from_fn_with_state(Arc::clone(&shared), count_if_up))
        .with_state(shared)
}

/// An error as the original writes it.
#[derive(Debug)]
pub(super) struct Problem {
    status: u16,
    error: &'static str,
    message: Option<&'static str>,
}

impl Problem {
    pub(super) fn new(status: u16, error: &'static str) -> Self {
        Self {
            status,
            error,
            message: None,
        }
    }

    pub(super) fn with_message(status: u16, error: &'static str, message: &'static str) -> Self {
        Self {
            message: Some(message),
            ..Self::new(status, error)
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = match self.message {
            Some(message) => json!({ "error": self.error, "message": message }),
            None => json!({ "error": self.error }),
        };
        (status, Json(body)).into_response()
    }
}

async fn count_if_up(State(shared): App, request: Request, next: Next) -> Response {
    if shared.availability() == Availability::Down {
        return (StatusCode::BAD_GATEWAY, "502 Bad Gateway").into_response();
    }
    let endpoint = format!("{} {}", request.method(), without_ids(request.uri().path()));
    shared.state().count(endpoint);
    next.run(request).await
}

fn without_ids(path: &str) -> String {
    let known = [
        "",
        "health",
        "register",
        "usernames",
        "claim",
        "services",
        "index",
        "query",
        "offers",
        "mine",
        "answers",
        "answer",
        "ice-candidates",
    ];
    let parts = path.split('/');
    let parts = parts.map(|part| if known.contains(&part) { part } else { "*" });
    parts.collect::<Vec<_>>().join("/")
}

async fn info() -> Json<Value> {
    Json(json!({
        "version": "0.2.4",
        "name": "Rondevu",
        "description": "DNS-like WebRTC signaling with username claiming and service discovery",
    }))
}

async fn health(State(app): App) -> Json<Value> {
    let now = app.state().now();
    Json(json!({ "status": "ok", "timestamp": now, "version": "0.2.4" }))
}

async fn register(State(app): App) -> Reply {
    app.state().register().map(Json)
}

async fn claim(State(app): App, body: Bytes) -> Reply {
    let body = json_of(&body)?;
    app.state().claim(&body).map(Json)
}

async fn name(State(app): App, Path(username): Path<String>) -> Reply {
    app.state().name(&username).map(Json)
}

async fn services_of(State(app): App, Path(username): Path<String>) -> Reply {
    app.state().services_of(&username).map(Json)
}

async fn publish(State(app): App, headers: HeaderMap, body: Bytes) -> Created {
    let peer = peer(&app, &headers)?;
    let body = json_of(&body)?;
    let published = app.state().publish(&peer, &body)?;
    Ok((StatusCode::CREATED, Json(published)))
}

async fn take(State(app): App, Path(uuid): Path<String>) -> Reply {
    app.state().take(&uuid).map(Json)
}

async fn unpublish(
    State(app): App,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    peer(&app, &headers)?;
    let body = json_of(&body)?;
    app.state().unpublish(&id, &body).map(Json)
}

async fn query(State(app): App, Path(username): Path<String>, body: Bytes) -> Reply {
    let body = json_of(&body)?;
    app.state().query(&username, &body).map(Json)
}

async fn create_offers(State(app): App, headers: HeaderMap, body: Bytes) -> Created {
    let peer = peer(&app, &headers)?;
    let body = json_of(&body)?;
    let created = app.state().create_offers(&peer, &body)?;
    Ok((StatusCode::CREATED, Json(created)))
}

async fn own_offers(State(app): App, headers: HeaderMap) -> Reply {
    let peer = peer(&app, &headers)?;
    app.state().own_offers(&peer).map(Json)
}

async fn delete_offer(State(app): App, headers: HeaderMap, Path(id): Path<String>) -> Reply {
    let peer = peer(&app, &headers)?;
    app.state().delete_offer(&peer, &id).map(Json)
}

async fn answer(State(app): App, headers: HeaderMap, Path(id): Path<String>, body: Bytes) -> Reply {
    let peer = peer(&app, &headers)?;
    let body = json_of(&body)?;
    app.state().answer(&peer, &id, &body).map(Json)
}

async fn answers(State(app): App, headers: HeaderMap) -> Reply {
    let peer = peer(&app, &headers)?;
    app.state().answers(&peer).map(Json)
}

async fn add_candidates(
    State(app): App,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Bytes,
) -> Reply {
    let peer = peer(&app, &headers)?;
    let body = json_of(&body)?;
    app.state().add_candidates(&peer, &id, &body).map(Json)
}

#[derive(Deserialize)]
struct Since {
    since: Option<u64>,
}

async fn candidates(
    State(app): App,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(Since { since }): Query<Since>,
) -> Reply {
    let peer = peer(&app, &headers)?;
    app.state().candidates(&peer, &id, since).map(Json)
}

async fn not_found() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, "404 Not Found")
}

fn peer(app: &Shared, headers: &HeaderMap) -> Result<String, Problem> {
    let header = headers.get(AUTHORIZATION);
    app.state()
        .peer(header.map(|value| value.to_str().unwrap_or_default()))
}

fn json_of(body: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(body).map_err(|_| Problem::new(500, "Internal server error"))
}
