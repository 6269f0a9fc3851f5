//! The threads that read from the file, beside the one that writes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use super::QUEUE_LEN;
use super::database::Database;
use crate::registry::Refusal;

/// Hands questions to the threads that read, in turn.
///
/// Each question sees one state of the file: all that was committed before it was asked. Dropping
/// it waits until what was asked is answered.
pub(super) struct Readers {
    threads: Vec<Reader>,
    next: AtomicUsize,
}

struct Reader {
    queue: SyncSender<Message>,
    thread: Option<JoinHandle<()>>,
}

enum Message {
    Ask(Question),
    Stop,
}

type Question = Box<dyn FnOnce(&Database) + Send>;

impl Readers {
    /// Starts a thread for each database.
    pub(super) fn start(databases: impl IntoIterator<Item = Database>) -> std::io::Result<Self> {
        let threads = databases.into_iter().map(|database| {
            let (queue, questions) = sync_channel(QUEUE_LEN);
            let thread = thread::Builder::new()
                .name("rondevu-reader".into())
                .spawn(move || answer_all(&database, &questions))?;
            Ok(Reader {
                queue,
                thread: Some(thread),
            })
        });
        Ok(Self {
            threads: threads.collect::<std::io::Result<_>>()?,
            next: AtomicUsize::new(0),
        })
    }

    /// Runs `look` in a transaction that only reads.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Database) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (reply, result) = oneshot::channel();
        let question = Box::new(|database: &Database| {
            let _ = reply.send(in_transaction(database, look));
        });
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.threads.len();
        let message = Message::Ask(question);
        let queued = self.threads[next].queue.try_send(message);
        queued.map_err(|error| match error {
            TrySendError::Full(_) => Refusal::StoreBusy,
            TrySendError::Disconnected(_) => Refusal::StoreFailed,
        })?;
        result.await.map_err(|_| Refusal::StoreFailed)?
    }

    /// Answers what has been asked, and refuses everything from then on.
    pub(super) async fn stop(&self) {
        for reader in &self.threads {
            let queue = reader.queue.clone();
            let stop = move || {
                // An error says that it has stopped already.
                let _ = queue.send(Message::Stop);
            };
            let _ = tokio::task::spawn_blocking(stop).await;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.queue.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer_all(database: &Database, messages: &Receiver<Message>) {
    while let Ok(Message::Ask(question)) = messages.recv() {
        question(database);
    }
}

fn in_transaction<T>(
    database: &Database,
    look: impl FnOnce(&Database) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let transaction = database.connection.unchecked_transaction()?;
    let result = look(database);
    transaction.finish()?;
    result
}
