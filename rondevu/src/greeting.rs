//! From an answered offer to a session: links of a service whose dialer has not said hello yet.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rondevu_core::frame::{ControlFrame, Hello};
use rondevu_core::{LinkEvent, LinkId, RejectReason, SessionId, StreamId};
use rondevu_durable::ConnectionMachine;
use rondevu_transport::Transport;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;

use crate::client::{Rondevu, seeds};
use crate::connection::DurableConnection;
use crate::driver::Driver;
use crate::link::{Link, Routes, next_datagram};
use crate::service::DurableServiceEvent;
use crate::shared::{Shared, lock};
use crate::sockets::Sockets;

/// The connections of a service by their session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registry(Arc<Mutex<HashMap<SessionId, Arc<Shared>>>>);

impl Registry {
    pub(crate) fn connections(&self) -> Vec<Arc<Shared>> {
        lock(&self.0).values().cloned().collect()
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
    pub(crate) sockets: Arc<Sockets>,
    pub(crate) routes: Routes,
    pub(crate) registry: Registry,
    pub(crate) accept: mpsc::Sender<DurableConnection>,
    pub(crate) events: broadcast::Sender<DurableServiceEvent>,
    pub(crate) next_link: Arc<AtomicU64>,
}

impl Host {
    /// Lets a link look for its path and wait for a hello, unless too many do so already.
    pub(crate) fn receive(
        &self,
        transport: Box<dyn Transport>,
        control: StreamId,
        greetings: &mut JoinSet<()>,
    ) {
        if greetings.len() >= GREETINGS_MAX {
            return;
        }
        let id = LinkId(self.next_link.fetch_add(1, Ordering::Relaxed));
        let sockets = Arc::clone(&self.sockets);
        let link = Link::with_shared_sockets(id, transport, sockets, &self.routes);
        let greeting = greet(self.clone(), link, control);
        greetings.spawn(async move {
            let _ = tokio::time::timeout(GREETING_TIME, greeting).await;
        });
    }
}

/// Drives a link until its dialer has said hello and the link belongs to a session.
async fn greet(host: Host, link: Link, control: StreamId) {
    let clock = host.client.inner.clock;
    let mut links = [link];
    let mut refusals = 0;
    loop {
        let now = clock.now();
        links[0].handle_timeout(now);
        while let Some(event) = links[0].transport.poll_event() {
            match event {
                LinkEvent::StreamMessage {
                    stream,
                    mut payload,
                    ..
                } if stream == control => {
                    let Ok(ControlFrame::Hello(hello)) = ControlFrame::decode(&mut payload) else {
                        links[0].transport.close(now);
                        break;
                    };
                    let [link] = links;
                    match host.admit(link, control, hello) {
                        Ok(()) => return,
                        Err((link, reason)) => {
                            links = [link];
                            let mut out = Vec::new();
                            ControlFrame::Reject { reason }.encode(&mut out);
                            links[0].write(control, out.into(), now);
                            refusals += 1;
                        }
                    }
                }
                LinkEvent::Closed { .. } => return,
                _ => {}
            }
        }
        if refusals > REFUSALS_MAX {
            links[0].transport.close(now);
        }
        links[0].unblock(now);
        links[0].flush().await;
        let Some(deadline) = links[0].transport.poll_timeout() else {
            return;
        };
        tokio::select! {
            () = tokio::time::sleep_until(clock.to_tokio(deadline)) => {}
            (_, inbound) = next_datagram(&mut links) => {
                links[0].feed(Some(inbound), clock.now());
            }
        }
    }
}

impl Host {
    /// Gives a link to the session that its hello names, or gives it back with the reason.
    fn admit(
        &self,
        link: Link,
        control: StreamId,
        hello: Hello,
    ) -> Result<(), (Link, RejectReason)> {
        let session = hello.session;
        let known = lock(&self.registry.0).get(&session).cloned();
        match known {
            Some(shared) => resume(&shared, link, control, hello),
            None => self.begin(link, control, hello),
        }
    }

    fn begin(
        &self,
        link: Link,
        control: StreamId,
        hello: Hello,
    ) -> Result<(), (Link, RejectReason)> {
        let busy = RejectReason::Busy {
            retry_after_ms: 1000,
        };
        let Ok(permit) = self.accept.try_reserve() else {
            return Err((link, busy));
        };
        let Ok(seeds) = seeds() else {
            return Err((link, busy));
        };
        let inner = &self.client.inner;
        let (config, now, session) = (inner.config.clone(), inner.clock.now(), hello.session);
        let machine = match ConnectionMachine::acceptor(config, link.id, control, hello, seeds, now)
        {
            Ok(machine) => machine,
            Err(reason) => return Err((link, reason)),
        };
        let shared = Shared::new(self.client.next_connection(), machine, inner.clock);
        lock(&shared.core).handovers.push(link);
        lock(&self.registry.0).insert(session, Arc::clone(&shared));
        let connection = shared.id;
        let _ = self
            .events
            .send(DurableServiceEvent::Connection { connection });
        let (registry, events) = (self.registry.clone(), self.events.clone());
        let driver = Driver::new(Arc::clone(&shared), None);
        tokio::spawn(async move {
            driver.run().await;
            lock(&registry.0).remove(&session);
            let _ = events.send(DurableServiceEvent::Disconnection { connection });
        });
        permit.send(DurableConnection::new(shared, None));
        Ok(())
    }
}

/// Moves a living session to a new link.
fn resume(
    shared: &Shared,
    link: Link,
    control: StreamId,
    hello: Hello,
) -> Result<(), (Link, RejectReason)> {
    let mut core = lock(&shared.core);
    let now = shared.clock.now();
    // Under one lock with the driver's turn: the welcome finds its link.
    match core.machine.handle_hello(link.id, control, hello, now) {
        Ok(()) => core.handovers.push(link),
        Err(reason) => return Err((link, reason)),
    }
    drop(core);
    shared.wake.notify_one();
    Ok(())
}

/// A dialer that has answered says hello within this time or never.
const GREETING_TIME: Duration = Duration::from_secs(20);
/// Links that have not said hello yet; more are turned away, so that they cannot exhaust memory.
const GREETINGS_MAX: usize = 256;
/// A dialer says hello again after its session was refused, and that is that.
const REFUSALS_MAX: u32 = 2;
