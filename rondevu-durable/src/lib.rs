//! What survives the link: the machines of durable channels, connections and services.
//!
//! A [`ConnectionMachine`] keeps one conversation alive over many links. It does no I/O, reads no
//! clock and knows neither a transport nor a signaling server: an embedder tells it what happened
//! (`handle_*`), does what it asks for (`poll_*`), and calls [`ConnectionMachine::handle_timeout`]
//! when [`ConnectionMachine::poll_timeout`] says so.

#[cfg(test)]
extern crate alloc;

mod channel;
mod config;
mod connection;
mod error;
mod reception;
mod service;
mod session_table;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(test)]
#[path = "../../rondevu-core/src/state_table.rs"]
mod state_table;
mod trickle;

pub use channel::{ChannelEvent, ChannelMachine};
pub use config::{
    ChannelConfig, ConnectionConfig, FirstAttempt, HalfOpen, PlainPeers, SessionLoss,
};
pub use connection::{
    Action, Arrival, ConnectionEvent, ConnectionMachine, Durability, RequiredProof, Role, Seeds,
    Transmit, Trust,
};
pub use error::{
    ChannelError, ConnectionClosed, ConnectionFailure, DialFailure, DialRetry, ProofFailure,
    ProtocolViolation, SendError,
};
pub use reception::{Caller, Reception};
pub use service::{
    OfferKey, PollEnd, PollingConfig, Presence, ServiceAction, ServiceConfig, ServiceEvent,
    ServiceMachine, ServiceRetry,
};
pub use session_table::{SessionLimits, SessionTable};
pub use trickle::{TrickleAction, TrickleMachine};
