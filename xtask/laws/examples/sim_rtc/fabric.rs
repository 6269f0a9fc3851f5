//! Links over WebRTC engines in virtual time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use rondevu_core::{
    Instant, LinkClosed, LinkEvent, MessageKind, SessionDescription, StreamId, StreamOptions,
};
use rondevu_durable::sim::{
    Description, EndId, Fabric, FabricEvent, Fault, Lost, Node, Setup, Told, Write,
};
use rondevu_transport::rtc::{RtcConfig, RtcFactory};
use rondevu_transport::{Datagram, LocalCandidate, Router, Transport, TransportFactory, Written};

use crate::congestion::Congestion;
use crate::network::{Network, SERVICE, address_of};

/// Links over the engine that programs use.
///
/// The service serves all its links over one socket, and each attempt of a dialer has one of its own, as
/// the drivers do it. A process that sleeps takes nothing from its sockets and calls no engine.
#[derive(Debug)]
pub(crate) struct RtcFabric {
    rng: fastrand::Rng,
    network: Network,
    router: Router<u32>,
    ends: Vec<End>,
    /// Those whose link is not over.
    living: BTreeSet<EndId>,
    /// What came in for nodes that sleep.
    asleep: BTreeMap<Node, Waiting>,
    ready: VecDeque<(EndId, FabricEvent)>,
}

#[derive(Debug)]
struct End {
    node: Node,
    /// Whose conversation it is; of a service's end known once it has an answer.
    dialer: Option<u8>,
    description: SessionDescription,
    link: Option<Box<dyn Transport>>,
    peer: Option<EndId>,
    phase: Phase,
    /// Which streams are open.
    streams: BTreeSet<StreamId>,
    /// A stream is being closed under its channel.
    wounded: bool,
    congestion: Congestion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Connected,
    Over,
}

/// What a process finds when it wakes.
#[derive(Debug, Default)]
struct Waiting {
    /// What the buffers of its sockets hold.
    datagrams: Vec<(EndId, Datagram)>,
    events: Vec<(EndId, FabricEvent)>,
}

/// One for each process: making a certificate takes as long as a whole world.
static FACTORIES: LazyLock<Vec<RtcFactory>> = LazyLock::new(|| {
    let epoch = std::time::Instant::now();
    let factory = || RtcFactory::new(RtcConfig::default(), epoch);
    let factories = (0..=DIALERS_MAX).map(|_| factory().expect("a certificate can be made"));
    factories.collect()
});

impl RtcFabric {
    fn end(&mut self, id: EndId) -> &mut End {
        &mut self.ends[id.0 as usize]
    }

    fn add_end(
        &mut self,
        node: Node,
        link: Box<dyn Transport>,
        description: SessionDescription,
    ) -> EndId {
        let id = EndId(self.ends.len() as u32);
        self.ends.push(End {
            node,
            dialer: match node {
                Node::Service => None,
                Node::Dialer(dialer) => Some(dialer),
            },
            description,
            link: Some(link),
            peer: None,
            phase: Phase::Connecting,
            streams: BTreeSet::new(),
            wounded: false,
            congestion: Congestion::default(),
        });
        self.living.insert(id);
        id
    }

    /// The other end, if both have met.
    fn mate(&self, id: EndId) -> Option<EndId> {
        let peer = self.ends[id.0 as usize].peer?;
        (self.ends[peer.0 as usize].peer == Some(id)).then_some(peer)
    }

    /// The end of the dialer on the same wire.
    fn wire(&self, id: EndId) -> Option<EndId> {
        match self.ends[id.0 as usize].node {
            Node::Dialer(_) => Some(id),
            Node::Service => self.mate(id),
        }
    }

    /// Calls the engine of an end and takes over what it says.
    fn with_link<T>(
        &mut self,
        id: EndId,
        now: Instant,
        call: impl FnOnce(&mut dyn Transport) -> T,
    ) -> Option<T> {
        let link = self.end(id).link.as_deref_mut()?;
        let result = call(link);
        self.drain(id, now);
        Some(result)
    }

    fn drain(&mut self, id: EndId, now: Instant) {
        let End { node, link, .. } = &mut self.ends[id.0 as usize];
        let Some(link) = link else { return };
        while let Some(datagram) = link.poll_transmit() {
            if *node == Node::Service {
                self.router.sent(id.0, &datagram);
            }
            self.network.send(datagram, now);
        }
        while let Some(event) = self.end(id).link.as_mut().and_then(|l| l.poll_event()) {
            self.note(id, &event);
            self.report(id, FabricEvent::Link(event));
        }
    }

    /// Keeps in mind what a link has become.
    fn note(&mut self, id: EndId, event: &LinkEvent) {
        let end = self.end(id);
        match event {
            LinkEvent::Connected(_) => end.phase = Phase::Connected,
            LinkEvent::StreamOpened { stream, .. } => {
                end.streams.insert(*stream);
            }
            LinkEvent::StreamClosed { stream } => {
                end.streams.remove(stream);
                end.wounded = false;
            }
            LinkEvent::Closed { .. } => self.bury(id),
            LinkEvent::StreamMessage { .. } | LinkEvent::Writable => {}
        }
    }

    fn report(&mut self, id: EndId, event: FabricEvent) {
        let node = self.ends[id.0 as usize].node;
        match self.asleep.get_mut(&node) {
            Some(waiting) => waiting.events.push((id, event)),
            None => self.ready.push_back((id, event)),
        }
    }

    /// Forgets the engine of a link that is over.
    fn bury(&mut self, id: EndId) {
        let end = self.end(id);
        (end.link, end.phase) = (None, Phase::Over);
        self.living.remove(&id);
        self.router.unregister(id.0);
        // What is still on its way may tell the other side of the end.
        let is_used = self.mate(id).is_some_and(|mate| self.is_alive(mate));
        if !is_used && let Some(wire) = self.wire(id) {
            self.network.cut(wire);
        }
    }

    /// The link is over, as its process is told by the system and not by the engine.
    fn fail(&mut self, id: EndId) {
        if self.is_alive(id) {
            self.bury(id);
            let reason = LinkClosed::NoPath;
            self.report(id, FabricEvent::Link(LinkEvent::Closed { reason }));
        }
    }

    fn cut(&mut self, dialer: u8, told: Told) {
        for id in self.network.wires_of(dialer) {
            let mate = self.mate(id);
            self.network.cut(id);
            let (dialer_knows, service_knows) = match told {
                Told::Both => (true, true),
                Told::Dialer => (true, false),
                Told::Service => (false, true),
                Told::Nobody => (false, false),
            };
            if dialer_knows {
                self.fail(id);
            }
            if let Some(mate) = mate.filter(|_| service_knows) {
                self.fail(mate);
            }
        }
    }

    /// The living ends of a dialer's links.
    fn links_of(&self, dialer: u8) -> Vec<EndId> {
        let mine = |id: &&EndId| self.ends[id.0 as usize].dialer == Some(dialer);
        self.living.iter().filter(mine).copied().collect()
    }

    fn close_random_stream(&mut self, dialer: u8, now: Instant) {
        let Some(id) = self.links_of(dialer).last().copied() else {
            return;
        };
        let streams: Vec<StreamId> = self.end(id).streams.iter().copied().collect();
        let Some(stream) = streams.get(self.rng.usize(..streams.len().max(1))) else {
            return;
        };
        for id in [Some(id), self.mate(id)].into_iter().flatten() {
            self.end(id).wounded = true;
        }
        self.close_stream(id, *stream, now);
    }

    /// Gives a datagram to the engines that it may be for.
    fn deliver(&mut self, wire: EndId, datagram: &Datagram, now: Instant) {
        if datagram.destination == SERVICE {
            let routes = self.router.route(datagram.as_received());
            for key in routes {
                self.feed(EndId(key), datagram, now);
            }
        } else {
            self.feed(wire, datagram, now);
        }
    }

    fn feed(&mut self, id: EndId, datagram: &Datagram, now: Instant) {
        let received = datagram.as_received();
        let fed = self.with_link(id, now, |link| link.handle_datagram(received, now));
        if fed.is_some() {
            self.report(id, FabricEvent::PathActivity);
        }
    }

    fn is_asleep(&self, id: EndId) -> bool {
        self.asleep.contains_key(&self.ends[id.0 as usize].node)
    }

    /// Delivers what has arrived.
    fn take_datagrams(&mut self, now: Instant) {
        while let Some((wire, datagram)) = self.network.poll(now) {
            let node = match datagram.destination == SERVICE {
                true => Node::Service,
                false => self.ends[wire.0 as usize].node,
            };
            match self.asleep.get_mut(&node) {
                // A full buffer of a socket drops what comes in.
                Some(waiting) if waiting.datagrams.len() >= SOCKET_BUFFER => {}
                Some(waiting) => waiting.datagrams.push((wire, datagram)),
                None => self.deliver(wire, &datagram, now),
            }
        }
    }

    /// Calls the engines that want to be called.
    fn call_engines(&mut self, now: Instant) {
        let living: Vec<EndId> = self.living.iter().copied().collect();
        for id in living {
            if self.is_asleep(id) {
                continue;
            }
            self.drain(id, now);
            let due = |link: &dyn Transport| link.poll_timeout().is_some_and(|at| at <= now);
            if self.end(id).link.as_deref().is_some_and(due) {
                self.with_link(id, now, |link| link.handle_timeout(now));
                let next = self.end(id).link.as_ref().and_then(|l| l.poll_timeout());
                assert!(
                    next.is_none_or(|at| at > now),
                    "{id:?} wants to be called at {next:?}, which is over at {now:?}"
                );
            }
            if self.end(id).congestion.handle_timeout(now) && self.is_alive(id) {
                self.report(id, FabricEvent::Link(LinkEvent::Writable));
            }
        }
    }
}

impl Fabric for RtcFabric {
    /// Keys, transaction numbers and the first numbers of SCTP are random.
    const IS_REPEATABLE: bool = false;

    fn new(setup: &Setup) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(setup.seed ^ 0xfab_57c),
            network: Network::new(setup),
            router: Router::new(),
            ends: Vec::new(),
            living: BTreeSet::new(),
            asleep: BTreeMap::new(),
            ready: VecDeque::new(),
        }
    }

    fn offer(&mut self, stream: StreamOptions, now: Instant) -> Option<(EndId, StreamId)> {
        let offered = FACTORIES[0]
            .create_offer(&[LocalCandidate::Host(SERVICE)], stream, now)
            .ok()?;
        let id = self.add_end(Node::Service, offered.transport, offered.description);
        if let Some(link) = &self.ends[id.0 as usize].link {
            self.router.register(id.0, link.local_username_fragment());
        }
        Some((id, offered.stream))
    }

    fn answer(&mut self, dialer: u8, offer: Description, now: Instant) -> Option<EndId> {
        let description = &self.ends.get(offer.0.0 as usize)?.description;
        let address = address_of(EndId(self.ends.len() as u32));
        let factory = &FACTORIES[1 + usize::from(dialer) % DIALERS_MAX];
        let answered = factory
            .create_answer(description, &[LocalCandidate::Host(address)], now)
            .ok()?;
        let node = Node::Dialer(dialer);
        let id = self.add_end(node, answered.transport, answered.description);
        self.end(id).peer = Some(offer.0);
        self.network.add_wire(id, dialer);
        self.drain(id, now);
        Some(id)
    }

    fn accept(&mut self, offer: EndId, answer: Description, now: Instant) -> bool {
        let Some(answerer) = self.ends.get(answer.0.0 as usize) else {
            return false;
        };
        let (description, dialer) = (answerer.description.clone(), answerer.dialer);
        let accepted = self.with_link(offer, now, |link| link.accept_answer(&description, now));
        let is_accepted = accepted.is_some_and(|accepted| accepted.is_ok());
        if is_accepted {
            let end = self.end(offer);
            (end.peer, end.dialer) = (Some(answer.0), dialer);
        }
        is_accepted
    }

    fn open_stream(&mut self, end: EndId, options: StreamOptions, now: Instant) -> bool {
        let opened = self.with_link(end, now, |link| link.open_stream(options, now));
        opened.is_some_and(|opened| opened.is_ok())
    }

    fn close_stream(&mut self, end: EndId, stream: StreamId, now: Instant) {
        self.with_link(end, now, |link| link.close_stream(stream, now));
    }

    fn write(
        &mut self,
        end: EndId,
        stream: StreamId,
        kind: MessageKind,
        payload: &Bytes,
        now: Instant,
    ) -> Write {
        let round_trip = self.network.calm_round_trip();
        let this = self.end(end);
        let Some(link) = &mut this.link else {
            return Write::Gone;
        };
        if !this.congestion.admit(payload.len(), round_trip, now) {
            return Write::Full;
        }
        // Not drained here: what is written in one turn may share datagrams.
        match link.write(stream, kind, payload, now) {
            Ok(Written::Accepted) => Write::Accepted,
            Ok(Written::Full) => Write::Full,
            Err(rondevu_transport::TransportError::UnknownStream(_))
            | Err(rondevu_transport::TransportError::Closed) => Write::Gone,
            Err(error) => panic!("{end:?} does not take a message: {error}"),
        }
    }

    fn close(&mut self, end: EndId, now: Instant) {
        self.with_link(end, now, |link| link.close(now));
    }

    fn vanish(&mut self, end: EndId, _: Instant) {
        if self.is_alive(end) {
            self.bury(end);
        }
    }

    fn is_alive(&self, end: EndId) -> bool {
        self.living.contains(&end)
    }

    fn is_healthy(&self, end: EndId) -> bool {
        let works = |id: EndId| {
            let end = &self.ends[id.0 as usize];
            end.phase == Phase::Connected && !end.wounded
        };
        let wire = self.wire(end);
        works(end)
            && self.mate(end).is_some_and(works)
            && wire.is_some_and(|wire| self.network.is_open(wire))
    }

    fn fall_asleep(&mut self, node: Node) {
        self.asleep.entry(node).or_default();
    }

    fn wake(&mut self, node: Node, now: Instant) {
        let Some(waiting) = self.asleep.remove(&node) else {
            return;
        };
        self.ready.extend(waiting.events);
        // Who wakes finds timers that are long over beside full sockets.
        if self.rng.bool() {
            self.call_engines(now);
        }
        for (wire, datagram) in waiting.datagrams {
            self.deliver(wire, &datagram, now);
        }
    }

    fn impair(&mut self, dialer: u8, fault: Fault, now: Instant) {
        match fault {
            Fault::Cut(told) => self.cut(dialer, told),
            Fault::Roam => self.cut(dialer, Told::Nobody),
            Fault::Hole(direction) => self.network.hole(dialer, direction),
            Fault::Lag(ms) => self.network.lag(dialer, Duration::from_millis(ms.into())),
            Fault::Congest(bytes) => {
                for id in self.links_of(dialer) {
                    self.end(id).congestion.begin(bytes.into());
                }
            }
            Fault::Loss(percent) => self.network.lose(dialer, percent),
            Fault::Disorder(percent) => self.network.disorder(dialer, percent),
            Fault::CloseStream => self.close_random_stream(dialer, now),
        }
    }

    fn heal(&mut self, now: Instant) {
        self.network.heal();
        for end in &mut self.ends {
            end.congestion.end(now);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.take_datagrams(now);
        self.call_engines(now);
    }

    fn poll_event(&mut self, now: Instant) -> Option<(EndId, FabricEvent)> {
        if self.ready.is_empty() {
            self.handle_timeout(now);
        }
        self.ready.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if !self.ready.is_empty() {
            return Some(Instant::ORIGIN);
        }
        let awake = self.living.iter().filter(|id| !self.is_asleep(**id));
        let ends = awake.map(|id| &self.ends[id.0 as usize]);
        let engines = ends.flat_map(|end| {
            let engine = end.link.as_ref().and_then(|link| link.poll_timeout());
            [engine, end.congestion.poll_timeout()]
        });
        engines.flatten().chain(self.network.poll_timeout()).min()
    }

    /// What an engine has not delivered is not told here.
    fn poll_lost(&mut self) -> Option<Lost> {
        None
    }

    fn calm_round_trip_ms(&self) -> u64 {
        (self.network.calm_round_trip() + ENGINE_TIME).as_millis() as u64
    }

    fn calm_set_up_ms(&self) -> u64 {
        // Checks, two handshakes, and the opening of a stream; a datagram that is overtaken may be
        // waited for once.
        (self.network.calm_round_trip() * 8 + HANDSHAKE_SLACK).as_millis() as u64
    }

    fn calm_drain_ms(&self) -> u64 {
        // A full buffer, from the smallest congestion window on.
        (self.network.calm_round_trip() * 8).as_millis() as u64
    }
}

/// As many as a world has.
const DIALERS_MAX: usize = 3;
/// Datagrams that wait in the buffer of a socket.
const SOCKET_BUFFER: usize = 512;
/// What the engine adds to a round trip.
const ENGINE_TIME: Duration = Duration::from_millis(40);
/// What its timers add to the set-up.
const HANDSHAKE_SLACK: Duration = Duration::from_millis(500);
