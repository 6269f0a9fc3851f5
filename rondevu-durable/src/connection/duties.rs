//! What drives a connection: link events in, actions, messages, events and deadlines out.

use std::string::ToString;

use bytes::Bytes;
use core::ops::Bound;
use rondevu_core::frame::{ChannelFrame, ControlFrame};
use rondevu_core::{
    ByeReason, ChannelId, Deadline, DeadlineReason, DurableChannelState, Instant, LinkEvent,
    LinkId, LivenessTimeout, MessageKind, Seq, StreamId,
};

use super::ladder::Urgency;
use super::streams::wire_id;
use super::{
    Action, Attempt, ConnectionEvent, ConnectionMachine, LinkKind, Retry, SessionLink, Stage,
    Transmit,
};
use crate::channel::ChannelMachine;
use crate::error::{ConnectionClosed, ConnectionFailure, ProtocolViolation};

impl ConnectionMachine {
    /// A fact about a link. One about a link that no longer matters is counted and ignored.
    pub fn handle_link_event(&mut self, link: LinkId, event: LinkEvent, now: Instant) {
        if self.live.as_ref().is_some_and(|live| live.id == link) {
            self.on_live_event(link, event, now);
        } else if self
            .attempt
            .as_ref()
            .is_some_and(|attempt| attempt.link == link)
        {
            self.on_attempt_event(event, now);
        } else {
            self.late_facts += 1;
        }
        self.close_if_flushed();
    }

    fn on_live_event(&mut self, link: LinkId, event: LinkEvent, now: Instant) {
        let outcome = match event {
            LinkEvent::StreamOpened {
                stream,
                options,
                by,
            } => self.on_stream_opened(stream, options, by),
            LinkEvent::StreamMessage {
                stream,
                kind,
                payload,
            } => self.on_live_message(stream, kind, payload, now),
            LinkEvent::StreamClosed { stream } => {
                self.on_stream_closed(link, stream, now);
                Ok(())
            }
            LinkEvent::Closed { reason } => {
                self.on_live_lost(&reason.to_string(), Urgency::from(&reason), now);
                Ok(())
            }
            LinkEvent::Connected(_) | LinkEvent::Writable => Ok(()),
        };
        if let Err(violation) = outcome {
            self.violation(link, violation, now);
        }
    }

    fn on_stream_closed(&mut self, link: LinkId, stream: StreamId, now: Instant) {
        let Some(live) = &mut self.live else { return };
        let channel = live.streams.remove(&stream);
        match &live.kind {
            LinkKind::Plain { .. } => {
                // So does such a peer close a channel.
                if let Some(channel) = channel.and_then(|id| self.channels.get_mut(&id)) {
                    channel.close();
                    self.touched.push_back(channel.id());
                }
            }
            LinkKind::Session(session) => {
                let in_use = |id| {
                    let channel = self.channels.get(&id).map(|channel| channel.stream());
                    channel == Some(Some(stream))
                };
                // A channel whose stream has gone could not go on before the next link.
                if session.control == stream || channel.is_some_and(in_use) {
                    self.abandon(link);
                    self.on_live_lost("a stream in use was closed", Urgency::Prompt, now);
                }
            }
        }
    }

    fn on_live_message(
        &mut self,
        stream: StreamId,
        kind: MessageKind,
        payload: Bytes,
        now: Instant,
    ) -> Result<(), ProtocolViolation> {
        let Some(live) = &self.live else {
            return Ok(());
        };
        let control = live.session().map(|session| session.control);
        if control == Some(stream) {
            self.on_control_message(payload, now)?;
        } else if let Some(id) = live.streams.get(&stream).copied() {
            self.on_channel_message(id, kind, payload, now)?;
        } else {
            // Its channel may have closed on this side while the message was on its way.
            self.on_unclaimed_message(stream, kind, payload, now)?;
        }
        self.on_heard(now);
        Ok(())
    }

    fn on_channel_message(
        &mut self,
        id: ChannelId,
        kind: MessageKind,
        payload: Bytes,
        now: Instant,
    ) -> Result<(), ProtocolViolation> {
        let channel = self.channels.get_mut(&id);
        // One that has closed may still be sent a last acknowledgement.
        let Some(channel) = channel.filter(|c| c.state() != DurableChannelState::Closed) else {
            return Ok(());
        };
        let (stream, settled) = (channel.stream(), channel.outbox().settled());
        channel.on_message(kind, payload, now)?;
        if channel.outbox().settled() > settled {
            self.reconnector.on_ack();
        }
        self.close_stream_of_ended(id, stream);
        self.touched.push_back(id);
        Ok(())
    }

    fn on_control_message(
        &mut self,
        mut payload: Bytes,
        now: Instant,
    ) -> Result<(), ProtocolViolation> {
        while !payload.is_empty() {
            let frame = ControlFrame::decode(&mut payload)?;
            let Some(live) = &mut self.live else {
                return Ok(());
            };
            let link = live.id;
            let Some(session) = live.session_mut() else {
                return Ok(());
            };
            let control = session.control;
            match frame {
                ControlFrame::Ping { id } => {
                    self.transmit_control(link, control, &ControlFrame::Pong { id });
                }
                ControlFrame::Pong { id } => {
                    session.liveness.on_pong(id, now);
                    self.reconnector.on_ack();
                }
                ControlFrame::Bye { reason } => {
                    self.transition_to_closed(ConnectionClosed::Remote(reason));
                }
                ControlFrame::Finish { channel } => self.on_finish(channel)?,
                ControlFrame::Finished { channel } => self.on_finished(channel)?,
                ControlFrame::Hello(_) | ControlFrame::Welcome(_) | ControlFrame::Reject { .. } => {
                    return Err(ProtocolViolation::Unexpected);
                }
            }
        }
        Ok(())
    }

    /// The peer is done with a lossy channel.
    fn on_finish(&mut self, wire: ChannelId) -> Result<(), ProtocolViolation> {
        let id = self.local_id(wire)?;
        let is_over = self.is_own(id) || self.seen.contains(wire.0 / 2);
        if !self.channels.contains_key(&id) && !is_over {
            let session = self.live.as_mut().and_then(|live| live.session_mut());
            let room =
                |session: &&mut SessionLink| session.early_ends.len() < self.config.channels_max;
            let session = session.filter(room);
            session
                .ok_or(ProtocolViolation::TooManyChannels)?
                .early_ends
                .insert(id);
            return Ok(());
        }
        let Some(channel) = self.lossy_channel(id)? else {
            return Ok(());
        };
        channel.on_known_to_peer();
        channel.on_fin(Seq::ZERO)?;
        self.touched.push_back(id);
        Ok(())
    }

    /// The peer knows that this side is done with a lossy channel.
    fn on_finished(&mut self, id: ChannelId) -> Result<(), ProtocolViolation> {
        let id = self.local_id(id)?;
        let Some(channel) = self.lossy_channel(id)? else {
            return Ok(());
        };
        let stream = channel.stream();
        channel.on_fin_ack()?;
        channel.close_if_done();
        self.close_stream_of_ended(id, stream);
        self.touched.push_back(id);
        Ok(())
    }

    /// A lossy channel that the peer names; none if it has ended here.
    fn lossy_channel(
        &mut self,
        id: ChannelId,
    ) -> Result<Option<&mut ChannelMachine>, ProtocolViolation> {
        let channel = self.channels.get_mut(&id);
        match channel.filter(|channel| channel.state() != DurableChannelState::Closed) {
            Some(channel) if !channel.is_lossy() => Err(ProtocolViolation::Unexpected),
            channel => Ok(channel.map(Box::as_mut)),
        }
    }

    /// Something came from the peer on the live link.
    fn on_heard(&mut self, now: Instant) {
        let owes = self.channels.values().any(|channel| channel.is_expecting());
        let Some(session) = self.live.as_mut().and_then(|live| live.session_mut()) else {
            return;
        };
        let healed = session.liveness.on_heard(owes, now);
        let first = !core::mem::replace(&mut session.confirmed, true);
        if first {
            self.end_greeting(now);
        }
        if healed {
            self.on_healed(now);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.state.is_final() {
            return;
        }
        self.reconnector.handle_timeout(now);
        for (id, channel) in &mut self.channels {
            if channel.handle_timeout(now) {
                self.touched.push_back(*id);
            }
        }
        self.watch_liveness(now);
        self.watch_attempt(now);
        if self.close_by.is_some_and(|at| at <= now) {
            // A peer that keeps its own direction open has confirmed everything all the same.
            let mut channels = self.channels.values();
            let reason = match channels.all(|channel| channel.outbox().is_settled()) {
                true => self.close_reason,
                false => ConnectionClosed::LocalUnconfirmed,
            };
            self.end_with_bye(ByeReason::Closed, reason);
        }
        if self.resume_by.is_some_and(|at| at <= now) {
            self.end_with_bye(ByeReason::SessionExpired, ConnectionClosed::SessionExpired);
        }
    }

    fn watch_liveness(&mut self, now: Instant) {
        let Some(live) = &mut self.live else { return };
        let link = live.id;
        let Some(session) = live.session_mut() else {
            return;
        };
        match session.liveness.handle_timeout(now) {
            Some(LivenessTimeout::SendPing(id)) => {
                let control = session.control;
                self.transmit_control(link, control, &ControlFrame::Ping { id });
            }
            Some(LivenessTimeout::Suspect) => {
                self.on_suspect("nothing was heard from the peer", now);
            }
            None => {}
        }
    }

    fn watch_attempt(&mut self, now: Instant) {
        if self.connect_by.is_some_and(|at| at <= now) {
            let failure = ConnectionFailure::TimedOut {
                after: self.config.connection_timeout,
                last: self
                    .attempt
                    .as_ref()
                    .and_then(|attempt| attempt.hindrance.as_ref())
                    .unwrap_or(&self.last_failure)
                    .clone(),
            };
            return self.transition_to_failed(failure);
        }
        if let Some(attempt) = self.attempt.take_if(|attempt| attempt.give_up_at <= now) {
            let reason = match (&attempt.stage, attempt.hindrance.clone()) {
                (Stage::Dialing, Some(why)) => why,
                (Stage::Dialing, None) => "no path to the peer was found in time".into(),
                (Stage::Greeting { .. }, _) => {
                    "the peer did not answer the greeting in time".into()
                }
            };
            self.attempt_lost(attempt, &reason, now);
        }
        let plain_at = self.attempt.as_ref().and_then(Attempt::plain_at);
        if plain_at.is_some_and(|at| at <= now) {
            self.begin_plain(now);
        }
        if let Retry::At(at) = self.retry
            && at <= now
            && self.attempt.is_none()
        {
            self.start_attempt(now);
        }
    }

    /// When to call [`ConnectionMachine::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Deadline> {
        if self.state.is_final() {
            return None;
        }
        let at = |at: Option<Instant>, reason| at.map(|at| Deadline::new(at, reason));
        let retry = match self.retry {
            Retry::At(at) if self.attempt.is_none() => Some(at),
            Retry::At(_) | Retry::None | Retry::Paused => None,
        };
        let plain = self.attempt.as_ref().and_then(Attempt::plain_at);
        let attempt = self.attempt.as_ref().map(|attempt| attempt.give_up_at);
        let own = [
            at(retry, DeadlineReason::Reconnect),
            at(attempt, DeadlineReason::AttemptTimeout),
            at(plain, DeadlineReason::AttemptTimeout),
            at(self.connect_by, DeadlineReason::AttemptTimeout),
            at(self.close_by, DeadlineReason::CloseTimeout),
            at(self.resume_by, DeadlineReason::ResumeWindow),
            self.reconnector.poll_timeout(),
            self.live
                .as_ref()
                .and_then(|live| live.session()?.liveness.poll_timeout()),
        ];
        let channels = self.channels.values().map(|channel| channel.poll_timeout());
        own.into_iter()
            .chain(channels)
            .fold(None, Deadline::earlier)
    }

    /// What the embedder must do; poll until `None`, before anything else.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next control message, for whichever link. Poll this instead of
    /// [`poll_transmit`](Self::poll_transmit) while the live link has no room: a greeting on another
    /// link must not wait for one that may be dead.
    pub fn poll_control(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next message for a link; poll until `None` or until the live link has no more room.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        self.next_transmit(now).or_else(|| {
            // What was handed over or has expired may have been the last that closing waits for.
            self.close_if_flushed();
            self.poll_control()
        })
    }

    fn next_transmit(&mut self, now: Instant) -> Option<Transmit> {
        if let Some(transmit) = self.transmits.pop_front() {
            return Some(transmit);
        }
        let live = self.live.as_ref()?;
        match &live.kind {
            LinkKind::Plain { .. } => {
                let transmit = self.poll_channels(now);
                self.close_plain_channels();
                transmit
            }
            LinkKind::Session(session) if session.confirmed => {
                if let Some(transmit) = self.poll_finish() {
                    return Some(transmit);
                }
                let transmit = self.poll_channels(now);
                self.watch_for_answers(transmit.as_ref(), now);
                transmit
            }
            LinkKind::Session(_) => None,
        }
    }

    /// What was just sent may have to be answered.
    fn watch_for_answers(&mut self, transmit: Option<&Transmit>, now: Instant) {
        let Some(transmit) = transmit else { return };
        let expecting = self.channels.values().any(|channel| channel.is_expecting());
        let Some(session) = self.live.as_mut().and_then(|live| live.session_mut()) else {
            return;
        };
        if expecting {
            session.liveness.on_expecting(now);
        } else if let Some(id) = session.liveness.on_sent_unanswered(now) {
            let control = session.control;
            self.transmit_control(transmit.link, control, &ControlFrame::Ping { id });
        }
    }

    /// The end of a lossy channel, which travels on the control stream.
    fn poll_finish(&mut self) -> Option<Transmit> {
        let live = self.live.as_ref()?;
        let (link, control) = (live.id, live.session()?.control);
        let (own, base) = (self.own_parity(), self.peer_ids_base);
        let lossy = self.channels.values_mut().filter(|c| c.is_lossy());
        for channel in lossy.filter(|channel| channel.stream().is_some()) {
            let id = channel.id();
            let wire = wire_id(id, own, base);
            let frame = if channel.take_fin_ack() {
                ControlFrame::Finished { channel: wire }
            } else if channel.take_fin().is_some() {
                ControlFrame::Finish { channel: wire }
            } else {
                continue;
            };
            channel.close_if_done();
            self.touched.push_back(id);
            self.transmit_control(link, control, &frame);
            return self.transmits.pop_front();
        }
        None
    }

    /// Serves the channels in turn, so that none owns the link.
    fn poll_channels(&mut self, now: Instant) -> Option<Transmit> {
        let live = self.live.as_ref()?;
        let link = live.id;
        let bytes_max = live.message_bytes_max;
        let (room, batch) = match &live.kind {
            LinkKind::Session(_) => {
                let fragment = self.config.fragment_bytes_max() as usize;
                let least = fragment + ChannelFrame::DATA_HEADER_BYTES_MAX + FEW_FRAMES_BYTES;
                let batch = least.max(live.batch_bytes);
                (least.min(bytes_max), batch.min(bytes_max))
            }
            LinkKind::Plain { .. } => (bytes_max, bytes_max),
        };
        let mut turn = self.last_served;
        for _ in 0..self.channels.len() {
            let later = (Bound::Excluded(turn), Bound::Unbounded);
            let mut later = self.channels.range(later);
            let next = later.next().or_else(|| self.channels.iter().next());
            let id = *next?.0;
            turn = id;
            let Some(channel) = self.channels.get_mut(&id) else {
                continue;
            };
            let (queued, state) = (channel.outbox().queue_len(), channel.state());
            let room = if channel.is_batching() { batch } else { room };
            let outgoing = channel.poll_transmit(room, now);
            if channel.outbox().queue_len() < queued || channel.state() != state {
                self.touched.push_back(id);
            }
            if let Some(outgoing) = outgoing {
                self.last_served = id;
                return Some(Transmit::of(link, outgoing));
            }
        }
        None
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<ConnectionEvent> {
        self.events.pop_front()
    }

    /// The application has changed something about a channel that others may wait for.
    pub fn touch(&mut self, channel: ChannelId) {
        self.touched.push_back(channel);
    }

    /// A channel with something new: a message, room, an event or another state.
    pub fn poll_touched(&mut self) -> Option<ChannelId> {
        self.touched.pop_front()
    }
}

/// Room for an acknowledgement and an end beside a full fragment.
const FEW_FRAMES_BYTES: usize = 32;
