//! How a file forgets what has expired, and how much there is in it.

use super::columns::Column;
use super::database::Database;
use crate::UnixMillis;
use crate::registry::Refusal;
use crate::store::{Census, Swept};

/// Removes some of what has expired.
pub(super) fn sweep(database: &Database, now: UnixMillis) -> Result<Swept, Refusal> {
    let mut swept = Swept::Clean;
    for sql in SWEEPS {
        let mut delete = database.connection.prepare_cached(sql)?;
        if delete.execute((Column(now), ROWS_MAX))? == ROWS_MAX {
            swept = Swept::Partly;
        }
    }
    Ok(swept)
}

/// How much there is.
pub(super) fn census(database: &Database) -> Result<Census, Refusal> {
    let mut select = database
        .connection
        .prepare_cached("SELECT names, services, offers, bytes FROM ledger")?;
    Ok(select.query_row([], |row| {
        Ok(Census {
            names: row.get("names")?,
            services: row.get("services")?,
            offers: row.get("offers")?,
            bytes: row.get("bytes")?,
        })
    })?)
}

const SWEEPS: [&str; 6] = [
    "DELETE FROM names WHERE name IN
        (SELECT name FROM names WHERE expires_at <= ?1 LIMIT ?2)",
    "DELETE FROM signatures WHERE digest IN
        (SELECT digest FROM signatures WHERE forget_at <= ?1 LIMIT ?2)",
    "DELETE FROM services WHERE number IN
        (SELECT number FROM services WHERE expires_at <= ?1 LIMIT ?2)",
    "DELETE FROM offers WHERE number IN
        (SELECT number FROM offers WHERE expires_at <= ?1 LIMIT ?2)",
    // A cursor that is behind the clock is followed by the clock.
    "DELETE FROM cursors WHERE peer IN
        (SELECT peer FROM cursors WHERE last_answered < ?1 LIMIT ?2)",
    "DELETE FROM holds WHERE offer IN
        (SELECT offer FROM holds WHERE until <= ?1 LIMIT ?2)",
];

/// Of each kind: done within a few milliseconds, between the requests of one commit.
const ROWS_MAX: usize = 128;
