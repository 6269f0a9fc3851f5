//! Errors as the protocol writes them: a status and a JSON body with the text.

use std::time::Duration;

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::credentials::NotAuthorized;
use crate::registry::Refusal;
use crate::wire::ErrorBody;

/// A request that is not fulfilled.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    error: String,
    message: Option<String>,
    retry_after: Option<Duration>,
    limit: Option<&'static str>,
}

/// Marks an answer that a limit has brought about, by the limit's name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exceeded(pub(super) &'static str);

impl Refused {
    fn new(status: StatusCode, error: impl ToString) -> Self {
        Self {
            status,
            error: error.to_string(),
            message: None,
            retry_after: None,
            limit: None,
        }
    }

    /// The request itself is wrong.
    pub(super) fn bad_request(error: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// The body did not arrive in time.
    pub(super) fn too_slow() -> Self {
        Self {
            limit: Some("body_seconds"),
            ..Self::new(StatusCode::REQUEST_TIMEOUT, "Request body took too long")
        }
    }

    /// The body is larger than `bytes_max`.
    pub(super) fn too_large(limit: &'static str, bytes_max: usize) -> Self {
        let text = format!("Request body too large (max {}KB)", bytes_max / 1024);
        Self {
            limit: Some(limit),
            ..Self::new(StatusCode::PAYLOAD_TOO_LARGE, text)
        }
    }

    /// There were too many requests.
    pub(super) fn too_many(limit: &'static str, retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            limit: Some(limit),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "Too many requests, slow down",
            )
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.status());
        let message = (refusal == Refusal::NoOffers).then(|| {
            "All offers of this service are taken at the moment. Try again in a moment.".into()
        });
        Self {
            message,
            retry_after: refusal.retry_after(),
            limit: refusal.limit(),
            ..Self::new(status.expect("statuses of refusals are valid"), refusal)
        }
    }
}

impl From<NotAuthorized> for Refused {
    fn from(error: NotAuthorized) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = ErrorBody {
            error: self.error,
            message: self.message,
        };
        let mut response = (self.status, Json(body)).into_response();
        if let Some(limit) = self.limit {
            response.extensions_mut().insert(Exceeded(limit));
        }
        if let Some(after) = self.retry_after {
            // In whole seconds, rounded up: coming too early would be refused again.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}
