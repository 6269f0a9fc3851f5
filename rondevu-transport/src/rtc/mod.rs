//! Links over WebRTC data channels, carried by the sans-IO engine str0m.
//!
//! ```text
//! RtcFactory ── makes ──► link (Transport) ── owns ──► str0m::Rtc
//!   certificate, limits     ├─ streams    which channel is which stream, who may write
//!                           ├─ sources    which addresses are heard, early DTLS
//!                           ├─ flight     what to repeat while connecting
//!                           ├─ idleness   when checks may wait
//!                           └─ remote_sdp what of the peer's description is believed
//! ```

mod config;
mod credentials;
mod factory;
mod flight;
mod idleness;
mod link;
mod negotiated;
pub(crate) mod remote_sdp;
mod sources;
mod streams;
mod translate;

pub use config::RtcConfig;
pub use factory::RtcFactory;
#[cfg(feature = "fuzzing")]
pub(crate) use negotiated::parse_candidate;

#[cfg(test)]
mod tests;

/// A factory for tests.
#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "the engine needs some std instant to count from"
)]
pub(crate) fn fixture() -> RtcFactory {
    let epoch = std::time::Instant::now();
    RtcFactory::new(RtcConfig::default(), epoch).expect("a certificate can be made")
}
