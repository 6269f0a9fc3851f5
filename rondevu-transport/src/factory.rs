//! What makes links.

use std::fmt;

use rondevu_core::{Instant, SessionDescription, StreamId, StreamOptions};

use crate::{LocalCandidate, Transport, TransportError};

/// Makes links; shared by everything in a process that connects.
///
/// `local` are the addresses that datagrams leave from and arrive at; they stand in the
/// description. Unspecified addresses (`0.0.0.0`) are of no use to a peer: list the interfaces' own
/// (see [`gather`](crate::gather)). What is found later is for
/// [`add_local_candidate`](Transport::add_local_candidate).
pub trait TransportFactory: Send + Sync + fmt::Debug {
    /// Makes the offering side of a link, in Rondevu the service, with a first stream.
    ///
    /// The offer stays open until [`Transport::accept_answer`]; nothing is sent before.
    ///
    /// # Errors
    ///
    /// [`TransportError::NoAddress`] if no local address can be used,
    /// [`TransportError::Options`] if the stream cannot be opened like that,
    /// [`TransportError::Engine`] if the engine fails.
    fn create_offer(
        &self,
        local: &[LocalCandidate],
        stream: StreamOptions,
        now: Instant,
    ) -> Result<Offered, TransportError>;

    /// Makes the answering side of a link, in Rondevu the dialer.
    ///
    /// The link looks for a path from now on.
    ///
    /// # Errors
    ///
    /// [`TransportError::NotExpected`] if `offer` is an answer, [`TransportError::Description`] if
    /// it cannot be used, [`TransportError::NoAddress`] if no local address can be used,
    /// [`TransportError::Engine`] if the engine fails.
    fn create_answer(
        &self,
        offer: &SessionDescription,
        local: &[LocalCandidate],
        now: Instant,
    ) -> Result<Answered, TransportError>;
}

/// The offering side of a new link.
#[derive(Debug)]
pub struct Offered {
    /// The link; it waits for the answer.
    pub transport: Box<dyn Transport>,
    /// The offer, for the peer.
    pub description: SessionDescription,
    /// The stream that the offer opens.
    pub stream: StreamId,
}

/// The answering side of a new link.
#[derive(Debug)]
pub struct Answered {
    /// The link; it is looking for a path.
    pub transport: Box<dyn Transport>,
    /// The answer, for the peer.
    pub description: SessionDescription,
}
