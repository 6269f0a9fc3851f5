//! What is counted through the `metrics` crate.
#![cfg(feature = "metrics")]
#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something unexpected happens"
)]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use rondevu::{ChannelConfig, Message};
use support::meeting::Meeting;

/// Keeps all values by name and labels.
#[derive(Default)]
struct Ledger(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Ledger {
    fn value(&self, key: &Key) -> Arc<AtomicU64> {
        let labels = key
            .labels()
            .map(|label| format!(" {}={}", label.key(), label.value()));
        let name = format!("{}{}", key.name(), labels.collect::<String>());
        Arc::clone(self.0.lock().unwrap().entry(name).or_default())
    }

    fn counted(&self, name: &str) -> u64 {
        let values = self.0.lock().unwrap();
        values
            .get(name)
            .map_or(0, |value| value.load(Ordering::Relaxed))
    }

    /// Gauges keep the bits of a float.
    fn measured(&self, name: &str) -> f64 {
        f64::from_bits(self.counted(name))
    }
}

impl Recorder for Ledger {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.value(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.value(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn connections_links_and_services_are_counted() {
    let ledger = Ledger::default();
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    metrics::with_local_recorder(&ledger, || {
        runtime.block_on(async {
            let meeting = Meeting::new().await;
            let (dialed, accepted) = meeting.connect().await;
            assert_eq!(ledger.measured("rondevu_connections role=dialer"), 1.0);
            assert_eq!(ledger.measured("rondevu_connections role=service"), 1.0);
            dialed.rebind();
            let channel = dialed
                .create_channel("chat", &ChannelConfig::default())
                .unwrap();
            let mut states = dialed.watch_state();
            states.changed().await.unwrap();
            dialed.connect().await.unwrap();
            channel.send("hello").await.unwrap();
            let other = accepted.incoming_channel().await.unwrap();
            assert_eq!(other.recv().await, Some(Message::from("hello")));
            dialed.close().await;
            accepted.closed().await;
            meeting.service.stop().await;
        });
    });
    drop(runtime);
    for (name, value) in [
        ("rondevu_links_total role=dialer", 2),
        ("rondevu_connections_ended_total role=dialer how=closed", 1),
        ("rondevu_connections_ended_total role=service how=closed", 1),
        ("rondevu_services_published_total", 1),
    ] {
        assert_eq!(ledger.counted(name), value, "{name}");
    }
}
