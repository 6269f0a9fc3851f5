//! Durable peer-to-peer connections over WebRTC: find each other by name and keep talking.

mod cable;
mod channel;
mod client;
mod clock;
mod connection;
mod dial;
mod driver;
mod error;
mod link;
mod service;
mod service_driver;
mod shared;
mod sockets;

pub use cable::Cable;
pub use channel::DurableChannel;
pub use client::{Rondevu, RondevuBuilder};
pub use connection::DurableConnection;
pub use dial::Target;
pub use error::Error;
pub use service::{DurableService, DurableServiceEvent, ServiceInfo, ServiceOptions};

pub use rondevu_core as core;
pub use rondevu_core::{
    BackoffPolicy, Delivery, DurableChannelState, DurableConnectionState, Message, Overflow,
    QueueLimits, ServiceName, ServiceUuid, Username,
};
pub use rondevu_durable::{
    ChannelConfig, ChannelEvent, ConnectionClosed, ConnectionConfig, ConnectionEvent,
    ConnectionFailure, FirstAttempt, HalfOpen, SendError, SessionLoss,
};
pub use rondevu_signaling as signaling;
pub use rondevu_signaling::{KeyPair, PublicKey, Visibility};
pub use rondevu_transport as transport;
