//! Links over the WebRTC engine and an emulated network of datagrams, in virtual time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use rondevu_core::{
    Instant, LinkClosed, LinkEvent, MessageKind, SessionDescription, StreamId, StreamOptions,
};
use rondevu_durable::sim::{
    Description, Direction, EndId, Fabric, FabricEvent, Fault, Lost, Node, Setup, Told, Write,
};
use rondevu_transport::emulator::{Conditions, Emulator};
use rondevu_transport::rtc::{RtcConfig, RtcFactory};
use rondevu_transport::{Datagram, Router, Transport, TransportFactory, Written};

/// Links that are real but for their sockets and their clock.
pub(crate) struct RtcFabric {
    rng: fastrand::Rng,
    network: Emulator,
    conditions: Conditions,
    calm: Conditions,
    router: Router<EndId>,
    ends: BTreeMap<EndId, End>,
    addresses: BTreeMap<SocketAddr, EndId>,
    descriptions: BTreeMap<EndId, SessionDescription>,
    holes: Vec<(bool, bool)>,
    /// Pairs of addresses that stay cut.
    dead: Vec<(SocketAddr, SocketAddr)>,
    /// What came in for nodes that sleep.
    asleep: BTreeMap<Node, VecDeque<Datagram>>,
    ready: VecDeque<(EndId, FabricEvent)>,
    next_end: u32,
    next_port: u16,
}

struct End {
    node: Node,
    dialer: u8,
    address: SocketAddr,
    transport: Box<dyn Transport>,
    peer: Option<EndId>,
    open: BTreeSet<StreamId>,
    connected: bool,
    over: bool,
    /// It cannot live on, whether it knows that or not.
    doomed: bool,
}

impl fmt::Debug for RtcFabric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RtcFabric")
            .field("ends", &self.ends.len())
            .finish_non_exhaustive()
    }
}

/// Making a certificate takes long, so all worlds share two.
fn factory(node: Node) -> &'static RtcFactory {
    static SERVICE: OnceLock<RtcFactory> = OnceLock::new();
    static DIALER: OnceLock<RtcFactory> = OnceLock::new();
    let cell = match node {
        Node::Service => &SERVICE,
        Node::Dialer(_) => &DIALER,
    };
    cell.get_or_init(|| {
        RtcFactory::new(RtcConfig::default(), std::time::Instant::now())
            .expect("the engine makes certificates")
    })
}

fn service_address() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 4000))
}

impl RtcFabric {
    fn add(&mut self, node: Node, address: SocketAddr, transport: Box<dyn Transport>) -> EndId {
        let id = EndId(self.next_end);
        self.next_end += 1;
        let dialer = match node {
            Node::Service => {
                self.router
                    .register(id, transport.local_username_fragment());
                0
            }
            Node::Dialer(dialer) => {
                self.addresses.insert(address, id);
                dialer
            }
        };
        self.ends.insert(
            id,
            End {
                node,
                dialer,
                address,
                transport,
                peer: None,
                open: BTreeSet::new(),
                connected: false,
                over: false,
                doomed: false,
            },
        );
        id
    }

    fn mate(&self, id: EndId) -> Option<EndId> {
        let peer = self.ends.get(&id)?.peer?;
        (self.ends.get(&peer)?.peer == Some(id)).then_some(peer)
    }

    fn ends_of(&self, dialer: u8) -> Vec<EndId> {
        let mine = |(id, end): (&EndId, &End)| {
            (end.dialer == dialer && end.peer.is_some() && !end.over).then_some(*id)
        };
        self.ends.iter().filter_map(mine).collect()
    }

    /// Ends what is left of an end without a word.
    fn drop_end(&mut self, id: EndId) {
        if let Some(end) = self.ends.get_mut(&id) {
            end.over = true;
            match end.node {
                Node::Service => self.router.unregister(id),
                Node::Dialer(_) => {
                    self.addresses.remove(&end.address);
                }
            }
        }
    }

    /// Nothing passes between these ends any more, whatever is healed.
    fn kill_path(&mut self, id: EndId) {
        if let Some(address) = self.ends.get(&id).map(|end| end.address)
            && address != service_address()
        {
            self.dead.push((address, service_address()));
            self.network.cut_both(address, service_address());
        }
    }

    fn cut(&mut self, dialer: u8, told: Told) {
        for id in self.ends_of(dialer) {
            self.kill_path(id);
            let Some(end) = self.ends.get_mut(&id) else {
                continue;
            };
            end.doomed = true;
            let knows = match (told, end.node) {
                (Told::Both, _)
                | (Told::Dialer, Node::Dialer(_))
                | (Told::Service, Node::Service) => true,
                (Told::Nobody, _)
                | (Told::Dialer, Node::Service)
                | (Told::Service, Node::Dialer(_)) => false,
            };
            if knows {
                let reason = LinkClosed::NoPath;
                let closed = FabricEvent::Link(LinkEvent::Closed { reason });
                self.ready.push_back((id, closed));
                self.drop_end(id);
            }
        }
    }

    /// Applies the holes of a dialer's path to all of its addresses.
    fn dig(&mut self, dialer: u8) {
        let (to_service, to_dialer) = self.holes[dialer as usize];
        let mine = |end: &&End| end.node == Node::Dialer(dialer) && !end.over;
        let addresses: Vec<_> = self
            .ends
            .values()
            .filter(mine)
            .map(|end| end.address)
            .collect();
        for address in addresses {
            if to_service {
                self.network.cut(address, service_address());
            }
            if to_dialer {
                self.network.cut(service_address(), address);
            }
        }
    }

    fn deliver(&mut self, datagram: &Datagram, now: Instant) {
        let node = match self.addresses.get(&datagram.destination) {
            Some(id) => self.ends.get(id).map(|end| end.node),
            None => (datagram.destination == service_address()).then_some(Node::Service),
        };
        let Some(node) = node else { return };
        if let Some(waiting) = self.asleep.get_mut(&node) {
            if waiting.len() < DATAGRAMS_MAX {
                waiting.push_back(datagram.clone());
            }
            return;
        }
        let received = datagram.as_received();
        let ids: Vec<EndId> = match node {
            Node::Service => self.router.route(received).into_iter().collect(),
            Node::Dialer(_) => self
                .addresses
                .get(&datagram.destination)
                .copied()
                .into_iter()
                .collect(),
        };
        for id in ids {
            if let Some(end) = self.ends.get_mut(&id).filter(|end| !end.over) {
                end.transport.handle_datagram(received, now);
                self.ready.push_back((id, FabricEvent::PathActivity));
            }
        }
    }

    /// Moves everything that can move at this instant.
    fn turn(&mut self, now: Instant) {
        while let Some(datagram) = self.network.poll(now) {
            self.deliver(&datagram, now);
        }
        let ids: Vec<EndId> = self.ends.keys().copied().collect();
        for id in ids {
            self.drive(id, now);
        }
        let over = |_: &EndId, end: &mut End| end.over && end.transport.poll_timeout().is_none();
        // Descriptions stay: servers lie.
        for (id, end) in self.ends.extract_if(.., over) {
            if let Node::Service = end.node {
                self.router.unregister(id);
            }
        }
    }

    fn drive(&mut self, id: EndId, now: Instant) {
        let Some(end) = self.ends.get_mut(&id) else {
            return;
        };
        if self.asleep.contains_key(&end.node) {
            return;
        }
        if end.transport.poll_timeout().is_some_and(|at| at <= now) {
            end.transport.handle_timeout(now);
        }
        while let Some(datagram) = end.transport.poll_transmit() {
            if end.node == Node::Service {
                self.router.sent(id, &datagram);
            }
            self.network.send(datagram, now);
        }
        let mut is_over = false;
        while let Some(event) = end.transport.poll_event() {
            if end.over {
                continue;
            }
            match &event {
                LinkEvent::Connected(_) => end.connected = true,
                LinkEvent::StreamOpened { stream, .. } => {
                    end.open.insert(*stream);
                }
                LinkEvent::StreamClosed { stream } => {
                    end.open.remove(stream);
                    end.doomed = false;
                }
                LinkEvent::Closed { .. } => is_over = true,
                LinkEvent::StreamMessage { .. } | LinkEvent::Writable => {}
            }
            self.ready.push_back((id, FabricEvent::Link(event)));
        }
        if is_over {
            self.drop_end(id);
        }
    }

    fn close_random_stream(&mut self, dialer: u8, now: Instant) {
        let ends = self.ends_of(dialer);
        let Some(id) = ends.last().copied() else {
            return;
        };
        let Some(end) = self.ends.get_mut(&id) else {
            return;
        };
        let streams: Vec<StreamId> = end.open.iter().copied().collect();
        let Some(stream) = streams.get(self.rng.usize(..streams.len().max(1))) else {
            return;
        };
        end.transport.close_stream(*stream, now);
        for id in [Some(id), self.mate(id)].into_iter().flatten() {
            if let Some(end) = self.ends.get_mut(&id) {
                end.doomed = true;
            }
        }
    }
}

impl Fabric for RtcFabric {
    // Keys and nonces of the handshake are drawn from the system.
    const IS_REPEATABLE: bool = false;

    fn new(setup: &Setup) -> Self {
        let calm = Conditions {
            jitter: Duration::from_millis(u64::from(setup.jitter_ms.min(5))),
            ..Conditions::delay(Duration::from_millis(setup.latency_ms.into()))
        };
        Self {
            rng: fastrand::Rng::with_seed(setup.seed ^ 0x5712_0d),
            network: Emulator::new(setup.seed, calm),
            conditions: calm,
            calm,
            router: Router::new(),
            ends: BTreeMap::new(),
            addresses: BTreeMap::new(),
            descriptions: BTreeMap::new(),
            holes: vec![(false, false); setup.dialers as usize],
            dead: Vec::new(),
            asleep: BTreeMap::new(),
            ready: VecDeque::new(),
            next_end: 0,
            next_port: 5000,
        }
    }

    fn offer(&mut self, stream: StreamOptions, now: Instant) -> Option<(EndId, StreamId)> {
        let address = service_address();
        let offered = factory(Node::Service)
            .create_offer(&[address], stream, now)
            .ok()?;
        let id = self.add(Node::Service, address, offered.transport);
        self.descriptions.insert(id, offered.description);
        Some((id, offered.stream))
    }

    fn answer(&mut self, dialer: u8, offer: Description, now: Instant) -> Option<EndId> {
        let node = Node::Dialer(dialer);
        let offer_text = self.descriptions.get(&offer.0)?;
        self.next_port = self.next_port.wrapping_add(1).max(5000);
        let address = SocketAddr::from(([10, 1, dialer, 1], self.next_port));
        let answered = factory(node)
            .create_answer(offer_text, &[address], now)
            .ok()?;
        let id = self.add(node, address, answered.transport);
        self.descriptions.insert(id, answered.description);
        if let Some(end) = self.ends.get_mut(&id) {
            end.peer = Some(offer.0);
        }
        self.dig(dialer);
        Some(id)
    }

    fn accept(&mut self, offer: EndId, answer: Description, now: Instant) -> bool {
        let Some(text) = self.descriptions.get(&answer.0) else {
            return false;
        };
        let dialer = self.ends.get(&answer.0).map(|end| end.dialer);
        let Some(end) = self.ends.get_mut(&offer).filter(|end| !end.over) else {
            return false;
        };
        if end.transport.accept_answer(text, now).is_err() {
            return false;
        }
        end.peer = Some(answer.0);
        end.dialer = dialer.unwrap_or(0);
        true
    }

    fn open_stream(&mut self, end: EndId, options: StreamOptions, now: Instant) -> bool {
        let end = self.ends.get_mut(&end).filter(|end| !end.over);
        end.is_some_and(|end| end.transport.open_stream(options, now).is_ok())
    }

    fn close_stream(&mut self, end: EndId, stream: StreamId, now: Instant) {
        if let Some(end) = self.ends.get_mut(&end) {
            end.transport.close_stream(stream, now);
        }
    }

    fn write(
        &mut self,
        end: EndId,
        stream: StreamId,
        kind: MessageKind,
        payload: &Bytes,
        now: Instant,
    ) -> Write {
        let Some(end) = self.ends.get_mut(&end).filter(|end| !end.over) else {
            return Write::Gone;
        };
        match end.transport.write(stream, kind, payload, now) {
            Ok(Written::Accepted) => Write::Accepted,
            Ok(Written::Full) => Write::Full,
            Err(_) => Write::Gone,
        }
    }

    fn close(&mut self, end: EndId, now: Instant) {
        if let Some(end) = self.ends.get_mut(&end) {
            end.transport.close(now);
        }
    }

    fn vanish(&mut self, end: EndId, _: Instant) {
        self.kill_path(end);
        if let Some(mate) = self.mate(end).and_then(|mate| self.ends.get_mut(&mate)) {
            mate.doomed = true;
        }
        self.drop_end(end);
        self.ends.remove(&end);
    }

    fn is_alive(&self, end: EndId) -> bool {
        self.ends.get(&end).is_some_and(|end| !end.over)
    }

    fn is_healthy(&self, end: EndId) -> bool {
        let works = |id: EndId| {
            let end = self.ends.get(&id);
            end.is_some_and(|end| end.connected && !end.over && !end.doomed)
        };
        works(end) && self.mate(end).is_some_and(works)
    }

    fn fall_asleep(&mut self, node: Node) {
        self.asleep.entry(node).or_default();
    }

    fn wake(&mut self, node: Node, now: Instant) {
        for datagram in self.asleep.remove(&node).unwrap_or_default() {
            self.deliver(&datagram, now);
        }
    }

    fn impair(&mut self, dialer: u8, fault: Fault, now: Instant) {
        match fault {
            Fault::Cut(told) => return self.cut(dialer, told),
            Fault::Roam => return self.cut(dialer, Told::Nobody),
            Fault::Hole(direction) => {
                let hole = &mut self.holes[dialer as usize];
                hole.0 |= direction != Direction::ToDialer;
                hole.1 |= direction != Direction::ToService;
                return self.dig(dialer);
            }
            Fault::CloseStream => return self.close_random_stream(dialer, now),
            Fault::Lag(ms) => self.conditions.delay += Duration::from_millis(u64::from(ms) / 4),
            // Buffers of the engine have a fixed size; a lossy path fills them.
            Fault::Congest(_) => self.conditions.loss = 0.1,
            Fault::Loss(percent) => self.conditions.loss = f64::from(percent) / 100.0,
            Fault::Disorder(percent) => {
                self.conditions.duplication = f64::from(percent) / 100.0;
                self.conditions.reordering = f64::from(percent) / 100.0;
            }
        }
        self.network.set_conditions(self.conditions);
    }

    fn heal(&mut self, _: Instant) {
        self.conditions = self.calm;
        self.network.set_conditions(self.calm);
        self.network.heal();
        self.holes.fill((false, false));
        for (a, b) in &self.dead {
            self.network.cut_both(*a, *b);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.turn(now);
    }

    fn poll_event(&mut self, now: Instant) -> Option<(EndId, FabricEvent)> {
        if self.ready.is_empty() {
            self.turn(now);
        }
        self.ready.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if !self.ready.is_empty() {
            return Some(Instant::ORIGIN);
        }
        let awake = |end: &&End| !self.asleep.contains_key(&end.node);
        let ends = self.ends.values().filter(awake);
        let ends = ends.filter_map(|end| end.transport.poll_timeout());
        ends.chain(self.network.poll_timeout()).min()
    }

    fn poll_lost(&mut self) -> Option<Lost> {
        None
    }

    fn calm_round_trip_ms(&self) -> u64 {
        2 * (self.calm.delay + self.calm.jitter).as_millis() as u64
    }

    fn calm_set_up_ms(&self) -> u64 {
        15 * self.calm_round_trip_ms() + 2000
    }
}

/// What a socket's buffer holds for a process that sleeps.
const DATAGRAMS_MAX: usize = 512;
