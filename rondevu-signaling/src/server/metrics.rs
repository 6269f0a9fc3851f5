//! What the server counts, as Prometheus reads it.

use std::time::{Duration, Instant};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::ServerConfig;
use super::body::{BODY_LEN_MAX, BODY_TIMEOUT, OFFERS_LEN_MAX};
use crate::protocol_limits::{
    CANDIDATE_LEN_MAX, CANDIDATES_MAX, METADATA_LEN_MAX, OFFERS_PER_REQUEST_MAX, SECRET_LEN_MAX,
};
use crate::store::{Census, POSTERS_MAX};

/// Counts requests and shows how full the server is.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<EndpointLabels, Histogram>,
    refused: Family<LimitLabels, Counter>,
    kept: Family<KindLabels, Gauge>,
    waiting: Gauge,
    pub(super) connections: Gauge,
    uptime: Gauge,
    started: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    endpoint: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabels {
    method: &'static str,
    endpoint: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

/// The endpoint of a request: its method and the pattern of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) method: &'static str,
    pub(super) pattern: &'static str,
}

impl Endpoint {
    /// Everything that has none.
    pub(super) const UNKNOWN: Self = Self {
        method: "other",
        pattern: "other",
    };
}

impl Metrics {
    pub(super) fn new(config: &ServerConfig) -> Self {
        let mut registry = Registry::with_prefix("rondevu");
        let metrics = Self {
            requests: Family::default(),
            // From 50 microseconds to 26 seconds.
            seconds: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.000_05, 3.0, 13))
            }),
            refused: Family::default(),
            kept: Family::default(),
            waiting: Gauge::default(),
            connections: Gauge::default(),
            uptime: Gauge::default(),
            started: Instant::now(),
            registry: Registry::default(),
        };
        registry.register("requests", "Requests answered", metrics.requests.clone());
        registry.register_with_unit(
            "request_duration",
            "Time from a request to its answer, of requests that did not ask to wait",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register(
            "limit_reached",
            "Requests refused by a limit",
            metrics.refused.clone(),
        );
        registry.register("kept", "What the storage holds", metrics.kept.clone());
        registry.register(
            "waiting_requests",
            "Requests that wait for something to happen",
            metrics.waiting.clone(),
        );
        registry.register(
            "connections",
            "Open connections",
            metrics.connections.clone(),
        );
        registry.register_with_unit(
            "uptime",
            "Time since the start",
            Unit::Seconds,
            metrics.uptime.clone(),
        );
        let limits = Family::<LimitLabels, Gauge<f64, std::sync::atomic::AtomicU64>>::default();
        for (limit, value) in limits_of(config) {
            limits.get_or_create(&LimitLabels { limit }).set(value);
            // From the start, so that a limit that was never reached shows as such.
            drop(metrics.refused.get_or_create(&LimitLabels { limit }));
        }
        registry.register(
            "limit",
            "The limits, as limit_reached names them; rates are per second",
            limits,
        );
        Self {
            registry,
            ..metrics
        }
    }

    pub(super) fn count(&self, endpoint: Endpoint, status: u16) {
        let Endpoint { method, pattern } = endpoint;
        let labels = RequestLabels {
            method,
            endpoint: pattern,
            status,
        };
        self.requests.get_or_create(&labels).inc();
    }

    pub(super) fn time(&self, endpoint: Endpoint, took: Duration) {
        let Endpoint { method, pattern } = endpoint;
        let labels = EndpointLabels {
            method,
            endpoint: pattern,
        };
        let seconds = self.seconds.get_or_create(&labels);
        seconds.observe(took.as_secs_f64());
    }

    pub(super) fn limit_reached(&self, limit: &'static str) {
        self.refused.get_or_create(&LimitLabels { limit }).inc();
    }

    pub(super) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Everything, as text.
    pub(super) fn text(&self, census: Census, waiting: usize) -> Result<String, std::fmt::Error> {
        for (kind, count) in [
            ("names", census.names),
            ("services", census.services),
            ("offers", census.offers),
            ("bytes", census.bytes),
        ] {
            let kept = self.kept.get_or_create(&KindLabels { kind });
            kept.set(saturating(count as u64));
        }
        self.waiting.set(saturating(waiting as u64));
        self.uptime.set(saturating(self.uptime().as_secs()));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn saturating(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Every limit that a request can meet, by name.
fn limits_of(config: &ServerConfig) -> Vec<(&'static str, f64)> {
    let limits = &config.limits;
    vec![
        #[cfg(feature = "sqlite")]
        ("store_queue", crate::store::QUEUE_LEN as f64),
        ("body_bytes", BODY_LEN_MAX as f64),
        ("offers_body_bytes", OFFERS_LEN_MAX as f64),
        ("body_seconds", BODY_TIMEOUT.as_secs_f64()),
        ("sdp_bytes", rondevu_core::SDP_LEN_MAX as f64),
        ("offers_per_request", OFFERS_PER_REQUEST_MAX as f64),
        ("secret_bytes", SECRET_LEN_MAX as f64),
        ("metadata_bytes", METADATA_LEN_MAX as f64),
        ("candidates_per_peer_and_offer", CANDIDATES_MAX as f64),
        ("candidate_bytes", CANDIDATE_LEN_MAX as f64),
        ("posters_per_offer", POSTERS_MAX as f64),
        ("offers_per_peer", limits.offers_per_peer as f64),
        ("services_per_username", limits.services_per_username as f64),
        ("stored_bytes", limits.bytes_total as f64),
        ("connections", config.connections_max as f64),
        ("address_rate", config.address_rate.per_second()),
        ("peer_rate", config.peer_rate.per_second()),
        ("registration_rate", config.registration_rate.per_second()),
        ("name_rate", config.name_rate.per_second()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_shown_before_it_is_reached() {
        let metrics = Metrics::new(&ServerConfig::default());
        metrics.limit_reached("sdp_bytes");
        let text = metrics.text(Census::default(), 3).unwrap();
        assert!(
            text.contains("rondevu_limit{limit=\"sdp_bytes\"} 65536.0"),
            "{text}"
        );
        assert!(
            text.contains("rondevu_limit_reached_total{limit=\"sdp_bytes\"} 1"),
            "{text}"
        );
        for (limit, _) in limits_of(&ServerConfig::default()) {
            assert!(text.contains(&format!("rondevu_limit{{limit=\"{limit}\"}}")));
            assert!(text.contains(&format!("rondevu_limit_reached_total{{limit=\"{limit}\"}}")));
        }
        assert!(text.contains("rondevu_waiting_requests 3"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
