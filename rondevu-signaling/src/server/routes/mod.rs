//! Each endpoint of the protocol.

mod about;
mod names;
mod offers;
mod services;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{get, post};

use super::Hub;

/// The way from method and path to the endpoint.
pub(super) fn router() -> Router<Hub> {
    Router::new()
        .route("/", get(about::info))
        .route("/health", get(about::health))
        .route("/register", post(about::register))
        .route("/usernames/claim", post(names::claim))
        .route("/usernames/{username}", get(names::look_up))
        .route("/usernames/{username}/services", get(services::list))
        .route("/services", post(services::publish))
        .route(
            "/services/{id}",
            get(services::take_offer).delete(services::unpublish),
        )
        .route("/index/{username}/query", post(services::query))
        .route("/offers", post(offers::create))
        .route("/offers/mine", get(offers::mine))
        .route("/offers/answers", get(offers::answers))
        .route("/offers/{id}", axum::routing::delete(offers::delete))
        .route("/offers/{id}/answer", post(offers::answer))
        .route(
            "/offers/{id}/ice-candidates",
            get(offers::candidates).post(offers::add_candidates),
        )
        .fallback(not_found)
        // The protocol knows no 405.
        .method_not_allowed_fallback(not_found)
}

async fn not_found() -> impl IntoResponse {
    (
        StatusCode::NOT_FOUND,
        [(CONTENT_TYPE, "text/plain; charset=UTF-8")],
        "404 Not Found",
    )
}
