//! The thread that copies the log into the file, so that the log stays short and the writer hardly
//! ever waits for it.

use std::io;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

/// Copies as long as there is something to copy, until dropped.
pub(super) struct Checkpointer {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    pub(super) fn start(path: &Path) -> io::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(io::Error::other)?;
        let (stop, stopped) = channel::<()>();
        let thread = thread::Builder::new()
            .name("rondevu-checkpoint".into())
            .spawn(move || {
                let mut pause = IDLE;
                while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                    pause = match copy(&connection) {
                        Ok(Left::Nothing) => IDLE,
                        Ok(Left::Something) => BUSY,
                        Err(error) => {
                            tracing::warn!(%error, "the log of the store was not copied");
                            IDLE
                        }
                    };
                }
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Checkpointer {
    /// Waits for a copy under way, a fraction of a second.
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whether the writer has gone on meanwhile.
enum Left {
    Nothing,
    Something,
}

/// As much as can be copied without making anybody wait.
fn copy(connection: &Connection) -> rusqlite::Result<Left> {
    let (in_log, copied): (i64, i64) =
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
            Ok((row.get(1)?, row.get(2)?))
        })?;
    Ok(match in_log > copied {
        true => Left::Something,
        false => Left::Nothing,
    })
}

const IDLE: Duration = Duration::from_secs(1);

/// The log can begin anew only when all of it has been copied, which the writer then does itself:
/// what it finds left should take it milliseconds.
const BUSY: Duration = Duration::from_millis(50);
