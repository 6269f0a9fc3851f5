//! How the values of records stand in columns.

use rondevu_core::{OfferId, PeerId, ServiceId, ServiceName, ServiceUuid, Username};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Result, Row};

use crate::store::{Digest, OfferRecord, ServiceRecord};
use crate::{PublicKey, UnixMillis, Visibility};

/// A value of ours in a column.
pub(super) struct Column<T>(pub(super) T);

/// Reads the column `name` of a row.
pub(super) fn get<T>(row: &Row<'_>, name: &str) -> Result<T>
where
    Column<T>: FromSql,
{
    row.get::<_, Column<T>>(name).map(|column| column.0)
}

/// Reads a column that may be empty.
pub(super) fn get_some<T>(row: &Row<'_>, name: &str) -> Result<Option<T>>
where
    Column<T>: FromSql,
{
    let column = row.get::<_, Option<Column<T>>>(name)?;
    Ok(column.map(|column| column.0))
}

macro_rules! text_columns {
    ($($name:ident),*) => {$(
        impl ToSql for Column<&$name> {
            fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
                Ok(self.0.as_str().into())
            }
        }

        impl FromSql for Column<$name> {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                let text = value.as_str()?.to_owned();
                let parsed = $name::try_from(text).map_err(FromSqlError::other)?;
                Ok(Self(parsed))
            }
        }
    )*};
}

text_columns!(
    PeerId,
    OfferId,
    ServiceId,
    ServiceUuid,
    ServiceName,
    Username
);

macro_rules! byte_columns {
    ($($name:ident: $to:expr, $from:expr);* $(;)?) => {$(
        impl ToSql for Column<&$name> {
            fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
                let to: fn(&$name) -> &[u8; 32] = $to;
                Ok(to(self.0).as_slice().into())
            }
        }

        impl FromSql for Column<$name> {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                let bytes = <[u8; 32]>::try_from(value.as_blob()?);
                let bytes = bytes.map_err(|_| FromSqlError::InvalidType)?;
                Ok(Self($from(bytes)))
            }
        }
    )*};
}

byte_columns!(
    PublicKey: PublicKey::as_bytes, PublicKey::from_bytes;
    Digest: |digest| &digest.0, Digest;
);

impl ToSql for Column<UnixMillis> {
    /// Later than a database can say is the latest that it can say.
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(i64::try_from(self.0.0).unwrap_or(i64::MAX).into())
    }
}

impl FromSql for Column<UnixMillis> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let millis = value.as_i64()?;
        let millis = u64::try_from(millis).map_err(|_| FromSqlError::OutOfRange(millis))?;
        Ok(Self(UnixMillis(millis)))
    }
}

impl ToSql for Column<Visibility> {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Visibility::Private => 0,
            Visibility::Public => 1,
        }
        .into())
    }
}

impl FromSql for Column<Visibility> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_i64()? {
            0 => Ok(Self(Visibility::Private)),
            1 => Ok(Self(Visibility::Public)),
            other => Err(FromSqlError::OutOfRange(other)),
        }
    }
}

/// A service from all columns of its row.
pub(super) fn service(row: &Row<'_>) -> Result<ServiceRecord> {
    Ok(ServiceRecord {
        id: get(row, "id")?,
        uuid: get(row, "uuid")?,
        peer: get(row, "peer")?,
        owner: get(row, "owner")?,
        key: get(row, "key")?,
        service: get(row, "service")?,
        visibility: get(row, "visibility")?,
        metadata: row.get("metadata")?,
        created_at: get(row, "created_at")?,
        expires_at: get(row, "expires_at")?,
    })
}

/// An offer from all columns of its row.
pub(super) fn offer(row: &Row<'_>) -> Result<OfferRecord> {
    Ok(OfferRecord {
        id: get(row, "id")?,
        peer: get(row, "peer")?,
        sdp: row.get("sdp")?,
        created_at: get(row, "created_at")?,
        expires_at: get(row, "expires_at")?,
        last_seen: get(row, "last_seen")?,
        secret: get_some(row, "secret")?,
        answerer: get_some(row, "answerer")?,
    })
}
