//! One link between two peers as a polled, socket-free state machine.

pub mod conformance;
mod datagram;
pub mod emulator;
mod error;
mod factory;
pub mod gather;
mod router;
#[cfg(feature = "str0m")]
pub mod rtc;
mod stun;
mod transport;

pub use datagram::{DATAGRAM_BYTES_MAX, Datagram, Received};
pub use error::TransportError;
pub use factory::{Answered, Offered, TransportFactory};
pub use router::{Router, Routes};
pub use transport::{Fingerprints, Transport, Written};
