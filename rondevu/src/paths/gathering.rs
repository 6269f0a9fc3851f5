//! The task that drives a gatherer: sends its questions, resolves names, keeps its streams.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use rondevu_core::Instant;
use rondevu_transport::gather::{GatherAction, GatherEvent, Gatherer, RelayedDatagram};
use rondevu_transport::{Datagram, LocalCandidate};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinSet;

use super::Found;
use super::streams::Streams;
use crate::batch::Batch;
use crate::burst::Burst;
use crate::cable::Cable;
use crate::client::seeds;
use crate::clock::Clock;
use crate::ice::IceConfig;
use crate::shared::lock;
use crate::sockets::Sockets;

/// A gatherer that is being driven. When this value is dropped, what servers have lent is given
/// back.
#[derive(Debug)]
pub(super) struct Gathering {
    shared: Arc<Shared>,
    /// When the sockets were bound that there are now.
    started_at: Mutex<tokio::time::Instant>,
    found: watch::Receiver<Found>,
    /// Ends the task when it is dropped.
    _running: oneshot::Sender<()>,
}

/// What task, readers, streams and links share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) machine: Mutex<Gatherer>,
    pub(super) clock: Clock,
    sockets: Arc<Sockets>,
    cable: Cable,
    wake: Notify,
}

impl Gathering {
    pub(super) fn start(
        sockets: Arc<Sockets>,
        cable: Cable,
        ice: &IceConfig,
        clock: Clock,
        deliver: impl Fn(Burst) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let seed = seeds().map_err(io::Error::other)?.rng;
        let bases = sockets.addresses();
        let machine = Gatherer::new(&bases, &ice.servers, ice.policy, seed, clock.now())
            .map_err(io::Error::other)?;
        let shared = Arc::new(Shared {
            machine: Mutex::new(machine),
            clock,
            sockets,
            cable,
            wake: Notify::new(),
        });
        let (tell, found) = watch::channel(Found::default());
        let (running, ended) = oneshot::channel();
        tokio::spawn(run(Arc::clone(&shared), tell, deliver, ended));
        Ok(Self {
            shared,
            started_at: Mutex::new(tokio::time::Instant::now()),
            found,
            _running: running,
        })
    }

    pub(super) fn started_at(&self) -> tokio::time::Instant {
        *lock(&self.started_at)
    }

    /// Waits until each server has helped or failed to, and that is known to all.
    pub(super) async fn settled(&self) {
        let mut found = self.found.clone();
        loop {
            // The task publishes while it holds the machine: never hold what is published here.
            let candidates = found.borrow_and_update().candidates.clone();
            if self.has_settled_on(&candidates) || found.changed().await.is_err() {
                return;
            }
        }
    }

    fn has_settled_on(&self, candidates: &[LocalCandidate]) -> bool {
        let machine = lock(&self.shared.machine);
        machine.is_settled() && machine.candidates() == candidates
    }

    pub(super) fn found(&self) -> watch::Receiver<Found> {
        self.found.clone()
    }

    /// Takes out what servers send; the rest is for `deliver`.
    pub(super) fn sorter(
        &self,
        deliver: impl Fn(Burst) + Clone + Send + Sync + 'static,
    ) -> impl Fn(Burst) + Clone + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move |burst: Burst| {
            let mut machine = lock(&shared.machine);
            if !machine.is_server(burst.source) {
                drop(machine);
                return deliver(burst);
            }
            let now = shared.clock.now();
            for datagram in burst.datagrams() {
                machine.handle_datagram(datagram, now);
            }
            let relayed: Vec<_> = std::iter::from_fn(|| machine.poll_relayed()).collect();
            drop(machine);
            hand_on(&relayed, &deliver);
            shared.wake.notify_one();
        }
    }

    /// Sends datagrams of a link by the server that has lent their source address.
    pub(super) async fn relay(&self, batch: &Batch) {
        if self.shared.cable.is_cut() {
            return;
        }
        let transmits: Vec<_> = {
            let mut machine = lock(&self.shared.machine);
            let now = self.shared.clock.now();
            for payload in batch.parts(1) {
                let datagram = Datagram {
                    source: batch.source(),
                    destination: batch.destination(),
                    payload: payload.into(),
                };
                machine.relay(&datagram, now);
            }
            std::iter::from_fn(|| machine.poll_transmit()).collect()
        };
        self.shared.send(&transmits).await;
        // What goes by a stream, and what the machine wants later, is for the task.
        self.shared.wake.notify_one();
    }

    /// The sockets are bound to these addresses now.
    pub(super) fn handle_bases(&self, bases: &[SocketAddr]) {
        *lock(&self.started_at) = tokio::time::Instant::now();
        self.shared
            .tell(|machine, now| machine.handle_bases(bases, now));
    }

    pub(super) fn release_unused(&self) {
        let now = self.shared.clock.now();
        lock(&self.shared.machine).release_unused(now);
        self.shared.wake.notify_one();
    }
}

/// What the machine wants done.
struct Duties {
    transmits: Vec<Datagram>,
    relayed: Vec<RelayedDatagram>,
    actions: Vec<GatherAction>,
    deadline: Option<Instant>,
}

impl Shared {
    /// Tells the machine something, and wakes the task for what follows from it.
    pub(super) fn tell(&self, fact: impl FnOnce(&mut Gatherer, Instant)) {
        fact(&mut lock(&self.machine), self.clock.now());
        self.wake.notify_one();
    }

    async fn send(&self, datagrams: &[Datagram]) {
        for datagram in datagrams {
            self.sockets.send(&Batch::of(datagram)).await;
        }
    }

    fn duties(&self, tell: &watch::Sender<Found>) -> Duties {
        let mut machine = lock(&self.machine);
        let now = self.clock.now();
        if machine.poll_timeout().is_some_and(|at| at <= now) {
            machine.handle_timeout(now);
        }
        let mut changed = false;
        while let Some(event) = machine.poll_event() {
            changed = true;
            match event {
                GatherEvent::Found(candidate) => {
                    tracing::debug!(kind = %candidate.kind(), address = %candidate.address(), "candidate found");
                }
                GatherEvent::Lost(candidate) => {
                    tracing::debug!(kind = %candidate.kind(), address = %candidate.address(), "candidate lost");
                }
            }
        }
        let (settled, failures) = (machine.is_settled(), machine.failures());
        tell.send_if_modified(|found| {
            let news = changed || found.settled != settled || found.failures != failures;
            if news {
                found.candidates = machine.candidates().to_vec();
                found.settled = settled;
                found.failures = failures;
            }
            news
        });
        Duties {
            transmits: std::iter::from_fn(|| machine.poll_transmit()).collect(),
            relayed: std::iter::from_fn(|| machine.poll_relayed()).collect(),
            actions: std::iter::from_fn(|| machine.poll_action()).collect(),
            deadline: machine.poll_timeout(),
        }
    }
}

fn hand_on(relayed: &[RelayedDatagram], deliver: impl Fn(Burst)) {
    let bursts = relayed.iter().map(|one| Burst::of(one.as_received()));
    bursts.for_each(deliver);
}

type Lookup = (usize, Result<Vec<IpAddr>, String>);

async fn run(
    shared: Arc<Shared>,
    tell: watch::Sender<Found>,
    deliver: impl Fn(Burst),
    mut ended: oneshot::Receiver<()>,
) {
    let mut streams = Streams::default();
    let mut lookups: JoinSet<Lookup> = JoinSet::new();
    loop {
        let duties = shared.duties(&tell);
        shared.send(&duties.transmits).await;
        if !shared.cable.is_cut() {
            hand_on(&duties.relayed, &deliver);
        }
        for action in duties.actions {
            match action {
                GatherAction::Resolve { server, host } => {
                    lookups.spawn(async move { (server, resolve(host).await) });
                }
                stream => streams.act(stream, &shared),
            }
        }
        let sleep = shared.clock.sleep_until(duties.deadline);
        tokio::select! {
            () = shared.wake.notified() => {}
            () = sleep => {}
            Some(looked_up) = lookups.join_next() => {
                if let Ok((server, addresses)) = looked_up {
                    shared.tell(|machine, now| machine.handle_resolved(server, addresses, now));
                }
            }
            _ = &mut ended => break,
        }
    }
    shared.tell(Gatherer::close);
    let duties = shared.duties(&tell);
    shared.send(&duties.transmits).await;
    for action in duties.actions {
        streams.act(action, &shared);
    }
    streams.finish().await;
}

async fn resolve(host: String) -> Result<Vec<IpAddr>, String> {
    let found = tokio::net::lookup_host((host, 0)).await;
    let found = found.map_err(|error| error.to_string())?;
    Ok(found.map(|address| address.ip()).collect())
}
