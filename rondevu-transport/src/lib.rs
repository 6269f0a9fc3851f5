//! One link between two peers as a polled, socket-free state machine.

mod datagram;
mod error;
mod factory;
mod transport;

pub use datagram::{DATAGRAM_BYTES_MAX, Datagram, Received};
pub use error::TransportError;
pub use factory::{Answered, Offered, TransportFactory};
pub use transport::{Fingerprints, Transport, Written};
