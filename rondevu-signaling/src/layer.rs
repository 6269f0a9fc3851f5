//! Signaling that changes a part of another one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rondevu_core::{
    IceCandidate, OfferId, ServiceId, ServiceName, ServiceUuid, SessionDescription, Username,
};

use crate::{
    ClaimedUsername, CreatedOffer, ListedService, NewOffer, OfferAnswer, OwnOffer, Publication,
    PublishedService, RemoteCandidate, ServiceOffer, Signaling, SignalingError, SignedClaim,
    UnixMillis, UsernameStatus,
};

/// A [`Signaling`] around another one: to watch it, to slow it down, to make it fail.
///
/// Each method that is not written does what the inner one does. Errors and cancellation are those of
/// the inner one too.
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use async_trait::async_trait;
/// use rondevu_core::ServiceUuid;
/// use rondevu_signaling::{
///     MemoryPeer, ServiceOffer, Signaling, SignalingError, SignalingLayer,
/// };
///
/// /// Counts how often an offer is asked for.
/// struct Counting {
///     inner: MemoryPeer,
///     asked: AtomicU32,
/// }
///
/// #[async_trait]
/// impl SignalingLayer for Counting {
///     fn inner(&self) -> &dyn Signaling {
///         &self.inner
///     }
///
///     async fn take_offer(&self, uuid: &ServiceUuid) -> Result<ServiceOffer, SignalingError> {
///         self.asked.fetch_add(1, Ordering::Relaxed);
///         self.inner.take_offer(uuid).await
///     }
/// }
/// # fn is_signaling(_: &dyn Signaling) {}
/// # is_signaling(&Counting {
/// #     inner: rondevu_signaling::MemorySignaling::new().peer(),
/// #     asked: AtomicU32::new(0),
/// # });
/// ```
#[async_trait]
pub trait SignalingLayer: Send + Sync {
    /// What does all that this layer does not.
    fn inner(&self) -> &dyn Signaling;

    /// As [`Signaling::another_peer`]. By default none, since it would not have this layer.
    fn another_peer(&self) -> Option<Arc<dyn Signaling>> {
        None
    }

    /// As [`Signaling::handle_network_change`].
    fn handle_network_change(&self) {
        self.inner().handle_network_change();
    }

    /// As [`Signaling::claim_username`].
    async fn claim_username(&self, claim: &SignedClaim) -> Result<ClaimedUsername, SignalingError> {
        self.inner().claim_username(claim).await
    }

    /// As [`Signaling::look_up_username`].
    async fn look_up_username(
        &self,
        username: &Username,
    ) -> Result<UsernameStatus, SignalingError> {
        self.inner().look_up_username(username).await
    }

    /// As [`Signaling::list_services`].
    async fn list_services(
        &self,
        username: &Username,
    ) -> Result<Vec<ListedService>, SignalingError> {
        self.inner().list_services(username).await
    }

    /// As [`Signaling::publish_service`].
    async fn publish_service(
        &self,
        publication: &Publication,
    ) -> Result<PublishedService, SignalingError> {
        self.inner().publish_service(publication).await
    }

    /// As [`Signaling::unpublish_service`].
    async fn unpublish_service(
        &self,
        service: &ServiceId,
        owner: &Username,
    ) -> Result<(), SignalingError> {
        self.inner().unpublish_service(service, owner).await
    }

    /// As [`Signaling::find_service`].
    async fn find_service(
        &self,
        username: &Username,
        service: &ServiceName,
    ) -> Result<ServiceUuid, SignalingError> {
        self.inner().find_service(username, service).await
    }

    /// As [`Signaling::take_offer`].
    async fn take_offer(&self, uuid: &ServiceUuid) -> Result<ServiceOffer, SignalingError> {
        self.inner().take_offer(uuid).await
    }

    /// As [`Signaling::create_offers`].
    async fn create_offers(
        &self,
        offers: &[NewOffer],
    ) -> Result<Vec<CreatedOffer>, SignalingError> {
        self.inner().create_offers(offers).await
    }

    /// As [`Signaling::list_offers`].
    async fn list_offers(&self) -> Result<Vec<OwnOffer>, SignalingError> {
        self.inner().list_offers().await
    }

    /// As [`Signaling::delete_offer`].
    async fn delete_offer(&self, offer: &OfferId) -> Result<(), SignalingError> {
        self.inner().delete_offer(offer).await
    }

    /// As [`Signaling::answer_offer`].
    async fn answer_offer(
        &self,
        offer: &OfferId,
        answer: &SessionDescription,
        secret: Option<&str>,
    ) -> Result<(), SignalingError> {
        self.inner().answer_offer(offer, answer, secret).await
    }

    /// As [`Signaling::answers`].
    async fn answers(
        &self,
        since: Option<UnixMillis>,
        wait: Duration,
    ) -> Result<Vec<OfferAnswer>, SignalingError> {
        self.inner().answers(since, wait).await
    }

    /// As [`Signaling::supports_wait`].
    async fn supports_wait(&self) -> Result<bool, SignalingError> {
        self.inner().supports_wait().await
    }

    /// As [`Signaling::add_candidates`].
    async fn add_candidates(
        &self,
        offer: &OfferId,
        candidates: &[IceCandidate],
    ) -> Result<(), SignalingError> {
        self.inner().add_candidates(offer, candidates).await
    }

    /// As [`Signaling::candidates`].
    async fn candidates(
        &self,
        offer: &OfferId,
        since: Option<UnixMillis>,
        wait: Duration,
    ) -> Result<Vec<RemoteCandidate>, SignalingError> {
        self.inner().candidates(offer, since, wait).await
    }
}

#[async_trait]
impl<L: SignalingLayer> Signaling for L {
    fn another_peer(&self) -> Option<Arc<dyn Signaling>> {
        SignalingLayer::another_peer(self)
    }

    fn handle_network_change(&self) {
        SignalingLayer::handle_network_change(self);
    }

    async fn claim_username(&self, claim: &SignedClaim) -> Result<ClaimedUsername, SignalingError> {
        SignalingLayer::claim_username(self, claim).await
    }

    async fn look_up_username(
        &self,
        username: &Username,
    ) -> Result<UsernameStatus, SignalingError> {
        SignalingLayer::look_up_username(self, username).await
    }

    async fn list_services(
        &self,
        username: &Username,
    ) -> Result<Vec<ListedService>, SignalingError> {
        SignalingLayer::list_services(self, username).await
    }

    async fn publish_service(
        &self,
        publication: &Publication,
    ) -> Result<PublishedService, SignalingError> {
        SignalingLayer::publish_service(self, publication).await
    }

    async fn unpublish_service(
        &self,
        service: &ServiceId,
        owner: &Username,
    ) -> Result<(), SignalingError> {
        SignalingLayer::unpublish_service(self, service, owner).await
    }

    async fn find_service(
        &self,
        username: &Username,
        service: &ServiceName,
    ) -> Result<ServiceUuid, SignalingError> {
        SignalingLayer::find_service(self, username, service).await
    }

    async fn take_offer(&self, uuid: &ServiceUuid) -> Result<ServiceOffer, SignalingError> {
        SignalingLayer::take_offer(self, uuid).await
    }

    async fn create_offers(
        &self,
        offers: &[NewOffer],
    ) -> Result<Vec<CreatedOffer>, SignalingError> {
        SignalingLayer::create_offers(self, offers).await
    }

    async fn list_offers(&self) -> Result<Vec<OwnOffer>, SignalingError> {
        SignalingLayer::list_offers(self).await
    }

    async fn delete_offer(&self, offer: &OfferId) -> Result<(), SignalingError> {
        SignalingLayer::delete_offer(self, offer).await
    }

    async fn answer_offer(
        &self,
        offer: &OfferId,
        answer: &SessionDescription,
        secret: Option<&str>,
    ) -> Result<(), SignalingError> {
        SignalingLayer::answer_offer(self, offer, answer, secret).await
    }

    async fn answers(
        &self,
        since: Option<UnixMillis>,
        wait: Duration,
    ) -> Result<Vec<OfferAnswer>, SignalingError> {
        SignalingLayer::answers(self, since, wait).await
    }

    async fn supports_wait(&self) -> Result<bool, SignalingError> {
        SignalingLayer::supports_wait(self).await
    }

    async fn add_candidates(
        &self,
        offer: &OfferId,
        candidates: &[IceCandidate],
    ) -> Result<(), SignalingError> {
        SignalingLayer::add_candidates(self, offer, candidates).await
    }

    async fn candidates(
        &self,
        offer: &OfferId,
        since: Option<UnixMillis>,
        wait: Duration,
    ) -> Result<Vec<RemoteCandidate>, SignalingError> {
        SignalingLayer::candidates(self, offer, since, wait).await
    }
}
