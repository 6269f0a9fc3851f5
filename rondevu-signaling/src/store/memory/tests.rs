//! Whatever happens to the memory store, it forgets everything in the end and counts right.

use std::time::Duration;

use rondevu_core::{OfferId, PeerId, ServiceId, ServiceUuid, Username};

use super::state::State;
use crate::registry::Limits;
use crate::store::{Digest, NameClaim, OfferDraft, ServiceDraft, Swept, UsedSignature};
use crate::{PublicKey, UnixMillis, Visibility};

/// A few peers that do anything to a few names, services and offers in any order.
struct Crowd {
    random: fastrand::Rng,
    state: State,
    now: UnixMillis,
    offers: Vec<OfferId>,
    services: Vec<(ServiceId, ServiceUuid)>,
    signatures: u64,
}

impl Crowd {
    fn new(seed: u64) -> Self {
        let limits = Limits::default()
            .offers_per_peer(20)
            .services_per_username(2)
            .bytes_total(60_000);
        Self {
            random: fastrand::Rng::with_seed(seed),
            state: State::new(limits),
            now: UnixMillis(1_000_000),
            offers: Vec::new(),
            services: Vec::new(),
            signatures: 0,
        }
    }

    fn peer(&mut self) -> PeerId {
        PeerId::new(format!("p{}", self.random.u8(..4))).unwrap()
    }

    fn name(&mut self) -> (Username, PublicKey) {
        let n = self.random.u8(..3);
        let name = Username::parse(&format!("name{n}")).unwrap();
        (name, PublicKey::from_bytes([n; 32]))
    }

    fn offer(&mut self) -> OfferId {
        let known = self.random.choice(&self.offers).cloned();
        known.unwrap_or_else(|| OfferId::new("none").unwrap())
    }

    fn service(&mut self) -> (ServiceId, ServiceUuid) {
        let known = self.random.choice(&self.services).cloned();
        let none = || {
            (
                ServiceId::new("none").unwrap(),
                ServiceUuid::new("none").unwrap(),
            )
        };
        known.unwrap_or_else(none)
    }

    fn later(&mut self, seconds: u64) -> UnixMillis {
        let millis = self.random.u64(1..seconds * 1000);
        self.now.saturating_add(Duration::from_millis(millis))
    }

    fn signature(&mut self) -> UsedSignature {
        // Some come twice.
        self.signatures += u64::from(self.random.u8(..4) > 0);
        UsedSignature {
            digest: Digest::of("test", &[&self.signatures.to_be_bytes()]),
            forget_at: self.later(300),
        }
    }

    fn draft(&mut self, peer: &PeerId) -> OfferDraft {
        let sdp = "x".repeat(self.random.usize(1..2000));
        let service = (self.random.u8(..4) == 0).then(|| self.service().0);
        OfferDraft {
            id: OfferDraft::id_of(peer, &sdp).unwrap(),
            sdp,
            expires_at: self.later(120),
            secret: None,
            service,
        }
    }

    fn publish(&mut self) {
        let peer = self.peer();
        let (owner, key) = self.name();
        let id = self.random.u64(..).to_string();
        let service = format!("org.example{}@1.0.0", self.random.u8(..4));
        let draft = ServiceDraft {
            peer: peer.clone(),
            owner,
            key,
            signature: self.signature(),
            owner_expires_at: self.later(600),
            service: service.parse().unwrap(),
            new_id: ServiceId::new(id.clone()).unwrap(),
            new_uuid: ServiceUuid::new(id).unwrap(),
            visibility: Visibility::Public,
            metadata: Some("x".repeat(self.random.usize(..500))),
            expires_at: self.later(120),
            offer: self.draft(&peer),
        };
        self.offers.push(draft.offer.id.clone());
        if let Ok(record) = self.state.publish(draft, self.now) {
            self.services.push((record.id, record.uuid));
        }
    }

    fn create(&mut self) {
        let peer = self.peer();
        let drafts: Vec<_> = (0..self.random.usize(1..6))
            .map(|_| self.draft(&peer))
            .collect();
        self.offers
            .extend(drafts.iter().map(|draft| draft.id.clone()));
        let _ = self.state.create_offers(&peer, drafts, self.now);
    }

    fn claim(&mut self) {
        let (name, key) = self.name();
        let claim = NameClaim {
            name,
            key,
            expires_at: self.later(600),
            signature: self.signature(),
        };
        let _ = self.state.claim_name(claim, self.now);
    }

    fn step(&mut self) {
        let (now, peer, offer) = (self.now, self.peer(), self.offer());
        match self.random.u8(..11) {
            0 => self.claim(),
            1 | 2 => self.publish(),
            3 => self.create(),
            4 => drop(self.state.answer(&peer, &offer, "answer", None, now)),
            5 => drop(self.state.delete_offer(&peer, &offer, now)),
            6 => {
                let uuid = self.service().1;
                let hold = Duration::from_secs(3);
                if let Ok(taken) = self.state.take_offer(&uuid, hold, now) {
                    self.check_taken(&taken.offer, &taken.service.peer);
                }
            }
            7 => {
                let ((id, _), (owner, _)) = (self.service(), self.name());
                let _ = self.state.unpublish(&peer, &id, &owner, now);
            }
            8 => {
                let candidates = vec!["c".repeat(self.random.usize(..200)); 3];
                drop(self.state.add_candidates(&peer, &offer, candidates, now));
            }
            9 => drop(self.state.sweep(now, 5)),
            _ => self.now = self.later(20),
        }
    }

    /// Handed out is what the service's own peer has open.
    fn check_taken(&self, offer: &OfferId, peer: &PeerId) {
        let open = self.state.offers_of(peer, usize::MAX, self.now);
        let found = open.iter().find(|open| open.id == *offer);
        assert!(found.is_some_and(|found| found.answerer.is_none()));
    }
}

#[test]
fn whatever_happens_nothing_is_left_in_the_end() {
    for seed in 0..50 {
        let mut crowd = Crowd::new(seed);
        for _ in 0..1000 {
            crowd.step();
            assert!(crowd.state.bytes <= crowd.state.limits.bytes_total);
        }
        assert!(crowd.state.bytes > 0, "something happened");
        let end = crowd.now.saturating_add(Duration::from_secs(3600));
        while crowd.state.sweep(end, 100) == Swept::Partly {}
        let state = &crowd.state;
        let left = [
            state.bytes,
            state.names.len(),
            state.signatures.len(),
            state.services.len(),
            state.by_uuid.len(),
            state.by_owner.len(),
            state.offers.len(),
            state.shelves.len(),
            state.expiries.len(),
        ];
        assert_eq!(left, [0; 9], "seed {seed}");
    }
}
