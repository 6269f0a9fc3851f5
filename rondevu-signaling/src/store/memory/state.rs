//! Everything that the memory store knows, and how it forgets what has expired.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rondevu_core::{OfferId, PeerId, ServiceId, ServiceName, ServiceUuid, Username};

use super::offers::Offer;
use super::pool::Pool;
use crate::UnixMillis;
use crate::registry::{Capacity, Limits, Refusal};
#[cfg(feature = "server")]
use crate::store::Census;
use crate::store::cost::{NAME_COST, SIGNATURE_COST};
use crate::store::{Digest, NameRecord, ServiceRecord, Swept};

pub(super) struct State {
    pub(super) limits: Limits,
    pub(super) names: HashMap<Username, NameRecord>,
    pub(super) signatures: HashMap<Digest, UnixMillis>,
    pub(super) services: HashMap<ServiceId, Service>,
    pub(super) by_uuid: HashMap<ServiceUuid, ServiceId>,
    pub(super) by_owner: HashMap<Username, BTreeMap<ServiceName, ServiceId>>,
    pub(super) offers: HashMap<OfferId, Offer>,
    pub(super) shelves: HashMap<PeerId, Shelf>,
    pub(super) expiries: BTreeSet<(UnixMillis, Expiring)>,
    pub(super) bytes: usize,
    #[cfg(feature = "server")]
    pub(super) server_key: Option<[u8; 32]>,
    next_number: u64,
}

/// A published service and its open offers, all of the publishing peer.
pub(super) struct Service {
    pub(super) record: ServiceRecord,
    pub(super) pool: Pool,
    /// Orders services by their latest publication.
    pub(super) number: u64,
}

/// What belongs to one peer.
#[derive(Default)]
pub(super) struct Shelf {
    /// By the order of their creation.
    pub(super) offers: BTreeMap<u64, OfferId>,
    /// Those of them that nobody has answered.
    pub(super) open: BTreeMap<u64, OfferId>,
    pub(super) services: BTreeSet<ServiceId>,
    /// By when they were answered; no two at the same time, so that a cursor loses nothing.
    pub(super) answered: BTreeMap<UnixMillis, OfferId>,
    pub(super) last_answered: UnixMillis,
}

/// Something that is forgotten at a known time.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Expiring {
    Name(Username),
    Signature(Digest),
    Service(ServiceId),
    Offer(OfferId),
    Shelf(PeerId),
}

impl State {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            names: HashMap::new(),
            signatures: HashMap::new(),
            services: HashMap::new(),
            by_uuid: HashMap::new(),
            by_owner: HashMap::new(),
            offers: HashMap::new(),
            shelves: HashMap::new(),
            expiries: BTreeSet::new(),
            bytes: 0,
            #[cfg(feature = "server")]
            server_key: None,
            next_number: 0,
        }
    }

    pub(super) fn next_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Forgets what had expired by `now`, at most `count_max` things.
    pub(super) fn sweep(&mut self, now: UnixMillis, count_max: usize) -> Swept {
        for _ in 0..count_max {
            match self.expiries.pop_first() {
                Some((at, expired)) if at <= now => self.forget(&expired, now),
                Some(later) => {
                    self.expiries.insert(later);
                    return Swept::Clean;
                }
                None => return Swept::Clean,
            }
        }
        Swept::Partly
    }

    fn forget(&mut self, expired: &Expiring, now: UnixMillis) {
        match expired {
            Expiring::Name(name) => self.remove_name(name),
            Expiring::Signature(digest) => {
                if self.signatures.remove(digest).is_some() {
                    self.bytes -= SIGNATURE_COST;
                }
            }
            Expiring::Service(id) => self.remove_service(id, now),
            Expiring::Offer(id) => self.remove_offer(id, now),
            Expiring::Shelf(peer) => self.tidy_shelf(peer, now),
        }
    }

    pub(super) fn remove_name(&mut self, name: &Username) {
        if let Some(record) = self.names.remove(name) {
            self.bytes -= NAME_COST;
            self.expiries
                .remove(&(record.expires_at, Expiring::Name(name.clone())));
        }
    }

    /// Makes sure that `bytes` more fit.
    pub(super) fn check_room(&mut self, bytes: usize, now: UnixMillis) -> Result<(), Refusal> {
        if self.bytes.saturating_add(bytes) > self.limits.bytes_total {
            self.sweep(now, SWEEP_FOR_ROOM);
        }
        match self.bytes.saturating_add(bytes) > self.limits.bytes_total {
            true => Err(Capacity::Bytes.into()),
            false => Ok(()),
        }
    }

    pub(super) fn remember_signature(&mut self, digest: Digest, forget_at: UnixMillis) {
        self.signatures.insert(digest, forget_at);
        self.bytes += SIGNATURE_COST;
        self.expiries
            .insert((forget_at, Expiring::Signature(digest)));
    }

    /// Drops an empty shelf as soon as no cursor of its peer can be ahead of the clock.
    pub(super) fn tidy_shelf(&mut self, peer: &PeerId, now: UnixMillis) {
        let Some(shelf) = self.shelves.get(peer) else {
            return;
        };
        if !shelf.offers.is_empty() || !shelf.services.is_empty() {
            return;
        }
        let last = shelf.last_answered;
        if last < now {
            self.shelves.remove(peer);
        } else {
            let at = UnixMillis(last.0.saturating_add(1));
            self.expiries.insert((at, Expiring::Shelf(peer.clone())));
        }
    }

    #[cfg(feature = "server")]
    pub(super) fn census(&self) -> Census {
        Census {
            names: self.names.len(),
            services: self.services.len(),
            offers: self.offers.len(),
            bytes: self.bytes,
        }
    }
}

/// Enough to make room for the largest request out of small rows, and still done in a millisecond.
const SWEEP_FOR_ROOM: usize = 1024;
