//! Links over WebRTC data channels, carried by the sans-IO engine str0m.
//!
//! ```text
//! RtcFactory ── makes ──► link (Transport) ── owns ──► str0m::Rtc
//!   certificate, limits     ├─ streams    which channel is which stream, who may write
//!                           ├─ sources    which addresses are heard, early DTLS
//!                           ├─ locals     its own candidates, and the path in use
//!                           ├─ remotes    the peer's candidates
//!                           ├─ succession what to do when the peer has moved
//!                           ├─ flight     what to repeat while connecting
//!                           ├─ idleness   when checks may wait
//!                           └─ remote_sdp what of the peer's description is believed
//! ```

pub(crate) mod candidate;
pub(crate) mod config;
pub(crate) mod credentials;
pub(crate) mod epoch;
#[cfg(feature = "str0m")]
mod factory;
pub(crate) mod flight;
pub(crate) mod idleness;
#[cfg(feature = "str0m")]
mod link;
pub(crate) mod locals;
#[cfg(feature = "str0m")]
mod negotiated;
pub(crate) mod remote_sdp;
pub(crate) mod remotes;
pub(crate) mod sdp_text;
pub(crate) mod sources;
pub(crate) mod streams;
pub(crate) mod succession;
#[cfg(feature = "str0m")]
mod translate;

pub use config::RtcConfig;
#[cfg(feature = "str0m")]
pub use factory::RtcFactory;

#[cfg(test)]
#[cfg(feature = "str0m")]
mod tests;

/// A factory for tests.
#[cfg(test)]
#[cfg(feature = "str0m")]
#[allow(
    clippy::disallowed_methods,
    reason = "the engine needs some std instant to count from"
)]
pub(crate) fn fixture() -> RtcFactory {
    let epoch = std::time::Instant::now();
    RtcFactory::new(RtcConfig::default(), epoch).expect("a certificate can be made")
}
