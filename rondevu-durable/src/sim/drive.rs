//! What the driver of a connection does between two waits, and the laws that hold after it.

use bytes::Bytes;
use core::time::Duration;
use rondevu_core::{
    ByeReason, ChannelId, DeadlineReason, Delivery, DurableChannelState, LinkId, MessageKind,
    StreamId, Unconfirmed,
};

use super::conn::{Blocked, Ended, Link, Reading};
use super::coverage::{Situation, Table};
use super::fabric::{Description, Fabric, Write};
use super::signaling::{Asker, Refusal, Request, Response};
use super::world::{Broken, Owner, Uid, World, broken, note};
use crate::{
    Action, ChannelEvent, ConnectionClosed, ConnectionEvent, ConnectionFailure, DialFailure,
    DialRetry, Transmit,
};

impl<F: Fabric> World<F> {
    /// Does all that needs no waiting, then looks whether the laws hold.
    pub(super) fn turn(&mut self, uid: Uid) -> Result<(), Broken> {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(());
        };
        if self.asleep.contains_key(&conn.node) {
            return Ok(());
        }
        if let Some(deadline) = conn.machine.poll_timeout().filter(|d| d.at <= now) {
            let row = deadline_row(deadline.reason);
            self.coverage.count(Table::Deadlines, row, 0);
            conn.machine.handle_timeout(now);
            note!(self, "c{uid} was woken for {:?}", deadline.reason);
            let Some(conn) = self.conns.get_mut(&uid) else {
                return Ok(());
            };
            if let Some(deadline) = conn.machine.poll_timeout().filter(|d| d.at <= now) {
                return broken("no deadline in the past", format!("c{uid}: {deadline:?}"));
            }
        }
        self.close_finished(uid);
        self.do_actions(uid)?;
        self.write(uid)?;
        self.do_actions(uid)?;
        self.hear(uid)?;
        self.read(uid)?;
        self.write(uid)?;
        self.do_actions(uid)?;
        self.hear(uid)?;
        self.check_laws(uid)?;
        if let Some(conn) = self.conns.get_mut(&uid) {
            conn.due = conn.next_due();
        }
        self.note_presence(uid)?;
        self.bury(uid);
        Ok(())
    }

    fn close_finished(&mut self, uid: Uid) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&uid) else {
            return;
        };
        for link in &mut conn.links {
            if link.finish_by.is_some_and(|at| at <= now) {
                link.finish_by = None;
                self.fabric.close(link.end, now);
            }
        }
    }

    // ---- actions ----

    fn do_actions(&mut self, uid: Uid) -> Result<(), Broken> {
        while let Some(action) = self
            .conns
            .get_mut(&uid)
            .and_then(|c| c.machine.poll_action())
        {
            note!(self, "c{uid} wants {action:?}");
            self.act(uid, action)?;
        }
        Ok(())
    }

    fn act(&mut self, uid: Uid, action: Action) -> Result<(), Broken> {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(());
        };
        match action {
            Action::Dial { link } => {
                if conn.dialing.is_some() {
                    return broken("one attempt at a time", format!("c{uid} dials twice"));
                }
                conn.dialing = Some(link);
                conn.past.insert(link);
                let attempt = Asker::Attempt { conn: uid, link };
                self.signaling.ask(attempt, Request::Take, now);
            }
            Action::OpenStream { link, options } => {
                if let Some(end) = conn.link(link).map(|link| link.end)
                    && !self.fabric.open_stream(end, options, now)
                {
                    self.fabric.close(end, now);
                }
            }
            Action::CloseStream { link, stream } => {
                if let Some(link) = conn.link(link) {
                    link.blocked.push_back(Blocked::Close(stream));
                    unblock(link, &mut self.fabric, now);
                }
            }
            Action::AbandonLink { link } => {
                if conn.dialing == Some(link) {
                    conn.dialing = None;
                    let attempt = Asker::Attempt { conn: uid, link };
                    self.signaling.withdraw(attempt);
                }
                if let Some(end) = conn.link(link).map(|link| link.end) {
                    self.fabric.close(end, now);
                }
            }
            Action::FinishLink { link } => {
                if let Some(link) = conn.link(link) {
                    link.finish_by = Some(now + FINISH_TIME);
                }
            }
        }
        Ok(())
    }

    /// Signaling has answered an attempt.
    pub(super) fn on_attempt_response(
        &mut self,
        uid: Uid,
        link: LinkId,
        response: Response,
    ) -> Result<(), Broken> {
        let now = self.now;
        let asker = Asker::Attempt { conn: uid, link };
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(());
        };
        if conn.dialing != Some(link) {
            return Ok(());
        }
        let (reason, retry) = match response {
            Response::Taken { offer, description } => match self.answer(uid, link, description) {
                Some(answer) => {
                    let request = Request::Answer { offer, answer };
                    self.signaling.ask(asker, request, now);
                    return Ok(());
                }
                None => {
                    self.coverage.situation(Situation::AnswerDoesNotFit);
                    ("the offer cannot be used", DialRetry::Later)
                }
            },
            Response::Failed { why, .. } => match why {
                Refusal::Down => ("the server is down", DialRetry::Later),
                Refusal::NotFound => ("no such service", DialRetry::Never),
                Refusal::NoOffers => ("no offers", DialRetry::After(Duration::from_millis(100))),
                Refusal::NextOffer => ("too late", DialRetry::After(Duration::from_millis(25))),
            },
            Response::Answered => {
                conn.dialing = None;
                return Ok(());
            }
            Response::Published { .. }
            | Response::OfferCreated { .. }
            | Response::Answers { .. } => {
                return Ok(());
            }
        };
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(());
        };
        conn.dialing = None;
        if let Some(end) = conn.link(link).map(|link| link.end) {
            self.fabric.vanish(end, now);
            conn.links.retain(|link| link.end != end);
        }
        let failure = DialFailure {
            reason: reason.into(),
            retry,
        };
        conn.machine.handle_dial_failed(link, failure, now);
        self.turn(uid)
    }

    /// Makes the answering end of a link.
    fn answer(&mut self, uid: Uid, link: LinkId, offer: Description) -> Option<super::EndId> {
        let conn = self.conns.get_mut(&uid)?;
        let end = self.fabric.answer(conn.dialer, offer, self.now)?;
        conn.links.push(Link::new(link, end));
        if conn.links.len() > 1 {
            self.coverage.situation(Situation::TwoLinks);
        }
        self.note_end(end, Owner::Conn(uid));
        Some(end)
    }

    // ---- messages ----

    fn write(&mut self, uid: Uid) -> Result<(), Broken> {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(());
        };
        for link in &mut conn.links {
            unblock(link, &mut self.fabric, now);
        }
        let mut budget = WRITES_MAX;
        while let Some(conn) = self.conns.get_mut(&uid) {
            let blocked = conn.is_blocked();
            let transmit = if blocked {
                conn.machine.poll_control()
            } else {
                conn.machine.poll_transmit(now)
            };
            let Some(transmit) = transmit else { break };
            budget -= 1;
            if budget == 0 {
                return broken("comes to rest", format!("c{uid} never stops to write"));
            }
            if blocked {
                self.coverage.situation(Situation::ControlWhileBlocked);
            }
            self.transmit(uid, transmit);
        }
        Ok(())
    }

    fn transmit(&mut self, uid: Uid, transmit: Transmit) {
        let now = self.now;
        self.note_replays(uid, transmit.stream, &transmit.payload);
        note!(
            self,
            "c{uid} writes {} bytes on {:?}",
            transmit.payload.len(),
            transmit.link
        );
        let Some(conn) = self.conns.get_mut(&uid) else {
            return;
        };
        let Some(link) = conn.links.iter_mut().find(|link| link.id == transmit.link) else {
            return;
        };
        if link.blocked.len() >= BLOCKED_MAX {
            return self.fabric.close(link.end, now);
        }
        let Transmit {
            stream,
            kind,
            payload,
            ..
        } = transmit;
        link.blocked
            .push_back(Blocked::Message(stream, kind, payload));
        unblock(link, &mut self.fabric, now);
        if !link.blocked.is_empty() {
            self.coverage.situation(Situation::Blocked);
        }
    }

    fn note_replays(&mut self, uid: Uid, stream: StreamId, payload: &Bytes) {
        let Some(conn) = self.conns.get_mut(&uid) else {
            return;
        };
        let mut channels = conn.machine.channels();
        let Some(id) = channels
            .find(|c| c.stream() == Some(stream))
            .map(|c| c.id())
        else {
            return;
        };
        drop(channels);
        if let Some(seq) = super::frames::first_seq(payload) {
            let numbered = conn.numbered.entry(id).or_default();
            if seq < *numbered {
                let row = super::frames::row_of(payload);
                self.coverage.count(Table::Frames, row, 2);
            }
            *numbered = (*numbered).max(seq.advance(1));
        }
    }

    // ---- what the application hears ----

    fn hear(&mut self, uid: Uid) -> Result<(), Broken> {
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
                self.coverage
                    .count(Table::ConnectionStates, *from as usize, *to as usize);
                0
            }
            ConnectionEvent::Connected { .. } => {
                conn.attaches += 1;
                1
            }
            ConnectionEvent::Reconnecting { .. } => 2,
            ConnectionEvent::Disconnected => 3,
            ConnectionEvent::IncomingChannel { channel } => {
                conn.channel_states.remove(channel);
                4
            }
            ConnectionEvent::SessionReset { unconfirmed } => {
                let unconfirmed = *unconfirmed;
                self.on_session_reset(uid, unconfirmed)?;
                5
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
                        self.ledger.told_unread(uid, channel, session, dropped);
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
    fn on_session_reset(&mut self, uid: Uid, told: Unconfirmed) -> Result<(), Broken> {
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
            let count = channel.outbox().unconfirmed().undelivered;
            waiting += count;
            self.ledger.reset(uid, channel.id(), session, count);
        }
        let total = told.undelivered + told.maybe_delivered;
        if waiting > total {
            return broken(
                "counts",
                format!("c{uid} resends {waiting}, but told of {told:?}"),
            );
        }
        Ok(())
    }

    // ---- what the application takes ----

    fn read(&mut self, uid: Uid) -> Result<(), Broken> {
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

    // ---- laws ----

    fn check_laws(&mut self, uid: Uid) -> Result<(), Broken> {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(());
        };
        if conn.told_state != conn.machine.state() {
            let how = format!(
                "c{uid} told {}, is {}",
                conn.told_state,
                conn.machine.state()
            );
            return broken("events tell the state", how);
        }
        if conn.machine.state().is_final() && conn.machine.poll_timeout().is_some() {
            return broken(
                "final states",
                format!("c{uid} has a deadline after its end"),
            );
        }
        if let Some(deadline) = conn.machine.poll_timeout().filter(|d| d.at < now) {
            return broken("no deadline in the past", format!("c{uid}: {deadline:?}"));
        }
        for channel in conn.machine.channels() {
            if channel.state() == DurableChannelState::Closed {
                continue;
            }
            let outbox = channel.outbox();
            let accepted = self
                .ledger
                .count_accepted(uid, conn.wire(channel.id()), conn.session);
            if outbox.accepted() != accepted || outbox.settled() > accepted {
                let (told, settled) = (outbox.accepted(), outbox.settled());
                let how = format!("c{uid} accepted {accepted}, counts {told}, settled {settled}");
                return broken("counts", how);
            }
            let limits = outbox.queue_limits();
            let sent = outbox.buffered_bytes() as u64;
            let bytes_max = 2 * (limits.bytes_max as u64 + MESSAGE_MAX) + WINDOW_MAX;
            if sent > bytes_max {
                return broken("bounds", format!("c{uid} holds {sent} bytes of messages"));
            }
        }
        if self.digest.is_multiple_of(SPURIOUS_EVERY) {
            return self.check_spurious_timeout(uid);
        }
        Ok(())
    }

    fn check_spurious_timeout(&mut self, uid: Uid) -> Result<(), Broken> {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(());
        };
        if conn.machine.poll_timeout().is_some_and(|d| d.at <= now) {
            return Ok(());
        }
        conn.machine.handle_timeout(now);
        let before = format!("{:?}", conn.machine);
        conn.machine.handle_timeout(now);
        let after = format!("{:?}", conn.machine);
        if before != after {
            return broken("spurious timeouts", format!("c{uid} changed: {after}"));
        }
        Ok(())
    }

    /// Lets go of a connection that has ended and whose links are closed.
    fn bury(&mut self, uid: Uid) {
        let Some(conn) = self.conns.get(&uid) else {
            return;
        };
        let is_over = conn.machine.state().is_final() && conn.links.is_empty();
        if is_over && let Some(host) = &mut self.host {
            let session = conn.machine.session();
            if host.sessions.get(&session) == Some(&uid) {
                host.sessions.remove(&session);
                host.table.handle_ended(session);
            }
        }
    }
}

fn unblock<F: Fabric>(link: &mut Link, fabric: &mut F, now: rondevu_core::Instant) {
    while let Some(blocked) = link.blocked.front() {
        match blocked {
            Blocked::Message(stream, kind, payload) => {
                match fabric.write(link.end, *stream, *kind, payload, now) {
                    Write::Full => return,
                    Write::Accepted | Write::Gone => {}
                }
            }
            Blocked::Close(stream) => fabric.close_stream(link.end, *stream, now),
        }
        link.blocked.pop_front();
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

pub(super) fn deadline_row(reason: DeadlineReason) -> usize {
    match reason {
        DeadlineReason::Ack => 0,
        DeadlineReason::Expiry => 1,
        DeadlineReason::Heartbeat => 2,
        DeadlineReason::Silence => 3,
        DeadlineReason::AttemptTimeout => 4,
        DeadlineReason::Reconnect => 5,
        DeadlineReason::Stable => 6,
        DeadlineReason::ResumeWindow => 7,
        DeadlineReason::CloseTimeout => 8,
        DeadlineReason::Renewal => 9,
        DeadlineReason::Refill => 10,
        DeadlineReason::Poll => 11,
        DeadlineReason::Retry => 12,
        _ => 13,
    }
}

/// How long the last message of a connection may take to reach the peer.
const FINISH_TIME: Duration = Duration::from_secs(1);
/// Messages that wait for room on one link.
const BLOCKED_MAX: usize = 64;
/// A machine that writes more than that in one turn will never stop.
const WRITES_MAX: u32 = 100_000;
/// The largest message of any setup.
const MESSAGE_MAX: u64 = 1 << 16;
/// The largest window of any setup.
const WINDOW_MAX: u64 = 1 << 20;
/// Printing a machine is slow, so this is not done after each turn.
const SPURIOUS_EVERY: u64 = 256;
