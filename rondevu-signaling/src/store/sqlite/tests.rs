//! A file keeps what the memory store would keep, and keeps it over a restart.

use std::path::PathBuf;
use std::time::Duration;

use rondevu_core::{OfferId, PeerId, ServiceId, ServiceUuid, Username};
use tempfile::TempDir;

use super::SqliteStore;
use crate::registry::{Limits, Refusal};
use crate::store::{
    Digest, MemoryStore, NameClaim, OfferDraft, ServiceDraft, Store, Swept, UsedSignature,
};
use crate::{PublicKey, UnixMillis, Visibility};

/// A file that is gone after the test.
struct Place {
    _folder: TempDir,
    file: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        Self {
            file: folder.path().join("store.db"),
            _folder: folder,
        }
    }

    fn open(&self, limits: &Limits) -> SqliteStore {
        SqliteStore::open(&self.file, limits).unwrap()
    }
}

fn peer(n: u8) -> PeerId {
    PeerId::new(format!("peer{n}")).unwrap()
}

/// A few peers that do anything in any order, to two stores at once.
struct Crowd {
    random: fastrand::Rng,
    now: UnixMillis,
    offers: Vec<OfferId>,
    services: Vec<(ServiceId, ServiceUuid)>,
    signatures: u64,
    ids: u64,
}

impl Crowd {
    fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            now: UnixMillis(1_000_000),
            offers: vec![OfferId::new("none").unwrap()],
            services: vec![(
                ServiceId::new("none").unwrap(),
                ServiceUuid::new("none").unwrap(),
            )],
            signatures: 0,
            ids: 0,
        }
    }

    fn later(&mut self, seconds: u64) -> UnixMillis {
        let millis = self.random.u64(1..seconds * 1000);
        self.now.saturating_add(Duration::from_millis(millis))
    }

    fn name(&mut self) -> (Username, PublicKey) {
        let n = self.random.u8(..3);
        // Sometimes another key than usual.
        let key = if self.random.u8(..6) == 0 { n + 100 } else { n };
        let name = Username::parse(&format!("name{n}")).unwrap();
        (name, PublicKey::from_bytes([key; 32]))
    }

    fn signature(&mut self) -> UsedSignature {
        // Some come twice.
        self.signatures += u64::from(self.random.u8(..5) > 0);
        UsedSignature {
            digest: Digest::of("test", &[&self.signatures.to_be_bytes()]),
            forget_at: self.later(300),
        }
    }

    fn secret(&mut self) -> Option<Digest> {
        let n = self.random.u8(..4);
        (n == 0).then(|| Digest::of("secret", &[b"x"]))
    }

    fn draft(&mut self, peer: &PeerId) -> OfferDraft {
        let sdp = format!("sdp {}", self.random.u8(..40));
        let service = match self.random.u8(..5) {
            0 => self.random.choice(&self.services).map(|s| s.0.clone()),
            _ => None,
        };
        let id = OfferDraft::id_of(peer, &sdp).unwrap();
        self.offers.push(id.clone());
        OfferDraft {
            id,
            sdp,
            expires_at: self.later(120),
            secret: self.secret(),
            service,
        }
    }

    fn claim(&mut self) -> NameClaim {
        let (name, key) = self.name();
        NameClaim {
            name,
            key,
            expires_at: self.later(600),
            signature: self.signature(),
        }
    }

    fn service(&mut self) -> ServiceDraft {
        let peer = peer(self.random.u8(..4));
        let (owner, key) = self.name();
        self.ids += 1;
        let id = format!("id{}", self.ids);
        let service = format!("org.example{}@1.0.0", self.random.u8(..3));
        ServiceDraft {
            peer: peer.clone(),
            owner,
            key,
            signature: self.signature(),
            owner_expires_at: self.later(600),
            service: service.parse().unwrap(),
            new_id: ServiceId::new(id.clone()).unwrap(),
            new_uuid: ServiceUuid::new(id).unwrap(),
            visibility: Visibility::Public,
            metadata: Some("\"m\"".into()),
            expires_at: self.later(120),
            offer: self.draft(&peer),
        }
    }

    /// Does one thing to a store each, and returns what both said.
    async fn step(&mut self, one: &dyn Store, other: &dyn Store) -> [String; 2] {
        macro_rules! both {
            ($call:ident($($argument:expr),*)) => {
                [
                    told(&one.$call($($argument),*).await),
                    told(&other.$call($($argument),*).await),
                ]
            };
        }
        let now = self.now;
        let peer = peer(self.random.u8(..4));
        let offer = self.random.choice(&self.offers).cloned().unwrap();
        let (id, uuid) = self.random.choice(&self.services).cloned().unwrap();
        let (owner, _) = self.name();
        match self.random.u8(..16) {
            0 => {
                let claim = self.claim();
                both!(claim_name(claim.clone(), now))
            }
            1..=3 => {
                let draft = self.service();
                let published = one.publish(draft.clone(), now).await;
                if let Ok(record) = &published {
                    self.services.push((record.id.clone(), record.uuid.clone()));
                }
                [told(&published), told(&other.publish(draft, now).await)]
            }
            4 => {
                let drafts: Vec<_> = (0..self.random.usize(1..4))
                    .map(|_| self.draft(&peer))
                    .collect();
                both!(create_offers(&peer, drafts.clone(), now))
            }
            5 | 6 => {
                let secret = self.secret();
                both!(answer(&peer, &offer, "answer", secret, now))
            }
            7 => both!(delete_offer(&peer, &offer, now)),
            8 | 9 => {
                let hold = Duration::from_secs(3);
                let taken = one.take_offer(&uuid, hold, now).await;
                let same = other.take_offer(&uuid, hold, now).await;
                let told = |taken: Result<_, Refusal>| {
                    let taken: crate::store::TakenOffer = match taken {
                        Ok(taken) => taken,
                        Err(refusal) => return refusal.to_string(),
                    };
                    format!("{:?} {} {:?}", taken.offer, taken.sdp, taken.service)
                };
                [told(taken), told(same)]
            }
            10 => both!(unpublish(&peer, &id, &owner, now)),
            11 => {
                let count = self.random.usize(1..30);
                let candidates = vec![format!("c{count}"); count];
                both!(add_candidates(&peer, &offer, candidates.clone(), now))
            }
            12 => {
                let since = UnixMillis(0);
                let one = one.candidates(&peer, &offer, since, now).await;
                let other = other.candidates(&peer, &offer, since, now).await;
                // Without the stamps, which may differ.
                [one, other].map(|found| {
                    told(&found.map(|found| {
                        let texts = found.into_iter().map(|c| c.candidate);
                        texts.collect::<Vec<_>>()
                    }))
                })
            }
            13 => {
                let service = "org.example1@1.0.0".parse().unwrap();
                both!(find_service(&owner, &service, now))
            }
            14 => both!(services(&owner, now)),
            _ => {
                self.now = self.later(15);
                [String::new(), String::new()]
            }
        }
    }
}

fn told<T: std::fmt::Debug>(result: &Result<T, Refusal>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(refusal) => refusal.to_string(),
    }
}

/// All that two stores know about each peer and each name.
async fn contents(store: &dyn Store, now: UnixMillis) -> String {
    let mut text = String::new();
    for n in 0..4 {
        for offer in store.offers(&peer(n), usize::MAX, now).await.unwrap() {
            text += &format!(
                "{:?} {} {} {:?}\n",
                offer.id, offer.sdp, offer.expires_at, offer.answerer
            );
        }
        for since in [None, Some(UnixMillis(0)), Some(now)] {
            for answer in store
                .answers(&peer(n), since, usize::MAX, now)
                .await
                .unwrap()
            {
                text += &format!("{:?} {}\n", answer.offer, answer.answered_at);
            }
        }
    }
    for n in 0..3 {
        let name = Username::parse(&format!("name{n}")).unwrap();
        text += &format!("{:?}\n", store.name(&name, now).await.unwrap());
        text += &format!("{:?}\n", store.services(&name, now).await.unwrap());
    }
    text
}

#[tokio::test]
async fn a_file_and_memory_say_the_same_whatever_happens_and_forget_everything_in_the_end() {
    let limits = Limits::default()
        .offers_per_peer(12)
        .services_per_username(2);
    for seed in 0..6 {
        let place = Place::new();
        let memory = MemoryStore::new(limits.clone());
        let mut file = place.open(&limits);
        let mut crowd = Crowd::new(seed);
        for number in 0..400 {
            let [one, other] = crowd.step(&memory, &file).await;
            assert_eq!(one, other, "seed {seed}, step {number}");
            if number % 50 == 0 {
                let now = crowd.now;
                let (one, other) = (contents(&memory, now).await, contents(&file, now).await);
                assert_eq!(one, other, "seed {seed}, step {number}");
            }
            if number == 200 {
                // Holds are the one thing that a restart forgets.
                crowd.now = crowd.now.saturating_add(Duration::from_secs(4));
                drop(file);
                file = place.open(&limits);
            }
        }
        let end = crowd.now.saturating_add(Duration::from_secs(3600));
        while file.sweep(end).await.unwrap() == Swept::Partly {}
        assert_eq!(
            file.census().await.unwrap(),
            crate::store::Census::default()
        );
    }
}

#[tokio::test]
async fn what_is_counted_is_the_same_in_both_stores() {
    let place = Place::new();
    let limits = Limits::default();
    let (memory, file) = (MemoryStore::new(limits.clone()), place.open(&limits));
    let mut crowd = Crowd::new(7);
    for _ in 0..300 {
        let before = crowd.now;
        crowd.step(&memory, &file).await;
        // Without expiry: the two stores sweep at different times.
        crowd.now = before;
    }
    assert_eq!(memory.census().await, file.census().await);
    assert!(file.census().await.unwrap().bytes > 10_000);
}

#[tokio::test]
async fn a_file_that_is_full_says_so_and_recovers_by_expiry() {
    let place = Place::new();
    let store = place.open(&Limits::default().bytes_total(5000));
    let (peer, now) = (peer(0), UnixMillis(1000));
    let draft = |n: usize, now: UnixMillis| OfferDraft {
        id: OfferId::new(n.to_string()).unwrap(),
        sdp: "x".repeat(1000),
        expires_at: now.saturating_add(Duration::from_secs(60)),
        secret: None,
        service: None,
    };
    for n in 0..2 {
        store
            .create_offers(&peer, vec![draft(n, now)], now)
            .await
            .unwrap();
    }
    let full = store.create_offers(&peer, vec![draft(2, now)], now).await;
    assert!(matches!(full, Err(Refusal::Full(_))));
    let later = now.saturating_add(Duration::from_secs(60));
    let fits = store.create_offers(&peer, vec![draft(2, later)], later);
    assert_eq!(fits.await.unwrap().len(), 1);
}

#[tokio::test]
async fn one_file_has_one_server_at_a_time_and_nobody_else_may_read_it() {
    let place = Place::new();
    let limits = Limits::default();
    let store = place.open(&limits);
    let key = store.server_key([1; 32]).await.unwrap();
    let second = SqliteStore::open(&place.file, &limits);
    let error = second.err().expect("the file is in use").to_string();
    assert!(error.contains("another server is using it"), "{error}");
    store.close().await.unwrap();
    let refused = store.server_key([2; 32]).await;
    assert_eq!(refused, Err(Refusal::StoreFailed));
    drop(store);
    let again = place.open(&limits);
    assert_eq!(again.server_key([3; 32]).await, Ok(key));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&place.file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[tokio::test]
async fn a_file_with_larger_pages_keeps_them_and_works() {
    let place = Place::new();
    let connection = rusqlite::Connection::open(&place.file).unwrap();
    connection.pragma_update(None, "page_size", 4096).unwrap();
    connection.execute_batch("VACUUM").unwrap();
    drop(connection);
    let limits = Limits::default();
    let store = place.open(&limits);
    let key = store.server_key([1; 32]).await.unwrap();
    store.close().await.unwrap();
    drop(store);

    let connection = rusqlite::Connection::open(&place.file).unwrap();
    let page_bytes: u32 = connection
        .pragma_query_value(None, "page_size", |row| row.get(0))
        .unwrap();
    assert_eq!(page_bytes, 4096);
    drop(connection);
    let again = place.open(&limits);
    assert_eq!(again.server_key([2; 32]).await, Ok(key));
}

#[test]
fn a_file_of_a_later_version_or_of_something_else_is_left_alone() {
    let place = Place::new();
    let limits = Limits::default();
    drop(place.open(&limits));
    let connection = rusqlite::Connection::open(&place.file).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let error = SqliteStore::open(&place.file, &limits).err().unwrap();
    assert!(error.to_string().contains("version 99"), "{error}");

    std::fs::write(
        &place.file,
        "no database at all, and long enough to show it",
    )
    .unwrap();
    let error = SqliteStore::open(&place.file, &limits).err().unwrap();
    assert!(error.to_string().contains("not a database"), "{error}");
}
