//! Names and services in the memory store.

use std::time::Duration;

use rondevu_core::{PeerId, ServiceId, ServiceName, ServiceUuid, Username};

use super::offers::Belongs;
use super::pool::Pool;
use super::state::{Expiring, Service, State};
use crate::UnixMillis;
use crate::registry::{Capacity, Refusal};
use crate::store::cost::{NAME_COST, SERVICE_COST, SIGNATURE_COST, metadata_len, service_cost};
use crate::store::{NameClaim, NameRecord, ServiceDraft, ServiceRecord, TakenOffer, UsedSignature};

impl State {
    pub(super) fn name(&self, name: &Username, now: UnixMillis) -> Option<&NameRecord> {
        self.names.get(name).filter(|r| r.expires_at > now)
    }

    pub(super) fn claim_name(
        &mut self,
        claim: NameClaim,
        now: UnixMillis,
    ) -> Result<NameRecord, Refusal> {
        let owner = self.name(&claim.name, now).cloned();
        if owner.as_ref().is_some_and(|owner| owner.key != claim.key) {
            return Err(Refusal::UsernameTaken);
        }
        self.check_unused(&claim.signature)?;
        self.check_room(NAME_COST + SIGNATURE_COST, now)?;
        self.remember_signature(claim.signature.digest, claim.signature.forget_at);
        let record = NameRecord {
            key: claim.key,
            claimed_at: owner.map_or(now, |owner| owner.claimed_at),
            expires_at: claim.expires_at,
        };
        self.put_name(&claim.name, record.clone());
        Ok(record)
    }

    fn put_name(&mut self, name: &Username, record: NameRecord) {
        self.remove_name(name);
        self.bytes += NAME_COST;
        self.expiries
            .insert((record.expires_at, Expiring::Name(name.clone())));
        self.names.insert(name.clone(), record);
    }

    fn check_unused(&self, signature: &UsedSignature) -> Result<(), Refusal> {
        match self.signatures.contains_key(&signature.digest) {
            true => Err(Refusal::SignatureUsed),
            false => Ok(()),
        }
    }

    pub(super) fn publish(
        &mut self,
        draft: ServiceDraft,
        now: UnixMillis,
    ) -> Result<ServiceRecord, Refusal> {
        let owner = self.name(&draft.owner, now).cloned();
        let owner = owner.ok_or(Refusal::UsernameNotClaimed)?;
        if owner.key != draft.key {
            return Err(Refusal::PublishSignature);
        }
        self.check_unused(&draft.signature)?;
        let before = self
            .live_service(&draft.owner, &draft.service, now)
            .cloned();
        let before = before.filter(|service| service.key == draft.key);
        let mut bytes = SIGNATURE_COST + metadata_len(draft.metadata.as_deref());
        if before.is_none() {
            self.check_service_count(&draft.owner, now)?;
            bytes += SERVICE_COST;
        }
        let offer = std::slice::from_ref(&draft.offer);
        self.check_offer_room(&draft.peer, offer, bytes, now)?;

        // Nothing fails from here on.
        self.remember_signature(draft.signature.digest, draft.signature.forget_at);
        self.put_name(
            &draft.owner,
            NameRecord {
                expires_at: draft.owner_expires_at,
                ..owner
            },
        );
        let record = self.put_service(&draft, before, now);
        let belongs = Belongs::to(&record);
        self.put_offer(&draft.peer, draft.offer, belongs, now);
        self.adopt_offers(&record, now);
        Ok(record)
    }

    fn check_service_count(&mut self, owner: &Username, now: UnixMillis) -> Result<(), Refusal> {
        let limit = self.limits.services_per_username;
        match self.services_of(owner, now).len() >= limit {
            true => Err(Capacity::ServicesPerUsername(limit).into()),
            false => Ok(()),
        }
    }

    /// Inserts a service, or updates the one that was there before.
    fn put_service(
        &mut self,
        draft: &ServiceDraft,
        before: Option<ServiceRecord>,
        now: UnixMillis,
    ) -> ServiceRecord {
        let record = ServiceRecord {
            id: before.as_ref().map_or(&draft.new_id, |b| &b.id).clone(),
            uuid: before.as_ref().map_or(&draft.new_uuid, |b| &b.uuid).clone(),
            peer: draft.peer.clone(),
            owner: draft.owner.clone(),
            key: draft.key,
            service: draft.service.clone(),
            visibility: draft.visibility,
            metadata: draft.metadata.clone(),
            created_at: now,
            expires_at: draft.expires_at,
        };
        let old = self.by_owner.get(&draft.owner);
        let old = old
            .and_then(|services| services.get(&draft.service))
            .cloned();
        // The holds of a pool outlive a renewal by the same peer.
        let pool = old.and_then(|id| self.take_out_service(&id, now));
        let pool = pool.filter(|_| before.is_some_and(|before| before.peer == draft.peer));
        self.insert_service(record.clone(), pool.unwrap_or_default());
        record
    }

    fn insert_service(&mut self, record: ServiceRecord, pool: Pool) {
        let id = record.id.clone();
        self.bytes += service_cost(record.metadata.as_deref());
        self.expiries
            .insert((record.expires_at, Expiring::Service(id.clone())));
        self.by_uuid.insert(record.uuid.clone(), id.clone());
        let of_owner = self.by_owner.entry(record.owner.clone()).or_default();
        of_owner.insert(record.service.clone(), id.clone());
        let shelf = self.shelves.entry(record.peer.clone()).or_default();
        shelf.services.insert(id.clone());
        let number = self.next_number();
        self.services.insert(
            id,
            Service {
                record,
                pool,
                number,
            },
        );
    }

    pub(super) fn remove_service(&mut self, id: &ServiceId, now: UnixMillis) {
        self.take_out_service(id, now);
    }

    fn take_out_service(&mut self, id: &ServiceId, now: UnixMillis) -> Option<Pool> {
        let Service { record, pool, .. } = self.services.remove(id)?;
        self.bytes -= service_cost(record.metadata.as_deref());
        self.expiries
            .remove(&(record.expires_at, Expiring::Service(id.clone())));
        self.by_uuid.remove(&record.uuid);
        if let Some(of_owner) = self.by_owner.get_mut(&record.owner) {
            of_owner.remove(&record.service);
            if of_owner.is_empty() {
                self.by_owner.remove(&record.owner);
            }
        }
        if let Some(shelf) = self.shelves.get_mut(&record.peer) {
            shelf.services.remove(id);
        }
        self.tidy_shelf(&record.peer, now);
        Some(pool)
    }

    fn live_service(
        &self,
        owner: &Username,
        service: &ServiceName,
        now: UnixMillis,
    ) -> Option<&ServiceRecord> {
        let id = self.by_owner.get(owner)?.get(service)?;
        let service = &self.services.get(id)?.record;
        (service.expires_at > now).then_some(service)
    }

    pub(super) fn services_of(&self, owner: &Username, now: UnixMillis) -> Vec<ServiceRecord> {
        let Some(of_owner) = self.by_owner.get(owner) else {
            return Vec::new();
        };
        let services = of_owner.values().filter_map(|id| self.services.get(id));
        let mut live: Vec<_> = services.filter(|s| s.record.expires_at > now).collect();
        live.sort_by_key(|service| std::cmp::Reverse(service.number));
        live.into_iter()
            .map(|service| service.record.clone())
            .collect()
    }

    pub(super) fn find_service(
        &self,
        owner: &Username,
        service: &ServiceName,
        now: UnixMillis,
    ) -> Result<ServiceUuid, Refusal> {
        let record = self.live_service(owner, service, now);
        Ok(record.ok_or(Refusal::ServiceNotFound)?.uuid.clone())
    }

    pub(super) fn take_offer(
        &mut self,
        uuid: &ServiceUuid,
        hold: Duration,
        now: UnixMillis,
    ) -> Result<TakenOffer, Refusal> {
        let id = self
            .by_uuid
            .get(uuid)
            .ok_or(Refusal::ServiceNotFound)?
            .clone();
        loop {
            let service = self.services.get_mut(&id).ok_or(Refusal::ServiceNotFound)?;
            if service.record.expires_at <= now {
                return Err(Refusal::ServiceNotFound);
            }
            let offer = service.pool.take(hold, now).ok_or(Refusal::NoOffers)?;
            match self.offers.get(&offer) {
                Some(found) if found.record.expires_at > now => {
                    return Ok(TakenOffer {
                        service: service.record.clone(),
                        sdp: found.record.sdp.clone(),
                        offer,
                    });
                }
                Some(_) | None => self.remove_offer(&offer, now),
            }
        }
    }

    pub(super) fn unpublish(
        &mut self,
        peer: &PeerId,
        id: &ServiceId,
        owner: &Username,
        now: UnixMillis,
    ) -> Result<(), Refusal> {
        let service = self.services.get(id).map(|service| &service.record);
        let owned = service.filter(|s| s.peer == *peer && s.owner == *owner && s.expires_at > now);
        let belongs = Belongs::to(owned.ok_or(Refusal::ServiceNotOwned)?);
        self.remove_service(id, now);
        self.disown_offers(peer, &belongs);
        Ok(())
    }
}
