//! A store in a file, which the end of the process leaves as it was.
//!
//! | thread | does |
//! | --- | --- |
//! | one writer | each request in a savepoint, many requests in one commit |
//! | one syncer | waits for the disk, for many commits at once |
//! | two readers | each question in a transaction that only reads |
//! | one checkpointer | copies the log into the file, while the writer goes on |

mod answers;
mod checkpointer;
mod columns;
mod database;
mod names;
mod offers;
mod readers;
mod schema;
mod services;
mod sweep;
mod syncer;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rondevu_core::{OfferId, PeerId, ServiceId, ServiceName, ServiceUuid, Username};

use super::{
    AnswerRecord, CandidateRecord, Census, Digest, NameClaim, NameRecord, OfferDraft, OfferRecord,
    ServiceDraft, ServiceRecord, Store, Swept, TakenOffer,
};
use crate::UnixMillis;
use crate::registry::{Limits, Refusal};
use checkpointer::Checkpointer;
use database::{Claim, Database};
use readers::Readers;
use syncer::Syncer;
use writer::{Durability, Writer};

/// Keeps everything in a file of SQLite.
///
/// What was answered survives the end of the process. Names survive a power failure too, and so do
/// publications and used signatures a quarter of a second after the answer.
pub(crate) struct SqliteStore {
    checkpointer: Mutex<Option<Checkpointer>>,
    readers: Readers,
    // Last, as it leaves the file in order once nobody reads any longer.
    writer: Writer,
}

impl SqliteStore {
    /// Opens a file, or makes one that only this user can read. Blocks.
    ///
    /// # Errors
    ///
    /// If another process is using it, or it is damaged, not to be written or of a later version.
    pub(crate) fn open(path: &Path, limits: &Limits) -> io::Result<Self> {
        let claim = Claim::on(path)?;
        let writing = Database::open_to_write(path, limits.clone())?;
        let reading = (0..READERS)
            .map(|_| Database::open_to_read(path, limits.clone()))
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            checkpointer: Mutex::new(Some(Checkpointer::start(path)?)),
            readers: Readers::start(reading)?,
            writer: Writer::start(writing, Syncer::start(path)?, claim)?,
        })
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn server_key(&self, fresh: [u8; 32]) -> Result<[u8; 32], Refusal> {
        self.writer
            .run(Durability::Power, move |db| db.server_key(&fresh))
            .await
    }

    async fn claim_name(&self, claim: NameClaim, now: UnixMillis) -> Result<NameRecord, Refusal> {
        self.writer
            .run(Durability::Power, move |db| db.claim_name(&claim, now))
            .await
    }

    async fn name(&self, name: &Username, now: UnixMillis) -> Result<Option<NameRecord>, Refusal> {
        let name = name.clone();
        self.readers.run(move |db| db.name(&name, now)).await
    }

    async fn publish(
        &self,
        draft: ServiceDraft,
        now: UnixMillis,
    ) -> Result<ServiceRecord, Refusal> {
        self.writer
            .run(Durability::PowerSoon, move |db| db.publish(&draft, now))
            .await
    }

    async fn services(
        &self,
        owner: &Username,
        now: UnixMillis,
    ) -> Result<Vec<ServiceRecord>, Refusal> {
        let owner = owner.clone();
        self.readers.run(move |db| db.services(&owner, now)).await
    }

    async fn find_service(
        &self,
        owner: &Username,
        service: &ServiceName,
        now: UnixMillis,
    ) -> Result<ServiceUuid, Refusal> {
        let (owner, service) = (owner.clone(), service.clone());
        self.readers
            .run(move |db| db.find_service(&owner, &service, now))
            .await
    }

    async fn take_offer(
        &self,
        uuid: &ServiceUuid,
        hold: Duration,
        now: UnixMillis,
    ) -> Result<TakenOffer, Refusal> {
        let uuid = uuid.clone();
        self.writer
            .run(Durability::Process, move |db| {
                db.take_offer(&uuid, hold, now)
            })
            .await
    }

    async fn unpublish(
        &self,
        peer: &PeerId,
        service: &ServiceId,
        owner: &Username,
        now: UnixMillis,
    ) -> Result<(), Refusal> {
        let (peer, service, owner) = (peer.clone(), service.clone(), owner.clone());
        self.writer
            .run(Durability::PowerSoon, move |db| {
                db.unpublish(&peer, &service, &owner, now)
            })
            .await
    }

    async fn create_offers(
        &self,
        peer: &PeerId,
        drafts: Vec<OfferDraft>,
        now: UnixMillis,
    ) -> Result<Vec<OfferRecord>, Refusal> {
        let peer = peer.clone();
        self.writer
            .run(Durability::Process, move |db| {
                db.create_offers(&peer, &drafts, now)
            })
            .await
    }

    async fn offers(
        &self,
        peer: &PeerId,
        bytes_max: usize,
        now: UnixMillis,
    ) -> Result<Vec<OfferRecord>, Refusal> {
        let peer = peer.clone();
        self.readers
            .run(move |db| db.offers(&peer, bytes_max, now))
            .await
    }

    async fn delete_offer(
        &self,
        peer: &PeerId,
        offer: &OfferId,
        now: UnixMillis,
    ) -> Result<(), Refusal> {
        let (peer, offer) = (peer.clone(), offer.clone());
        self.writer
            .run(Durability::Process, move |db| {
                db.delete_offer(&peer, &offer, now)
            })
            .await
    }

    async fn answer(
        &self,
        peer: &PeerId,
        offer: &OfferId,
        sdp: &str,
        secret: Option<Digest>,
        now: UnixMillis,
    ) -> Result<PeerId, Refusal> {
        let (peer, offer, sdp) = (peer.clone(), offer.clone(), sdp.to_owned());
        self.writer
            .run(Durability::Process, move |db| {
                db.answer(&peer, &offer, &sdp, secret.as_ref(), now)
            })
            .await
    }

    async fn answers(
        &self,
        peer: &PeerId,
        since: Option<UnixMillis>,
        bytes_max: usize,
        now: UnixMillis,
    ) -> Result<Vec<AnswerRecord>, Refusal> {
        let peer = peer.clone();
        self.readers
            .run(move |db| db.answers(&peer, since, bytes_max, now))
            .await
    }

    async fn add_candidates(
        &self,
        peer: &PeerId,
        offer: &OfferId,
        candidates: Vec<String>,
        now: UnixMillis,
    ) -> Result<Option<PeerId>, Refusal> {
        let (peer, offer) = (peer.clone(), offer.clone());
        self.writer
            .run(Durability::Process, move |db| {
                db.add_candidates(&peer, &offer, &candidates, now)
            })
            .await
    }

    async fn candidates(
        &self,
        peer: &PeerId,
        offer: &OfferId,
        since: UnixMillis,
        now: UnixMillis,
    ) -> Result<Vec<CandidateRecord>, Refusal> {
        let (peer, offer) = (peer.clone(), offer.clone());
        self.readers
            .run(move |db| db.candidates(&peer, &offer, since, now))
            .await
    }

    async fn sweep(&self, now: UnixMillis) -> Result<Swept, Refusal> {
        self.writer
            .run(Durability::Process, move |db| sweep::sweep(db, now))
            .await
    }

    async fn census(&self) -> Result<Census, Refusal> {
        self.readers.run(sweep::census).await
    }

    async fn close(&self) -> Result<(), Refusal> {
        let checkpointer = self
            .checkpointer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(checkpointer);
        self.readers.stop().await;
        self.writer.stop().await;
        Ok(())
    }
}

/// How many requests may wait for the file: with more, even the last in the queue would wait for a
/// second.
pub(crate) const QUEUE_LEN: usize = 8192;

/// As many as can be of use beside the writer and the requests themselves on a small machine.
const READERS: usize = 2;
