//! Each endpoint of the protocol.

mod about;
mod names;
mod offers;
mod page;
mod services;

use std::sync::LazyLock;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, delete, get, post};

use super::Hub;
use super::metrics::Endpoint;

pub(super) use about::openapi;

/// The way from method and path to the endpoint.
pub(super) fn router() -> Router<Hub> {
    let routes = routes().into_iter();
    let router = routes.fold(Router::new(), |router, (_, pattern, endpoint)| {
        // Those of one path are put together.
        router.route(pattern, endpoint)
    });
    router
        .fallback(not_found)
        // The protocol knows no 405.
        .method_not_allowed_fallback(not_found)
}

type Route = (&'static str, &'static str, MethodRouter<Hub>);

fn routes() -> [Route; 19] {
    [
        ("GET", "/", get(about::info)),
        ("GET", "/health", get(about::health)),
        ("GET", "/metrics", get(about::metrics)),
        ("GET", "/openapi.json", get(about::description)),
        ("POST", "/register", post(about::register)),
        ("POST", "/usernames/claim", post(names::claim)),
        ("GET", "/usernames/{username}", get(names::look_up)),
        ("GET", "/usernames/{username}/services", get(services::list)),
        ("POST", "/services", post(services::publish)),
        ("GET", "/services/{id}", get(services::take_offer)),
        ("DELETE", "/services/{id}", delete(services::unpublish)),
        ("POST", "/index/{username}/query", post(services::query)),
        ("POST", "/offers", post(offers::create)),
        ("GET", "/offers/mine", get(offers::mine)),
        ("GET", "/offers/answers", get(offers::answers)),
        ("DELETE", "/offers/{id}", delete(offers::delete)),
        ("POST", "/offers/{id}/answer", post(offers::answer)),
        ("GET", CANDIDATES, get(offers::candidates)),
        ("POST", CANDIDATES, post(offers::add_candidates)),
    ]
}

/// The endpoint of a request whose path has matched a pattern.
pub(super) fn endpoint(method: &Method, pattern: Option<&str>) -> Endpoint {
    static ENDPOINTS: LazyLock<Vec<Endpoint>> = LazyLock::new(|| {
        let routes = routes().into_iter();
        let endpoints = routes.map(|(method, pattern, _)| Endpoint { method, pattern });
        endpoints.collect()
    });
    let found = pattern.and_then(|pattern| {
        let mut endpoints = ENDPOINTS.iter();
        endpoints.find(|one| one.method == method.as_str() && one.pattern == pattern)
    });
    found.copied().unwrap_or(Endpoint::UNKNOWN)
}

async fn not_found() -> impl IntoResponse {
    (
        StatusCode::NOT_FOUND,
        [(CONTENT_TYPE, "text/plain; charset=UTF-8")],
        "404 Not Found",
    )
}

const CANDIDATES: &str = "/offers/{id}/ice-candidates";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn the_description_has_the_routes_and_no_others() {
        let served: BTreeSet<_> = routes()
            .iter()
            .map(|(method, pattern, _)| format!("{method} {pattern}"))
            .collect();
        let description: Value = serde_json::from_str(&openapi(None)).unwrap();
        let paths = description["paths"].as_object().unwrap();
        let described: BTreeSet<_> = paths
            .iter()
            .flat_map(|(path, operations)| {
                let methods = operations.as_object().unwrap().keys();
                let methods = methods.filter(|method| *method != "parameters");
                methods.map(move |method| format!("{} {path}", method.to_uppercase()))
            })
            .collect();
        assert_eq!(described, served);
    }

    #[test]
    fn every_operation_says_what_it_does_and_how_it_is_refused() {
        let description: Value = serde_json::from_str(&openapi(None)).unwrap();
        for (path, operations) in description["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                if method == "parameters" {
                    continue;
                }
                let name = format!("{method} {path}");
                assert!(operation["summary"].is_string(), "{name}");
                assert!(operation["responses"]["429"].is_object(), "{name}");
                let is_authenticated = operation["security"].is_array();
                let refuses = operation["responses"]["401"].is_object();
                assert_eq!(is_authenticated, refuses, "{name}");
            }
        }
    }

    #[test]
    fn the_public_address_stands_in_the_description() {
        let description: Value =
            serde_json::from_str(&openapi(Some("https://example.com"))).unwrap();
        assert_eq!(description["servers"][0]["url"], "https://example.com");
    }
}
