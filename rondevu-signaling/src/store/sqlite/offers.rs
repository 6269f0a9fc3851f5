//! Offers in a file: created, renewed, given to services, removed.

use rondevu_core::{OfferId, PeerId, ServiceId, ServiceName, Username};
use rusqlite::OptionalExtension;

use super::columns::{self, Column};
use super::database::Database;
use crate::UnixMillis;
use crate::registry::{Capacity, Refusal};
use crate::store::cost::OFFER_COST;
use crate::store::{OfferDraft, OfferRecord, ServiceRecord};

/// Which service hands an offer out.
#[derive(Clone)]
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
    fn columns(&self) -> (i64, Option<Column<&Username>>, Option<Column<&ServiceName>>) {
        match self {
            Self::Next => (0, None, None),
            Self::To(owner, service) => (1, Some(Column(owner)), Some(Column(service))),
            Self::Nobody => (2, None, None),
        }
    }
}

impl Database {
    pub(super) fn create_offers(
        &self,
        peer: &PeerId,
        drafts: &[OfferDraft],
        now: UnixMillis,
    ) -> Result<Vec<OfferRecord>, Refusal> {
        let belongs = drafts
            .iter()
            .map(|draft| self.belongs(peer, draft.service.as_ref(), now))
            .collect::<Result<Vec<_>, _>>()?;
        self.check_offer_room(peer, drafts, 0, now)?;
        let drafts = drafts.iter().zip(&belongs);
        drafts
            .map(|(draft, belongs)| self.put_offer(peer, draft, belongs, now))
            .collect()
    }

    fn belongs(
        &self,
        peer: &PeerId,
        service: Option<&ServiceId>,
        now: UnixMillis,
    ) -> Result<Belongs, Refusal> {
        let mut select = self.connection.prepare_cached(
            "SELECT * FROM services
            WHERE peer = ?1 AND expires_at > ?2 AND (?3 IS NULL OR id = ?3) LIMIT 2",
        )?;
        let key = (Column(peer), Column(now), service.map(Column));
        let mut own = select.query_map(key, columns::service)?;
        let first = own.next().transpose()?;
        let second = own.next().transpose()?;
        match (first, second, service) {
            (Some(only), None, _) => Ok(Belongs::To(only.owner, only.service)),
            (Some(_), Some(_), _) => Ok(Belongs::Nobody),
            (None, _, None) => Ok(Belongs::Next),
            (None, _, Some(_)) => Err(Refusal::ServiceNotFound),
        }
    }

    /// Makes sure that these offers of `peer` fit, and `bytes` beside them. Those that are there
    /// already need no room.
    pub(super) fn check_offer_room(
        &self,
        peer: &PeerId,
        drafts: &[OfferDraft],
        bytes: usize,
        now: UnixMillis,
    ) -> Result<(), Refusal> {
        let (mut count, mut offer_bytes) = (0, 0);
        for draft in drafts {
            if self.live_offer(&draft.id, now)?.is_none() {
                count += 1;
                offer_bytes += draft.sdp.len() + OFFER_COST;
            }
        }
        let limit = self.limits.offers_per_peer;
        // An index alone can count all; the expired ones among them have to be looked up.
        if count > 0
            && self.offer_count(peer)? + count > limit
            && self.live_offer_count(peer, now)? + count > limit
        {
            return Err(Capacity::OffersPerPeer(limit).into());
        }
        self.check_room(offer_bytes + bytes, now)
    }

    fn offer_count(&self, peer: &PeerId) -> Result<usize, Refusal> {
        let mut select = self
            .connection
            .prepare_cached("SELECT count(*) FROM offers WHERE peer = ?1")?;
        Ok(select.query_row([Column(peer)], |row| row.get(0))?)
    }

    fn live_offer_count(&self, peer: &PeerId, now: UnixMillis) -> Result<usize, Refusal> {
        let mut select = self
            .connection
            .prepare_cached("SELECT count(*) FROM offers WHERE peer = ?1 AND expires_at > ?2")?;
        Ok(select.query_row((Column(peer), Column(now)), |row| row.get(0))?)
    }

    /// Inserts an offer, or renews the open one that is there.
    pub(super) fn put_offer(
        &self,
        peer: &PeerId,
        draft: &OfferDraft,
        belongs: &Belongs,
        now: UnixMillis,
    ) -> Result<OfferRecord, Refusal> {
        match self.live_offer(&draft.id, now)? {
            Some(offer) if offer.answerer.is_some() => return Ok(offer),
            Some(_) => self.renew_offer(draft, belongs, now)?,
            None => self.insert_offer(peer, draft, belongs, now)?,
        }
        let put = self.live_offer(&draft.id, now)?;
        put.ok_or(Refusal::StoreFailed)
    }

    fn insert_offer(
        &self,
        peer: &PeerId,
        draft: &OfferDraft,
        belongs: &Belongs,
        now: UnixMillis,
    ) -> Result<(), Refusal> {
        // One that has expired and was not swept away yet.
        let mut delete = self
            .connection
            .prepare_cached("DELETE FROM offers WHERE id = ?1")?;
        delete.execute([Column(&draft.id)])?;
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO offers
                (id, peer, created_at, expires_at, last_seen, secret, belongs, owner, service,
                cost, sdp)
            VALUES (?1, ?2, ?3, ?4, ?3, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?;
        let (belongs, owner, service) = belongs.columns();
        insert.execute(rusqlite::params![
            Column(&draft.id),
            Column(peer),
            Column(now),
            Column(draft.expires_at),
            draft.secret.as_ref().map(Column),
            belongs,
            owner,
            service,
            OFFER_COST + draft.sdp.len(),
            draft.sdp,
        ])?;
        Ok(())
    }

    fn renew_offer(
        &self,
        draft: &OfferDraft,
        belongs: &Belongs,
        now: UnixMillis,
    ) -> Result<(), Refusal> {
        let (belongs, owner, service) = belongs.columns();
        // Another service begins without the holds of the one before.
        let mut delete = self.connection.prepare_cached(
            "DELETE FROM holds WHERE offer = (
                SELECT number FROM offers WHERE id = ?1
                AND (belongs IS NOT ?2 OR owner IS NOT ?3 OR service IS NOT ?4)
            )",
        )?;
        delete.execute(rusqlite::params![
            Column(&draft.id),
            belongs,
            owner,
            service
        ])?;
        let mut update = self.connection.prepare_cached(
            "UPDATE offers SET expires_at = ?2, last_seen = ?3, secret = ?4, belongs = ?5,
                owner = ?6, service = ?7
            WHERE id = ?1",
        )?;
        update.execute(rusqlite::params![
            Column(&draft.id),
            Column(draft.expires_at),
            Column(now),
            draft.secret.as_ref().map(Column),
            belongs,
            owner,
            service,
        ])?;
        Ok(())
    }

    /// Gives the first service of a peer the offers that were made before it.
    pub(super) fn adopt_offers(
        &self,
        service: &ServiceRecord,
        now: UnixMillis,
    ) -> Result<(), Refusal> {
        let mut update = self.connection.prepare_cached(
            "UPDATE offers SET belongs = 1, owner = ?2, service = ?3
            WHERE peer = ?1 AND belongs = 0 AND answerer IS NULL AND expires_at > ?4
                AND 1 = (SELECT count(*) FROM services WHERE peer = ?1 AND expires_at > ?4)",
        )?;
        update.execute((
            Column(&service.peer),
            Column(&service.owner),
            Column(&service.service),
            Column(now),
        ))?;
        Ok(())
    }

    /// Leaves the offers of a withdrawn service to nobody.
    pub(super) fn disown_offers(
        &self,
        peer: &PeerId,
        owner: &Username,
        service: &ServiceName,
    ) -> Result<(), Refusal> {
        let mut update = self.connection.prepare_cached(
            "UPDATE offers SET belongs = 2, owner = NULL, service = NULL
            WHERE peer = ?1 AND owner = ?2 AND service = ?3",
        )?;
        update.execute((Column(peer), Column(owner), Column(service)))?;
        Ok(())
    }

    pub(super) fn live_offer(
        &self,
        id: &OfferId,
        now: UnixMillis,
    ) -> Result<Option<OfferRecord>, Refusal> {
        let mut select = self
            .connection
            .prepare_cached("SELECT * FROM offers WHERE id = ?1 AND expires_at > ?2")?;
        let found = select.query_row((Column(id), Column(now)), columns::offer);
        Ok(found.optional()?)
    }

    pub(super) fn offers(
        &self,
        peer: &PeerId,
        bytes_max: usize,
        now: UnixMillis,
    ) -> Result<Vec<OfferRecord>, Refusal> {
        let mut select = self.connection.prepare_cached(
            "SELECT * FROM offers WHERE peer = ?1 AND expires_at > ?2 ORDER BY number DESC",
        )?;
        let found = select.query_map((Column(peer), Column(now)), columns::offer)?;
        Ok(within(bytes_max, found, |offer| offer.sdp.len())?)
    }

    pub(super) fn delete_offer(
        &self,
        peer: &PeerId,
        id: &OfferId,
        now: UnixMillis,
    ) -> Result<(), Refusal> {
        let mut delete = self
            .connection
            .prepare_cached("DELETE FROM offers WHERE id = ?1 AND peer = ?2 AND expires_at > ?3")?;
        match delete.execute((Column(id), Column(peer), Column(now)))? {
            0 => Err(Refusal::OfferNotOwned),
            _ => Ok(()),
        }
    }
}

/// As many rows from the start as fit, one at least.
pub(super) fn within<T>(
    bytes_max: usize,
    rows: impl Iterator<Item = rusqlite::Result<T>>,
    size: impl Fn(&T) -> usize,
) -> rusqlite::Result<Vec<T>> {
    let mut fitting = Vec::new();
    let mut bytes = 0;
    for row in rows {
        let row = row?;
        bytes += size(&row);
        if !fitting.is_empty() && bytes > bytes_max {
            break;
        }
        fitting.push(row);
    }
    Ok(fitting)
}
