//! How two Rondevu peers find each other and swap session descriptions before they have a link.
//!
//! A service owns a username by its Ed25519 key, publishes itself under that name with offers, and
//! waits for answers. A dialer looks the name up, takes an offer and answers it. That is all: once
//! the two have a link, they need nobody in between.
//!
//! ```
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use std::time::Duration;
//! use rondevu_core::SessionDescription;
//! use rondevu_signaling::{KeyPair, MemorySignaling, Publication, Signaling, UnixMillis};
//!
//! let server = MemorySignaling::new(); // or, over the network: HttpSignaling::new(url)?
//! let (service, dialer) = (server.peer(), server.peer());
//! let (alice, chat) = ("alice".parse()?, "com.example.chat@1.0.0".parse()?);
//!
//! // The service claims its name, publishes itself …
//! let keys = KeyPair::generate()?;
//! service.claim_username(&keys.sign_claim(&alice, UnixMillis::now())).await?;
//! let signed = keys.sign_publish(&alice, &chat, UnixMillis::now());
//! let offer = SessionDescription::offer("v=0 …");
//! service.publish_service(&Publication::new(alice.clone(), chat.clone(), offer, signed)).await?;
//!
//! // … the dialer finds it and answers its offer …
//! let offer = dialer.take_offer(&dialer.find_service(&alice, &chat).await?).await?;
//! let answer = SessionDescription::answer("v=0 …");
//! dialer.answer_offer(&offer.offer_id, &answer, None).await?;
//!
//! // … and the service hears of it.
//! let answers = service.answers(None, Duration::from_secs(30)).await?;
//! assert_eq!(answers[0].answer, answer);
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! It does not know what a link is, what stands in a description, when to publish again, or how
//! often to try: descriptions are texts to it, and each [error](SignalingError) says whether
//! [trying again](SignalingError::retry) would help. Nothing here runs in the background but a
//! server that was asked to.
//!
//! | item | what it is |
//! | --- | --- |
//! | [`Signaling`] | what a peer can ask of a server, as `Arc<dyn Signaling>` |
//! | [`SignalingLayer`] | to change a part of another `Signaling` |
//! | [`KeyPair`] | the identity that owns a username |
//! | [`MemorySignaling`] | all of it within one process |
//! | `HttpSignaling` | the client of a server (feature `http`, on by default) |
//! | `server` | the server (feature `server`) |
//! | `original` | a stand-in for the original server with its faults, for tests (feature `original-server`) |
//! | [`conformance`] | what every implementation must do, to be run against yours |

pub mod conformance;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "http")]
mod http;
mod identity;
mod layer;
mod memory;
mod messages;
#[cfg(feature = "original-server")]
pub mod original;
mod protocol_limits;
mod registry;
#[cfg(feature = "server")]
pub mod server;
mod signaling;
mod store;
mod time;
#[cfg(any(feature = "http", feature = "server", feature = "fuzzing"))]
mod wire;

pub use error::{Retry, SignalingError};
#[cfg(feature = "http")]
pub use http::{HttpSignaling, HttpSignalingBuilder};
pub use identity::{
    BadSignature, KeyError, KeyPair, KeyTextError, PublicKey, Signature, SignedClaim, SignedPublish,
};
pub use layer::SignalingLayer;
pub use memory::{MemoryPeer, MemorySignaling};
pub use messages::{
    ClaimedUsername, CreatedOffer, ListedService, NewOffer, OfferAnswer, OwnOffer, OwnOfferAnswer,
    Publication, PublishedService, RemoteCandidate, ServiceOffer, UsernameStatus, Visibility,
};
pub use registry::Limits;
pub use signaling::Signaling;
pub use time::UnixMillis;
