//! Request bodies: bounded in size and time, JSON, read one field after the other.

use std::time::Duration;

use axum::body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::refused::Refused;

/// Reads a JSON body of at most `bytes_max`.
pub(super) async fn read<T: DeserializeOwned>(body: Body, bytes_max: usize) -> Result<T, Refused> {
    let collected = Limited::new(body, bytes_max).collect();
    let bytes = match timeout(BODY_TIMEOUT, collected).await {
        Err(_) => return Err(Refused::too_slow()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let limit = match bytes_max {
                OFFERS_LEN_MAX => "offers_body_bytes",
                _ => "body_bytes",
            };
            return Err(Refused::too_large(limit, bytes_max));
        }
        Ok(Err(_)) => return Err(Refused::bad_request("Request body ended early")),
        Ok(Ok(collected)) => collected.to_bytes(),
    };
    serde_json::from_slice(&bytes)
        .map_err(|error| Refused::bad_request(format!("Invalid JSON body: {error}")))
}

/// A field that must be there and not empty.
pub(super) fn required<'a>(
    field: &'a Option<String>,
    missing: &'static str,
) -> Result<&'a str, Refused> {
    match field.as_deref() {
        Some(text) if !text.is_empty() => Ok(text),
        Some(_) | None => Err(Refused::bad_request(missing)),
    }
}

/// A lifetime in milliseconds as JavaScript writes numbers; zero stands for none.
pub(super) fn ttl(millis: Option<f64>) -> Option<Duration> {
    let millis = millis.filter(|millis| *millis != 0.0)?;
    // Out of range is cut off: less than nothing becomes nothing, and more than a day a day.
    Some(Duration::from_millis(millis as u64))
}

/// For bodies with at most one description, twice as long in JSON with all its line ends, and its
/// metadata; or 64 candidates.
pub(super) const BODY_LEN_MAX: usize = 512 * 1024;

/// For bodies with up to 100 descriptions; real ones have about 1 KiB.
pub(super) const OFFERS_LEN_MAX: usize = 2 * 1024 * 1024;

/// Long enough for the largest body over the slowest line on which a link would be of use.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_lifetimes_are_cut_off() {
        assert_eq!(ttl(None), None);
        assert_eq!(ttl(Some(0.0)), None);
        assert_eq!(ttl(Some(-5.0)), Some(Duration::ZERO));
        assert_eq!(ttl(Some(1.5)), Some(Duration::from_millis(1)));
        assert_eq!(ttl(Some(1e300)), Some(Duration::from_millis(u64::MAX)));
    }
}
