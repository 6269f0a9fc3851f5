//! What a peer tells the signaling server and what it hears back.

use core::fmt;
use std::time::Duration;

use rondevu_core::{
    IceCandidate, OfferId, PeerId, ServiceId, ServiceName, ServiceUuid, SessionDescription,
    Username,
};

use crate::{PublicKey, SignedPublish, UnixMillis};

/// A username that now belongs to the key that claimed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedUsername {
    /// The username.
    pub username: Username,
    /// When the key claimed it first.
    pub claimed_at: UnixMillis,
    /// When it becomes free again, unless it is claimed or used to publish before.
    pub expires_at: UnixMillis,
}

/// Whether a username is free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UsernameStatus {
    /// Nobody owns it.
    Available,
    /// Somebody owns it.
    Taken {
        /// The key that it belongs to.
        public_key: PublicKey,
        /// When the key claimed it first.
        claimed_at: UnixMillis,
        /// When it becomes free again, unless it is renewed.
        expires_at: UnixMillis,
    },
}

/// Whether the list of a username's services names a service.
///
/// A private service is found by those who know its full name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Visibility {
    /// The list shows name and metadata.
    Public,
    /// The list shows only that there is a service. The default.
    #[default]
    Private,
}

/// One entry in the list of a username's services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedService {
    /// Under which the service's offers are asked for.
    pub uuid: ServiceUuid,
    /// Whether the two fields below may be present.
    pub visibility: Visibility,
    /// The service's name, of a public service only.
    pub service: Option<ServiceName>,
    /// What the publisher said about the service, of a public service only.
    pub metadata: Option<serde_json::Value>,
}

/// A service to be published, together with its first offer.
#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    /// The owner; must have been claimed with the key that made `signed`.
    pub username: Username,
    /// The name of the service.
    pub service: ServiceName,
    /// The first offer for those who want to connect.
    pub sdp: SessionDescription,
    /// The owner's signature for `username` and `service`. Good for one publication.
    pub signed: SignedPublish,
    /// How long service and offer live; `None` leaves it to the server (60 s). Servers keep it
    /// between one minute and one day.
    pub ttl: Option<Duration>,
    /// Whether others see the service in the list.
    pub visibility: Visibility,
    /// What to tell about the service, a JSON object by custom.
    pub metadata: Option<serde_json::Value>,
}

impl Publication {
    /// A private publication with the server's default lifetime and no metadata.
    pub fn new(
        username: Username,
        service: ServiceName,
        sdp: SessionDescription,
        signed: SignedPublish,
    ) -> Self {
        Self {
            username,
            service,
            sdp,
            signed,
            ttl: None,
            visibility: Visibility::default(),
            metadata: None,
        }
    }
}

/// What the server says about a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedService {
    /// For unpublishing and for naming the service of further offers.
    pub service_id: ServiceId,
    /// For dialers.
    pub uuid: ServiceUuid,
    /// The first offer.
    pub offer_id: OfferId,
    /// When the service ends, unless it is published again before.
    pub expires_at: UnixMillis,
}

/// An offer of a service, handed out to a dialer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceOffer {
    /// The service as its owner knows it.
    pub service_id: ServiceId,
    /// The owner.
    pub username: Username,
    /// The name of the service.
    pub service: ServiceName,
    /// The offer; answer it under this id.
    pub offer_id: OfferId,
    /// The description to answer.
    pub sdp: SessionDescription,
    /// Whether the service is shown in its owner's list.
    pub visibility: Visibility,
    /// What the publisher says about the service.
    pub metadata: Option<serde_json::Value>,
    /// When the service was published.
    pub created_at: UnixMillis,
    /// When the service ends, unless it is published again before.
    pub expires_at: UnixMillis,
}

/// An offer to be created.
#[derive(Clone, PartialEq, Eq)]
pub struct NewOffer {
    /// The description that a dialer is to answer.
    pub sdp: SessionDescription,
    /// How long the offer lives; `None` leaves it to the server (60 s). Servers keep it between
    /// one minute and one day.
    pub ttl: Option<Duration>,
    /// What an answer must name, at most 128 bytes. `None` lets everybody answer.
    pub secret: Option<String>,
    /// The service that the offer is for. A server that does not know the field hands the offer
    /// out for any service of the same peer.
    pub service: Option<ServiceId>,
}

impl NewOffer {
    /// An offer that everybody may answer, with the server's default lifetime, for no particular
    /// service.
    pub fn new(sdp: SessionDescription) -> Self {
        Self {
            sdp,
            ttl: None,
            secret: None,
            service: None,
        }
    }
}

impl fmt::Debug for NewOffer {
    /// Shows whether there is a secret, never which.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewOffer")
            .field("sdp", &self.sdp)
            .field("ttl", &self.ttl)
            .field("has_secret", &self.secret.is_some())
            .field("service", &self.service)
            .finish()
    }
}

/// What the server says about a new offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedOffer {
    /// Identifies the offer from now on.
    pub id: OfferId,
    /// The peer that this handle is on the server.
    pub peer: PeerId,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When it ends.
    pub expires_at: UnixMillis,
}

/// One of this peer's own offers, as the server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnOffer {
    /// Identifies the offer.
    pub id: OfferId,
    /// The description.
    pub sdp: SessionDescription,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When it ends.
    pub expires_at: UnixMillis,
    /// Whether it was answered.
    pub answered: OwnOfferAnswer,
}

/// Whether one of this peer's own offers was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnOfferAnswer {
    /// It waits for an answer.
    Open,
    /// It is spent.
    By(PeerId),
}

/// An answer to one of this peer's offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferAnswer {
    /// The offer that it answers.
    pub offer_id: OfferId,
    /// Who answered.
    pub answerer: PeerId,
    /// The description.
    pub answer: SessionDescription,
    /// When the server took it; also the cursor for asking for later ones.
    pub answered_at: UnixMillis,
}

/// A candidate from the other peer of an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteCandidate {
    /// The candidate.
    pub candidate: IceCandidate,
    /// When the server took it; also the cursor for asking for later ones.
    pub created_at: UnixMillis,
}
