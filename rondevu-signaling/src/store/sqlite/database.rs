//! An open file, and how it is opened.

use std::cell::Cell;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::schema;
use crate::registry::Limits;

/// A connection to the file, and the limits that rows are held to.
pub(super) struct Database {
    pub(super) connection: Connection,
    pub(super) limits: Limits,
    turns: Cell<i64>,
}

impl Database {
    /// Opens the file for writing, creating it if need be, and brings its tables up to date.
    pub(super) fn open_to_write(path: &Path, limits: Limits) -> io::Result<Self> {
        create_private(path)?;
        let mut connection =
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | NO_MUTEX)
                .map_err(io::Error::other)?;
        prepare(&connection).map_err(io::Error::other)?;
        schema::migrate(&mut connection).map_err(io::Error::other)?;
        schema::create_temporary(&connection).map_err(io::Error::other)?;
        Ok(Self::new(connection, limits))
    }

    /// Opens the file for reading, once it has been opened for writing.
    pub(super) fn open_to_read(path: &Path, limits: Limits) -> io::Result<Self> {
        let connection =
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | NO_MUTEX)
                .map_err(io::Error::other)?;
        connection
            .busy_timeout(BUSY_TIMEOUT)
            .map_err(io::Error::other)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        Ok(Self::new(connection, limits))
    }

    fn new(connection: Connection, limits: Limits) -> Self {
        Self {
            connection,
            limits,
            turns: Cell::new(0),
        }
    }

    /// A number that is larger each time.
    pub(super) fn next_turn(&self) -> i64 {
        self.turns.set(self.turns.get() + 1);
        self.turns.get()
    }
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // Before the log, and only in a file that is new.
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A commit survives the process; the syncer sees to the rest. Checkpoints wait for the disk.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    let page_bytes: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let checkpoint_pages = LOG_BYTES / page_bytes.max(1);
    connection.pragma_update(None, "wal_autocheckpoint", checkpoint_pages)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    // Candidates leave with their offer also where a trigger removes them.
    connection.pragma_update(None, "recursive_triggers", "ON")
}

/// The file holds the server's key: nobody else may read it.
fn create_private(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// Keeps a second server away from a file; released when dropped, and by the end of the process.
///
/// A second server would not wake those who wait at the first.
#[derive(Debug)]
pub(super) struct Claim {
    _lock: File,
}

impl Claim {
    /// # Errors
    ///
    /// If another process has it, or no file can be made beside the store.
    pub(super) fn on(path: &Path) -> io::Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push("-lock");
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(PathBuf::from(name))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another server is using it: stop that one first, or name another file",
            )),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Each connection stays in its thread.
const NO_MUTEX: OpenFlags = OpenFlags::SQLITE_OPEN_NO_MUTEX;

/// Only an outsider, such as a backup, can hold a lock for so long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// More than there are different statements.
const STATEMENTS_MAX: usize = 128;

/// The indexes of some ten thousand offers; more is read again from the system's cache.
const CACHE_KIB: i64 = 16 * 1024;

/// Most of what a request changes are entries of indexes, whose places are random: the smaller the
/// pages, the less goes into the log for each.
const PAGE_BYTES: u32 = 1024;

/// When the log is as long, the writer itself copies what the checkpointer has left.
const LOG_BYTES: u32 = 128 * 1024 * 1024;
