//! What stands in the address of a request: a part of its path, and what it asks to wait for.

use std::time::Duration;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::Deserialize;

use super::refused::Refused;
use crate::UnixMillis;

/// The one variable part of a path.
pub(super) struct Segment(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = path.map_err(|_| Refused::bad_request("Invalid path"))?;
        Ok(Self(text))
    }
}

/// What requests that may wait are told.
pub(super) struct News {
    /// Leave out what is not later.
    pub(super) since: Option<UnixMillis>,
    /// How long to keep the request open.
    pub(super) wait: Duration,
}

#[derive(Deserialize)]
struct NewsText {
    since: Option<String>,
    wait: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for News {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let query = Query::<NewsText>::from_request_parts(parts, state).await;
        let Query(text) =
            query.map_err(|error| Refused::bad_request(format!("Invalid query: {error}")))?;
        let wait = millis(text.wait.as_deref(), "wait")?;
        Ok(Self {
            since: millis(text.since.as_deref(), "since")?.map(UnixMillis),
            wait: Duration::from_millis(wait.unwrap_or(0)),
        })
    }
}

fn millis(text: Option<&str>, name: &str) -> Result<Option<u64>, Refused> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let wrong = |_| Refused::bad_request(format!("Invalid query parameter: {name}"));
    text.parse().map(Some).map_err(wrong)
}
