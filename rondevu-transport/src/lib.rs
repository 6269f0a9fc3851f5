//! One incarnation of a link between two peers, as a polled state machine.
//!
//! A [`Transport`] is a link: it finds a path to the peer, encrypts it, and carries streams of
//! messages until it ends, once and for good. A [`TransportFactory`] makes links from session
//! descriptions that the peers exchange by other means. [`rtc`] implements both with WebRTC data
//! channels, [`loopback`] without, for tests; [`conformance`] says what any implementation must do.
//!
//! Around a link stand [`gather`], which finds the addresses to offer, and [`Router`], which finds
//! the link for a datagram when many links share a socket. [`emulator`] is the network of the tests.
//!
//! What this crate deliberately does not know: sockets, clocks, threads, async runtimes; how
//! descriptions travel; and what happens after a link ended. Time comes in as the last argument of
//! each call, datagrams come in by [`Transport::handle_datagram`] and go out by
//! [`Transport::poll_transmit`]. So everything here runs in virtual time, as in this example:
//!
//! ```
//! use std::net::SocketAddr;
//!
//! use rondevu_core::{Instant, LinkEvent, MessageKind, StreamOptions};
//! use rondevu_transport::loopback::LoopbackFactory;
//! use rondevu_transport::{Transport, TransportFactory, Written};
//!
//! let factory = LoopbackFactory::new(1); // or rtc::RtcFactory
//! let now = Instant::ORIGIN;
//! let here: SocketAddr = "192.0.2.1:5000".parse()?;
//! let there: SocketAddr = "192.0.2.2:6000".parse()?;
//!
//! // The descriptions would travel through signaling.
//! let offer = factory.create_offer(&[here.into()], StreamOptions::reliable("chat", ""), now)?;
//! let answer = factory.create_answer(&offer.description, &[there.into()], now)?;
//! let (mut service, mut dialer) = (offer.transport, answer.transport);
//! service.accept_answer(&answer.description, now)?;
//!
//! // The datagrams would travel through sockets.
//! let deliver = |from: &mut dyn Transport, to: &mut dyn Transport| {
//!     while let Some(datagram) = from.poll_transmit() {
//!         to.handle_datagram(datagram.as_received(), now);
//!     }
//! };
//! let mut received = None;
//! while received.is_none() {
//!     deliver(&mut *service, &mut *dialer);
//!     deliver(&mut *dialer, &mut *service);
//!     while let Some(event) = service.poll_event() {
//!         if let LinkEvent::StreamOpened { stream, .. } = event {
//!             let written = service.write(stream, MessageKind::Text, b"hello", now)?;
//!             assert_eq!(written, Written::Accepted);
//!         }
//!     }
//!     while let Some(event) = dialer.poll_event() {
//!         if let LinkEvent::StreamMessage { payload, .. } = event {
//!             received = Some(payload);
//!         }
//!     }
//! }
//! assert_eq!(received.as_deref(), Some(&b"hello"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod buffer;
mod candidate;
#[cfg(feature = "engine-composed")]
pub mod composed;
pub mod conformance;
mod datagram;
pub mod emulator;
mod error;
mod factory;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod gather;
pub mod loopback;
mod router;
#[cfg(any(feature = "str0m", feature = "engine-composed"))]
pub mod rtc;
mod stun;
mod transport;

pub use buffer::Buffer;
pub use candidate::{CandidateKind, LinkPath, LinkStage, LocalCandidate, NamedCandidate};
pub use datagram::{DATAGRAM_BYTES_MAX, Datagram, Received};
pub use error::TransportError;
pub use factory::{Answered, Offered, TransportFactory};
pub use rondevu_core::Fingerprints;
pub use router::{Router, Routes};
pub use transport::{Transport, Written};
