//! Does the operations.

use bytes::Bytes;
use core::time::Duration;
use rondevu_core::frame::ChannelOptions;
use rondevu_core::{
    ByeReason, DurableChannelState, Instant, LinkEvent, LinkId, LinkInfo, MessageKind, Reliability,
    StreamId,
};

use super::conn::Reading;
use super::coverage::{Situation, Table};
use super::fabric::{Fabric, Fault, Node, Told};
use super::op::{At, Kind, Op, Process, Server, Size};
use super::world::{Broken, Uid, World, broken, note};
use crate::{Arrival, ChannelConfig, DialFailure, DialRetry, SendError};

/// Whether an operation found something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Done,
    Nothing,
}

impl<F: Fabric> World<F> {
    pub(super) fn apply(&mut self, op: Op) -> Result<(), Broken> {
        note!(self, "--- {op:?}");
        let effect = self.do_operation(op)?;
        let column = usize::from(effect == Effect::Nothing);
        self.coverage.count(Table::Operations, op.number(), column);
        Ok(())
    }

    fn do_operation(&mut self, op: Op) -> Result<Effect, Broken> {
        let now = self.now;
        match op {
            Op::Wait { ms } => self.run(now + Duration::from_millis(ms.into()), u64::MAX)?,
            // Nothing may come for long, but not for ever.
            Op::Step { facts } => self.run(now + Duration::from_secs(5), facts.into())?,
            Op::Open {
                at,
                kind,
                overflow,
                half_open,
            } => {
                let config = ChannelConfig {
                    queue: self.setup.queue(overflow),
                    half_open,
                    options: options(kind),
                };
                self.coverage.situation(Situation::ChannelOf(kind));
                return self.open(at, &config);
            }
            Op::Send {
                at,
                channel,
                size,
                count,
            } => return self.send(at, channel, size, count),
            Op::Read { at, count } => return self.read_some(at, count),
            Op::ReadSlowly { at } => return self.set_reading(at, Reading::Slow),
            Op::ReadEagerly { at } => return self.set_reading(at, Reading::Eager),
            Op::Finish { at, channel } => return self.end_direction(at, channel, Reading::Eager),
            Op::Discard { at, channel } => return self.end_direction(at, channel, Reading::Slow),
            Op::Forget { at } => return self.forget(at),
            Op::Close { at } => {
                if let Some(conn) = self.uid(at).and_then(|uid| self.conns.get_mut(&uid)) {
                    conn.is_closing = true;
                }
                return self.command(at, |machine| machine.close(now));
            }
            Op::Abort { at } => {
                return self.command(at, |machine| machine.abort(ByeReason::ShuttingDown));
            }
            Op::RetryNow { dialer } => {
                return self.command(At::Dialer(dialer), |machine| machine.retry_now(now));
            }
            Op::Pause { dialer } => {
                return self.command(At::Dialer(dialer), |machine| machine.pause(now));
            }
            Op::Resume { dialer } => {
                return self.command(At::Dialer(dialer), |machine| machine.resume(now));
            }
            Op::Roam { dialer } => {
                self.impair(dialer, Fault::Roam);
                return self.command(At::Dialer(dialer), |machine| {
                    machine.handle_network_change(now);
                });
            }
            Op::Impair { dialer, fault } => self.impair(dialer, fault),
            Op::Heal => self.heal_links()?,
            Op::Signaling { server } => self.set_mood(server),
            Op::Busy => self.busy = true,
            Op::Kill { process } => return self.kill(process),
            Op::Restart { process } => {
                self.kill(process)?;
                match process {
                    Process::ServiceProcess if self.host.is_none() => self.start_service()?,
                    Process::DialerProcess(dialer) if self.dialer_at(dialer).is_none() => {
                        self.start_dialer(dialer % self.setup.dialers)?;
                    }
                    Process::ServiceProcess | Process::DialerProcess(_) => {}
                }
            }
            Op::Suspend { process, ms } => return self.suspend(process, ms),
            Op::TellAgain { at } => return self.tell_again(at),
            Op::RepeatHello { dialer } => return self.repeat_hello(dialer),
            Op::Calm => self.calm()?,
        }
        Ok(Effect::Done)
    }

    // ---- who ----

    pub(super) fn dialer_at(&self, dialer: u8) -> Option<Uid> {
        self.dialers[(dialer % self.setup.dialers) as usize]
    }

    /// The connection at `at` that is awake.
    fn uid(&self, at: At) -> Option<Uid> {
        let uid = match at {
            At::Dialer(dialer) => self.dialer_at(dialer)?,
            At::Service(dialer) => {
                let session = self.conns.get(&self.dialer_at(dialer)?)?.machine.session();
                *self.host.as_ref()?.sessions.get(&session)?
            }
        };
        let conn = self.conns.get(&uid)?;
        (!self.is_asleep(conn.node)).then_some(uid)
    }

    fn command(
        &mut self,
        at: At,
        command: impl FnOnce(&mut crate::ConnectionMachine),
    ) -> Result<Effect, Broken> {
        let Some(uid) = self.uid(at) else {
            return Ok(Effect::Nothing);
        };
        if let Some(conn) = self.conns.get_mut(&uid) {
            command(&mut conn.machine);
        }
        self.turn(uid)?;
        Ok(Effect::Done)
    }

    // ---- applications ----

    fn open(&mut self, at: At, config: &ChannelConfig) -> Result<Effect, Broken> {
        let Some(uid) = self.uid(at) else {
            return Ok(Effect::Nothing);
        };
        if let Some(conn) = self.conns.get_mut(&uid)
            && conn.machine.open_channel("chat", config).is_err()
        {
            self.coverage.situation(Situation::ChannelRefused);
        }
        self.turn(uid)?;
        Ok(Effect::Done)
    }

    fn send(&mut self, at: At, channel: u8, size: Size, count: u8) -> Result<Effect, Broken> {
        let Some(uid) = self.uid(at) else {
            return Ok(Effect::Nothing);
        };
        let Some(channel) = self.conns.get(&uid).and_then(|conn| conn.channel(channel)) else {
            return Ok(Effect::Nothing);
        };
        let config = match at {
            At::Dialer(_) => &self.setup.dialer,
            At::Service(_) => &self.setup.acceptor,
        };
        let fragment = config.fragment_bytes as usize;
        let len = match size {
            Size::Empty => 0,
            Size::Bytes(bytes) => bytes as usize,
            Size::Fragments(whole, more) => fragment * whole as usize + more as usize,
            Size::TwoWindows => (2 * config.window_bytes as usize).min(20_000),
            Size::TooLarge => config.message_bytes_max as usize + 1,
        };
        // Tiny fragments make large messages slow, not more interesting.
        let smallest = self
            .setup
            .dialer
            .fragment_bytes
            .min(self.setup.acceptor.fragment_bytes);
        let len = match size {
            Size::TooLarge => len,
            _ => len.min(smallest as usize * FRAGMENTS_MAX),
        };
        let row = match (len, size) {
            (0, _) => 0,
            (_, Size::TwoWindows | Size::TooLarge) => 3,
            (len, _) if len > smallest as usize => 2,
            _ => 1,
        };
        for _ in 0..count {
            self.send_one(uid, channel, len, row);
        }
        self.turn(uid)?;
        Ok(Effect::Done)
    }

    fn send_one(&mut self, uid: Uid, channel: rondevu_core::ChannelId, len: usize, row: usize) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&uid) else {
            return;
        };
        let session = conn.session;
        let wire = conn.wire(channel);
        let message = self.ledger.compose(uid, wire, session, len);
        let Some(machine) = conn.machine.channel_mut(channel) else {
            return;
        };
        let number = machine.outbox().accepted();
        let sent = match number % 4 {
            1 => machine.send_watched(message.clone(), now).map(|number| {
                conn.watched.push((channel, number));
            }),
            _ => machine.send(message.clone(), now),
        };
        let column = match sent {
            Ok(()) => {
                self.ledger.accepted(uid, wire, session, message);
                0
            }
            Err(SendError::Full(_)) => 1,
            Err(SendError::TooLarge { .. }) => 2,
            Err(SendError::Closed(_)) => 3,
        };
        self.coverage.count(Table::Sends, row, column);
    }

    pub(super) fn send_probe(&mut self, uid: Uid, channel: rondevu_core::ChannelId) {
        self.send_one(uid, channel, 10, 1);
    }

    fn read_some(&mut self, at: At, count: u8) -> Result<Effect, Broken> {
        let Some(uid) = self.uid(at) else {
            return Ok(Effect::Nothing);
        };
        let channels = self.conns.get(&uid).map(|conn| conn.channel_ids());
        for channel in channels.unwrap_or_default() {
            self.take(uid, channel, count.into())?;
        }
        self.turn(uid)?;
        Ok(Effect::Done)
    }

    fn set_reading(&mut self, at: At, reading: Reading) -> Result<Effect, Broken> {
        let Some(uid) = self.uid(at) else {
            return Ok(Effect::Nothing);
        };
        if let Some(conn) = self.conns.get_mut(&uid) {
            conn.reading = reading;
        }
        self.turn(uid)?;
        Ok(Effect::Done)
    }

    /// Ends a direction; a slow reader also throws away what comes in.
    fn end_direction(&mut self, at: At, channel: u8, reading: Reading) -> Result<Effect, Broken> {
        let Some(uid) = self.uid(at) else {
            return Ok(Effect::Nothing);
        };
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(Effect::Nothing);
        };
        let Some(id) = conn.channel(channel) else {
            return Ok(Effect::Nothing);
        };
        let state = conn.machine.channel(id).map(|channel| channel.state());
        if state == Some(DurableChannelState::Closed) {
            // Nobody would be told how much is thrown away.
            return Ok(Effect::Nothing);
        }
        if reading == Reading::Slow {
            let name = conn.name(id);
            conn.discarding.insert(name);
        }
        if let Some(channel) = conn.machine.channel_mut(id) {
            channel.finish();
            if reading == Reading::Slow {
                channel.discard_incoming();
            }
        }
        self.turn(uid)?;
        Ok(Effect::Done)
    }

    /// Closed channels of which everything was taken are forgotten.
    fn forget(&mut self, at: At) -> Result<Effect, Broken> {
        let Some(uid) = self.uid(at) else {
            return Ok(Effect::Nothing);
        };
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(Effect::Nothing);
        };
        for id in conn.channel_ids() {
            let done = conn.machine.channel(id).is_some_and(|channel| {
                channel.state() == DurableChannelState::Closed && channel.is_drained()
            });
            if done {
                conn.machine.forget_channel(id);
                conn.channel_states.remove(&id);
            }
        }
        self.turn(uid)?;
        Ok(Effect::Done)
    }

    // ---- the world ----

    fn impair(&mut self, dialer: u8, fault: Fault) {
        let dialer = dialer % self.setup.dialers;
        let row = match fault {
            Fault::Cut(_) => 0,
            Fault::Hole(_) => 1,
            Fault::Lag(_) => 2,
            Fault::Congest(_) => 3,
            Fault::Loss(_) => 4,
            Fault::Disorder(_) => 5,
            Fault::Roam => 6,
            Fault::CloseStream => 7,
        };
        self.coverage.count(Table::Faults, row, 0);
        if matches!(fault, Fault::Cut(Told::Both)) {
            note!(self, "links of dialer {dialer} are cut");
        }
        self.fabric.impair(dialer, fault, self.now);
        self.note_losses();
    }

    pub(super) fn heal_links(&mut self) -> Result<(), Broken> {
        self.fabric.heal(self.now);
        Ok(())
    }

    fn set_mood(&mut self, server: Server) {
        let row = match server {
            Server::Up => 0,
            Server::Down => 1,
            Server::Slow => 2,
            Server::Lying => 3,
            Server::Replaying => 4,
            Server::Forgetful => 5,
        };
        self.coverage.count(Table::Moods, row, 0);
        self.signaling.set_mood(server, self.now);
    }

    fn kill(&mut self, process: Process) -> Result<Effect, Broken> {
        match process {
            Process::ServiceProcess => {
                if self.host.is_none() {
                    self.start_service()?;
                } else {
                    self.asleep.remove(&Node::Service);
                    self.fabric.wake(Node::Service, self.now);
                    self.kill_service()?;
                }
            }
            Process::DialerProcess(dialer) => {
                let dialer = dialer % self.setup.dialers;
                match self.dialers[dialer as usize].take() {
                    None => self.start_dialer(dialer)?,
                    Some(uid) => {
                        note!(self, "dialer {dialer} is killed");
                        self.asleep.remove(&Node::Dialer(dialer));
                        self.fabric.wake(Node::Dialer(dialer), self.now);
                        self.kill_conn(uid)?;
                    }
                }
            }
        }
        Ok(Effect::Done)
    }

    fn suspend(&mut self, process: Process, ms: u32) -> Result<Effect, Broken> {
        let node = match process {
            Process::ServiceProcess => Node::Service,
            Process::DialerProcess(dialer) => Node::Dialer(dialer % self.setup.dialers),
        };
        let until: Instant = self.now + Duration::from_millis(ms.into());
        if ms == 0 || self.is_asleep(node) {
            return Ok(Effect::Nothing);
        }
        self.asleep.insert(node, until);
        for conn in self.conns.values_mut() {
            conn.up_since = None;
        }
        self.fabric.fall_asleep(node);
        Ok(Effect::Done)
    }

    // ---- what must change nothing ----

    fn tell_again(&mut self, at: At) -> Result<Effect, Broken> {
        let now = self.now;
        let Some(uid) = self.uid(at) else {
            return Ok(Effect::Nothing);
        };
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(Effect::Nothing);
        };
        let latest = conn.past.last().copied();
        let live = conn.machine.live_link();
        let stale = |link: &&LinkId| Some(**link) != live && Some(**link) != latest;
        let Some(link) = conn.past.iter().find(stale).copied() else {
            return Ok(Effect::Nothing);
        };
        let before = self.portrait(uid);
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(Effect::Nothing);
        };
        let payload = Bytes::from_static(&[5, 0]);
        let events = [
            LinkEvent::StreamMessage {
                stream: StreamId(0),
                kind: MessageKind::Binary,
                payload,
            },
            LinkEvent::Closed {
                reason: rondevu_core::LinkClosed::NoPath,
            },
        ];
        for event in events {
            conn.machine.handle_link_event(link, event, now);
        }
        conn.machine.handle_path_activity(link, now);
        let failure = DialFailure {
            reason: "late".into(),
            retry: DialRetry::Later,
        };
        conn.machine.handle_dial_failed(link, failure, now);
        self.coverage.situation(Situation::StaleFact);
        if before != self.portrait(uid) {
            let how = format!("c{uid} was changed by facts of {link:?}");
            return broken("stale facts change nothing", how);
        }
        Ok(Effect::Done)
    }

    fn repeat_hello(&mut self, dialer: u8) -> Result<Effect, Broken> {
        let now = self.now;
        let Some(uid) = self.uid(At::Service(dialer)) else {
            return Ok(Effect::Nothing);
        };
        let before = self.portrait(uid);
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(Effect::Nothing);
        };
        let Some(hello) = self.hellos.get(&conn.machine.session()).cloned() else {
            return Ok(Effect::Nothing);
        };
        let arrival = Arrival {
            link: LinkId(u64::MAX),
            control: StreamId(0),
            info: LinkInfo::UNKNOWN,
        };
        let outcome = conn.machine.handle_hello(arrival, hello, now);
        self.coverage.situation(Situation::OldHello);
        if outcome.is_ok() || before != self.portrait(uid) {
            let how = format!("c{uid} takes a hello twice: {outcome:?}");
            return broken("older generations", how);
        }
        Ok(Effect::Done)
    }

    /// The whole machine in words, without the count of late facts.
    pub(super) fn portrait(&self, uid: Uid) -> String {
        let Some(conn) = self.conns.get(&uid) else {
            return String::new();
        };
        let late = format!("late_facts: {}", conn.machine.late_facts());
        format!("{:?}", conn.machine).replace(&late, "")
    }
}

fn options(kind: Kind) -> ChannelOptions {
    let (ordered, lossy) = match kind {
        Kind::Ordered => (true, false),
        Kind::Unordered => (false, false),
        Kind::LossyOrdered => (true, true),
        Kind::LossyUnordered => (false, true),
    };
    ChannelOptions {
        ordered,
        reliability: match lossy {
            true => Reliability::MaxRetransmits(0),
            false => Reliability::Reliable,
        },
    }
}

/// The most fragments that a message is cut into.
pub(super) const FRAGMENTS_MAX: usize = 40;
