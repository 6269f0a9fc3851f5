//! What a service asks of the signaling server.

use std::sync::Arc;
use std::time::Duration;

use rondevu_core::frame::{CONTROL_LABEL, CONTROL_PROTOCOL};
use rondevu_core::{OfferId, ServiceId, ServiceName, ServiceUuid, StreamOptions, Username};
use rondevu_durable::{OfferKey, PollEnd, Presence};
use rondevu_signaling::{
    NewOffer, OfferAnswer, PublicKey, Publication, PublishedService, Retry, Signaling,
    SignalingError, UnixMillis, UsernameStatus,
};
use tokio::task::JoinSet;

use super::{OpenOffer, Standing};
use crate::announcement::announce;
use crate::greeting::Host;
use crate::service::ServiceOptions;

/// An offer like no other: servers that name offers by their description refuse one that they know.
async fn new_offer(host: &Host) -> Result<OpenOffer, SignalingError> {
    let inner = &host.client.inner;
    let stream = StreamOptions::reliable(CONTROL_LABEL, CONTROL_PROTOCOL);
    let candidates = host.paths.candidates().await;
    let candidates = candidates.map_err(|error| SignalingError::Unreachable {
        source: Arc::new(error),
    })?;
    let mut offered = inner
        .factory
        .create_offer(&candidates, stream, inner.clock.now())
        .map_err(|error| SignalingError::Invalid {
            reason: error.to_string(),
        })?;
    announce(&mut offered.description);
    let standby = host.stand_by(&*offered.transport);
    Ok(OpenOffer { offered, standby })
}

/// Publishes with a new offer; claims the username first where the server says so.
pub(super) async fn publish(
    host: Host,
    signaling: Arc<dyn Signaling>,
    (username, service): (Username, ServiceName),
    options: ServiceOptions,
) -> Result<(PublishedService, OpenOffer), SignalingError> {
    let inner = &host.client.inner;
    let open = new_offer(&host).await?;
    let publication = || {
        let signed = inner
            .key_pair
            .sign_publish(&username, &service, UnixMillis::now());
        Publication {
            ttl: options.ttl,
            visibility: options.visibility,
            metadata: options.metadata.clone(),
            ..Publication::new(
                username.clone(),
                service.clone(),
                open.offered.description.clone(),
                signed,
            )
        }
    };
    let mut published = signaling.publish_service(&publication()).await;
    if matches!(&published, Err(error) if error.retry() == Retry::AfterClaim) {
        let claim = inner.key_pair.sign_claim(&username, UnixMillis::now());
        signaling.claim_username(&claim).await?;
        published = signaling.publish_service(&publication()).await;
    }
    match published {
        Ok(published) => Ok((published, open)),
        Err(error @ SignalingError::SignatureRefused { .. }) => {
            let key = inner.key_pair.public_key();
            Err(why_refused(&*signaling, &username, &key, error).await)
        }
        Err(error) => Err(error),
    }
}

/// A server that refuses a signature does not say whether it expected one of another key.
async fn why_refused(
    signaling: &dyn Signaling,
    username: &Username,
    key: &PublicKey,
    refused: SignalingError,
) -> SignalingError {
    match signaling.look_up_username(username).await {
        Ok(UsernameStatus::Taken { public_key, .. }) if public_key != *key => {
            SignalingError::UsernameTaken
        }
        Ok(UsernameStatus::Taken { .. } | UsernameStatus::Available) | Err(_) => refused,
    }
}

/// Creates an offer for each of `keys`, with one request.
pub(super) async fn create_offers(
    host: Host,
    signaling: Arc<dyn Signaling>,
    keys: Vec<OfferKey>,
    service: Option<ServiceId>,
    ttl: Option<Duration>,
) -> Result<Vec<Standing>, SignalingError> {
    let mut open = Vec::new();
    for _ in &keys {
        open.push(new_offer(&host).await?);
    }
    let offer = |open: &OpenOffer| NewOffer {
        service: service.clone(),
        ttl,
        ..NewOffer::new(open.offered.description.clone())
    };
    let offers: Vec<_> = open.iter().map(offer).collect();
    let created = signaling.create_offers(&offers).await?;
    if created.len() != keys.len() {
        return Err(SignalingError::Malformed {
            reason: "the server created another number of offers".into(),
        });
    }
    let created = keys.into_iter().zip(created).zip(open);
    Ok(created
        .map(|((key, created), open)| Standing {
            key,
            id: created.id,
            expires_at: created.expires_at,
            open,
        })
        .collect())
}

/// Asks for answers, and waits for them where the server does so.
pub(super) async fn poll(
    signaling: Arc<dyn Signaling>,
    since: Option<UnixMillis>,
    wait: Duration,
) -> Result<(Vec<OfferAnswer>, PollEnd), SignalingError> {
    let end = match signaling.supports_wait().await {
        Ok(true) => PollEnd::Waited,
        // The request that counts may work nevertheless.
        Ok(false) | Err(_) => PollEnd::AtOnce,
    };
    Ok((signaling.answers(since, wait).await?, end))
}

/// Looks the service up, as a dialer would.
pub(super) async fn check(
    signaling: Arc<dyn Signaling>,
    (username, service): (Username, ServiceName),
    known: Option<ServiceUuid>,
) -> Result<Presence, SignalingError> {
    match signaling.find_service(&username, &service).await {
        Ok(uuid) if Some(&uuid) == known.as_ref() => Ok(Presence::Found),
        Ok(_) | Err(SignalingError::ServiceNotFound) => Ok(Presence::Missing),
        Err(error) => Err(error),
    }
}

/// Deletes offers, a few at a time. What cannot be deleted expires.
pub(super) async fn delete_offers(signaling: Arc<dyn Signaling>, offers: Vec<OfferId>) {
    let mut deletions = JoinSet::new();
    for offer in offers {
        if deletions.len() >= DELETIONS_MAX {
            deletions.join_next().await;
        }
        let signaling = Arc::clone(&signaling);
        deletions.spawn(async move {
            if let Err(error) = signaling.delete_offer(&offer).await {
                tracing::debug!(%error, "offer not deleted, it will expire");
            }
        });
    }
    while deletions.join_next().await.is_some() {}
}

/// Withdraws the service first, so that nobody is led to its offers, and deletes these.
pub(super) async fn withdraw(
    signaling: Arc<dyn Signaling>,
    service: Option<ServiceId>,
    owner: Username,
    offers: Vec<OfferId>,
) {
    if let Some(service) = service
        && let Err(error) = signaling.unpublish_service(&service, &owner).await
    {
        tracing::debug!(%error, "service not withdrawn, it will expire");
    }
    delete_offers(signaling, offers).await;
}

/// So many requests at once are still polite.
const DELETIONS_MAX: usize = 8;
