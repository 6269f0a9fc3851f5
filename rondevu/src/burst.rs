//! Datagrams that came in, on their way from a socket to a link.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use rondevu_transport::{Buffer, Received};
use tokio::task::coop;

use crate::shared::lock;

/// Datagrams that came in together from one address, end to end.
#[derive(Debug)]
pub(crate) struct Burst {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    /// The size of each datagram; the last may be shorter.
    pub(crate) stride: usize,
    pub(crate) payload: Buffer,
}

impl Burst {
    /// A burst of one.
    pub(crate) fn of(datagram: Received<'_>) -> Self {
        Self {
            source: datagram.source,
            destination: datagram.destination,
            stride: datagram.payload.len(),
            payload: Buffer::copy_of(datagram.payload),
        }
    }

    /// Each datagram, in the order of their coming.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = Received<'_>> {
        let payloads = self.payload.chunks(self.stride.max(1));
        payloads.map(|payload| Received {
            source: self.source,
            destination: self.destination,
            payload,
        })
    }

    /// A copy of so many datagrams behind the first `skipped`.
    pub(crate) fn part(&self, skipped: usize, datagrams: usize) -> Self {
        let at = |datagrams| {
            self.payload
                .len()
                .min(self.stride.saturating_mul(datagrams))
        };
        let part = at(skipped)..at(skipped.saturating_add(datagrams));
        let payload = Buffer::copy_of(&self.payload[part]);
        Self { payload, ..*self }
    }
}

/// The way into a link's queue of datagrams; clones lead into the same.
#[derive(Clone, Debug)]
pub(crate) struct Inlet(Arc<Mutex<Waiting>>);

/// A link's end of its queue.
#[derive(Debug)]
pub(crate) struct Outlet(Arc<Mutex<Waiting>>);

#[derive(Debug)]
struct Waiting {
    bursts: VecDeque<Burst>,
    bytes: usize,
    bytes_max: usize,
    /// Whether the link is to look at what else has changed.
    is_stirred: bool,
    waker: Option<Waker>,
}

/// A queue of datagrams for one link.
///
/// It is bounded by what it takes in memory. What does not fit is lost, as in a full socket
/// buffer.
pub(crate) fn queue() -> (Inlet, Outlet) {
    queue_of(BYTES_MAX)
}

/// A queue for a link that does not listen yet: a few datagrams have room in it.
pub(crate) fn early_queue() -> (Inlet, Outlet) {
    queue_of(EARLY_BYTES_MAX)
}

fn queue_of(bytes_max: usize) -> (Inlet, Outlet) {
    let waiting = Arc::new(Mutex::new(Waiting {
        bursts: VecDeque::new(),
        bytes: 0,
        bytes_max,
        is_stirred: false,
        waker: None,
    }));
    (Inlet(Arc::clone(&waiting)), Outlet(waiting))
}

impl Inlet {
    /// Puts datagrams into the queue if there is room for them.
    pub(crate) fn push(&self, burst: Burst) {
        if burst.payload.is_empty() {
            return;
        }
        let waker = {
            let mut waiting = lock(&self.0);
            let bytes = waiting.bytes + cost(&burst.payload);
            if bytes > waiting.bytes_max {
                return tracing::trace!(source = %burst.source, "no room for datagrams");
            }
            waiting.bytes = bytes;
            waiting.bursts.push_back(burst);
            waiting.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes the link, though nothing came in for it.
    pub(crate) fn stir(&self) {
        let waker = {
            let mut waiting = lock(&self.0);
            waiting.is_stirred = true;
            waiting.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Outlet {
    /// Whether there is something in the queue, or the link was stirred.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        // A link with an endless stream of datagrams has to let others run now and then.
        let turn = ready!(coop::poll_proceed(cx));
        let mut waiting = lock(&self.0);
        if waiting.bursts.is_empty() && !std::mem::take(&mut waiting.is_stirred) {
            waiting.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        turn.made_progress();
        Poll::Ready(())
    }

    /// The link listens from now on: the queue gets the room of others.
    pub(crate) fn widen(&self) {
        lock(&self.0).bytes_max = BYTES_MAX;
    }

    /// Takes the oldest out of the queue.
    pub(crate) fn pop(&self) -> Option<Burst> {
        let mut waiting = lock(&self.0);
        let burst = waiting.bursts.pop_front()?;
        waiting.bytes -= cost(&burst.payload);
        if waiting.bursts.is_empty() && waiting.bursts.capacity() > CAPACITY_KEPT {
            // An idle link should not remember how busy it was.
            waiting.bursts = VecDeque::new();
        }
        Some(burst)
    }
}

/// What a burst takes in memory, about: its buffer may be larger, up to twice as large where many of them
/// wait.
fn cost(payload: &[u8]) -> usize {
    payload.len() + size_of::<Burst>()
}

/// Twice what an SCTP window of half a megabyte needs.
const BYTES_MAX: usize = 1024 * 1024;
/// A dozen of the connectivity checks that a dialer makes before its answer has arrived.
const EARLY_BYTES_MAX: usize = 4 * 1024;
/// Enough for a link with light traffic.
const CAPACITY_KEPT: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn burst(payload: &[u8], stride: usize) -> Burst {
        Burst {
            source: ([192, 0, 2, 1], 1).into(),
            destination: ([192, 0, 2, 2], 2).into(),
            stride,
            payload: Buffer::copy_of(payload),
        }
    }

    fn payloads(burst: &Burst) -> Vec<Vec<u8>> {
        burst.datagrams().map(|d| d.payload.to_vec()).collect()
    }

    #[test]
    fn a_burst_falls_into_its_datagrams() {
        let all = burst(b"aabbc", 2);
        assert_eq!(payloads(&all), [&b"aa"[..], b"bb", b"c"]);
        assert_eq!(payloads(&all.part(0, 1)), [b"aa"]);
        assert_eq!(payloads(&all.part(1, 2)), [&b"bb"[..], b"c"]);
        assert_eq!(payloads(&all.part(2, usize::MAX)), [b"c"]);
        assert!(payloads(&all.part(3, 1)).is_empty());
        assert!(payloads(&all.part(usize::MAX, 1)).is_empty());
    }

    #[test]
    fn a_queue_keeps_order_and_its_bound() {
        let (inlet, outlet) = queue();
        let payload = vec![7; 60_000];
        for n in 0..1000u16 {
            let mut payload = payload.clone();
            payload[..2].copy_from_slice(&n.to_be_bytes());
            inlet.push(burst(&payload, 1200));
        }
        let kept: Vec<_> = std::iter::from_fn(|| outlet.pop())
            .map(|b| u16::from_be_bytes([b.payload[0], b.payload[1]]))
            .collect();
        assert_eq!(kept, (0..17).collect::<Vec<_>>());
        // Empty again, it takes as much again; and tiny ones have a bound too.
        (0..100_000).for_each(|_| inlet.push(burst(b"x", 1)));
        let kept = std::iter::from_fn(|| outlet.pop()).count();
        assert!((5_000..15_000).contains(&kept), "{kept}");
    }

    #[test]
    fn an_early_queue_keeps_the_first_few_and_is_widened() {
        let (inlet, outlet) = early_queue();
        (0..100).for_each(|_| inlet.push(burst(&[1; 100], 100)));
        let kept = std::iter::from_fn(|| outlet.pop()).count();
        assert!((10..40).contains(&kept), "{kept}");
        outlet.widen();
        inlet.push(burst(&[1; 60_000], 1200));
        assert!(outlet.pop().is_some());
    }

    #[tokio::test]
    async fn a_link_that_is_stirred_looks_once() {
        let (inlet, outlet) = queue();
        inlet.stir();
        std::future::poll_fn(|cx| outlet.poll_ready(cx)).await;
        assert!(outlet.pop().is_none());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(outlet.poll_ready(&mut cx).is_pending());
    }

    #[tokio::test]
    async fn whoever_waits_is_woken() {
        let (inlet, outlet) = queue();
        let waiting = tokio::spawn(async move {
            std::future::poll_fn(|cx| outlet.poll_ready(cx)).await;
            outlet.pop().map(|burst| burst.payload)
        });
        tokio::task::yield_now().await;
        inlet.push(burst(b"hello", 5));
        assert_eq!(waiting.await.unwrap(), Some(Buffer::copy_of(b"hello")));
    }
}
