//! Offers in the memory store: created, renewed, put into pools, removed.

use rondevu_core::{OfferId, PeerId, ServiceId, ServiceName, Username};

use super::state::{Expiring, State};
use super::trickle::Trickle;
use crate::UnixMillis;
use crate::registry::{Capacity, Refusal};
use crate::store::cost::OFFER_COST;
use crate::store::{OfferDraft, OfferRecord, ServiceRecord};

pub(super) struct Offer {
    pub(super) record: OfferRecord,
    pub(super) number: u64,
    belongs: Belongs,
    pub(super) answer: Option<(UnixMillis, String)>,
    pub(super) trickle: Trickle,
    /// What it adds to the bytes of the store.
    pub(super) cost: usize,
}

/// Which service hands an offer out.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Belongs {
    /// This one. Named and not numbered, so that offers outlive a service that was renewed too
    /// late.
    To(Username, ServiceName),
    /// The next one of its peer: there was none yet.
    Next,
    /// None: it was withdrawn, or there were several to choose from.
    Nobody,
}

impl Belongs {
    pub(super) fn to(service: &ServiceRecord) -> Self {
        Self::To(service.owner.clone(), service.service.clone())
    }
}

impl State {
    pub(super) fn create_offers(
        &mut self,
        peer: &PeerId,
        drafts: Vec<OfferDraft>,
        now: UnixMillis,
    ) -> Result<Vec<OfferRecord>, Refusal> {
        let belongs: Vec<_> = drafts
            .iter()
            .map(|draft| self.belongs(peer, draft.service.as_ref(), now))
            .collect::<Result<_, _>>()?;
        self.check_offer_room(peer, &drafts, 0, now)?;
        let drafts = drafts.into_iter().zip(belongs);
        Ok(drafts
            .map(|(draft, belongs)| self.put_offer(peer, draft, belongs, now))
            .collect())
    }

    fn belongs(
        &self,
        peer: &PeerId,
        service: Option<&ServiceId>,
        now: UnixMillis,
    ) -> Result<Belongs, Refusal> {
        let live = |id: &ServiceId| {
            let service = self.services.get(id).map(|service| &service.record);
            service.filter(|s| s.peer == *peer && s.expires_at > now)
        };
        if let Some(id) = service {
            return live(id).map(Belongs::to).ok_or(Refusal::ServiceNotFound);
        }
        let shelf = self.shelves.get(peer);
        let mut own = shelf
            .iter()
            .flat_map(|shelf| shelf.services.iter().filter_map(live));
        Ok(match (own.next(), own.next()) {
            (None, _) => Belongs::Next,
            (Some(only), None) => Belongs::to(only),
            (Some(_), Some(_)) => Belongs::Nobody,
        })
    }

    /// Makes sure that these offers of `peer` fit, and `bytes` beside them. Those that are there
    /// already need no room.
    pub(super) fn check_offer_room(
        &mut self,
        peer: &PeerId,
        drafts: &[OfferDraft],
        bytes: usize,
        now: UnixMillis,
    ) -> Result<(), Refusal> {
        let is_new = |draft: &&OfferDraft| self.live_offer(&draft.id, now).is_none();
        let costs = drafts
            .iter()
            .filter(is_new)
            .map(|draft| draft.sdp.len() + OFFER_COST);
        let (count, offer_bytes) = costs.fold((0, 0), |(n, sum), cost| (n + 1, sum + cost));
        let limit = self.limits.offers_per_peer;
        if self.offer_count(peer) + count > limit {
            self.remove_expired_offers(peer, now);
        }
        if count > 0 && self.offer_count(peer) + count > limit {
            return Err(Capacity::OffersPerPeer(limit).into());
        }
        self.check_room(offer_bytes + bytes, now)
    }

    fn offer_count(&self, peer: &PeerId) -> usize {
        self.shelves.get(peer).map_or(0, |shelf| shelf.offers.len())
    }

    fn remove_expired_offers(&mut self, peer: &PeerId, now: UnixMillis) {
        let shelf = self.shelves.get(peer);
        let ids: Vec<_> = shelf
            .iter()
            .flat_map(|s| s.offers.values().cloned())
            .collect();
        for id in ids {
            if self.live_offer(&id, now).is_none() {
                self.remove_offer(&id, now);
            }
        }
    }

    /// Inserts an offer, or renews the open one that is there.
    pub(super) fn put_offer(
        &mut self,
        peer: &PeerId,
        draft: OfferDraft,
        belongs: Belongs,
        now: UnixMillis,
    ) -> OfferRecord {
        if self.live_offer(&draft.id, now).is_none() {
            self.remove_offer(&draft.id, now);
        }
        let id = draft.id.clone();
        match self.offers.get(&id) {
            Some(offer) if offer.answer.is_some() => return offer.record.clone(),
            Some(_) => self.renew_offer(draft, belongs, now),
            None => self.insert_offer(peer, draft, belongs, now),
        }
        self.offer_to_dialers(&id);
        self.offers[&id].record.clone()
    }

    fn insert_offer(
        &mut self,
        peer: &PeerId,
        draft: OfferDraft,
        belongs: Belongs,
        now: UnixMillis,
    ) {
        let number = self.next_number();
        let cost = OFFER_COST + draft.sdp.len();
        let record = OfferRecord {
            id: draft.id,
            peer: peer.clone(),
            sdp: draft.sdp,
            created_at: now,
            expires_at: draft.expires_at,
            last_seen: now,
            secret: draft.secret,
            answerer: None,
        };
        let id = record.id.clone();
        self.bytes += cost;
        self.expiries
            .insert((record.expires_at, Expiring::Offer(id.clone())));
        let shelf = self.shelves.entry(peer.clone()).or_default();
        shelf.offers.insert(number, id.clone());
        shelf.open.insert(number, id.clone());
        self.offers.insert(
            id,
            Offer {
                record,
                number,
                belongs,
                answer: None,
                trickle: Trickle::default(),
                cost,
            },
        );
    }

    fn renew_offer(&mut self, draft: OfferDraft, belongs: Belongs, now: UnixMillis) {
        let Some(offer) = self.offers.get_mut(&draft.id) else {
            return;
        };
        let (old, new) = (offer.record.expires_at, draft.expires_at);
        offer.record.expires_at = new;
        offer.record.last_seen = now;
        offer.record.secret = draft.secret;
        let moved = (offer.belongs != belongs).then_some(offer.number);
        offer.belongs = belongs;
        self.expiries
            .remove(&(old, Expiring::Offer(draft.id.clone())));
        self.expiries
            .insert((new, Expiring::Offer(draft.id.clone())));
        if let Some(number) = moved {
            let peer = self.offers[&draft.id].record.peer.clone();
            self.withdraw(&peer, number);
        }
    }

    /// Puts an open offer into the pool of the service that it belongs to.
    fn offer_to_dialers(&mut self, id: &OfferId) {
        let Some(offer) = self.offers.get(id) else {
            return;
        };
        let Belongs::To(owner, service) = &offer.belongs else {
            return;
        };
        let of_owner = self.by_owner.get(owner);
        let service = of_owner.and_then(|services| services.get(service));
        let service = service.and_then(|id| self.services.get_mut(id));
        if let Some(service) = service.filter(|s| s.record.peer == offer.record.peer) {
            service.pool.add(offer.number, id);
        }
    }

    /// Takes an offer out of whichever pool of its peer it is in.
    pub(super) fn withdraw(&mut self, peer: &PeerId, number: u64) {
        let shelf = self.shelves.get(peer);
        for id in shelf.iter().flat_map(|shelf| &shelf.services) {
            if let Some(service) = self.services.get_mut(id) {
                service.pool.remove(number);
            }
        }
    }

    /// Gives a service those offers of its peer that belong to it.
    pub(super) fn adopt_offers(&mut self, service: &ServiceRecord, now: UnixMillis) {
        let Some(shelf) = self.shelves.get(&service.peer) else {
            return;
        };
        let own = shelf.services.iter().filter_map(|id| self.services.get(id));
        let live = own.filter(|own| own.record.expires_at > now);
        let is_only_one = live.count() == 1;
        let ids: Vec<_> = shelf.open.values().cloned().collect();
        let belongs = Belongs::to(service);
        for id in ids {
            let Some(offer) = self.offers.get_mut(&id) else {
                continue;
            };
            if offer.record.expires_at <= now {
                continue;
            }
            if is_only_one && offer.belongs == Belongs::Next {
                offer.belongs = belongs.clone();
            }
            if offer.belongs == belongs {
                self.offer_to_dialers(&id);
            }
        }
    }

    /// Leaves the offers of a withdrawn service to nobody.
    pub(super) fn disown_offers(&mut self, peer: &PeerId, belonged: &Belongs) {
        let shelf = self.shelves.get(peer);
        for id in shelf.iter().flat_map(|shelf| shelf.open.values()) {
            if let Some(offer) = self.offers.get_mut(id)
                && offer.belongs == *belonged
            {
                offer.belongs = Belongs::Nobody;
            }
        }
    }

    pub(super) fn remove_offer(&mut self, id: &OfferId, now: UnixMillis) {
        let Some(offer) = self.offers.remove(id) else {
            return;
        };
        let record = &offer.record;
        self.bytes -= offer.cost;
        self.expiries
            .remove(&(record.expires_at, Expiring::Offer(id.clone())));
        self.withdraw(&record.peer, offer.number);
        if let Some(shelf) = self.shelves.get_mut(&record.peer) {
            shelf.offers.remove(&offer.number);
            shelf.open.remove(&offer.number);
            if let Some((at, _)) = &offer.answer {
                shelf.answered.remove(at);
            }
        }
        self.tidy_shelf(&record.peer, now);
    }

    pub(super) fn live_offer(&self, id: &OfferId, now: UnixMillis) -> Option<&Offer> {
        self.offers.get(id).filter(|o| o.record.expires_at > now)
    }

    pub(super) fn offers_of(
        &self,
        peer: &PeerId,
        bytes_max: usize,
        now: UnixMillis,
    ) -> Vec<OfferRecord> {
        let shelf = self.shelves.get(peer);
        let newest_first = shelf.iter().flat_map(|shelf| shelf.offers.values().rev());
        let live = newest_first.filter_map(|id| self.live_offer(id, now));
        within(bytes_max, live, |offer| offer.record.sdp.len())
            .map(|offer| offer.record.clone())
            .collect()
    }

    pub(super) fn delete_offer(
        &mut self,
        peer: &PeerId,
        id: &OfferId,
        now: UnixMillis,
    ) -> Result<(), Refusal> {
        let offer = self.live_offer(id, now);
        offer
            .filter(|offer| offer.record.peer == *peer)
            .ok_or(Refusal::OfferNotOwned)?;
        self.remove_offer(id, now);
        Ok(())
    }
}

/// As many of `items` from the start as fit, one at least.
pub(super) fn within<T>(
    bytes_max: usize,
    items: impl Iterator<Item = T>,
    size: impl Fn(&T) -> usize,
) -> impl Iterator<Item = T> {
    let mut bytes = 0;
    items.take_while(move |item| {
        let fits = bytes == 0 || bytes + size(item) <= bytes_max;
        bytes += size(item);
        fits
    })
}
