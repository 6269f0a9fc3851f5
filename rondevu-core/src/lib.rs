//! The vocabulary and the small machines that durable peer-to-peer connections are made of.
#![no_std]

extern crate alloc;

mod backoff;
mod close_reason;
mod confirmations;
mod deadline;
mod description;
pub mod frame;
mod generation;
mod id_set;
mod ids;
mod inbox;
mod instant;
pub mod link;
mod liveness;
mod lossy_inbox;
mod message;
mod outbox;
pub mod proof;
mod queue;
mod ready;
mod reassembly;
mod receive_window;
mod reconnector;
mod seq;
mod service_name;
mod state;
#[cfg(test)]
mod state_table;
mod username;

pub use backoff::BackoffPolicy;
pub use close_reason::{ByeReason, RejectReason};
pub use confirmations::Outcome;
pub use deadline::{Deadline, DeadlineReason};
pub use description::{DescriptionKind, IceCandidate, SDP_LEN_MAX, SessionDescription};
pub use generation::Generation;
pub use id_set::IdSet;
pub use ids::{
    ChannelId, IdError, Incarnation, LinkId, OfferId, PeerId, SERVER_ID_LEN_MAX, ServiceId,
    ServiceUuid, SessionId, StreamId,
};
pub use inbox::{Delivery, Inbox, InboxViolation, Order};
pub use instant::Instant;
pub use link::{
    Fingerprints, LinkClosed, LinkEvent, LinkInfo, OpenedBy, Reliability, StreamOptions,
};
pub use liveness::{Liveness, LivenessConfig, LivenessTimeout};
pub use lossy_inbox::LossyInbox;
pub use message::{Message, MessageKind};
pub use outbox::{Keeping, Outbox, OutboxViolation, Unconfirmed};
pub use proof::Identity;
pub use queue::{MessageQueue, Overflow, QueueFull, QueueLimits, Queued};
pub use reconnector::{Attempt, Reconnector};
pub use seq::Seq;
pub use service_name::{ServiceName, ServiceNameError};
pub use state::{DurableChannelState, DurableConnectionState};
pub use username::{Username, UsernameError};
