//! The thread that waits for the disk, so that the one that writes does not have to.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Tells many at once that what they have committed has reached the disk. Dropping it waits until
/// all have been told.
pub(super) struct Syncer {
    queue: Option<Sender<Message>>,
    thread: Option<JoinHandle<()>>,
}

enum Message {
    /// Synchronize now, then call this.
    Tell(Told),
    /// Synchronize within [`DELAY_MAX`].
    Soon,
}

type Told = Box<dyn FnOnce(io::Result<()>) + Send>;

impl Syncer {
    /// Starts the thread for a store whose log exists.
    pub(super) fn start(store: &Path) -> io::Result<Self> {
        let mut log = store.as_os_str().to_owned();
        log.push("-wal");
        // Every commit is in this file, which stays the same one while the store is open; what a
        // checkpoint takes out of it has been synchronized before.
        let log = File::open(log)?;
        let (queue, waiting) = channel();
        let thread = thread::Builder::new()
            .name("rondevu-sync".into())
            .spawn(move || sync_all(&log, &waiting))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Calls `told` once the disk has all that was committed before.
    pub(super) fn when_synchronized(&self, told: impl FnOnce(io::Result<()>) + Send + 'static) {
        self.send(Message::Tell(Box::new(told)));
    }

    /// Sees to it that the disk has all that was committed before within [`DELAY_MAX`].
    pub(super) fn synchronize_soon(&self) {
        self.send(Message::Soon);
    }

    fn send(&self, message: Message) {
        if let Some(queue) = &self.queue {
            // The thread lives as long as the queue.
            let _ = queue.send(message);
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// While one synchronization is under way, the next to be told gather.
fn sync_all(log: &File, waiting: &Receiver<Message>) {
    let mut due = None;
    loop {
        let mut batch = Vec::new();
        match next(waiting, due) {
            Ok(Message::Tell(first)) => batch.push(first),
            Ok(Message::Soon) => {
                due = due.or_else(|| Some(Instant::now() + DELAY_MAX));
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        // What is to be synchronized soon is with it.
        batch.extend(waiting.try_iter().filter_map(|message| match message {
            Message::Tell(told) => Some(told),
            Message::Soon => None,
        }));
        due = None;
        synchronize(log, batch);
    }
    if due.is_some() {
        synchronize(log, Vec::new());
    }
}

fn next(waiting: &Receiver<Message>, due: Option<Instant>) -> Result<Message, RecvTimeoutError> {
    match due {
        Some(due) => waiting.recv_timeout(due.saturating_duration_since(Instant::now())),
        None => waiting.recv().map_err(RecvTimeoutError::from),
    }
}

fn synchronize(log: &File, batch: Vec<Told>) {
    let result = log.sync_data();
    if let Err(error) = &result {
        tracing::error!(%error, "the disk did not confirm a commit");
    }
    for told in batch {
        let result = match &result {
            Ok(()) => Ok(()),
            Err(error) => Err(io::Error::from(error.kind())),
        };
        told(result);
    }
}

/// Long enough that a busy server synchronizes a few times a second for all of them together.
const DELAY_MAX: Duration = Duration::from_millis(250);
