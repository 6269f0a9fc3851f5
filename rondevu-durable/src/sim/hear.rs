//! What an application hears and takes, and whether that is true.

use core::time::Duration;
use rondevu_core::{
    ByeReason, ChannelId, Delivery, DurableChannelState, DurableConnectionState, MessageKind,
    Unconfirmed,
};

use super::conn::{Ended, Reading};
use super::coverage::{Situation, Table};
use super::fabric::Fabric;
use super::world::{Broken, Uid, World, broken, note};
use crate::{ChannelEvent, ConnectionClosed, ConnectionEvent, ConnectionFailure, SessionLoss};

impl<F: Fabric> World<F> {
    pub(super) fn hear(&mut self, uid: Uid) -> Result<(), Broken> {
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(());
        };
        while conn.machine.poll_touched().is_some() {}
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(());
        };
        let mut events = Vec::new();
        while let Some(event) = conn.machine.poll_event() {
            events.push(event);
        }
        self.hear_outcomes(uid);
        let closed = self.hear_channels(uid)?;
        let mut closing = Unconfirmed::default();
        closed
            .iter()
            .for_each(|(_, unconfirmed)| closing += *unconfirmed);
        let is_reset =
            |event: &ConnectionEvent| matches!(event, ConnectionEvent::SessionReset { .. });
        let has_reset = events.iter().any(is_reset);
        for event in events {
            self.on_connection_event(uid, event, closing, has_reset)?;
        }
        if has_reset {
            self.move_to_new_session(uid, &closed);
        }
        self.note_channel_states(uid)
    }

    /// What became of single messages.
    fn hear_outcomes(&mut self, uid: Uid) {
        let Some(conn) = self.conns.get_mut(&uid) else {
            return;
        };
        let session = conn.session;
        let mut told = Vec::new();
        conn.watched.retain(|(channel, number)| {
            let machine = conn.machine.channel_mut(*channel);
            let outcome = machine.and_then(|channel| channel.take_outcome(*number));
            told.extend(outcome.map(|outcome| (*channel, *number, outcome)));
            outcome.is_none()
        });
        let base = conn.peer_ids_base;
        let dials = conn.is_dialer();
        let wire = |id: ChannelId| match dials && id.0 % 2 == 1 {
            true => ChannelId(id.0.wrapping_sub(base)),
            false => id,
        };
        for (channel, number, outcome) in told {
            self.coverage.situation(Situation::Outcome(outcome));
            self.ledger
                .told_outcome(uid, wire(channel), session, number as usize, outcome);
        }
    }

    fn on_connection_event(
        &mut self,
        uid: Uid,
        event: ConnectionEvent,
        closing: Unconfirmed,
        has_reset: bool,
    ) -> Result<(), Broken> {
        note!(self, "c{uid} tells {event:?}");
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(());
        };
        let side = conn.side();
        let row = match &event {
            ConnectionEvent::StateChanged { from, to } => {
                if conn.machine.peer_key().is_some() {
                    self.coverage.situation(Situation::Proved);
                }
                if conn.told_state != *from || !from.can_become(*to) {
                    let how = format!(
                        "c{uid} was {} and goes from {from} to {to}",
                        conn.told_state
                    );
                    return broken("events tell the state", how);
                }
                conn.told_state = *to;
                if *to == DurableConnectionState::Connected {
                    // An idle link that healed is only known to be stable once it is used.
                    let generation = conn.machine.generation();
                    let is_new = conn.up_generation.replace(generation) != Some(generation);
                    conn.up_since = is_new.then_some(self.now);
                }
                self.coverage
                    .count(Table::ConnectionStates, *from as usize, *to as usize);
                0
            }
            ConnectionEvent::Connected { .. } => {
                conn.attaches += 1;
                1
            }
            ConnectionEvent::Reconnecting { attempt, delay, .. } => {
                let config = &self.setup.dialer;
                let settled = config.stable_after + config.liveness.heartbeat * 2 + SETTLING;
                let up = conn.up_since.take().map(|since| self.now - since);
                let backoff = &config.backoff;
                let first_delay = backoff.base.mul_f64(1.0 + backoff.jitter);
                let is_first = *attempt == 1 && *delay <= first_delay.max(config.reconnect_spread);
                if up.is_some_and(|up| up > settled) && !is_first {
                    let how =
                        format!("c{uid} was up for {up:?}, and attempt {attempt} is in {delay:?}");
                    return broken("stable links count anew", how);
                }
                2
            }
            ConnectionEvent::Disconnected => 3,
            ConnectionEvent::IncomingChannel { channel } => {
                conn.channel_states.remove(channel);
                4
            }
            ConnectionEvent::SessionReset { unconfirmed } => {
                let unconfirmed = *unconfirmed;
                self.on_session_reset(uid, unconfirmed, closing)?;
                5
            }
            ConnectionEvent::ProtocolViolation(_) if conn.stranger.is_some() => {
                self.coverage.situation(Situation::HarmFoundOut);
                return Ok(());
            }
            ConnectionEvent::ProtocolViolation(violation) => {
                let how = format!("c{uid}: {violation}");
                return broken("correct peers break no rule", how);
            }
            ConnectionEvent::Failed {
                failure,
                unconfirmed,
            } => {
                conn.ended = Some(Ended::Failed);
                if *unconfirmed != closing && !has_reset {
                    return broken(
                        "counts",
                        format!("c{uid} {event:?}, its channels {closing:?}"),
                    );
                }
                let row = match failure {
                    ConnectionFailure::Dial(_) => 6,
                    ConnectionFailure::TimedOut { .. } => 7,
                    ConnectionFailure::AttemptsExhausted { .. } => 8,
                    ConnectionFailure::Rejected(_)
                    | ConnectionFailure::NotDurable
                    | ConnectionFailure::Untrusted(_) => {
                        return broken("no reason to fail", format!("c{uid} {failure}"));
                    }
                };
                self.coverage.count(Table::Endings, row, side);
                6
            }
            ConnectionEvent::Closed {
                reason,
                unconfirmed,
            } => {
                conn.ended = Some(Ended::Closed(*reason));
                let is_clean = *unconfirmed == Unconfirmed::default();
                if *reason == ConnectionClosed::Local && !is_clean {
                    return broken(
                        "counts",
                        format!("c{uid} says that all is confirmed: {event:?}"),
                    );
                }
                if *unconfirmed != closing && !has_reset {
                    return broken(
                        "counts",
                        format!("c{uid} {event:?}, its channels {closing:?}"),
                    );
                }
                self.coverage
                    .count(Table::Endings, ending_row(*reason), side);
                7
            }
        };
        self.coverage.count(Table::ConnectionEvents, row, side);
        Ok(())
    }

    /// The events of all channels; what those that closed left unconfirmed.
    fn hear_channels(&mut self, uid: Uid) -> Result<Vec<(ChannelId, Unconfirmed)>, Broken> {
        let mut closed = Vec::new();
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(closed);
        };
        let (side, session) = (conn.side(), conn.session);
        for id in conn.channel_ids() {
            let channel = conn.wire(id);
            while let Some(event) = conn
                .machine
                .channel_mut(id)
                .and_then(|channel| channel.poll_event())
            {
                note!(self, "c{uid} {channel:?} tells {event:?}");
                let row = match event {
                    ChannelEvent::Opened => 0,
                    ChannelEvent::QueueOverflow { dropped } => {
                        self.ledger.dropped(uid, channel, session, dropped);
                        1
                    }
                    ChannelEvent::Expired { dropped } => {
                        self.ledger.dropped(uid, channel, session, dropped);
                        2
                    }
                    ChannelEvent::Refused { dropped } => {
                        self.ledger.dropped(uid, channel, session, dropped);
                        9
                    }
                    ChannelEvent::ReceiveOverflow { dropped } => {
                        self.ledger.told_overflow(uid, channel, session, dropped);
                        10
                    }
                    ChannelEvent::Lost { messages } => {
                        self.ledger.told_lost(uid, channel, session, messages);
                        3
                    }
                    ChannelEvent::BufferedAmountLow => 4,
                    ChannelEvent::Closed {
                        unconfirmed,
                        unread,
                    } => {
                        closed.push((channel, unconfirmed));
                        let coverage = &mut self.coverage;
                        for (row, count) in [
                            (6, unconfirmed.undelivered),
                            (7, unconfirmed.maybe_delivered),
                            (8, unread),
                        ] {
                            if count > 0 {
                                coverage.count(Table::ChannelEvents, row, side);
                            }
                        }
                        if self.ledger.is_closed(uid, channel, session) {
                            return broken(
                                "final states",
                                format!("c{uid} {channel:?} closes twice"),
                            );
                        }
                        self.ledger.closed(uid, channel, session, unconfirmed);
                        self.ledger.told_unread(uid, channel, session, unread);
                        5
                    }
                };
                self.coverage.count(Table::ChannelEvents, row, side);
            }
        }
        Ok(closed)
    }

    fn note_channel_states(&mut self, uid: Uid) -> Result<(), Broken> {
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(());
        };
        let mut lossy = Vec::new();
        for channel in conn.machine.channels() {
            let (id, state) = (channel.id(), channel.state());
            if channel.is_lossy() {
                lossy.push(id);
            }
            let known = conn
                .channel_states
                .insert(id, state)
                .unwrap_or(DurableChannelState::Connecting);
            if known == state {
                continue;
            }
            if !known.can_become(state) {
                let how = format!("c{uid} {id:?} went from {known} to {state}");
                return broken("final states", how);
            }
            self.coverage
                .count(Table::ChannelStates, known as usize, state as usize);
        }
        for id in lossy {
            let name = conn.name(id);
            conn.lossy.insert(name);
        }
        Ok(())
    }

    /// Channels that ended right after a reset ended in the new session.
    fn move_to_new_session(&mut self, uid: Uid, closed: &[(ChannelId, Unconfirmed)]) {
        let Some(session) = self.conns.get(&uid).map(|conn| conn.session) else {
            return;
        };
        for (channel, unconfirmed) in closed.iter().filter(|(id, _)| id.0.is_multiple_of(2)) {
            let waiting = unconfirmed.undelivered + unconfirmed.maybe_delivered;
            self.ledger.reset(uid, *channel, session, waiting);
            self.ledger.closed(uid, *channel, session, *unconfirmed);
        }
    }

    /// The dialer has begun a new session.
    fn on_session_reset(
        &mut self,
        uid: Uid,
        told: Unconfirmed,
        closing: Unconfirmed,
    ) -> Result<(), Broken> {
        // What is ready now came in the old session.
        self.take_all(uid)?;
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(());
        };
        let session = conn.machine.session();
        conn.session = session;
        let peers = conn.channel_ids().into_iter().filter(|id| id.0 % 2 == 1);
        if let Some(highest) = peers.max() {
            conn.peer_ids_base = highest.0 + 1;
        }
        conn.numbered.clear();
        self.ledger.begin_dialer(uid, session);
        let mut waiting = 0;
        for channel in conn.machine.channels() {
            if channel.state() == DurableChannelState::Closed {
                continue;
            }
            // Some may have been sent again already.
            let unconfirmed = channel.outbox().unconfirmed();
            let count = unconfirmed.undelivered + unconfirmed.maybe_delivered;
            waiting += count;
            self.ledger.reset(uid, channel.id(), session, count);
        }
        let total = told.undelivered + told.maybe_delivered;
        let closed = closing.undelivered + closing.maybe_delivered;
        let ages = self.setup.dialer.incoming_channel.queue.age_max.is_some();
        let is_right = match self.setup.dialer.session_loss {
            // What is old may have expired in the same turn.
            SessionLoss::Resend => waiting <= total && (ages || total <= waiting + closed),
            SessionLoss::Drop => waiting == 0,
        };
        if !is_right {
            return broken(
                "counts",
                format!("c{uid} resends {waiting}, but told of {told:?}"),
            );
        }
        Ok(())
    }

    pub(super) fn read(&mut self, uid: Uid) -> Result<(), Broken> {
        let eager = self.conns.get(&uid).map(|conn| conn.reading) == Some(Reading::Eager);
        if eager { self.take_all(uid) } else { Ok(()) }
    }

    pub(super) fn take_all(&mut self, uid: Uid) -> Result<(), Broken> {
        let Some(conn) = self.conns.get(&uid) else {
            return Ok(());
        };
        for channel in conn.channel_ids() {
            self.take(uid, channel, u32::MAX)?;
        }
        Ok(())
    }

    pub(super) fn take(&mut self, uid: Uid, channel: ChannelId, max: u32) -> Result<(), Broken> {
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(());
        };
        if conn.stranger.is_some() {
            return self.take_from_stranger(uid, channel);
        }
        let (side, session, wire) = (conn.side(), conn.session, conn.wire(channel));
        for _ in 0..max {
            let Some(machine) = conn.machine.channel_mut(channel) else {
                break;
            };
            let options = machine.options();
            let Some(delivery) = machine.recv() else {
                break;
            };
            note!(self, "c{uid} {channel:?} takes {delivery:?}");
            let row = match &delivery {
                Delivery::Message(message) => match message.kind() {
                    MessageKind::Text => 0,
                    MessageKind::Binary => 1,
                },
                Delivery::Lost { .. } => 2,
            };
            self.coverage.count(Table::Deliveries, row, side);
            let delivered = self
                .ledger
                .delivered(uid, wire, session, options, &delivery);
            delivered
                .or_else(|how| broken("once and in order", format!("c{uid} {channel:?}: {how}")))?;
        }
        Ok(())
    }
}

fn ending_row(reason: ConnectionClosed) -> usize {
    match reason {
        ConnectionClosed::Local => 0,
        ConnectionClosed::LocalUnconfirmed => 1,
        ConnectionClosed::Remote(ByeReason::ShuttingDown) => 3,
        ConnectionClosed::Remote(ByeReason::SessionExpired) => 4,
        ConnectionClosed::Remote(_) => 2,
        ConnectionClosed::SessionExpired | ConnectionClosed::LinkLost => 5,
        ConnectionClosed::SessionEvicted => 9,
    }
}

/// Beside two heartbeats, what the acknowledgement that makes a link stable may take.
const SETTLING: Duration = Duration::from_secs(5);
