//! What drives a connection: link events in, actions, messages, events and deadlines out.

use std::string::ToString;
use std::vec::Vec;

use bytes::Bytes;
use rondevu_core::frame::{ChannelFrame, ControlFrame};
use rondevu_core::{
    ByeReason, ChannelId, Deadline, DeadlineReason, DurableChannelState, DurableConnectionState,
    Instant, LinkEvent, LinkId, LivenessTimeout, StreamId,
};

use super::{Action, ConnectionEvent, ConnectionMachine, Retry, Stage, Transmit};
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
                stream, options, ..
            } => self.on_stream_opened(stream, options),
            LinkEvent::StreamMessage {
                stream, payload, ..
            } => self.on_live_message(stream, payload, now),
            LinkEvent::StreamClosed { stream } => {
                // A channel whose stream has gone could not go on before the next link. Streams of
                // channels that have ended are no longer known here.
                let is_control = self.live.as_ref().is_some_and(|l| l.control == stream);
                if is_control || self.channel_of(stream).is_some() {
                    self.abandon(link);
                    self.on_live_lost("a stream in use was closed", now);
                }
                Ok(())
            }
            LinkEvent::Closed { reason } => {
                self.on_live_lost(&reason.to_string(), now);
                Ok(())
            }
            LinkEvent::Connected | LinkEvent::Writable => Ok(()),
        };
        if let Err(violation) = outcome {
            self.violation(link, violation, now);
        }
    }

    fn on_live_message(
        &mut self,
        stream: StreamId,
        payload: Bytes,
        now: Instant,
    ) -> Result<(), ProtocolViolation> {
        if self
            .live
            .as_ref()
            .is_some_and(|live| live.control == stream)
        {
            self.on_control_message(payload, now)?;
        } else {
            let Some(id) = self.channel_of(stream) else {
                // Its channel has closed on this side while the message was on its way.
                self.on_heard(now);
                return Ok(());
            };
            if let Some(channel) = self.channels.get_mut(&id) {
                let settled = channel.outbox().settled();
                channel.on_message(payload, now)?;
                if channel.outbox().settled() > settled {
                    self.reconnector.on_ack();
                }
            }
            self.touched.push_back(id);
        }
        self.on_heard(now);
        Ok(())
    }

    fn channel_of(&self, stream: StreamId) -> Option<ChannelId> {
        let mut channels = self.channels.values();
        channels
            .find(|channel| channel.stream() == Some(stream))
            .map(|channel| channel.id())
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
            let (link, control) = (live.id, live.control);
            match frame {
                ControlFrame::Ping { id } => {
                    self.transmit_control(link, control, &ControlFrame::Pong { id });
                }
                ControlFrame::Pong { id } => {
                    live.liveness.on_pong(id, now);
                    self.reconnector.on_ack();
                }
                ControlFrame::Bye { reason } => {
                    self.transition_to_closed(ConnectionClosed::Remote(reason));
                }
                ControlFrame::Hello(_) | ControlFrame::Welcome(_) | ControlFrame::Reject { .. } => {
                    return Err(ProtocolViolation::Unexpected);
                }
            }
        }
        Ok(())
    }

    /// Something came from the peer on the live link.
    fn on_heard(&mut self, now: Instant) {
        let owes = self.channels.values().any(|channel| channel.is_expecting());
        let Some(live) = &mut self.live else { return };
        let healed = live.liveness.on_heard(owes, now);
        let first = !core::mem::replace(&mut live.confirmed, true);
        if first {
            self.request_streams();
        }
        if healed {
            self.on_healed(now);
        }
    }

    /// The old path works again before a new link was found.
    fn on_healed(&mut self, now: Instant) {
        if let Some(attempt) = self.attempt.take() {
            self.abandon(attempt.link);
        }
        if let Some(live) = &mut self.live {
            live.hastened = false;
        }
        (self.retry, self.resume_by) = (Retry::None, None);
        self.reconnector.on_link_up(now);
        self.transition_to(DurableConnectionState::Connected);
        self.events.push_back(ConnectionEvent::Connected {
            generation: self.generation,
        });
    }

    /// A datagram of the live link came in, below the session's messages.
    ///
    /// After an outage SCTP takes seconds to try again, while connectivity checks come through at
    /// once: the first one that does while the link is suspect starts an attempt that would
    /// otherwise wait for its backoff.
    pub fn handle_path_activity(&mut self, link: LinkId, now: Instant) {
        let Some(live) = self.live.as_mut().filter(|live| live.id == link) else {
            return;
        };
        if live.liveness.is_suspect() && !live.hastened && self.attempt.is_none() {
            live.hastened = true;
            self.retry_now(now);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.state.is_final() {
            return;
        }
        self.reconnector.handle_timeout(now);
        for channel in self.channels.values_mut() {
            channel.handle_timeout(now);
        }
        self.watch_liveness(now);
        self.watch_attempt(now);
        if self.close_by.is_some_and(|at| at <= now) {
            self.end_with_bye(ByeReason::Closed, ConnectionClosed::LocalUnconfirmed);
        }
        if self.resume_by.is_some_and(|at| at <= now) {
            self.end_with_bye(ByeReason::SessionExpired, ConnectionClosed::SessionExpired);
        }
    }

    fn watch_liveness(&mut self, now: Instant) {
        let Some(live) = &mut self.live else { return };
        match live.liveness.handle_timeout(now) {
            Some(LivenessTimeout::SendPing(id)) => {
                let (link, control) = (live.id, live.control);
                self.transmit_control(link, control, &ControlFrame::Ping { id });
            }
            Some(LivenessTimeout::Suspect) => self.on_suspect(now),
            None => {}
        }
    }

    fn watch_attempt(&mut self, now: Instant) {
        if self.connect_by.is_some_and(|at| at <= now) {
            let failure = ConnectionFailure::TimedOut {
                after: self.config.connection_timeout,
                last: self.last_failure.clone(),
            };
            return self.transition_to_failed(failure);
        }
        if let Some(attempt) = self.attempt.take_if(|attempt| attempt.give_up_at <= now) {
            let reason = match attempt.stage {
                Stage::Dialing => "no path to the peer was found in time",
                Stage::Greeting { .. } => "the peer did not answer the greeting in time",
            };
            self.attempt_lost(attempt, reason, now);
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
            Retry::At(_) | Retry::None => None,
        };
        let attempt = self.attempt.as_ref().map(|attempt| attempt.give_up_at);
        let own = [
            at(retry, DeadlineReason::Reconnect),
            at(attempt, DeadlineReason::AttemptTimeout),
            at(self.connect_by, DeadlineReason::AttemptTimeout),
            at(self.close_by, DeadlineReason::CloseTimeout),
            at(self.resume_by, DeadlineReason::ResumeWindow),
            self.reconnector.poll_timeout(),
            self.live
                .as_ref()
                .and_then(|live| live.liveness.poll_timeout()),
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
        if let Some(transmit) = self.transmits.pop_front() {
            return Some(transmit);
        }
        let link = self.live.as_ref().filter(|live| live.confirmed)?.id;
        let transmit = self.poll_channels(link, now)?;
        if self.channels.values().any(|channel| channel.is_expecting())
            && let Some(live) = &mut self.live
        {
            live.liveness.on_expecting(now);
        }
        Some(transmit)
    }

    /// Serves the channels in turn, so that none owns the link.
    fn poll_channels(&mut self, link: LinkId, now: Instant) -> Option<Transmit> {
        let room = self.config.fragment_bytes as usize + ChannelFrame::DATA_HEADER_BYTES_MAX + 32;
        let ids: Vec<ChannelId> = self.channels.keys().copied().collect();
        let start = ids.partition_point(|id| *id <= self.last_served);
        let mut out = Vec::new();
        for id in ids[start..].iter().chain(&ids[..start]) {
            let Some(channel) = self.channels.get_mut(id) else {
                continue;
            };
            let before = channel.outbox().queue_len();
            let was_closed = channel.state() == DurableChannelState::Closed;
            let stream = channel.poll_frames(room, &mut out, now);
            let now_closed = channel.state() == DurableChannelState::Closed;
            if channel.outbox().queue_len() < before || was_closed != now_closed {
                self.touched.push_back(*id);
            }
            if let Some(stream) = stream {
                self.last_served = *id;
                return Some(Transmit {
                    link,
                    stream,
                    payload: out.into(),
                });
            }
        }
        None
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<ConnectionEvent> {
        self.events.pop_front()
    }

    /// A channel with something new: a message, room, an event or another state.
    pub fn poll_touched(&mut self) -> Option<ChannelId> {
        self.touched.pop_front()
    }
}
