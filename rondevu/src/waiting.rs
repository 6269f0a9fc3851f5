//! Waiting for a change in `poll` functions.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// Polls something that changes when a [`Notify`] says so, without losing a wake-up.
#[derive(Debug)]
pub(crate) struct Waiting {
    notify: Arc<Notify>,
    notified: Option<Pin<Box<OwnedNotified>>>,
}

impl Waiting {
    pub(crate) fn on(notify: &Arc<Notify>) -> Self {
        Self {
            notify: Arc::clone(notify),
            notified: None,
        }
    }

    /// Ready with what `look` finds, or pending until the next change.
    pub(crate) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut look: impl FnMut() -> Option<T>,
    ) -> Poll<T> {
        loop {
            let mut notified = self.notified.take().unwrap_or_else(|| {
                let mut notified = Box::pin(Arc::clone(&self.notify).notified_owned());
                // Armed before the look, so that a change right after it is not missed.
                notified.as_mut().enable();
                notified
            });
            if let Some(found) = look() {
                return Poll::Ready(found);
            }
            if notified.as_mut().poll(cx).is_pending() {
                self.notified = Some(notified);
                return Poll::Pending;
            }
        }
    }
}
