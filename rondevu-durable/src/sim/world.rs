//! A simulated world: processes, links and a signaling server in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use core::time::Duration;
use rondevu_core::frame::Hello;
use rondevu_core::{DurableConnectionState, Incarnation, Instant, LinkEvent, SessionId, StreamId};

use super::Setup;
use super::conn::Conn;
use super::coverage::{Coverage, Situation, Table};
use super::fabric::{EndId, Fabric, FabricEvent, Node};
use super::frames;
use super::host::Host;
use super::ledger::Ledger;
use super::signaling::{Asker, Signaling};
use super::stranger::Stranger;
use crate::{ConnectionMachine, Seeds};

/// Names a machine; never used twice.
pub(super) type Uid = u32;

/// A law that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub law: &'static str,
    /// How.
    pub how: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.law, self.how)
    }
}

pub(super) fn broken<T>(law: &'static str, how: impl Into<String>) -> Result<T, Broken> {
    Err(Broken {
        law,
        how: how.into(),
    })
}

/// Who has an end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Nobody,
    Offer,
    Greeting,
    Conn(Uid),
    /// By its place among them.
    Stranger(usize),
}

/// What is known of an end.
#[derive(Debug)]
pub(super) struct EndNotes {
    pub(super) owner: Owner,
    pub(super) control: Option<StreamId>,
    pub(super) channels: BTreeSet<StreamId>,
    /// The row of the frame that arrived last.
    pub(super) last: Option<usize>,
    pub(super) has_lost: bool,
}

/// The world.
#[derive(Debug)]
pub(super) struct World<F> {
    pub(super) setup: Setup,
    pub(super) now: Instant,
    pub(super) fabric: F,
    pub(super) signaling: Signaling,
    pub(super) host: Option<Host>,
    pub(super) lives: u32,
    pub(super) busy: bool,
    pub(super) conns: BTreeMap<Uid, Conn>,
    /// Connections whose process was killed.
    pub(super) graves: BTreeMap<Uid, Conn>,
    /// The present connection of each dialer.
    pub(super) dialers: Vec<Option<Uid>>,
    pub(super) strangers: Vec<Stranger>,
    /// The links of the service whose other end is a stranger's.
    pub(super) callers: BTreeMap<EndId, usize>,
    pub(super) ends: BTreeMap<EndId, EndNotes>,
    pub(super) hellos: BTreeMap<SessionId, Hello>,
    pub(super) ledger: Ledger,
    pub(super) coverage: Coverage,
    pub(super) asleep: BTreeMap<Node, Instant>,
    pub(super) rng: fastrand::Rng,
    next_uid: Uid,
    /// Facts of links so far.
    pub(super) facts: u64,
    /// A digest of everything that happened: two runs of one seed must have the same.
    pub(super) digest: u64,
    pub(super) log: Option<Vec<String>>,
}

/// Adds a line to the log, if there is one.
macro_rules! note {
    ($world:expr, $($what:tt)*) => {
        if $world.log.is_some() {
            let at = $world.now.since_origin().as_micros() as f64 / 1000.0;
            let line = format!("{at:>12.3} ms  {}", format_args!($($what)*));
            if let Some(log) = &mut $world.log {
                log.push(line);
            }
        }
    };
}
pub(super) use note;

impl<F: Fabric> World<F> {
    pub(super) fn new(setup: &Setup) -> Self {
        let latency = Duration::from_millis(u64::from(setup.latency_ms.max(2)));
        let strangers = (setup.dialers..).zip(&setup.strangers);
        let strangers =
            strangers.map(|(number, manners)| Stranger::new(*manners, number, setup.seed));
        Self {
            fabric: F::new(setup),
            signaling: Signaling::new(setup.seed, latency, setup.ttl),
            now: Instant::ORIGIN,
            host: None,
            lives: 0,
            busy: false,
            conns: BTreeMap::new(),
            graves: BTreeMap::new(),
            dialers: vec![None; setup.dialers as usize],
            strangers: strangers.collect(),
            callers: BTreeMap::new(),
            ends: BTreeMap::new(),
            hellos: BTreeMap::new(),
            ledger: Ledger::default(),
            coverage: Coverage::default(),
            asleep: BTreeMap::new(),
            rng: fastrand::Rng::with_seed(setup.seed ^ 0x3077),
            next_uid: 0,
            facts: 0,
            digest: 0,
            log: None,
            setup: setup.clone(),
        }
    }

    /// Starts all processes.
    pub(super) fn begin(&mut self) -> Result<(), Broken> {
        self.start_service()?;
        for dialer in 0..self.setup.dialers {
            self.start_dialer(dialer)?;
        }
        Ok(())
    }

    pub(super) fn seeds(&mut self) -> Seeds {
        Seeds {
            session: SessionId(self.rng.u128(..)),
            incarnation: Incarnation(self.rng.u64(..)),
            rng: self.rng.u64(..),
        }
    }

    pub(super) fn add_conn(&mut self, conn: Conn) -> Uid {
        let uid = self.next_uid;
        self.next_uid += 1;
        self.conns.insert(uid, conn);
        uid
    }

    pub(super) fn start_dialer(&mut self, dialer: u8) -> Result<(), Broken> {
        let seeds = self.seeds();
        let trust = self.setup.trust_of_dialer(dialer);
        let mut machine = ConnectionMachine::dialer(self.setup.dialer.clone(), trust, seeds);
        machine.connect(self.now);
        let uid = self.add_conn(Conn::new(Node::Dialer(dialer), dialer, machine));
        self.ledger.begin_dialer(uid, seeds.session);
        self.dialers[dialer as usize] = Some(uid);
        note!(self, "dialer {dialer} starts as c{uid}");
        self.turn(uid)
    }

    pub(super) fn is_asleep(&self, node: Node) -> bool {
        self.asleep.contains_key(&node)
    }

    pub(super) fn note_end(&mut self, end: EndId, owner: Owner) {
        let notes = self.ends.entry(end).or_insert_with(|| EndNotes {
            owner,
            control: None,
            channels: BTreeSet::new(),
            last: None,
            has_lost: false,
        });
        notes.owner = owner;
    }

    fn mix(&mut self, value: u64) {
        self.digest = (self.digest ^ value)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(23);
    }

    // ---- time ----

    /// Runs until `end` or until so many facts of links were told.
    pub(super) fn run(&mut self, end: Instant, facts: u64) -> Result<(), Broken> {
        let facts_max = self.facts.saturating_add(facts);
        let (mut rounds, mut instant) = (0, self.now);
        while self.facts < facts_max {
            match self.next_due().filter(|at| *at <= end) {
                Some(at) => self.now = self.now.max(at),
                None => {
                    self.now = self.now.max(end);
                    return Ok(());
                }
            }
            rounds = if instant == self.now { rounds + 1 } else { 0 };
            instant = self.now;
            if rounds > ROUNDS_MAX {
                return broken("comes to rest", "the same instant never ends");
            }
            self.do_what_is_due()?;
        }
        Ok(())
    }

    fn next_due(&self) -> Option<Instant> {
        let awake = |conn: &&Conn| !self.is_asleep(conn.node);
        let conns = self.conns.values().filter(awake);
        let host = self
            .host
            .as_ref()
            .filter(|_| !self.is_asleep(Node::Service));
        let once = [
            self.fabric.poll_timeout(),
            self.signaling.poll_timeout(),
            host.and_then(Host::poll_timeout),
            self.asleep.values().min().copied(),
        ];
        let conns = conns.filter_map(|conn| conn.due);
        let strangers = self.strangers.iter().filter_map(Stranger::due);
        once.into_iter()
            .flatten()
            .chain(conns)
            .chain(strangers)
            .min()
    }

    fn do_what_is_due(&mut self) -> Result<(), Broken> {
        let now = self.now;
        self.wake(now)?;
        while let Some((asker, response)) = self.signaling.poll(now) {
            self.on_response(asker, response)?;
        }
        if let Some((end, event)) = self.fabric.poll_event(now) {
            self.on_fabric_event(end, event)?;
        }
        self.note_losses();
        self.run_strangers();
        self.run_host()?;
        let due = |conn: &Conn| conn.due.is_some_and(|at| at <= now);
        let uids: Vec<Uid> = self
            .conns
            .iter()
            .filter(|(_, conn)| due(conn) && !self.is_asleep(conn.node))
            .map(|(uid, _)| *uid)
            .collect();
        for uid in uids {
            self.turn(uid)?;
        }
        Ok(())
    }

    /// Lets go on whoever has slept long enough.
    pub(super) fn wake(&mut self, now: Instant) -> Result<(), Broken> {
        let awake: Vec<Node> = self
            .asleep
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(node, _)| *node)
            .collect();
        for node in awake {
            self.asleep.remove(&node);
            self.fabric.wake(node, self.now);
            note!(self, "{node:?} wakes");
        }
        Ok(())
    }

    fn on_response(
        &mut self,
        asker: Asker,
        response: super::signaling::Response,
    ) -> Result<(), Broken> {
        let node = match asker {
            Asker::Service { .. } => Some(Node::Service),
            Asker::Attempt { conn, .. } => self.conns.get(&conn).map(|conn| conn.node),
            Asker::Stranger { .. } => None,
        };
        if let Some(until) = node.and_then(|node| self.asleep.get(&node)) {
            self.signaling.put_back(asker, response, *until);
            return Ok(());
        }
        if let super::signaling::Response::Failed { why, .. } = &response {
            self.coverage.situation(Situation::Signaling(*why));
        }
        note!(self, "signaling tells {asker:?}: {response:?}");
        match asker {
            Asker::Service { life } => self.on_service_response(life, response),
            Asker::Attempt { conn, link } => self.on_attempt_response(conn, link, response),
            Asker::Stranger { number } => {
                self.on_stranger_response(number, response);
                Ok(())
            }
        }
    }

    fn on_fabric_event(&mut self, end: EndId, event: FabricEvent) -> Result<(), Broken> {
        let event = match event {
            FabricEvent::PathActivity => {
                if let Some(Owner::Conn(uid)) = self.ends.get(&end).map(|notes| notes.owner)
                    && let Some(conn) = self.conns.get_mut(&uid)
                    && let Some(link) = conn.link_of(end)
                {
                    conn.machine.handle_path_activity(link, self.now);
                    conn.due = conn.next_due();
                }
                return Ok(());
            }
            FabricEvent::Link(event) => event,
        };
        self.facts += 1;
        self.mix(self.now.since_origin().as_nanos() as u64 ^ (u64::from(end.0) << 48));
        self.tap(end, &event);
        let Some(notes) = self.ends.get(&end) else {
            return Ok(());
        };
        match notes.owner {
            Owner::Nobody | Owner::Offer => Ok(()),
            Owner::Greeting => self.on_greeting_event(end, event),
            Owner::Conn(uid) => self.on_link_event(uid, end, event),
            Owner::Stranger(index) => self.on_stranger_event(index, end, event),
        }
    }

    pub(super) fn on_link_event(
        &mut self,
        uid: Uid,
        end: EndId,
        event: LinkEvent,
    ) -> Result<(), Broken> {
        let link = self.conns.get(&uid).and_then(|conn| conn.link_of(end));
        let Some(link) = link else {
            return Ok(());
        };
        note!(
            self,
            "c{uid} hears on {link:?} ({end:?}): {}",
            self.summary(end, &event)
        );
        let is_closed = matches!(event, LinkEvent::Closed { .. });
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(());
        };
        if conn.dialing == Some(link) {
            if let Some(link) = conn.link(link) {
                link.early.push_back(event);
            }
            return Ok(());
        }
        let is_message = matches!(event, LinkEvent::StreamMessage { .. });
        conn.machine.handle_link_event(link, event, self.now);
        let state = conn.machine.state();
        let lives = conn.machine.live_link() == Some(link) && !state.is_final();
        if is_message && lives && state != DurableConnectionState::Connected {
            let how = format!("c{uid} hears its peer and is {state}");
            return broken("who hears is connected", how);
        }
        if is_closed {
            conn.links.retain(|link| link.end != end);
        }
        self.turn(uid)
    }

    pub(super) fn summary(&self, end: EndId, event: &LinkEvent) -> String {
        let control = self.ends.get(&end).and_then(|notes| notes.control);
        frames::summary(control, event)
    }

    /// Counts the frames of a message.
    fn tap(&mut self, end: EndId, event: &LinkEvent) {
        if self.callers.contains_key(&end) {
            return;
        }
        let Some(notes) = self.ends.get_mut(&end) else {
            return;
        };
        let is_late = match notes.owner {
            Owner::Conn(uid) => self.conns.get(&uid).is_none_or(|conn| {
                let link = conn.link_of(end);
                link.is_none() || (link != conn.machine.live_link() && !conn.is_dialer())
            }),
            Owner::Greeting => false,
            Owner::Stranger(_) => return,
            Owner::Nobody | Owner::Offer => true,
        };
        if matches!(event, LinkEvent::Closed { .. })
            && let Some(last) = notes.last
        {
            self.coverage.count(Table::Frames, last, 3);
        }
        let coverage = &mut self.coverage;
        frames::read(notes, event, |row| {
            coverage.count(Table::Frames, row, usize::from(is_late));
        });
    }

    pub(super) fn note_losses(&mut self) {
        while let Some(lost) = self.fabric.poll_lost() {
            let Some(notes) = self.ends.get_mut(&lost.to) else {
                continue;
            };
            if !core::mem::replace(&mut notes.has_lost, true)
                && let Some(row) = frames::first_row(notes, lost.stream, lost.payload)
            {
                self.coverage.count(Table::Frames, row, 4);
            }
        }
    }
}

/// More rounds in one instant mean that the world turns in a circle.
const ROUNDS_MAX: u32 = 50_000;
