//! From an answered offer to a session: links of a service whose dialer has not said hello yet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rondevu_core::frame::Hello;
use rondevu_core::{
    DurableConnectionState, Instant, LinkEvent, LinkId, LinkInfo, RejectReason, SessionId, StreamId,
};
use rondevu_durable::{
    Arrival, Caller, ConnectionMachine, Reception, RequiredProof, SessionLimits, SessionTable,
    Trust,
};
use rondevu_transport::Transport;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::accept_queue::{AcceptQueue, Reserved};
use crate::client::{Rondevu, seeds};
use crate::connection::DurableConnection;
use crate::driver::Driver;
use crate::events::EventSource;
use crate::link::{Link, Routes, Standby, arrival};
use crate::paths::Paths;
use crate::service::DurableServiceEvent;
use crate::shared::{Core, Shared, lock};

/// The connections of a service by their session.
#[derive(Clone, Debug)]
pub(crate) struct Registry(Arc<Mutex<Sessions>>);

#[derive(Debug)]
struct Sessions {
    table: SessionTable,
    connections: HashMap<SessionId, Arc<Shared>>,
}

impl Registry {
    pub(crate) fn new(limits: SessionLimits) -> Self {
        Self(Arc::new(Mutex::new(Sessions {
            table: SessionTable::new(limits),
            connections: HashMap::new(),
        })))
    }

    pub(crate) fn connections(&self) -> Vec<Arc<Shared>> {
        lock(&self.0).connections.values().cloned().collect()
    }

    fn find(&self, session: SessionId) -> Option<Arc<Shared>> {
        lock(&self.0).connections.get(&session).cloned()
    }

    fn has_room(&self) -> bool {
        lock(&self.0).table.has_room()
    }

    /// Enters a session, if there is still room for it.
    fn begin(&self, session: SessionId, shared: &Arc<Shared>) -> bool {
        {
            let mut sessions = lock(&self.0);
            if !sessions.table.has_room() {
                return false;
            }
            sessions.table.handle_begun(session);
            sessions.connections.insert(session, Arc::clone(shared));
        }
        self.make_room();
        true
    }

    fn end(&self, session: SessionId) {
        let mut sessions = lock(&self.0);
        sessions.table.handle_ended(session);
        sessions.connections.remove(&session);
    }

    /// Notes whether a link carries the session, and ends the sessions that have to make room.
    ///
    /// Called by the driver of the session, without its lock.
    pub(crate) fn note(&self, presence: Presence) {
        match presence {
            Presence::Attached(session) => lock(&self.0).table.handle_attached(session),
            Presence::Detached {
                session,
                bytes,
                now,
            } => lock(&self.0).table.handle_detached(session, bytes, now),
        }
        self.make_room();
    }

    fn make_room(&self) {
        let evicted: Vec<Arc<Shared>> = {
            let Sessions { table, connections } = &mut *lock(&self.0);
            std::iter::from_fn(|| table.poll_eviction())
                .filter_map(|session| connections.get(&session).cloned())
                .collect()
        };
        for shared in evicted {
            tracing::warn!(
                connection = shared.id,
                "a session had to make room for others"
            );
            lock(&shared.core).machine.evict();
            shared.wake.notify_one();
        }
    }
}

/// What a session is to its service.
#[derive(Debug)]
pub(crate) struct Membership {
    registry: Registry,
    events: Arc<EventSource<DurableServiceEvent>>,
    session: SessionId,
    connection: u64,
    has_ended: bool,
}

impl Membership {
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The connection has ended. A second call does nothing.
    pub(crate) fn end(&mut self) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        self.registry.end(self.session);
        let connection = self.connection;
        self.events
            .send(DurableServiceEvent::Disconnection { connection });
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether a link carries a session.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Presence {
    Attached(SessionId),
    Detached {
        session: SessionId,
        bytes: u64,
        now: Instant,
    },
}

impl Presence {
    /// What the machine says at the moment; nothing once it has ended.
    pub(crate) fn of(core: &Core, now: Instant) -> Option<Self> {
        let session = core.machine.session();
        match core.machine.state() {
            DurableConnectionState::Connected => Some(Self::Attached(session)),
            DurableConnectionState::Disconnected => Some(Self::Detached {
                session,
                bytes: core.machine.held_bytes(),
                now,
            }),
            DurableConnectionState::Connecting
            | DurableConnectionState::Reconnecting
            | DurableConnectionState::Failed
            | DurableConnectionState::Closed => None,
        }
    }
}

impl Shared {
    /// Closes the connection and returns what waits for its end.
    pub(crate) fn close_and_wait(self: Arc<Self>) -> impl Future<Output = ()> {
        lock(&self.core).machine.close(self.clock.now());
        self.wake.notify_one();
        async move {
            let mut states = self.state.subscribe();
            let _ = states.wait_for(|state| state.is_final()).await;
        }
    }
}

/// What every task of the service needs.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) client: Rondevu,
    pub(crate) paths: Arc<Paths>,
    pub(crate) routes: Routes,
    pub(crate) registry: Registry,
    pub(crate) accepted: Arc<AcceptQueue>,
    pub(crate) events: Arc<EventSource<DurableServiceEvent>>,
    pub(crate) next_link: Arc<AtomicU64>,
}

impl Host {
    /// Listens for the link of an offer until that has its answer.
    pub(crate) fn stand_by(&self, transport: &dyn Transport) -> Standby {
        let id = LinkId(self.next_link.fetch_add(1, Ordering::Relaxed));
        self.routes
            .stand_by(id, transport.local_username_fragment())
    }

    /// Lets a link look for its path and wait for a hello, unless too many do so already.
    pub(crate) fn receive(
        &self,
        standby: Standby,
        transport: Box<dyn Transport>,
        control: StreamId,
        greetings: &mut JoinSet<()>,
    ) {
        if greetings.len() >= GREETINGS_MAX {
            return;
        }
        let link = Link::with_shared_paths(standby, transport, Arc::clone(&self.paths));
        let span = tracing::debug_span!("link", id = link.id.0);
        greetings.spawn(greet(self.clone(), link, control).instrument(span));
    }
}

/// Drives a link until its peer has shown what it speaks and the link belongs to a connection.
async fn greet(host: Host, link: Link, control: StreamId) {
    let clock = host.client.inner.clock;
    let mut links = [link];
    let mut reception = Reception::new(control, GREETING_TIME, clock.now());
    loop {
        let now = clock.now();
        links[0].handle_timeout(now);
        reception.handle_timeout(now);
        while let Some(event) = links[0].poll_event() {
            let Some(caller) = reception.handle_link_event(event) else {
                continue;
            };
            let [link] = links;
            match host.admit(link, control, caller) {
                Ok(()) => return,
                Err(refused) => {
                    links = [*refused.link];
                    let refusal = reception.refuse(refused.reason);
                    links[0].write(control, refusal, now);
                }
            }
        }
        if reception.is_over() {
            links[0].transport.close(now);
        }
        links[0].unblock(now);
        links[0].flush().await;
        let timeouts = [
            links[0].transport.poll_timeout(),
            reception.poll_timeout().map(|deadline| deadline.at),
        ];
        let (Some(_), Some(deadline)) = (timeouts[0], timeouts.into_iter().flatten().min()) else {
            return;
        };
        tokio::select! {
            () = tokio::time::sleep_until(clock.to_tokio(deadline)) => {}
            () = arrival(&mut links) => {
                links[0].feed(clock.now());
            }
        }
    }
}

impl Host {
    /// Gives a link to the connection that its peer belongs to, or gives it back with the reason.
    fn admit(&self, link: Link, control: StreamId, caller: Caller) -> Result<(), Refused> {
        match caller {
            Caller::Session { info, hello } => {
                let arrival = Arrival {
                    link: link.id,
                    control,
                    info,
                };
                match self.registry.find(hello.session) {
                    Some(shared) => {
                        // Before its driver notes it: others may look for room meanwhile. If the hello is
                        // refused, the driver takes it back.
                        lock(&self.registry.0).table.handle_attached(hello.session);
                        let outcome = resume(&shared, link, arrival, hello);
                        shared.wake.notify_one();
                        outcome
                    }
                    None => self.begin(link, arrival, hello),
                }
            }
            Caller::Plain { info, event } => self.begin_plain(link, control, info, event),
        }
    }

    /// Who this service is. Dialers may be anybody.
    fn trust(&self) -> Trust {
        self.client.inner.trust(RequiredProof::Nothing)
    }

    fn begin(&self, link: Link, arrival: Arrival, hello: Hello) -> Result<(), Refused> {
        let (Some(reserved), Ok(seeds)) = (self.reserve(), seeds()) else {
            return Err(Refused::new(link, BUSY));
        };
        let inner = &self.client.inner;
        let (config, now) = (inner.config.clone(), inner.clock.now());
        let machine = ConnectionMachine::acceptor(config, self.trust(), arrival, hello, seeds, now);
        match machine {
            Ok(machine) => self.open(link, machine, reserved),
            Err(reason) => Err(Refused::new(link, reason)),
        }
    }

    fn begin_plain(
        &self,
        link: Link,
        control: StreamId,
        info: LinkInfo,
        event: LinkEvent,
    ) -> Result<(), Refused> {
        let (Some(reserved), Ok(seeds)) = (self.reserve(), seeds()) else {
            return Err(Refused::new(link, BUSY));
        };
        let inner = &self.client.inner;
        let (config, trust, now) = (inner.config.clone(), self.trust(), inner.clock.now());
        let machine =
            ConnectionMachine::plain_acceptor(config, trust, link.id, control, info, seeds, now);
        let Some(mut machine) = machine else {
            return Err(Refused::new(link, RejectReason::NotAuthorised));
        };
        machine.handle_link_event(link.id, event, now);
        self.open(link, machine, reserved)
    }

    /// Room for one more connection, if there is any.
    fn reserve(&self) -> Option<Reserved<'_>> {
        let reserved = self.accepted.reserve()?;
        self.registry.has_room().then_some(reserved)
    }

    /// Starts to drive a connection and hands it to the application.
    fn open(
        &self,
        link: Link,
        machine: ConnectionMachine,
        reserved: Reserved<'_>,
    ) -> Result<(), Refused> {
        let inner = &self.client.inner;
        let session = machine.session();
        let shared = Shared::new(self.client.next_connection(), machine, inner.clock);
        lock(&shared.core).handovers.push(link);
        if !self.registry.begin(session, &shared) {
            // Another one was faster.
            let link = lock(&shared.core).handovers.pop();
            return link.map_or(Ok(()), |link| Err(Refused::new(link, BUSY)));
        }
        let connection = shared.id;
        self.events
            .send(DurableServiceEvent::Connection { connection });
        let membership = Membership {
            registry: self.registry.clone(),
            events: Arc::clone(&self.events),
            session,
            connection,
            has_ended: false,
        };
        let driver = Driver::accepting(Arc::clone(&shared), membership);
        let span = tracing::info_span!("connection", id = connection);
        tokio::spawn(driver.run().instrument(span));
        reserved.fill(DurableConnection::new(shared, None));
        Ok(())
    }
}

/// Moves a living session to a new link.
fn resume(shared: &Shared, link: Link, arrival: Arrival, hello: Hello) -> Result<(), Refused> {
    let mut core = lock(&shared.core);
    let now = shared.clock.now();
    // Under one lock with the driver's turn: the welcome finds its link.
    match core.machine.handle_hello(arrival, hello, now) {
        Ok(()) => core.handovers.push(link),
        Err(reason) => return Err(Refused::new(link, reason)),
    }
    Ok(())
}

/// A link that no connection takes, with the reason that its peer is told.
struct Refused {
    link: Box<Link>,
    reason: RejectReason,
}

impl Refused {
    fn new(link: Link, reason: RejectReason) -> Self {
        let link = Box::new(link);
        Self { link, reason }
    }
}

/// There is no room for one more connection at the moment.
const BUSY: RejectReason = RejectReason::Busy {
    retry_after_ms: 1000,
};
/// A dialer that has answered says hello within this time or never.
const GREETING_TIME: Duration = Duration::from_secs(20);
/// Links that have not said hello yet; more are turned away, so that they cannot exhaust memory.
const GREETINGS_MAX: usize = 256;
