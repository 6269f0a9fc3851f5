//! What can go wrong for an application.

use std::io;

use rondevu_core::{ServiceNameError, Username, UsernameError};
use rondevu_durable::{ChannelError, ConnectionClosed, ConnectionFailure};
use rondevu_signaling::SignalingError;
use rondevu_transport::TransportError;
use rondevu_transport::gather::IceServerError;

use crate::paths::NoCandidates;

/// An operation of the facade that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text is no username.
    #[error(transparent)]
    Username(#[from] UsernameError),
    /// A text is no service name.
    #[error(transparent)]
    ServiceName(#[from] ServiceNameError),
    /// The client lacks something that the operation needs.
    #[error("{0}")]
    Incomplete(&'static str),
    /// The signaling server refused or could not be reached.
    #[error(transparent)]
    Signaling(#[from] SignalingError),
    /// A socket could not be opened.
    #[error("cannot open a UDP socket")]
    Socket(#[source] io::Error),
    /// There is no address that a peer could be told: no TURN server lends one, and nothing else is
    /// allowed.
    #[error(transparent)]
    NoCandidates(NoCandidates),
    /// A STUN or TURN server was named that cannot be used.
    #[error(transparent)]
    IceServer(#[from] IceServerError),
    /// The transport could not be made.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// No key or seed could be made.
    #[error("the operating system gives no random numbers")]
    NoRandomness,
    /// The channel could not be created.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The connection failed for good.
    #[error(transparent)]
    Failed(ConnectionFailure),
    /// The connection was closed.
    #[error(transparent)]
    Closed(ConnectionClosed),
    /// The store of known keys cannot be used.
    #[error("the known keys cannot be read")]
    KnownKeys(#[source] io::Error),
    /// Only known keys are trusted, and none is known for this username.
    #[error(
        "no key is known for {0}, and only known keys are trusted: pin its key first, or allow trust \
         on first use"
    )]
    UnknownKey(Username),
    /// Only known keys are trusted, and a uuid names nobody whose key could be known.
    #[error("only known keys are trusted: connect by username and service name, not by uuid")]
    UnnamedPeer,
    /// The service was stopped.
    #[error("the service was stopped")]
    Stopped,
}
