//! How two Rondevu peers find each other and swap session descriptions before they have a link.

pub mod conformance;
mod error;
#[cfg(feature = "http")]
mod http;
mod identity;
mod memory;
mod messages;
mod protocol_limits;
mod registry;
#[cfg(feature = "server")]
pub mod server;
mod signaling;
mod store;
mod time;
#[cfg(any(feature = "http", feature = "server"))]
mod wire;

pub use error::{Retry, SignalingError};
#[cfg(feature = "http")]
pub use http::{HttpSignaling, HttpSignalingBuilder};
pub use identity::{
    BadSignature, KeyError, KeyPair, KeyTextError, PublicKey, Signature, SignedClaim, SignedPublish,
};
pub use memory::{MemoryPeer, MemorySignaling};
pub use messages::{
    ClaimedUsername, CreatedOffer, ListedService, NewOffer, OfferAnswer, OwnOffer, OwnOfferAnswer,
    Publication, PublishedService, RemoteCandidate, ServiceOffer, UsernameStatus, Visibility,
};
pub use registry::Limits;
pub use signaling::Signaling;
pub use time::UnixMillis;
