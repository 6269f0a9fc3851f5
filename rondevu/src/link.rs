//! One link with the sockets that it uses.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use rondevu_core::{Instant, LinkId, MessageKind, StreamId};
use rondevu_transport::{Router, Transport, Written};
use tokio::sync::mpsc;

use crate::shared::lock;
use crate::sockets::{Inbound, Readers, Sockets};

/// A transport, the sockets it sends on and the datagrams that came in for it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) transport: Box<dyn Transport>,
    sockets: Arc<Sockets>,
    datagrams: mpsc::Receiver<Inbound>,
    way_in: WayIn,
    /// What the transport had no room for, in order.
    blocked: VecDeque<Blocked>,
}

/// What waits for the transport.
#[derive(Debug)]
enum Blocked {
    Message(StreamId, MessageKind, Bytes),
    /// A stream is to be closed after the messages before.
    Close(StreamId),
}

/// How datagrams reach the link.
#[derive(Debug)]
enum WayIn {
    /// Over sockets of its own.
    Own { _readers: Readers },
    /// Over sockets that it shares with other links.
    Shared(Route),
}

impl Link {
    /// A link with sockets of its own.
    pub(crate) fn with_own_sockets(
        id: LinkId,
        transport: Box<dyn Transport>,
        sockets: Sockets,
    ) -> Self {
        let (sender, datagrams) = mpsc::channel(DATAGRAMS_MAX);
        // A full queue drops what comes in, as a full socket buffer does.
        let readers = sockets.read(move |inbound| drop(sender.try_send(inbound)));
        let way_in = WayIn::Own { _readers: readers };
        Self {
            id,
            transport,
            sockets: Arc::new(sockets),
            datagrams,
            way_in,
            blocked: VecDeque::new(),
        }
    }

    /// A link over sockets that others use too.
    pub(crate) fn with_shared_sockets(
        id: LinkId,
        transport: Box<dyn Transport>,
        sockets: Arc<Sockets>,
        routes: &Routes,
    ) -> Self {
        let (sender, datagrams) = mpsc::channel(DATAGRAMS_MAX);
        let route = routes.add(id, transport.local_username_fragment(), sender);
        let way_in = WayIn::Shared(route);
        Self {
            id,
            transport,
            sockets,
            datagrams,
            way_in,
            blocked: VecDeque::new(),
        }
    }

    /// Sends the datagrams that the transport has made.
    pub(crate) async fn flush(&mut self) {
        while let Some(datagram) = self.transport.poll_transmit() {
            if let WayIn::Shared(route) = &self.way_in {
                lock(&route.routes.0).router.sent(route.id, &datagram);
            }
            self.sockets.send(&datagram).await;
        }
    }

    pub(crate) fn poll_datagram(&mut self, cx: &mut Context<'_>) -> Poll<Option<Inbound>> {
        self.datagrams.poll_recv(cx)
    }

    /// Feeds what has come in meanwhile, at most a batch; whether there was anything.
    pub(crate) fn feed(&mut self, first: Option<Inbound>, now: Instant) -> bool {
        let mut fed = false;
        let rest = std::iter::from_fn(|| self.datagrams.try_recv().ok()).take(BATCH_MAX);
        for inbound in first.into_iter().chain(rest) {
            self.transport.handle_datagram(inbound.as_received(), now);
            fed = true;
        }
        fed
    }

    /// Does what is due in the transport.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.transport.poll_timeout().is_some_and(|at| at <= now) {
            self.transport.handle_timeout(now);
        }
    }

    /// Hands a binary message to the transport, or keeps it until there is room.
    pub(crate) fn write(&mut self, stream: StreamId, payload: Bytes, now: Instant) {
        self.write_as(stream, MessageKind::Binary, payload, now);
    }

    /// Hands a message to the transport, or keeps it until there is room.
    pub(crate) fn write_as(
        &mut self,
        stream: StreamId,
        kind: MessageKind,
        payload: Bytes,
        now: Instant,
    ) {
        self.push(Blocked::Message(stream, kind, payload), now);
    }

    /// Closes a stream after the messages that were written before.
    pub(crate) fn close_stream(&mut self, stream: StreamId, now: Instant) {
        self.push(Blocked::Close(stream), now);
    }

    fn push(&mut self, blocked: Blocked, now: Instant) {
        if self.blocked.len() >= BLOCKED_MAX {
            // A peer that asks for so many answers without taking any is not worth the memory.
            self.transport.close(now);
            return;
        }
        self.blocked.push_back(blocked);
        self.unblock(now);
    }

    /// Tries what is kept again.
    pub(crate) fn unblock(&mut self, now: Instant) {
        while let Some(blocked) = self.blocked.front() {
            match blocked {
                Blocked::Message(stream, kind, payload) => {
                    match self.transport.write(*stream, *kind, payload, now) {
                        Ok(Written::Full) => return,
                        Ok(Written::Accepted) => {}
                        // The link has ended or is about to say so; the session replays what it
                        // carried.
                        Err(error) => {
                            tracing::debug!(%error, link = self.id.0, "message not written");
                        }
                    }
                }
                Blocked::Close(stream) => self.transport.close_stream(*stream, now),
            }
            self.blocked.pop_front();
        }
    }

    /// Whether the transport has no room for more.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.blocked.is_empty()
    }
}

/// Which link gets which datagram of shared sockets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routes(Arc<Mutex<RouteTable>>);

#[derive(Debug, Default)]
struct RouteTable {
    router: Router<LinkId>,
    inboxes: HashMap<LinkId, mpsc::Sender<Inbound>>,
}

#[derive(Debug)]
struct Route {
    id: LinkId,
    routes: Routes,
}

impl Routes {
    fn add(&self, id: LinkId, fragment: &str, sender: mpsc::Sender<Inbound>) -> Route {
        let mut table = lock(&self.0);
        table.router.register(id, fragment);
        table.inboxes.insert(id, sender);
        Route {
            id,
            routes: self.clone(),
        }
    }

    /// Hands a datagram to the links that it may be for.
    pub(crate) fn deliver(&self, inbound: Inbound) {
        let table = lock(&self.0);
        for id in table.router.route(inbound.as_received()) {
            if let Some(inbox) = table.inboxes.get(&id) {
                let copy = Inbound {
                    payload: inbound.payload.clone(),
                    ..inbound
                };
                drop(inbox.try_send(copy));
            }
        }
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        let mut table = lock(&self.routes.0);
        table.router.unregister(self.id);
        table.inboxes.remove(&self.id);
    }
}

/// Waits for a datagram on any of `links`, and says on which.
pub(crate) async fn next_datagram(links: &mut [Link]) -> (usize, Inbound) {
    std::future::poll_fn(|cx| {
        for (index, link) in links.iter_mut().enumerate() {
            if let Poll::Ready(Some(inbound)) = link.poll_datagram(cx) {
                return Poll::Ready((index, inbound));
            }
        }
        Poll::Pending
    })
    .await
}

/// Half a megabyte of datagrams, twice what a full SCTP window needs.
const DATAGRAMS_MAX: usize = 512;
/// One message and the few control frames that may follow it.
const BLOCKED_MAX: usize = 64;
/// After so many datagrams the machines get their turn.
const BATCH_MAX: usize = 64;
