//! Names, used signatures and the room that is left, in a file.

use rondevu_core::Username;
use rusqlite::OptionalExtension;

use super::columns::{Column, get};
use super::database::Database;
use super::sweep::sweep;
use crate::UnixMillis;
use crate::registry::{Capacity, Refusal};
use crate::store::cost::{NAME_COST, SIGNATURE_COST};
use crate::store::{NameClaim, NameRecord, UsedSignature};

impl Database {
    pub(super) fn name(
        &self,
        name: &Username,
        now: UnixMillis,
    ) -> Result<Option<NameRecord>, Refusal> {
        let mut select = self.connection.prepare_cached(
            "SELECT key, claimed_at, expires_at FROM names WHERE name = ?1 AND expires_at > ?2",
        )?;
        let found = select.query_row((Column(name), Column(now)), |row| {
            Ok(NameRecord {
                key: get(row, "key")?,
                claimed_at: get(row, "claimed_at")?,
                expires_at: get(row, "expires_at")?,
            })
        });
        Ok(found.optional()?)
    }

    pub(super) fn claim_name(
        &self,
        claim: &NameClaim,
        now: UnixMillis,
    ) -> Result<NameRecord, Refusal> {
        let owner = self.name(&claim.name, now)?;
        if owner.as_ref().is_some_and(|owner| owner.key != claim.key) {
            return Err(Refusal::UsernameTaken);
        }
        self.check_unused(&claim.signature)?;
        self.check_room(NAME_COST + SIGNATURE_COST, now)?;
        self.remember_signature(&claim.signature)?;
        let record = NameRecord {
            key: claim.key,
            claimed_at: owner.map_or(now, |owner| owner.claimed_at),
            expires_at: claim.expires_at,
        };
        self.put_name(&claim.name, &record)?;
        Ok(record)
    }

    pub(super) fn put_name(&self, name: &Username, record: &NameRecord) -> Result<(), Refusal> {
        // An update, where there is a row, so that the ledger counts it once.
        let mut upsert = self.connection.prepare_cached(
            "INSERT INTO names VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (name) DO UPDATE SET
                key = excluded.key,
                claimed_at = excluded.claimed_at,
                expires_at = excluded.expires_at",
        )?;
        upsert.execute((
            Column(name),
            Column(&record.key),
            Column(record.claimed_at),
            Column(record.expires_at),
            NAME_COST,
        ))?;
        Ok(())
    }

    pub(super) fn check_unused(&self, signature: &UsedSignature) -> Result<(), Refusal> {
        let mut select = self
            .connection
            .prepare_cached("SELECT 1 FROM signatures WHERE digest = ?1")?;
        match select.exists([Column(&signature.digest)])? {
            true => Err(Refusal::SignatureUsed),
            false => Ok(()),
        }
    }

    pub(super) fn remember_signature(&self, signature: &UsedSignature) -> Result<(), Refusal> {
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO signatures VALUES (?1, ?2, ?3)")?;
        insert.execute((
            Column(&signature.digest),
            Column(signature.forget_at),
            SIGNATURE_COST,
        ))?;
        Ok(())
    }

    /// Makes sure that `bytes` more fit.
    pub(super) fn check_room(&self, bytes: usize, now: UnixMillis) -> Result<(), Refusal> {
        let limit = self.limits.bytes_total;
        if self.bytes()?.saturating_add(bytes) > limit {
            sweep(self, now)?;
        }
        match self.bytes()?.saturating_add(bytes) > limit {
            true => Err(Capacity::Bytes.into()),
            false => Ok(()),
        }
    }

    fn bytes(&self) -> Result<usize, Refusal> {
        let mut select = self.connection.prepare_cached("SELECT bytes FROM ledger")?;
        Ok(select.query_row([], |row| row.get(0))?)
    }

    /// The key of the server: the one that is kept, else `fresh`, which is kept from now on.
    pub(super) fn server_key(&self, fresh: &[u8; 32]) -> Result<[u8; 32], Refusal> {
        self.connection.execute(
            "INSERT INTO settings VALUES ('server key', ?1) ON CONFLICT DO NOTHING",
            [fresh.as_slice()],
        )?;
        let select = "SELECT value FROM settings WHERE name = 'server key'";
        Ok(self.connection.query_row(select, [], |row| row.get(0))?)
    }
}
