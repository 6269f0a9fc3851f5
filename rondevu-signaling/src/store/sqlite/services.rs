//! Services in a file, and the offers that they hand out.

use std::time::Duration;

use rondevu_core::{OfferId, PeerId, ServiceId, ServiceName, ServiceUuid, Username};
use rusqlite::OptionalExtension;

use super::columns::{self, Column, get};
use super::database::Database;
use super::offers::Belongs;
use crate::UnixMillis;
use crate::registry::{Capacity, Refusal};
use crate::store::cost::{SERVICE_COST, SIGNATURE_COST, metadata_len, service_cost};
use crate::store::{NameRecord, ServiceDraft, ServiceRecord, TakenOffer};

impl Database {
    pub(super) fn publish(
        &self,
        draft: &ServiceDraft,
        now: UnixMillis,
    ) -> Result<ServiceRecord, Refusal> {
        let owner = self.name(&draft.owner, now)?;
        let owner = owner.ok_or(Refusal::UsernameNotClaimed)?;
        if owner.key != draft.key {
            return Err(Refusal::PublishSignature);
        }
        self.check_unused(&draft.signature)?;
        let before = self.live_service(&draft.owner, &draft.service, now)?;
        let before = before.filter(|service| service.key == draft.key);
        let mut bytes = SIGNATURE_COST + metadata_len(draft.metadata.as_deref());
        if before.is_none() {
            self.check_service_count(&draft.owner, now)?;
            bytes += SERVICE_COST;
        }
        let offer = std::slice::from_ref(&draft.offer);
        self.check_offer_room(&draft.peer, offer, bytes, now)?;
        self.remember_signature(&draft.signature)?;
        let owner = NameRecord {
            expires_at: draft.owner_expires_at,
            ..owner
        };
        self.put_name(&draft.owner, &owner)?;
        let record = self.put_service(draft, before.as_ref(), now)?;
        let belongs = Belongs::To(record.owner.clone(), record.service.clone());
        self.put_offer(&draft.peer, &draft.offer, &belongs, now)?;
        self.adopt_offers(&record, now)?;
        Ok(record)
    }

    fn check_service_count(&self, owner: &Username, now: UnixMillis) -> Result<(), Refusal> {
        let mut select = self
            .connection
            .prepare_cached("SELECT count(*) FROM services WHERE owner = ?1 AND expires_at > ?2")?;
        let count: usize = select.query_row((Column(owner), Column(now)), |row| row.get(0))?;
        let limit = self.limits.services_per_username;
        match count >= limit {
            true => Err(Capacity::ServicesPerUsername(limit).into()),
            false => Ok(()),
        }
    }

    /// Inserts a service, or updates the one that was there before.
    fn put_service(
        &self,
        draft: &ServiceDraft,
        before: Option<&ServiceRecord>,
        now: UnixMillis,
    ) -> Result<ServiceRecord, Refusal> {
        let record = ServiceRecord {
            id: before.map_or(&draft.new_id, |before| &before.id).clone(),
            uuid: before.map_or(&draft.new_uuid, |b| &b.uuid).clone(),
            peer: draft.peer.clone(),
            owner: draft.owner.clone(),
            key: draft.key,
            service: draft.service.clone(),
            visibility: draft.visibility,
            metadata: draft.metadata.clone(),
            created_at: now,
            expires_at: draft.expires_at,
        };
        if before.is_none_or(|before| before.peer != draft.peer) {
            self.end_holds(&record)?;
        }
        let mut delete = self
            .connection
            .prepare_cached("DELETE FROM services WHERE owner = ?1 AND service = ?2")?;
        delete.execute((Column(&record.owner), Column(&record.service)))?;
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO services VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?;
        insert.execute(rusqlite::params![
            Column(&record.id),
            Column(&record.uuid),
            Column(&record.peer),
            Column(&record.owner),
            Column(&record.service),
            Column(&record.key),
            Column(record.visibility),
            record.metadata,
            Column(record.created_at),
            Column(record.expires_at),
            service_cost(record.metadata.as_deref()),
        ])?;
        Ok(record)
    }

    /// The holds of a service outlive a renewal by the same peer, and nothing else.
    fn end_holds(&self, service: &ServiceRecord) -> Result<(), Refusal> {
        let mut delete = self.connection.prepare_cached(
            "DELETE FROM holds WHERE offer IN (
                SELECT number FROM offers WHERE peer = ?1 AND owner = ?2 AND service = ?3
                AND answerer IS NULL
            )",
        )?;
        delete.execute((
            Column(&service.peer),
            Column(&service.owner),
            Column(&service.service),
        ))?;
        Ok(())
    }

    fn live_service(
        &self,
        owner: &Username,
        service: &ServiceName,
        now: UnixMillis,
    ) -> Result<Option<ServiceRecord>, Refusal> {
        let mut select = self.connection.prepare_cached(
            "SELECT * FROM services WHERE owner = ?1 AND service = ?2 AND expires_at > ?3",
        )?;
        let key = (Column(owner), Column(service), Column(now));
        Ok(select.query_row(key, columns::service).optional()?)
    }

    pub(super) fn services(
        &self,
        owner: &Username,
        now: UnixMillis,
    ) -> Result<Vec<ServiceRecord>, Refusal> {
        let mut select = self.connection.prepare_cached(
            "SELECT * FROM services WHERE owner = ?1 AND expires_at > ?2 ORDER BY number DESC",
        )?;
        let found = select.query_map((Column(owner), Column(now)), columns::service)?;
        Ok(found.collect::<rusqlite::Result<_>>()?)
    }

    pub(super) fn find_service(
        &self,
        owner: &Username,
        service: &ServiceName,
        now: UnixMillis,
    ) -> Result<ServiceUuid, Refusal> {
        let mut select = self.connection.prepare_cached(
            "SELECT uuid FROM services WHERE owner = ?1 AND service = ?2 AND expires_at > ?3",
        )?;
        let key = (Column(owner), Column(service), Column(now));
        let found = select.query_row(key, |row| get(row, "uuid")).optional()?;
        found.ok_or(Refusal::ServiceNotFound)
    }

    pub(super) fn take_offer(
        &self,
        uuid: &ServiceUuid,
        hold: Duration,
        now: UnixMillis,
    ) -> Result<TakenOffer, Refusal> {
        let mut select = self
            .connection
            .prepare_cached("SELECT * FROM services WHERE uuid = ?1 AND expires_at > ?2")?;
        let service = select.query_row((Column(uuid), Column(now)), columns::service);
        let service = service.optional()?.ok_or(Refusal::ServiceNotFound)?;
        let number = match self.newest_free(&service, now)? {
            Some(free) => free,
            None => self.first_held(&service, now)?.ok_or(Refusal::NoOffers)?,
        };
        let mut insert = self
            .connection
            .prepare_cached("INSERT OR REPLACE INTO holds VALUES (?1, ?2, ?3)")?;
        let until = now.saturating_add(hold);
        insert.execute((number, Column(until), self.next_turn()))?;
        let mut select = self
            .connection
            .prepare_cached("SELECT id, sdp FROM offers WHERE number = ?1")?;
        let (offer, sdp): (OfferId, String) =
            select.query_row([number], |row| Ok((get(row, "id")?, row.get("sdp")?)))?;
        Ok(TakenOffer {
            service,
            offer,
            sdp,
        })
    }

    fn newest_free(
        &self,
        service: &ServiceRecord,
        now: UnixMillis,
    ) -> Result<Option<i64>, Refusal> {
        let mut select = self.connection.prepare_cached(
            "SELECT number FROM offers
            WHERE peer = ?1 AND owner = ?2 AND service = ?3 AND answerer IS NULL
                AND expires_at > ?4
                AND NOT EXISTS (SELECT 1 FROM holds WHERE offer = number AND until > ?4)
            ORDER BY number DESC LIMIT 1",
        )?;
        let key = (
            Column(&service.peer),
            Column(&service.owner),
            Column(&service.service),
            Column(now),
        );
        Ok(select.query_row(key, |row| row.get(0)).optional()?)
    }

    /// The held offer whose hold ends first.
    fn first_held(&self, service: &ServiceRecord, now: UnixMillis) -> Result<Option<i64>, Refusal> {
        let mut select = self.connection.prepare_cached(
            "SELECT number FROM offers JOIN holds ON offer = number
            WHERE peer = ?1 AND owner = ?2 AND service = ?3 AND answerer IS NULL
                AND expires_at > ?4
            ORDER BY until, turn LIMIT 1",
        )?;
        let key = (
            Column(&service.peer),
            Column(&service.owner),
            Column(&service.service),
            Column(now),
        );
        Ok(select.query_row(key, |row| row.get(0)).optional()?)
    }

    pub(super) fn unpublish(
        &self,
        peer: &PeerId,
        id: &ServiceId,
        owner: &Username,
        now: UnixMillis,
    ) -> Result<(), Refusal> {
        let mut delete = self.connection.prepare_cached(
            "DELETE FROM services WHERE id = ?1 AND peer = ?2 AND owner = ?3 AND expires_at > ?4
            RETURNING service",
        )?;
        let key = (Column(id), Column(peer), Column(owner), Column(now));
        let service: Option<ServiceName> = delete
            .query_row(key, |row| get(row, "service"))
            .optional()?;
        let service = service.ok_or(Refusal::ServiceNotOwned)?;
        self.disown_offers(peer, owner, &service)
    }
}
