//! The vocabulary and the small machines that durable peer-to-peer connections are made of.
#![no_std]

extern crate alloc;

mod deadline;
mod description;
mod generation;
mod ids;
mod instant;
pub mod link;
mod message;
mod service_name;
mod state;
mod username;

pub use deadline::{Deadline, DeadlineReason};
pub use description::{DescriptionKind, IceCandidate, SDP_LEN_MAX, SessionDescription};
pub use generation::Generation;
pub use ids::{
    ChannelId, IdError, Incarnation, LinkId, OfferId, PeerId, SERVER_ID_LEN_MAX, ServiceId,
    ServiceUuid, SessionId, StreamId,
};
pub use instant::Instant;
pub use link::{LinkClosed, LinkEvent, OpenedBy, Reliability, StreamOptions};
pub use message::{Message, MessageKind};
pub use service_name::{ServiceName, ServiceNameError};
pub use state::{DurableChannelState, DurableConnectionState};
pub use username::{Username, UsernameError};
