//! How usernames are claimed and services published, found and withdrawn.

use rondevu_core::{PeerId, ServiceId, ServiceName, ServiceUuid, Username};

use super::{Refusal, Registry};
use crate::protocol_limits::{
    BrokenLimit, METADATA_LEN_MAX, USERNAME_LIFETIME, check_description, lifetime,
};
use crate::store::{
    Digest, NameClaim, NameRecord, OfferDraft, ServiceDraft, ServiceRecord, TakenOffer,
    UsedSignature,
};
use crate::{
    ClaimedUsername, PublicKey, Publication, PublishedService, SignedClaim, SignedPublish,
    UnixMillis,
};

impl Registry {
    pub(crate) async fn claim_username(
        &self,
        claim: &SignedClaim,
    ) -> Result<ClaimedUsername, Refusal> {
        let now = self.now();
        if !is_fresh(claim.signed_at, now) {
            return Err(Refusal::ClaimSignature(
                "the time in the message is more than 300 s off",
            ));
        }
        claim
            .verify()
            .map_err(|_| Refusal::ClaimSignature("it does not fit message and key"))?;
        let draft = NameClaim {
            name: claim.username.clone(),
            key: claim.public_key,
            expires_at: now.saturating_add(USERNAME_LIFETIME),
            signature: used_once(&claim.message(), &claim.public_key, claim.signed_at),
        };
        let record = self.store.claim_name(draft, now).await?;
        Ok(ClaimedUsername {
            username: claim.username.clone(),
            claimed_at: record.claimed_at,
            expires_at: record.expires_at,
        })
    }

    pub(crate) async fn name(&self, username: &Username) -> Result<Option<NameRecord>, Refusal> {
        self.store.name(username, self.now()).await
    }

    pub(crate) async fn services(&self, owner: &Username) -> Result<Vec<ServiceRecord>, Refusal> {
        self.store.services(owner, self.now()).await
    }

    pub(crate) async fn publish(
        &self,
        peer: &PeerId,
        publication: &Publication,
    ) -> Result<PublishedService, Refusal> {
        let now = self.now();
        let owner = self.store.name(&publication.username, now).await?;
        let key = owner.ok_or(Refusal::UsernameNotClaimed)?.key;
        let signature = check_publish(publication, &key, now)?;
        check_description(&publication.sdp)?;
        let metadata = metadata_json(publication)?;
        let offer = self.publish_offer(peer, publication, now)?;
        let draft = ServiceDraft {
            peer: peer.clone(),
            owner: publication.username.clone(),
            key,
            signature,
            owner_expires_at: now.saturating_add(USERNAME_LIFETIME),
            service: publication.service.clone(),
            new_id: self.entropy.service_id()?,
            new_uuid: self.entropy.service_uuid()?,
            visibility: publication.visibility,
            metadata,
            expires_at: offer.expires_at,
            offer,
        };
        let offer_id = draft.offer.id.clone();
        let record = self.store.publish(draft, now).await?;
        Ok(PublishedService {
            service_id: record.id,
            uuid: record.uuid,
            offer_id,
            expires_at: record.expires_at,
        })
    }

    fn publish_offer(
        &self,
        peer: &PeerId,
        publication: &Publication,
        now: UnixMillis,
    ) -> Result<OfferDraft, Refusal> {
        let sdp = publication.sdp.sdp.clone();
        Ok(OfferDraft {
            id: OfferDraft::id_of(peer, &sdp).expect("hex digits are printable"),
            sdp,
            expires_at: now.saturating_add(lifetime(publication.ttl)),
            secret: None,
            service: None,
        })
    }

    pub(crate) async fn find_service(
        &self,
        owner: &Username,
        service: &ServiceName,
    ) -> Result<ServiceUuid, Refusal> {
        self.store.find_service(owner, service, self.now()).await
    }

    pub(crate) async fn take_offer(&self, uuid: &ServiceUuid) -> Result<TakenOffer, Refusal> {
        self.store
            .take_offer(uuid, self.limits.offer_hold, self.now())
            .await
    }

    pub(crate) async fn unpublish(
        &self,
        peer: &PeerId,
        service: &ServiceId,
        owner: &Username,
    ) -> Result<(), Refusal> {
        self.store.unpublish(peer, service, owner, self.now()).await
    }
}

fn check_publish(
    publication: &Publication,
    key: &PublicKey,
    now: UnixMillis,
) -> Result<UsedSignature, Refusal> {
    let signed = &publication.signed;
    let (owner, service) = (&publication.username, &publication.service);
    if !is_fresh(signed.signed_at, now) || signed.verify(owner, service, key).is_err() {
        return Err(Refusal::PublishSignature);
    }
    Ok(used_once(
        &SignedPublish::message_for(owner, service, signed.signed_at),
        key,
        signed.signed_at,
    ))
}

fn is_fresh(signed_at: UnixMillis, now: UnixMillis) -> bool {
    signed_at.saturating_since(now) <= SignedClaim::CLOCK_SKEW_MAX
        && now.saturating_since(signed_at) <= SignedClaim::CLOCK_SKEW_MAX
}

/// Remembered by the message and not by the signature: a key can sign a message in many ways.
fn used_once(message: &str, key: &PublicKey, signed_at: UnixMillis) -> UsedSignature {
    UsedSignature {
        digest: Digest::of("signature", &[message.as_bytes(), key.as_bytes()]),
        // One more millisecond, as a message is still good at the very end of its window.
        forget_at: UnixMillis(
            signed_at
                .saturating_add(SignedClaim::CLOCK_SKEW_MAX)
                .0
                .saturating_add(1),
        ),
    }
}

fn metadata_json(publication: &Publication) -> Result<Option<String>, Refusal> {
    let json = publication.metadata.as_ref().map(ToString::to_string);
    match &json {
        Some(json) if json.len() > METADATA_LEN_MAX => Err(BrokenLimit::MetadataTooLarge.into()),
        Some(_) | None => Ok(json),
    }
}
