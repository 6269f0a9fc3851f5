//! The tables of a store in a file, and how older files are brought up to date.

use rusqlite::{Connection, TransactionBehavior};

use crate::registry::Refusal;

/// Brings the tables of a file to the newest version, all or nothing.
///
/// # Errors
///
/// If the file is damaged, cannot be written, or was written by a later version of the program.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), SchemaError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: usize = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version > MIGRATIONS.len() {
        return Err(SchemaError::Newer {
            found: version,
            known: MIGRATIONS.len(),
        });
    }
    for (migration, number) in MIGRATIONS.iter().zip(1..).skip(version) {
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", number)?;
    }
    transaction.commit()?;
    Ok(())
}

/// What belongs to one connection and is gone with it: which offers were handed out lately. Whoever
/// restarts the server hands them out once more.
pub(super) fn create_temporary(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "PRAGMA temp_store = MEMORY;
        CREATE TEMP TABLE holds (
            offer INTEGER PRIMARY KEY,
            until INTEGER NOT NULL,
            turn INTEGER NOT NULL
        ) STRICT;
        CREATE INDEX holds_by_end ON holds (until);",
    )
}

/// Why the tables of a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SchemaError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(
        "it has version {found} and this program knows version {known} at most: run the program \
         that wrote it, or a later one"
    )]
    Newer { found: usize, known: usize },
}

impl From<rusqlite::Error> for Refusal {
    /// Clients learn only that it failed; the log says how.
    fn from(error: rusqlite::Error) -> Self {
        tracing::error!(%error, "the store failed");
        Self::StoreFailed
    }
}

/// Each leads from the version of its index to the next one. What is written here once is never
/// changed: files out there were made with it.
const MIGRATIONS: &[&str] = &[VERSION_1];

/// Times are unix milliseconds. `cost` is what a row counts with in the limit of all bytes; the
/// triggers keep the ledger true whatever removes a row.
const VERSION_1: &str = "
CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE names (
    name TEXT PRIMARY KEY,
    key BLOB NOT NULL,
    claimed_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    cost INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX names_by_expiry ON names (expires_at);

CREATE TABLE signatures (
    digest BLOB PRIMARY KEY,
    forget_at INTEGER NOT NULL,
    cost INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX signatures_by_expiry ON signatures (forget_at);

-- Numbered by the latest publication.
CREATE TABLE services (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    uuid TEXT NOT NULL UNIQUE,
    peer TEXT NOT NULL,
    owner TEXT NOT NULL,
    service TEXT NOT NULL,
    key BLOB NOT NULL,
    visibility INTEGER NOT NULL,
    metadata TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    UNIQUE (owner, service)
) STRICT;
CREATE INDEX services_by_peer ON services (peer);
CREATE INDEX services_by_expiry ON services (expires_at);

-- Numbered in the order of creation. `belongs`: 0 to the next service of its peer, 1 to the named
-- one, 2 to none.
CREATE TABLE offers (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    peer TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    secret BLOB,
    belongs INTEGER NOT NULL,
    owner TEXT,
    service TEXT,
    answerer TEXT,
    answered_at INTEGER,
    cost INTEGER NOT NULL,
    sdp TEXT NOT NULL,
    answer TEXT
) STRICT;
CREATE INDEX offers_by_peer ON offers (peer, number);
CREATE INDEX offers_by_expiry ON offers (expires_at);
CREATE INDEX offers_by_answer ON offers (peer, answered_at) WHERE answered_at IS NOT NULL;
CREATE INDEX offers_open ON offers (peer, owner, service, number) WHERE answerer IS NULL;

-- The latest time of an answer to each peer's offers, as long as it may be ahead of the clock.
CREATE TABLE cursors (
    peer TEXT PRIMARY KEY,
    last_answered INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX cursors_by_time ON cursors (last_answered);

CREATE TABLE candidates (
    offer INTEGER NOT NULL,
    poster TEXT NOT NULL,
    stamp INTEGER NOT NULL,
    candidate TEXT NOT NULL,
    cost INTEGER NOT NULL,
    PRIMARY KEY (offer, poster, stamp)
) STRICT, WITHOUT ROWID;

CREATE TABLE ledger (
    row INTEGER PRIMARY KEY CHECK (row = 0),
    names INTEGER NOT NULL,
    services INTEGER NOT NULL,
    offers INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;
INSERT INTO ledger VALUES (0, 0, 0, 0, 0);

CREATE TRIGGER name_added AFTER INSERT ON names BEGIN
    UPDATE ledger SET names = names + 1, bytes = bytes + NEW.cost;
END;
CREATE TRIGGER name_removed AFTER DELETE ON names BEGIN
    UPDATE ledger SET names = names - 1, bytes = bytes - OLD.cost;
END;
CREATE TRIGGER signature_added AFTER INSERT ON signatures BEGIN
    UPDATE ledger SET bytes = bytes + NEW.cost;
END;
CREATE TRIGGER signature_removed AFTER DELETE ON signatures BEGIN
    UPDATE ledger SET bytes = bytes - OLD.cost;
END;
CREATE TRIGGER service_added AFTER INSERT ON services BEGIN
    UPDATE ledger SET services = services + 1, bytes = bytes + NEW.cost;
END;
CREATE TRIGGER service_removed AFTER DELETE ON services BEGIN
    UPDATE ledger SET services = services - 1, bytes = bytes - OLD.cost;
END;
CREATE TRIGGER offer_added AFTER INSERT ON offers BEGIN
    UPDATE ledger SET offers = offers + 1, bytes = bytes + NEW.cost;
END;
CREATE TRIGGER offer_grown AFTER UPDATE OF cost ON offers BEGIN
    UPDATE ledger SET bytes = bytes - OLD.cost + NEW.cost;
END;
CREATE TRIGGER offer_removed AFTER DELETE ON offers BEGIN
    DELETE FROM candidates WHERE offer = OLD.number;
    UPDATE ledger SET offers = offers - 1, bytes = bytes - OLD.cost;
END;
CREATE TRIGGER candidate_added AFTER INSERT ON candidates BEGIN
    UPDATE ledger SET bytes = bytes + NEW.cost;
END;
CREATE TRIGGER candidate_removed AFTER DELETE ON candidates BEGIN
    UPDATE ledger SET bytes = bytes - OLD.cost;
END;
";
