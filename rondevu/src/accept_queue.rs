//! Connections that a service has made and that nobody has accepted yet.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::connection::DurableConnection;
use crate::shared::lock;

/// A bounded queue that several tasks may take from.
#[derive(Debug, Default)]
pub(crate) struct AcceptQueue {
    inner: Mutex<Inner>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<DurableConnection>,
    reserved: usize,
    is_closed: bool,
}

/// Room for one connection.
#[derive(Debug)]
pub(crate) struct Reserved<'a>(&'a AcceptQueue);

impl AcceptQueue {
    /// Room for one more; `None` while too many wait, and after the end.
    pub(crate) fn reserve(&self) -> Option<Reserved<'_>> {
        let mut inner = lock(&self.inner);
        if inner.is_closed || inner.waiting.len() + inner.reserved >= WAITING_MAX {
            return None;
        }
        inner.reserved += 1;
        Some(Reserved(self))
    }

    /// The next connection; the outer `None` while there is none, the inner one after the end.
    pub(crate) fn take(&self) -> Option<Option<DurableConnection>> {
        let mut inner = lock(&self.inner);
        match inner.waiting.pop_front() {
            Some(connection) => Some(Some(connection)),
            None => inner.is_closed.then_some(None),
        }
    }

    /// Lets nobody in any more. Those who wait can still be accepted.
    pub(crate) fn close(&self) {
        lock(&self.inner).is_closed = true;
        self.changed.notify_waiters();
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.inner).is_closed
    }

    /// What is notified at each change.
    pub(crate) fn changed(&self) -> &Arc<Notify> {
        &self.changed
    }
}

impl Reserved<'_> {
    pub(crate) fn fill(self, connection: DurableConnection) {
        lock(&self.0.inner).waiting.push_back(connection);
        self.0.changed.notify_waiters();
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        lock(&self.0.inner).reserved -= 1;
    }
}

/// Dialers beyond so many that nobody has accepted are told to come back later.
const WAITING_MAX: usize = 256;
