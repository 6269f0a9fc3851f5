//! The thread that waits for the disk, so that the one that writes does not have to.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

/// Tells many at once that what they have committed has reached the disk. Dropping it waits until
/// all have been told.
pub(super) struct Syncer {
    queue: Option<Sender<Told>>,
    thread: Option<JoinHandle<()>>,
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
        if let Some(queue) = &self.queue {
            // The thread lives as long as the queue.
            let _ = queue.send(Box::new(told));
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
fn sync_all(log: &File, waiting: &Receiver<Told>) {
    while let Ok(first) = waiting.recv() {
        let mut batch = vec![first];
        batch.extend(waiting.try_iter());
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
}
