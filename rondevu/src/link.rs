//! One link with the paths that it uses.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use rondevu_core::{Instant, LinkEvent, LinkId, MessageKind, StreamId};
use rondevu_transport::{
    Datagram, LinkStage, LocalCandidate, Received, Router, Transport, Written,
};
use tokio::sync::watch;

use crate::batch::Batch;
use crate::burst::{Burst, Inlet, Outlet, early_queue};
use crate::paths::{Found, Paths};
use crate::shared::lock;

/// A transport, the paths it sends by and the datagrams that came in for it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    pub(crate) transport: Box<dyn Transport>,
    paths: Arc<Paths>,
    datagrams: Outlet,
    /// For a link that shares its paths.
    route: Option<Route>,
    found: watch::Receiver<Found>,
    /// The addresses that the transport has been told since it was made.
    told: Vec<LocalCandidate>,
    tidiness: Tidiness,
    /// What the transport had no room for, in order.
    blocked: VecDeque<Blocked>,
    /// What the transport has told, in order.
    events: VecDeque<LinkEvent>,
    /// Whether datagrams came in since that was last asked.
    active: bool,
    /// Whether a stream has been opened.
    is_open: bool,
}

/// What waits for the transport.
#[derive(Debug)]
enum Blocked {
    Message(StreamId, MessageKind, Bytes),
    /// A stream is to be closed after the messages before.
    Close(StreamId),
}

/// Whether a link with paths of its own has given back what it does not need of them.
#[derive(Clone, Copy, Debug)]
enum Tidiness {
    /// It has no path yet.
    Searching,
    /// It has one; looked at again at the given time.
    Found { look_at: Instant },
    /// It shares its paths, or has done so.
    Done,
}

impl Link {
    /// A link with paths of its own, which put what comes in into `datagrams`.
    pub(crate) fn with_own_paths(
        id: LinkId,
        transport: Box<dyn Transport>,
        paths: Paths,
        datagrams: Outlet,
    ) -> Self {
        Self {
            id,
            transport,
            found: paths.watch(),
            paths: Arc::new(paths),
            datagrams,
            route: None,
            told: Vec::new(),
            tidiness: Tidiness::Searching,
            blocked: VecDeque::new(),
            events: VecDeque::new(),
            active: false,
            is_open: false,
        }
    }

    /// A link over paths that others use too, for which `standby` has waited.
    pub(crate) fn with_shared_paths(
        standby: Standby,
        transport: Box<dyn Transport>,
        paths: Arc<Paths>,
    ) -> Self {
        let Standby { route, datagrams } = standby;
        datagrams.widen();
        let id = route.id;
        Self {
            id,
            transport,
            found: paths.watch(),
            paths,
            datagrams,
            route: Some(route),
            told: Vec::new(),
            tidiness: Tidiness::Done,
            blocked: VecDeque::new(),
            events: VecDeque::new(),
            active: false,
            is_open: false,
        }
    }

    /// Sends the datagrams that the transport has made, as many as possible at once.
    pub(crate) async fn flush(&mut self) {
        let mut batch: Option<Batch> = None;
        let mut previous: Option<Datagram> = None;
        while let Some(datagram) = self.transport.poll_transmit() {
            if let Some(route) = &self.route
                && !previous.is_some_and(|it| {
                    Router::<LinkId>::goes_with(it.as_received())(datagram.as_received())
                })
            {
                lock(&route.routes.0).router.sent(route.id, &datagram);
            }
            let join = |batch: &mut Batch| {
                batch.push(&datagram) || self.is_open && batch.push_before(&datagram)
            };
            let joined = batch.as_mut().is_some_and(join);
            if !joined && let Some(full) = batch.replace(Batch::of(&datagram)) {
                self.paths.send(&full).await;
            }
            previous = Some(datagram);
        }
        if let Some(last) = batch {
            self.paths.send(&last).await;
        }
    }

    /// Feeds what has come in meanwhile, about a batch; how many datagrams.
    pub(crate) fn feed(&mut self, now: Instant) -> usize {
        let mut fed = 0;
        while fed < BATCH_MAX
            && let Some(burst) = self.datagrams.pop()
        {
            for datagram in burst.datagrams() {
                self.transport.handle_datagram(datagram, now);
                fed += 1;
            }
        }
        self.active |= fed > 0;
        fed
    }

    /// Lets the transport work off what it was given. Most of the time of a link is spent here.
    pub(crate) fn work(&mut self) {
        while let Some(event) = self.transport.poll_event() {
            self.events.push_back(event);
        }
    }

    /// The next thing that happened, in order.
    pub(crate) fn poll_event(&mut self) -> Option<LinkEvent> {
        if self.events.is_empty() && self.events.capacity() > EVENTS_KEPT {
            // An idle link should not remember how busy it was.
            self.events = VecDeque::new();
        }
        let event = self.events.pop_front();
        let event = event.or_else(|| self.transport.poll_event());
        self.is_open |= matches!(event, Some(LinkEvent::StreamOpened { .. }));
        event
    }

    /// Whether datagrams came in since this was last asked.
    pub(crate) fn take_activity(&mut self) -> bool {
        std::mem::take(&mut self.active)
    }

    /// Why the link is not connected yet, for people; `None` if it is or was.
    pub(crate) fn explain(&self) -> Option<String> {
        let why = match self.transport.stage() {
            LinkStage::Connected | LinkStage::Unknown => return None,
            LinkStage::Offered => return None,
            LinkStage::Securing => {
                return Some("a path was found, but the DTLS handshake did not end".into());
            }
            LinkStage::Searching { remote: 0, .. } => {
                "no path to the peer: it has told no address that can be used".into()
            }
            LinkStage::Searching { local, remote } => format!(
                "no path to the peer: none of its {remote} addresses answered, tried from {local} of \
                 this side"
            ),
        };
        Some(why + &self.paths.complaints())
    }

    /// Whether the machine has lost an address that the link uses or might use.
    pub(crate) fn has_lost_address(&self, present: &[IpAddr]) -> bool {
        self.paths.has_lost_address(present)
    }

    /// Tells the transport of addresses that were found or lost since the last time.
    fn tell_candidates(&mut self, now: Instant) {
        // The first time everything is news.
        let is_first = self.told.is_empty();
        if !is_first && !self.found.has_changed().unwrap_or(false) {
            return;
        }
        let candidates = self.found.borrow_and_update().candidates.clone();
        // The new ones first: a link that has no address at all ends.
        for candidate in candidates.iter().filter(|c| !self.told.contains(c)) {
            self.transport.add_local_candidate(*candidate, now);
        }
        for candidate in self.told.iter().filter(|c| !candidates.contains(c)) {
            self.transport.remove_local_candidate(*candidate, now);
        }
        self.told = candidates;
    }

    /// Gives back relayed addresses once there has been a better path for a while.
    fn tidy_up(&mut self, now: Instant) {
        match self.tidiness {
            Tidiness::Searching if self.transport.path().is_some() => {
                self.tidiness = Tidiness::Found {
                    look_at: now + TIDY_AFTER,
                };
            }
            Tidiness::Found { look_at } if look_at <= now => {
                self.paths.release_unused();
                self.tidiness = Tidiness::Done;
            }
            Tidiness::Searching | Tidiness::Found { .. } | Tidiness::Done => {}
        }
    }

    /// Does what is due in the transport.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.tell_candidates(now);
        self.tidy_up(now);
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
    inlets: HashMap<LinkId, Inlet>,
}

#[derive(Debug)]
struct Route {
    id: LinkId,
    routes: Routes,
}

/// What listens in place of a link whose offer has no answer yet. The first check of a dialer may be
/// faster than its answer; the next would come 50 ms later.
#[derive(Debug)]
pub(crate) struct Standby {
    route: Route,
    datagrams: Outlet,
}

impl Routes {
    /// Keeps the first datagrams for a link to be, whose ICE user name fragment this is.
    pub(crate) fn stand_by(&self, id: LinkId, fragment: &str) -> Standby {
        let (inlet, datagrams) = early_queue();
        let mut table = lock(&self.0);
        table.router.register(id, fragment);
        table.inlets.insert(id, inlet);
        let route = Route {
            id,
            routes: self.clone(),
        };
        Standby { route, datagrams }
    }

    /// Lets all links look at their candidates, for some have changed.
    pub(crate) fn stir(&self) {
        lock(&self.0).inlets.values().for_each(Inlet::stir);
    }

    /// Hands datagrams to the links that they may be for.
    pub(crate) fn deliver(&self, burst: Burst) {
        let table = lock(&self.0);
        let all = burst.datagrams().count();
        let mut done = 0;
        while done < all {
            let mut datagrams = burst.datagrams().skip(done);
            let Some(first) = datagrams.next() else {
                return;
            };
            let routes = table.router.route(first);
            // Nearly always all of them are for one link.
            let goes_along = Router::<LinkId>::goes_with(first);
            let is_alike = |datagram: &Received<'_>| {
                goes_along(*datagram) || table.router.route(*datagram) == routes
            };
            let alike = 1 + datagrams.take_while(is_alike).count();
            let mut inlets = routes.filter_map(|id| table.inlets.get(&id));
            if let Some(first) = inlets.next() {
                inlets.for_each(|inlet| inlet.push(burst.part(done, alike)));
                if alike == all {
                    return first.push(burst);
                }
                first.push(burst.part(done, alike));
            }
            done += alike;
        }
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        let mut table = lock(&self.routes.0);
        table.router.unregister(self.id);
        table.inlets.remove(&self.id);
    }
}

/// Waits until datagrams have come in for any of `links`.
pub(crate) async fn arrival(links: &mut [Link]) {
    std::future::poll_fn(move |cx| {
        for link in links.iter_mut() {
            if link.datagrams.poll_ready(cx).is_ready() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    })
    .await;
}

/// One message and the few control frames that may follow it.
const BLOCKED_MAX: usize = 64;
/// ICE has chosen by then, and a relay that it did not choose is known to be unused.
const TIDY_AFTER: Duration = Duration::from_secs(35);
/// Enough for a link with light traffic.
const EVENTS_KEPT: usize = 8;
/// After so many datagrams the machines get their turn.
const BATCH_MAX: usize = 64;
