//! What is counted for those who operate a program, through the `metrics` crate (feature `metrics`).
//!
//! Without the feature everything here does nothing and costs nothing.

use rondevu_durable::{ChannelEvent, ConnectionEvent, Role};

use crate::service::DurableServiceEvent;

/// A connection that exists, for as long as this value does.
#[derive(Debug)]
pub(crate) struct Living(Role);

impl Living {
    pub(crate) fn begin(role: Role) -> Self {
        #[cfg(feature = "metrics")]
        metrics::gauge!("rondevu_connections", "role" => name(role)).increment(1.0);
        Self(role)
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        #[cfg(feature = "metrics")]
        metrics::gauge!("rondevu_connections", "role" => name(self.0)).decrement(1.0);
        #[cfg(not(feature = "metrics"))]
        let _ = self.0;
    }
}

#[cfg(feature = "metrics")]
fn name(role: Role) -> &'static str {
    match role {
        Role::Dialer => "dialer",
        Role::Acceptor => "service",
    }
}

/// What happened to a connection.
#[cfg(feature = "metrics")]
pub(crate) fn connection_event(role: Role, event: &ConnectionEvent) {
    let role = name(role);
    let ended = |how: &'static str| {
        metrics::counter!("rondevu_connections_ended_total", "role" => role, "how" => how)
            .increment(1);
    };
    match event {
        ConnectionEvent::Connected { .. } => {
            metrics::counter!("rondevu_links_total", "role" => role).increment(1);
        }
        ConnectionEvent::Disconnected => {
            metrics::counter!("rondevu_links_lost_total", "role" => role).increment(1);
        }
        ConnectionEvent::Reconnecting { .. } => {
            metrics::counter!("rondevu_attempts_planned_total").increment(1);
        }
        ConnectionEvent::SessionReset { .. } => {
            metrics::counter!("rondevu_session_resets_total").increment(1);
        }
        ConnectionEvent::ProtocolViolation(_) => {
            metrics::counter!("rondevu_protocol_violations_total", "role" => role).increment(1);
        }
        ConnectionEvent::Failed { .. } => ended("failed"),
        ConnectionEvent::Closed { .. } => ended("closed"),
        _ => {}
    }
}

/// What happened to a channel.
#[cfg(feature = "metrics")]
pub(crate) fn channel_event(event: &ChannelEvent) {
    let (why, messages) = match event {
        ChannelEvent::QueueOverflow { dropped } => ("queue_overflow", *dropped),
        ChannelEvent::Expired { dropped } => ("expired", *dropped),
        ChannelEvent::Refused { dropped } => ("refused", *dropped),
        ChannelEvent::Lost { messages } => ("lost_by_peer", *messages),
        ChannelEvent::ReceiveOverflow { dropped } => ("receive_overflow", *dropped),
        _ => return,
    };
    metrics::counter!("rondevu_messages_dropped_total", "why" => why).increment(messages);
}

/// What happened to a service.
#[cfg(feature = "metrics")]
pub(crate) fn service_event(event: &DurableServiceEvent) {
    match event {
        DurableServiceEvent::Published(_) => {
            metrics::counter!("rondevu_services_published_total").increment(1);
        }
        DurableServiceEvent::TtlRefreshed { .. } => {
            metrics::counter!("rondevu_services_renewed_total").increment(1);
        }
        DurableServiceEvent::Error { .. } => {
            metrics::counter!("rondevu_signaling_failures_total").increment(1);
        }
        _ => {}
    }
}

/// An attempt that did not get as far as a link.
pub(crate) fn dial_failed() {
    #[cfg(feature = "metrics")]
    metrics::counter!("rondevu_dials_failed_total").increment(1);
}

#[cfg(not(feature = "metrics"))]
pub(crate) fn connection_event(_: Role, _: &ConnectionEvent) {}

#[cfg(not(feature = "metrics"))]
pub(crate) fn channel_event(_: &ChannelEvent) {}

#[cfg(not(feature = "metrics"))]
pub(crate) fn service_event(_: &DurableServiceEvent) {}
