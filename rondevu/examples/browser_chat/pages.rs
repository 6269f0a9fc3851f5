//! What the browser loads.

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;

/// The page, and the modules that it loads.
pub(crate) fn router() -> Router {
    let page = include_str!("chat.html");
    let mut pages = Router::new().route("/chat", get(([(CONTENT_TYPE, "text/html")], page)));
    for (name, module) in MODULES {
        let module = ([(CONTENT_TYPE, "text/javascript")], *module);
        pages = pages.route(&format!("/browser/{name}"), get(module));
    }
    pages
}

macro_rules! modules {
    ($($name:literal),*) => {
        &[$(($name, include_str!(concat!("../../../docs/browser/", $name)))),*]
    };
}

const MODULES: &[(&str, &str)] = modules![
    "channel.js",
    "connection.js",
    "frames.js",
    "id_set.js",
    "inbox.js",
    "link.js",
    "liveness.js",
    "options.js",
    "outbox.js",
    "proof.js",
    "rondevu.js",
    "signaling.js"
];
