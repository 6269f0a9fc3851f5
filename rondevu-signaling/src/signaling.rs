//! What a peer can ask of a signaling server, whichever way it is reached.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rondevu_core::{
    IceCandidate, OfferId, ServiceId, ServiceName, ServiceUuid, SessionDescription, Username,
};

use crate::{
    ClaimedUsername, CreatedOffer, ListedService, NewOffer, OfferAnswer, OwnOffer, Publication,
    PublishedService, RemoteCandidate, ServiceOffer, SignalingError, SignedClaim, UnixMillis,
    UsernameStatus,
};

/// One peer's access to a signaling server.
///
/// An implementation registers by itself when it first has to and whenever the server has
/// forgotten it; offers and services of the forgotten peer are lost then. Requests that are about
/// them fail with [`SignalingError::Forgotten`] until something is published or created again.
///
/// Every method returns within the implementation's own time limit, plus `wait` for those that
/// take one. Where a method's documentation speaks of cancellation, that means dropping the future
/// before it is ready. No method retries by itself; [`SignalingError::retry`] says what to do.
#[async_trait]
pub trait Signaling: Send + Sync {
    /// Another peer of the same server, with offers and services of its own; `None`, the default,
    /// if only this one can be had.
    ///
    /// Some servers hand out all offers of a peer for each of its services: whoever has several
    /// services makes each a peer.
    fn another_peer(&self) -> Option<Arc<dyn Signaling>> {
        None
    }

    /// The addresses of this machine have changed: a connection from an old one may hang.
    ///
    /// Requests that are under way may be left alone, those that follow should not have to wait for
    /// time-outs. By default nothing happens.
    fn handle_network_change(&self) {}

    /// Claims a username for the key that signed, or renews the claim for another 365 days.
    ///
    /// Cancellation: the claim may have taken effect; claiming again with a fresh signature is
    /// harmless.
    ///
    /// # Errors
    ///
    /// [`UsernameTaken`](SignalingError::UsernameTaken),
    /// [`SignatureRefused`](SignalingError::SignatureRefused), and those of every request.
    async fn claim_username(&self, claim: &SignedClaim) -> Result<ClaimedUsername, SignalingError>;

    /// Tells whether a username is free, and whose it is.
    ///
    /// Cancellation: no effect.
    ///
    /// # Errors
    ///
    /// Those of every request.
    async fn look_up_username(&self, username: &Username)
    -> Result<UsernameStatus, SignalingError>;

    /// Lists the services of a username, newest first; private ones without name and metadata.
    ///
    /// An unknown username has no services. Cancellation: no effect.
    ///
    /// # Errors
    ///
    /// Those of every request.
    async fn list_services(
        &self,
        username: &Username,
    ) -> Result<Vec<ListedService>, SignalingError>;

    /// Publishes a service with its first offer, or publishes it again before it expires.
    ///
    /// Publishing again may change id and uuid of the service, depending on the server. Every call
    /// needs a fresh signature and a fresh description: some servers fail, without saying why, when
    /// they are given one that they know, and remove the service. Cancellation: the service may have been published; publish again.
    ///
    /// # Errors
    ///
    /// [`UsernameNotClaimed`](SignalingError::UsernameNotClaimed),
    /// [`SignatureRefused`](SignalingError::SignatureRefused),
    /// [`Invalid`](SignalingError::Invalid), and those of every request.
    async fn publish_service(
        &self,
        publication: &Publication,
    ) -> Result<PublishedService, SignalingError>;

    /// Withdraws a service.
    ///
    /// Cancellation: the service may be gone; asking again then says `ServiceNotFound`.
    ///
    /// # Errors
    ///
    /// [`ServiceNotFound`](SignalingError::ServiceNotFound) also if it is another peer's, and
    /// those of every request.
    async fn unpublish_service(
        &self,
        service: &ServiceId,
        owner: &Username,
    ) -> Result<(), SignalingError>;

    /// Finds a service by its owner and name, private ones too.
    ///
    /// The uuid may die when the service is renewed: find it again before every attempt to
    /// connect. Cancellation: no effect.
    ///
    /// # Errors
    ///
    /// [`ServiceNotFound`](SignalingError::ServiceNotFound), and those of every request.
    async fn find_service(
        &self,
        username: &Username,
        service: &ServiceName,
    ) -> Result<ServiceUuid, SignalingError>;

    /// Asks for a free offer of a service.
    ///
    /// The server may hold the offer back from others for a few seconds, but promises nothing:
    /// only the answer settles who gets it. Cancellation: an offer may be held back without need.
    ///
    /// # Errors
    ///
    /// [`ServiceMoved`](SignalingError::ServiceMoved) if no service has this uuid,
    /// [`NoOffers`](SignalingError::NoOffers), and those of every request.
    async fn take_offer(&self, uuid: &ServiceUuid) -> Result<ServiceOffer, SignalingError>;

    /// Creates offers, at most 100 in one call, and returns them in the same order.
    ///
    /// No offers make no request. Cancellation: the offers may exist until they expire; they are
    /// in [`list_offers`](Self::list_offers).
    ///
    /// # Errors
    ///
    /// [`Invalid`](SignalingError::Invalid) for too many or too large ones,
    /// [`ServiceNotFound`](SignalingError::ServiceNotFound) if one names a service that is not
    /// this peer's, and those of every request. On an error none was created.
    async fn create_offers(&self, offers: &[NewOffer])
    -> Result<Vec<CreatedOffer>, SignalingError>;

    /// Lists this peer's own offers, answered or not.
    ///
    /// Cancellation: no effect.
    ///
    /// # Errors
    ///
    /// Those of every request.
    async fn list_offers(&self) -> Result<Vec<OwnOffer>, SignalingError>;

    /// Deletes one of this peer's own offers.
    ///
    /// Cancellation: the offer may be gone; asking again then says `OfferGone`.
    ///
    /// # Errors
    ///
    /// [`OfferGone`](SignalingError::OfferGone) also if it is another peer's, and those of every
    /// request.
    async fn delete_offer(&self, offer: &OfferId) -> Result<(), SignalingError>;

    /// Answers an offer, with the secret if it has one. The first answer wins.
    ///
    /// Cancellation: the answer may have been taken; answering again then says
    /// `OfferAlreadyAnswered`, so take another offer.
    ///
    /// # Errors
    ///
    /// [`OfferGone`](SignalingError::OfferGone),
    /// [`OfferAlreadyAnswered`](SignalingError::OfferAlreadyAnswered),
    /// [`SecretRefused`](SignalingError::SecretRefused), [`Invalid`](SignalingError::Invalid), and
    /// those of every request.
    async fn answer_offer(
        &self,
        offer: &OfferId,
        answer: &SessionDescription,
        secret: Option<&str>,
    ) -> Result<(), SignalingError>;

    /// Returns the answers to this peer's living offers, newest first.
    ///
    /// With `since`, those with a greater `answered_at`; a server that does not know it returns
    /// all, so the caller drops what it has seen. Very many answers come in several portions, the
    /// earliest first: ask again with the greatest `answered_at`. If there are none, the request stays open for
    /// `wait`, at most 30 s, and returns as soon as there is one. `wait` is a hint: see
    /// [`supports_wait`](Self::supports_wait). Cancellation: no effect, nothing is lost.
    ///
    /// # Errors
    ///
    /// Those of every request.
    async fn answers(
        &self,
        since: Option<UnixMillis>,
        wait: Duration,
    ) -> Result<Vec<OfferAnswer>, SignalingError>;

    /// Whether the server keeps a request open while there is nothing to tell.
    ///
    /// If not, `wait` is ignored and the caller has to poll. The answer is remembered and asked
    /// for again after the server could not be reached. Cancellation: no effect.
    ///
    /// # Errors
    ///
    /// Those of every request.
    async fn supports_wait(&self) -> Result<bool, SignalingError>;

    /// Passes candidates on to the other peer of an offer.
    ///
    /// No candidates make no request. Cancellation: they may have been passed on; passing them on
    /// again does no harm to a receiver that drops duplicates.
    ///
    /// # Errors
    ///
    /// [`OfferGone`](SignalingError::OfferGone), [`Invalid`](SignalingError::Invalid), and those
    /// of every request.
    async fn add_candidates(
        &self,
        offer: &OfferId,
        candidates: &[IceCandidate],
    ) -> Result<(), SignalingError>;

    /// Returns the candidates that the other peer of an offer passed on, oldest first.
    ///
    /// With `since`, those with a greater `created_at`; where a server may lose candidates that way
    /// all are returned, so the caller drops what it has seen. If there are none, the request stays open as that of [`answers`](Self::answers) does.
    /// Cancellation: no effect, nothing is lost.
    ///
    /// # Errors
    ///
    /// [`OfferGone`](SignalingError::OfferGone), and those of every request.
    async fn candidates(
        &self,
        offer: &OfferId,
        since: Option<UnixMillis>,
        wait: Duration,
    ) -> Result<Vec<RemoteCandidate>, SignalingError>;
}
