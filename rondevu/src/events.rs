//! Streams of events that say when their listener has missed some.

use std::fmt;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use crate::shared::lock;

/// Events from the moment of the call that gave this value, in order.
///
/// A listener that is more than 256 events behind gets [`Missed`] in the place of the oldest. The
/// stream ends after the last event of its subject, such as [`ConnectionEvent::Closed`].
///
/// [`ConnectionEvent::Closed`]: crate::ConnectionEvent::Closed
pub struct Events<T>(BroadcastStream<T>);

/// A listener was too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{events} events were missed, because the listener was too slow")]
pub struct Missed {
    /// How many events it has missed.
    pub events: u64,
}

impl<T: Clone + Send + 'static> Events<T> {
    /// The next event; `None` after the last.
    ///
    /// Cancellation: no event is lost.
    pub async fn recv(&mut self) -> Option<Result<T, Missed>> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next event, if there is one at the moment.
    pub fn try_recv(&mut self) -> Option<Result<T, Missed>> {
        match self.poll_recv(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(event) => event,
            Poll::Pending => None,
        }
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, Missed>>> {
        Pin::new(&mut self.0).poll_next(cx).map(|next| {
            next.map(|event| {
                event.map_err(|BroadcastStreamRecvError::Lagged(events)| Missed { events })
            })
        })
    }
}

impl<T: Clone + Send + 'static> Stream for Events<T> {
    type Item = Result<T, Missed>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_recv(cx)
    }
}

impl<T> fmt::Debug for Events<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

/// Where events come from; tells listeners when there will be no more.
#[derive(Debug)]
pub(crate) struct EventSource<T>(Mutex<Stage<T>>);

/// The buffer takes tens of kilobytes, so it is made for the first listener.
#[derive(Debug)]
enum Stage<T> {
    /// Nobody has listened so far.
    Unheard,
    Heard(broadcast::Sender<T>),
    /// The last event has been told.
    Over,
}

impl<T: Clone + Send + 'static> EventSource<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Stage::Unheard))
    }

    pub(crate) fn send(&self, event: T) {
        if let Stage::Heard(sender) = &*lock(&self.0) {
            // An error means that nobody listens any more.
            let _ = sender.send(event);
        }
    }

    /// Nothing follows this event.
    pub(crate) fn send_last(&self, event: T) {
        if let Stage::Heard(sender) = std::mem::replace(&mut *lock(&self.0), Stage::Over) {
            let _ = sender.send(event);
        }
    }

    pub(crate) fn listen(&self) -> Events<T> {
        let mut stage = lock(&self.0);
        let receiver = match &*stage {
            Stage::Unheard => {
                let (sender, receiver) = broadcast::channel(EVENTS_MAX);
                *stage = Stage::Heard(sender);
                receiver
            }
            Stage::Heard(sender) => sender.subscribe(),
            // Its sender is gone, so it ends at once.
            Stage::Over => broadcast::channel(1).1,
        };
        Events(BroadcastStream::new(receiver))
    }
}

/// So many events a slow listener may be behind before it misses the oldest.
const EVENTS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_listener_is_told_how_many_events_it_missed() {
        let source = EventSource::new();
        let mut events = source.listen();
        for n in 0..300 {
            source.send(n);
        }
        assert_eq!(events.recv().await, Some(Err(Missed { events: 44 })));
        for n in 44..300 {
            assert_eq!(events.recv().await, Some(Ok(n)));
        }
        assert_eq!(events.try_recv(), None);
    }

    #[tokio::test]
    async fn listening_ends_after_the_last_event() {
        let source = EventSource::new();
        let mut events = source.listen();
        source.send("before");
        source.send_last("last");
        source.send("never");
        assert_eq!(events.recv().await, Some(Ok("before")));
        assert_eq!(events.recv().await, Some(Ok("last")));
        assert_eq!(events.recv().await, None);
        assert_eq!(source.listen().recv().await, None);
    }

    #[tokio::test]
    async fn an_event_is_not_lost_with_a_future_that_is_dropped() {
        let source = EventSource::new();
        let mut events = source.listen();
        {
            let mut waiting = std::pin::pin!(events.recv());
            let mut cx = Context::from_waker(Waker::noop());
            assert!(waiting.as_mut().poll(&mut cx).is_pending());
            source.send(1);
        }
        assert_eq!(events.recv().await, Some(Ok(1)));
    }
}
