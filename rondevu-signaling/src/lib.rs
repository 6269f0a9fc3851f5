//! How two Rondevu peers find each other and swap session descriptions before they have a link.

mod error;
mod identity;
mod memory;
mod messages;
mod protocol_limits;
mod registry;
mod signaling;
mod store;
mod time;

pub use error::{Retry, SignalingError};
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
