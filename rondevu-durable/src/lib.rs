//! What survives the link: the machines of durable channels, connections and services.
//!
//! A [`ConnectionMachine`] keeps one conversation alive over many links. It does no I/O, reads no
//! clock and knows neither a transport nor a signaling server: an embedder tells it what happened
//! (`handle_*`), does what it asks for (`poll_*`), and calls [`ConnectionMachine::handle_timeout`]
//! when [`ConnectionMachine::poll_timeout`] says so.

mod channel;
mod config;
mod connection;
mod error;
mod service;
mod trickle;

pub use channel::{ChannelEvent, ChannelMachine};
pub use config::{ChannelConfig, ConnectionConfig, FirstAttempt, HalfOpen, SessionLoss};
pub use connection::{Action, ConnectionEvent, ConnectionMachine, Role, Seeds, Transmit};
pub use error::{
    ChannelError, ConnectionClosed, ConnectionFailure, DialFailure, DialRetry, ProtocolViolation,
    SendError,
};
pub use service::{
    OfferKey, PollEnd, PollingConfig, Presence, ServiceAction, ServiceConfig, ServiceEvent,
    ServiceMachine, ServiceRetry,
};
pub use trickle::{TrickleAction, TrickleMachine};
