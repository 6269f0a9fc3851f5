//! One request to a server and its answer, bounded in time and size.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Client, Method, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::SignalingError;
use crate::error::printable;
use crate::wire::ErrorBody;

/// A request that has not been sent.
#[derive(Debug)]
pub(super) struct Request {
    method: Method,
    url: Url,
    body: Option<Vec<u8>>,
}

impl Request {
    /// A request without a body for the path made of `segments` below `base`.
    ///
    /// Segments come from users and servers: whatever they hold, they stay one segment each.
    pub(super) fn new(
        method: Method,
        base: &Url,
        segments: &[&str],
    ) -> Result<Self, SignalingError> {
        let mut url = base.clone();
        // These two are not escaped, but understood.
        if segments.iter().any(|s| matches!(*s, "." | "..")) {
            return Err(invalid("'.' and '..' are no identifiers"));
        }
        url.path_segments_mut()
            .map_err(|()| invalid("the server's address has no path"))?
            .pop_if_empty()
            .extend(segments);
        Ok(Self {
            method,
            url,
            body: None,
        })
    }

    /// The same with a body.
    pub(super) fn json(mut self, body: &impl Serialize) -> Result<Self, SignalingError> {
        let bytes = serde_json::to_vec(body).map_err(|error| invalid(&error.to_string()))?;
        self.body = Some(bytes);
        Ok(self)
    }

    /// The same with one more query parameter.
    pub(super) fn query(mut self, name: &str, value: u64) -> Self {
        self.url
            .query_pairs_mut()
            .append_pair(name, &value.to_string());
        self
    }

    /// Sends it and reads the answer.
    ///
    /// Has no time limit of its own. Cancellation closes the connection.
    pub(super) async fn send(
        &self,
        client: &Client,
        authorization: Option<&HeaderValue>,
    ) -> Result<Reply, SignalingError> {
        let mut request = client.request(self.method.clone(), self.url.clone());
        request = request.header(ACCEPT, "application/json");
        if let Some(authorization) = authorization {
            request = request.header(reqwest::header::AUTHORIZATION, authorization);
        }
        if let Some(body) = &self.body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone());
        }
        Reply::read(request.send().await.map_err(unreachable)?).await
    }
}

/// A server's answer, read completely.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    content_type: String,
    location: Option<String>,
    body: Vec<u8>,
}

impl Reply {
    async fn read(mut response: Response) -> Result<Self, SignalingError> {
        let header = |name| response.headers().get(name).and_then(|v| v.to_str().ok());
        let retry_after = header(RETRY_AFTER).and_then(|v| delay(v.trim(), SystemTime::now()));
        let mut reply = Self {
            status: response.status().as_u16(),
            retry_after,
            content_type: header(CONTENT_TYPE).unwrap_or_default().to_lowercase(),
            location: header(LOCATION).map(printable),
            body: Vec::new(),
        };
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if reply.body.len() + chunk.len() > BODY_LEN_MAX {
                return Err(malformed("it is larger than 1 MiB"));
            }
            reply.body.extend_from_slice(&chunk);
        }
        Ok(reply)
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether the answer is a page for people rather than one for programs.
    pub(super) fn is_page(&self) -> bool {
        self.content_type.starts_with("text/")
    }

    /// Where a redirect that was not followed leads.
    pub(super) fn location(&self) -> &str {
        self.location.as_deref().unwrap_or("nowhere")
    }

    /// The body of a success.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, SignalingError> {
        serde_json::from_slice(&self.body).map_err(|error| match self.is_page() {
            true => SignalingError::NotRondevu {
                reason: "it answers with a page instead of JSON".into(),
            },
            false => malformed(&error.to_string()),
        })
    }

    /// What the server says about a failure; `None` if it is not said in the protocol's way.
    pub(super) fn error_text(&self) -> Option<String> {
        let body: ErrorBody = serde_json::from_slice(&self.body).ok()?;
        Some(printable(&body.error))
    }

    /// What the server says about a failure, in whichever way.
    pub(super) fn any_text(&self) -> String {
        let raw = || {
            let start = &self.body[..self.body.len().min(RAW_TEXT_LEN_MAX)];
            printable(String::from_utf8_lossy(start).trim())
        };
        self.error_text().unwrap_or_else(raw)
    }
}

/// What `Retry-After` says: seconds or a date (RFC 9110, section 10.2.3). Never more than an hour.
fn delay(text: &str, now: SystemTime) -> Option<Duration> {
    let delay = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            date.duration_since(now).unwrap_or_default()
        }
    };
    Some(delay.min(RETRY_AFTER_MAX))
}

/// Follows redirects within the same origin only: credentials must not travel elsewhere, and
/// signed statements have no business there either.
pub(super) fn redirects() -> Policy {
    Policy::custom(|attempt: Attempt<'_>| -> Action {
        let from = attempt.previous().last();
        let same_origin = from.is_some_and(|from| from.origin() == attempt.url().origin());
        match same_origin && attempt.previous().len() <= REDIRECTS_MAX {
            true => attempt.follow(),
            false => attempt.stop(),
        }
    })
}

fn unreachable(error: reqwest::Error) -> SignalingError {
    SignalingError::Unreachable {
        // The address may be private, and whoever has the error knows it.
        source: Arc::new(error.without_url()),
    }
}

fn invalid(reason: &str) -> SignalingError {
    SignalingError::Invalid {
        reason: reason.into(),
    }
}

pub(super) fn malformed(reason: &str) -> SignalingError {
    SignalingError::Malformed {
        reason: printable(reason),
    }
}

/// Enough for the 512 KiB of descriptions that our server sends at most.
const BODY_LEN_MAX: usize = 1024 * 1024;
const REDIRECTS_MAX: usize = 5;
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
const RAW_TEXT_LEN_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_given_in_seconds_or_as_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let delay = |text| delay(text, now).map(|delay| delay.as_secs());
        assert_eq!(delay("7"), Some(7));
        assert_eq!(delay("99999999999"), Some(3600));
        assert_eq!(delay("Sun, 06 Nov 1994 08:50:07 GMT"), Some(30));
        assert_eq!(delay("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        assert_eq!(delay("Sat, 06 Nov 2094 08:00:00 GMT"), Some(3600));
        for nonsense in ["", "soon", "-1", "1.5"] {
            assert_eq!(delay(nonsense), None, "{nonsense}");
        }
    }
}
