//! Links over WebRTC data channels, carried by an engine put together from smaller ones.
//!
//! ```text
//! ComposedFactory ── makes ──► link (Transport)
//!   certificate, limits          ├─ ice       the path: `is`, the agent of str0m
//!                                ├─ path_mtu  how large a datagram it carries
//!                                ├─ dtls      encryption: `dimpl`, the DTLS of str0m
//!                                ├─ channels  data channels: ids, opening (dcep), closing
//!                                │   └─ sctp  streams: `rtc-sctp`, the SCTP of webrtc-rs
//!                                └─ streams, sources, flight, idleness, remote_sdp
//!                                             as with the other engine, see `rtc`
//! ```
//!
//! It speaks the same on the wire as [`rtc`](crate::rtc), browsers included. It moves large
//! messages several times as fast and takes some more memory for a connection.

mod channels;
pub(crate) mod dcep;
mod dtls;
mod factory;
mod ice;
mod link;
mod path_mtu;
mod sctp;

pub use factory::ComposedFactory;

#[cfg(test)]
mod tests;
