//! Durable peer-to-peer connections over WebRTC: find each other by name and keep talking.
//!
//! A [`Rondevu`] client claims usernames, exposes services ([`DurableService`]) and connects to
//! those of others ([`DurableConnection`]). Messages travel on [`DurableChannel`]s. A connection
//! survives the loss of its network link: it reconnects with exponential backoff, messages wait
//! meanwhile, and each arrives once and in order.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use rondevu::{ChannelConfig, Rondevu};
//!
//! let client = Rondevu::new("http://127.0.0.1:3000")?;
//! let connection = client.connect("alice", "com.example.echo@1.0.0").await?;
//! let channel = connection.create_channel("chat", &ChannelConfig::default())?;
//! channel.send("hello").await?;
//! println!("{:?}", channel.recv().await);
//! # Ok(())
//! # }
//! ```
//!
//! This crate is the only one that runs tasks: one for each connection, one for each service and
//! one for each UDP socket. What it deliberately leaves to the layers below: how peers find each
//! other ([`signaling`]), what a link is ([`transport`]), and how a conversation survives
//! (`rondevu-durable`). All handles are `Send + Sync` and cheap to clone.
//!
//! The [`guide`] tells more. Feature `server` adds the signaling server (`signaling::server`), feature
//! `metrics` counters for operators, feature `cli` the program.

mod accept_queue;
mod addresses;
mod announcement;
mod batch;
mod builder;
mod burst;
mod cable;
mod channel;
mod client;
mod clock;
mod connection;
mod dial;
mod driver;
mod engine;
mod error;
mod events;
mod greeting;
pub mod guide;
mod ice;
mod io;
mod known_keys;
mod line;
mod link;
mod mdns;
mod measure;
mod paths;
mod service;
mod service_driver;
mod shared;
mod sockets;
mod streams;
mod trickle;
mod waiting;

pub use builder::RondevuBuilder;
pub use cable::Cable;
pub use channel::DurableChannel;
pub use client::Rondevu;
pub use connection::{DurableConnection, PeerInfo};
pub use dial::Target;
/// The name that the TypeScript client has for it.
pub type ConnectionInfo = Target;
pub use engine::Engine;
pub use error::Error;
pub use events::{Events, Missed};
pub use io::ChannelIo;
pub use known_keys::{KeyPolicy, KnownKeys, KnownKeysFile, KnownKeysInMemory};
pub use paths::NoCandidates;
pub use service::{
    DurableService, DurableServiceEvent, IncomingConnections, ServiceInfo, ServiceOptions,
};
pub use streams::{IncomingChannels, MessageSink, Messages};

pub use rondevu_core as core;
pub use rondevu_core::{
    BackoffPolicy, Delivery, DurableChannelState, DurableConnectionState, Message, Outcome,
    Overflow, QueueLimits, Reliability, ServiceName, ServiceUuid, Username, frame::ChannelOptions,
};
pub use rondevu_durable::{
    ChannelConfig, ChannelEvent, ConnectionClosed, ConnectionConfig, ConnectionEvent,
    ConnectionFailure, Durability, FirstAttempt, HalfOpen, PlainPeers, ProofFailure, SendError,
    SessionLimits, SessionLoss,
};
pub use rondevu_signaling as signaling;
pub use rondevu_signaling::{KeyPair, PublicKey, Visibility};
pub use rondevu_transport as transport;
pub use rondevu_transport::gather::{GatherFailure, IceServer, IceServerError, IceTransportPolicy};
pub use rondevu_transport::{CandidateKind, LinkPath};

/// The examples of the README are compiled with the documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
