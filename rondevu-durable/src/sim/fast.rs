//! Links in memory: messages with latency, cuts, holes, late deliveries and small buffers.

mod faults;
mod flight;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use bytes::Bytes;
use core::time::Duration;
use rondevu_core::{
    Fingerprints, Instant, LinkClosed, LinkEvent, LinkInfo, MessageKind, OpenedBy, StreamId,
    StreamOptions,
};

use self::faults::Path;
use self::flight::{Doom, Flight, Way, What};
use super::Setup;
use super::fabric::{Description, EndId, Fabric, FabricEvent, Fault, Lost, Node, Told, Write};

/// Links without an engine.
///
/// Messages of one stream stay in order; those of different streams overtake each other, as they
/// do on a link that loses datagrams.
#[derive(Debug)]
pub struct FastFabric {
    rng: fastrand::Rng,
    latency: Duration,
    jitter: Duration,
    ends: Vec<End>,
    paths: Vec<Path>,
    flights: BinaryHeap<Reverse<Flight>>,
    number: u64,
    /// What came in for nodes that sleep.
    asleep: BTreeMap<Node, Vec<Flight>>,
    ready: VecDeque<(EndId, FabricEvent)>,
    lost: Vec<Lost>,
}

#[derive(Debug)]
struct End {
    node: Node,
    dialer: u8,
    peer: Option<EndId>,
    control: StreamOptions,
    connected: bool,
    /// Nothing is reported any more.
    over: bool,
    /// Nothing comes in any more, and nobody was told.
    dead: bool,
    /// A stream is being closed under its channel.
    wounded: bool,
    streams: u32,
    open: BTreeMap<StreamId, Way>,
    buffered: usize,
    buffer_max: usize,
    wants_room: bool,
    lag: Duration,
    /// What was held back must come first.
    not_before: Instant,
    held: Vec<Flight>,
    last_due: BTreeMap<StreamId, Instant>,
}

impl FastFabric {
    fn end(&mut self, id: EndId) -> &mut End {
        &mut self.ends[id.0 as usize]
    }

    fn add_end(&mut self, node: Node, dialer: u8, control: StreamOptions) -> EndId {
        let id = EndId(self.ends.len() as u32);
        self.ends.push(End {
            node,
            dialer,
            peer: None,
            control,
            connected: false,
            over: false,
            dead: false,
            wounded: false,
            streams: match node {
                Node::Service => 0,
                Node::Dialer(_) => 1,
            },
            open: BTreeMap::new(),
            buffered: 0,
            buffer_max: 128 * 1024,
            wants_room: false,
            lag: Duration::ZERO,
            not_before: Instant::ORIGIN,
            held: Vec::new(),
            last_due: BTreeMap::new(),
        });
        id
    }

    /// What a link says of itself: certificates that no other link has.
    fn info(&self, end: EndId) -> LinkInfo {
        let print = |id: Option<EndId>| {
            let mut print = [0; 32];
            print[..4].copy_from_slice(&id.map_or(u32::MAX, |id| id.0).to_be_bytes());
            print
        };
        LinkInfo {
            fingerprints: Some(Fingerprints {
                local: print(Some(end)),
                remote: print(self.ends[end.0 as usize].peer),
            }),
            message_bytes_max: 64 * 1024,
            batch_bytes: 8 * 1024,
        }
    }

    /// The other end, if both have met.
    fn mate(&self, id: EndId) -> Option<EndId> {
        let peer = self.ends[id.0 as usize].peer?;
        (self.ends[peer.0 as usize].peer == Some(id)).then_some(peer)
    }

    fn travel_time(&mut self, to: EndId) -> Duration {
        let end = &self.ends[to.0 as usize];
        let path = self.paths[end.dialer as usize];
        let mut time = self.latency + end.lag;
        if !self.jitter.is_zero() {
            time += self.jitter.mul_f64(self.rng.f64());
        }
        if path.loss > 0 && self.rng.u8(..100) < path.loss {
            // Lost once and sent again by the engine.
            time += Duration::from_millis(self.rng.u64(200..1000));
        }
        time
    }

    /// Puts something on its way to `to`; what belongs to one stream stays in order.
    fn launch(&mut self, to: EndId, stream: Option<StreamId>, what: What, now: Instant) {
        let travel = self.travel_time(to);
        let end = &mut self.ends[to.0 as usize];
        let mut due = (now + travel).max(end.not_before);
        if let Some(stream) = stream {
            let last = end.last_due.entry(stream).or_insert(due);
            due = due.max(*last);
            *last = due;
        }
        self.push(due, to, what);
    }

    fn push(&mut self, due: Instant, to: EndId, what: What) {
        self.number += 1;
        let number = self.number;
        self.flights.push(Reverse(Flight {
            due,
            number,
            to,
            what,
        }));
    }

    fn is_holed(&self, to: EndId) -> bool {
        let end = &self.ends[to.0 as usize];
        let path = self.paths[end.dialer as usize];
        match end.node {
            Node::Service => path.to_service,
            Node::Dialer(_) => path.to_dialer,
        }
    }

    fn arrive(&mut self, flight: Flight, now: Instant) {
        let to = flight.to;
        let end = &self.ends[to.0 as usize];
        if end.over {
            return self.lose(flight);
        }
        match flight.what {
            What::Death(doom) => {
                let path = self.paths[end.dialer as usize];
                let comes = match doom {
                    Doom::Certain => true,
                    Doom::Hole(n) => n == path.holes && (path.to_service || path.to_dialer),
                    Doom::NoPath => !end.connected,
                };
                if comes {
                    self.finish(to, LinkClosed::NoPath);
                }
                return;
            }
            _ if end.dead => return self.lose(flight),
            What::Ended(_)
            | What::Connected
            | What::Opened(..)
            | What::Message(..)
            | What::StreamClosed(_)
            | What::Taken(_) => {}
        }
        if self.is_holed(to) {
            return self.end(to).held.push(flight);
        }
        if flight.due < end.not_before {
            let due = end.not_before;
            return self.flights.push(Reverse(Flight { due, ..flight }));
        }
        self.report(to, flight.what, now);
    }

    fn report(&mut self, to: EndId, what: What, now: Instant) {
        self.ready.push_back((to, FabricEvent::PathActivity));
        let event = match what {
            What::Connected => {
                let end = self.end(to);
                end.connected = true;
                if end.node == Node::Service {
                    let (options, stream) = (end.control.clone(), StreamId(0));
                    end.open.insert(stream, Way::from(&options));
                    end.streams = 2;
                    if let Some(peer) = end.peer {
                        let opened = What::Opened(stream, options.clone(), OpenedBy::Remote);
                        self.launch(peer, Some(stream), opened, now);
                    }
                    let connected = LinkEvent::Connected(self.info(to));
                    self.ready.push_back((to, FabricEvent::Link(connected)));
                    LinkEvent::StreamOpened {
                        stream,
                        options,
                        by: OpenedBy::Local,
                    }
                } else {
                    LinkEvent::Connected(self.info(to))
                }
            }
            What::Opened(stream, options, by) => {
                self.end(to).open.insert(stream, Way::from(&options));
                LinkEvent::StreamOpened {
                    stream,
                    options,
                    by,
                }
            }
            What::Message(stream, kind, payload) => {
                if let Some(peer) = self.end(to).peer {
                    self.launch(peer, None, What::Taken(payload.len()), now);
                }
                LinkEvent::StreamMessage {
                    stream,
                    kind,
                    payload,
                }
            }
            What::StreamClosed(stream) => {
                let end = self.end(to);
                end.open.remove(&stream);
                end.wounded = false;
                LinkEvent::StreamClosed { stream }
            }
            What::Taken(bytes) => {
                let end = self.end(to);
                end.buffered = end.buffered.saturating_sub(bytes);
                if !end.wants_room || end.buffered > end.buffer_max / 2 {
                    return;
                }
                end.wants_room = false;
                LinkEvent::Writable
            }
            What::Ended(reason) => return self.finish(to, reason),
            What::Death(_) => return,
        };
        self.ready.push_back((to, FabricEvent::Link(event)));
    }

    fn finish(&mut self, end: EndId, reason: LinkClosed) {
        if !core::mem::replace(&mut self.end(end).over, true) {
            let event = LinkEvent::Closed { reason };
            self.ready.push_back((end, FabricEvent::Link(event)));
            for flight in core::mem::take(&mut self.end(end).held) {
                self.lose(flight);
            }
        }
    }

    fn lose(&mut self, flight: Flight) {
        if let What::Message(stream, _, payload) = flight.what {
            self.lost.push(Lost {
                to: flight.to,
                stream,
                payload,
            });
        }
    }
}

impl Fabric for FastFabric {
    const IS_REPEATABLE: bool = true;

    fn new(setup: &Setup) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(setup.seed ^ 0xfab_11c),
            latency: Duration::from_millis(setup.latency_ms.into()),
            jitter: Duration::from_millis(setup.jitter_ms.into()),
            ends: Vec::new(),
            paths: vec![Path::default(); setup.paths() as usize],
            flights: BinaryHeap::new(),
            number: 0,
            asleep: BTreeMap::new(),
            ready: VecDeque::new(),
            lost: Vec::new(),
        }
    }

    fn offer(&mut self, stream: StreamOptions, _: Instant) -> Option<(EndId, StreamId)> {
        Some((self.add_end(Node::Service, 0, stream), StreamId(0)))
    }

    fn answer(&mut self, dialer: u8, offer: Description, now: Instant) -> Option<EndId> {
        let control = self.ends.get(offer.0.0 as usize)?.control.clone();
        let id = self.add_end(Node::Dialer(dialer), dialer, control);
        self.end(id).peer = Some(offer.0);
        // An engine that finds no path says so after a while.
        let patience = Duration::from_millis(self.rng.u64(8000..15_000));
        self.push(now + patience, id, What::Death(Doom::NoPath));
        Some(id)
    }

    fn accept(&mut self, offer: EndId, answer: Description, now: Instant) -> bool {
        let answerer = answer.0;
        let Some(dialer) = self.ends.get(answerer.0 as usize).map(|end| end.dialer) else {
            return false;
        };
        let end = self.end(offer);
        if end.peer.is_some() || end.over {
            return false;
        }
        end.peer = Some(answerer);
        end.dialer = dialer;
        let mutual = self.ends[answerer.0 as usize].peer == Some(offer);
        if mutual {
            let set_up = self.latency * self.rng.u32(4..8);
            self.push(now + set_up, offer, What::Connected);
            self.push(now + set_up, answerer, What::Connected);
        } else {
            let patience = Duration::from_millis(self.rng.u64(8000..15_000));
            self.push(now + patience, offer, What::Death(Doom::Certain));
        }
        true
    }

    fn open_stream(&mut self, end: EndId, options: StreamOptions, now: Instant) -> bool {
        let this = self.end(end);
        if this.over {
            return false;
        }
        let stream = StreamId(this.streams);
        this.streams += 2;
        let Some(peer) = this.peer else { return false };
        if self.rng.bool() {
            let opened = What::Opened(stream, options.clone(), OpenedBy::Local);
            self.push(now, end, opened);
        } else {
            let opened = What::Opened(stream, options.clone(), OpenedBy::Local);
            self.launch(end, Some(stream), opened, now);
        }
        let opened = What::Opened(stream, options, OpenedBy::Remote);
        self.launch(peer, Some(stream), opened, now);
        true
    }

    fn close_stream(&mut self, end: EndId, stream: StreamId, now: Instant) {
        if self.end(end).open.remove(&stream).is_none() {
            return;
        }
        self.push(now, end, What::StreamClosed(stream));
        if let Some(peer) = self.end(end).peer {
            self.launch(peer, Some(stream), What::StreamClosed(stream), now);
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
        let this = self.end(end);
        if this.over || !this.open.contains_key(&stream) {
            return Write::Gone;
        }
        if this.buffered > 0 && this.buffered + payload.len() > this.buffer_max {
            this.wants_room = true;
            return Write::Full;
        }
        this.buffered += payload.len();
        let Some(peer) = this.peer else {
            return Write::Accepted;
        };
        let Way { ordered, lossy } = self.end(end).open[&stream];
        let loss = self.paths[self.ends[peer.0 as usize].dialer as usize].loss;
        let is_lost = lossy && (self.is_holed(peer) || self.rng.u8(..100) < loss);
        if is_lost {
            self.launch(end, None, What::Taken(payload.len()), now);
        } else {
            let message = What::Message(stream, kind, payload.clone());
            if ordered {
                self.launch(peer, Some(stream), message, now);
            } else {
                // Never before the news that the stream is open (RFC 8832, section 6).
                let opened = self.ends[peer.0 as usize].last_due.get(&stream).copied();
                let due = now + self.travel_time(peer);
                let not_before = self.ends[peer.0 as usize].not_before;
                let due = due.max(opened.unwrap_or(due)).max(not_before);
                self.push(due, peer, message);
            }
        }
        Write::Accepted
    }

    fn close(&mut self, end: EndId, now: Instant) {
        if self.end(end).over {
            return;
        }
        if let Some(peer) = self.mate(end) {
            self.launch(peer, None, What::Ended(LinkClosed::Remote), now);
        }
        self.finish(end, LinkClosed::Local);
    }

    fn vanish(&mut self, end: EndId, now: Instant) {
        self.end(end).over = true;
        if let Some(peer) = self.mate(end) {
            let patience = Duration::from_millis(self.rng.u64(8000..30_000));
            self.push(now + patience, peer, What::Death(Doom::Certain));
        }
    }

    fn is_alive(&self, end: EndId) -> bool {
        !self.ends[end.0 as usize].over
    }

    fn is_healthy(&self, end: EndId) -> bool {
        let works = |id: EndId| {
            let end = &self.ends[id.0 as usize];
            end.connected && !end.over && !end.dead && !end.wounded && !self.is_holed(id)
        };
        works(end) && self.mate(end).is_some_and(works)
    }

    fn fall_asleep(&mut self, node: Node) {
        self.asleep.entry(node).or_default();
    }

    fn wake(&mut self, node: Node, now: Instant) {
        let waiting = self.asleep.remove(&node).unwrap_or_default();
        let due = |flight: Flight| Reverse(Flight { due: now, ..flight });
        self.flights.extend(waiting.into_iter().map(due));
    }

    fn impair(&mut self, dialer: u8, fault: Fault, now: Instant) {
        match fault {
            Fault::Cut(told) => self.cut(dialer, told, now),
            Fault::Roam => self.cut(dialer, Told::Nobody, now),
            Fault::Hole(direction) => self.hole(dialer, direction, now),
            Fault::Lag(ms) => {
                for id in self.links_of(dialer) {
                    self.end(id).lag = Duration::from_millis(ms.into());
                }
            }
            Fault::Congest(bytes) => {
                for id in self.links_of(dialer) {
                    self.end(id).buffer_max = bytes.into();
                }
            }
            Fault::Loss(percent) | Fault::Disorder(percent) => {
                self.paths[dialer as usize].loss = percent;
            }
            Fault::CloseStream => self.close_random_stream(dialer, now),
        }
    }

    fn heal(&mut self, now: Instant) {
        for path in &mut self.paths {
            *path = Path {
                holes: path.holes,
                ..Path::default()
            };
        }
        for id in 0..self.ends.len() {
            let end = &mut self.ends[id];
            (end.lag, end.buffer_max) = (Duration::ZERO, 128 * 1024);
            let held = core::mem::take(&mut end.held);
            if !held.is_empty() {
                let late = now + Duration::from_millis(self.rng.u64(20..1500));
                // Not before what was held in an earlier hole.
                let due = late.max(self.ends[id].not_before);
                self.ends[id].not_before = due;
                let again = held
                    .into_iter()
                    .map(|flight| Reverse(Flight { due, ..flight }));
                self.flights.extend(again);
            }
            if self.ends[id].wants_room && !self.ends[id].over {
                self.push(now, EndId(id as u32), What::Taken(0));
            }
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        while self.flights.peek().is_some_and(|Reverse(f)| f.due <= now) {
            let Some(Reverse(flight)) = self.flights.pop() else {
                return;
            };
            let node = self.ends[flight.to.0 as usize].node;
            if let Some(waiting) = self.asleep.get_mut(&node) {
                waiting.push(flight);
                continue;
            }
            self.arrive(flight, now);
            if !self.ready.is_empty() {
                return;
            }
        }
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
        self.flights.peek().map(|Reverse(flight)| flight.due)
    }

    fn poll_lost(&mut self) -> Option<Lost> {
        self.lost.pop()
    }

    fn calm_round_trip_ms(&self) -> u64 {
        2 * (self.latency + self.jitter).as_millis() as u64
    }

    fn calm_set_up_ms(&self) -> u64 {
        8 * (self.latency + self.jitter).as_millis() as u64
    }

    fn calm_drain_ms(&self) -> u64 {
        0
    }
}
