//! The one thread that writes to the file, many requests in one commit.
//!
//! ```text
//! requests ──► queue ──► [ begin, each in a savepoint, commit ] ──► replies
//!                                                      └──► the disk ──► replies that survive a power failure
//! ```
//!
//! While a commit is under way, the next requests gather, so that its cost is shared by as many as
//! there are. Nobody gets a reply before the commit that it rests on. Waiting for the disk is left to
//! the syncer: what lives for minutes need not wait behind what is kept for a year.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::QUEUE_LEN;
use super::database::{Claim, Database};
use super::syncer::Syncer;
use crate::registry::Refusal;

/// What a written thing survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// The end of the process, however sudden. For what lives for minutes.
    Process,
    /// The end of the process, and a power failure a moment later. For what is renewed all the time.
    PowerSoon,
    /// A power failure too: the disk has confirmed it. For what is promised for longer.
    Power,
}

/// Hands work to the thread that writes. Dropping it waits until what was queued is written.
pub(super) struct Writer {
    queue: SyncSender<Message>,
    thread: Option<JoinHandle<()>>,
}

enum Message {
    Work(Job),
    Stop,
}

struct Job {
    durability: Durability,
    /// Does the work and returns how to tell the result, once it is known whether it was kept.
    run: Box<dyn FnOnce(&Database) -> Tell + Send>,
}

type Tell = Box<dyn FnOnce(Kept) + Send>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Yes,
    No,
}

impl Writer {
    /// Starts the thread, which keeps `claim` as long as it may write.
    pub(super) fn start(database: Database, syncer: Syncer, claim: Claim) -> std::io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE_LEN);
        let thread = thread::Builder::new()
            .name("rondevu-writer".into())
            .spawn(move || {
                write_all(&database, &syncer, &messages);
                drop(syncer);
                close(database);
                drop(claim);
            })?;
        Ok(Self {
            queue,
            thread: Some(thread),
        })
    }

    /// Runs `work` in the next commit. An error undoes what `work` has done, and nothing else.
    ///
    /// Cancellation does not stop what has been queued.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Database) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (reply, result) = oneshot::channel();
        let run = Box::new(|database: &Database| {
            let result = in_savepoint(database, work);
            Box::new(|kept| {
                let result = match kept {
                    Kept::Yes => result,
                    Kept::No => Err(Refusal::StoreFailed),
                };
                // Whoever asked may be gone.
                let _ = reply.send(result);
            }) as Tell
        });
        let message = Message::Work(Job { durability, run });
        self.queue.try_send(message).map_err(|error| match error {
            // Thousands wait for this disk already.
            TrySendError::Full(_) => Refusal::StoreBusy,
            TrySendError::Disconnected(_) => Refusal::StoreFailed,
        })?;
        result.await.map_err(|_| Refusal::StoreFailed)?
    }

    /// Writes what has been queued, and refuses everything from then on.
    pub(super) async fn stop(&self) {
        let queue = self.queue.clone();
        let stop = move || {
            // An error says that it has stopped already.
            let _ = queue.send(Message::Stop);
        };
        let _ = tokio::task::spawn_blocking(stop).await;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.queue.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write_all(database: &Database, syncer: &Syncer, messages: &Receiver<Message>) {
    let mut batch = Vec::new();
    while let Ok(Message::Work(first)) = messages.recv() {
        batch.push(first);
        let next = gather(messages, &mut batch);
        write(database, syncer, batch.drain(..));
        if next == Next::Stop {
            return;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    Stop,
}

/// Takes what has been queued meanwhile.
fn gather(messages: &Receiver<Message>, batch: &mut Vec<Job>) -> Next {
    while batch.len() < BATCH_MAX {
        match messages.try_recv() {
            Ok(Message::Work(job)) => batch.push(job),
            Ok(Message::Stop) => return Next::Stop,
            Err(_) => return Next::GoOn,
        }
    }
    Next::GoOn
}

/// Leaves a file without a log beside it.
fn close(database: Database) {
    let copied = database
        .connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    if let Err(error) = copied {
        tracing::warn!(%error, "the log of the store was not copied");
    }
}

fn write(database: &Database, syncer: &Syncer, batch: impl Iterator<Item = Job>) {
    let begun = execute(&database.connection, "BEGIN IMMEDIATE");
    let done: Vec<_> = batch
        .map(|job| (job.durability, (job.run)(database)))
        .collect();
    let committed = begun.and_then(|()| execute(&database.connection, "COMMIT"));
    if let Err(error) = &committed {
        tracing::error!(%error, requests = done.len(), "a commit failed");
        // It may have been undone already.
        let _ = execute(&database.connection, "ROLLBACK");
    }
    let some_soon = done
        .iter()
        .any(|(durability, _)| *durability == Durability::PowerSoon);
    if some_soon && committed.is_ok() {
        syncer.synchronize_soon();
    }
    for (durability, tell) in done {
        match (&committed, durability) {
            (Err(_), _) => tell(Kept::No),
            (Ok(()), Durability::Process | Durability::PowerSoon) => tell(Kept::Yes),
            (Ok(()), Durability::Power) => syncer.when_synchronized(|result| match result {
                Ok(()) => tell(Kept::Yes),
                Err(_) => tell(Kept::No),
            }),
        }
    }
}

fn in_savepoint<T>(
    database: &Database,
    work: impl FnOnce(&Database) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let connection = &database.connection;
    execute(connection, "SAVEPOINT request")?;
    let result = work(database);
    if result.is_err() {
        execute(connection, "ROLLBACK TO request")?;
    }
    execute(connection, "RELEASE request")?;
    result
}

fn execute(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

/// Bounds how long the first of a batch waits for the last: a few milliseconds.
const BATCH_MAX: usize = 128;
