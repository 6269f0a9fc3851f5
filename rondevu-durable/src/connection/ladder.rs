//! The repair ladder: what happens when a link is suspect or lost, until another one is there.

use std::string::{String, ToString};
use std::vec::Vec;

use core::time::Duration;
use rondevu_core::frame::ControlFrame;
use rondevu_core::{
    DurableConnectionState, Generation, Instant, LinkClosed, LinkId, MessageKind, StreamId,
};

use super::{
    Action, Attempt, ConnectionEvent, ConnectionMachine, LinkKind, Retry, Role, Stage, Transmit,
};
use crate::config::FirstAttempt;
use crate::error::{ConnectionClosed, ConnectionFailure, ProtocolViolation};

/// How soon a link is to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// The path died: the peer is most likely there.
    Prompt,
    /// The peer closed the link: it has most likely ended, and others have seen the same.
    PeerClosed,
    /// An attempt failed.
    Backoff,
}

impl From<&LinkClosed> for Urgency {
    fn from(reason: &LinkClosed) -> Self {
        match reason {
            LinkClosed::Remote => Self::PeerClosed,
            _ => Self::Prompt,
        }
    }
}

impl ConnectionMachine {
    // ---- commands ----

    /// Starts the next attempt now instead of after the backoff.
    pub fn retry_now(&mut self, now: Instant) {
        let waiting = matches!(self.retry, Retry::At(_));
        if self.role == Role::Dialer && waiting && self.attempt.is_none() {
            self.retry = Retry::At(now);
            self.handle_timeout(now);
        }
    }

    /// Gives the link up and makes no attempt until [`resume`](Self::resume): the program is in the
    /// background, or saves energy. Messages wait; the peer keeps the session for its resume
    /// window. Does nothing on the side of the service.
    pub fn pause(&mut self, now: Instant) {
        let closing = self.close_by.is_some();
        if self.role != Role::Dialer || self.state.is_final() || closing {
            return;
        }
        if let Some(attempt) = self.attempt.take() {
            self.abandon_attempt(&attempt);
        }
        if let Some(live) = self.live.take() {
            self.abandon(live.id);
            self.reconnector.on_link_lost(now);
        }
        self.detach_all();
        (self.retry, self.connect_by) = (Retry::Paused, None);
        self.leave_connected(DurableConnectionState::Disconnected);
    }

    /// Looks for a link again after [`pause`](Self::pause). Does nothing otherwise.
    pub fn resume(&mut self, now: Instant) {
        if self.retry != Retry::Paused {
            return;
        }
        self.reconnector.reset();
        if self.was_never_connected() {
            self.transition_to(DurableConnectionState::Connecting);
            self.begin_first_attempt(now);
        } else {
            self.transition_to(DurableConnectionState::Reconnecting);
            self.start_attempt(now);
        }
    }

    /// The machine's network has changed: whatever the live link said so far counts no more, and
    /// the next attempt begins at once.
    pub fn handle_network_change(&mut self, now: Instant) {
        let idle = self.state.is_final() || self.retry == Retry::Paused;
        if self.role != Role::Dialer || idle {
            return;
        }
        self.reconnector.reset();
        if let Some(attempt) = self.attempt.take() {
            self.attempt_lost(attempt, "the network changed", now);
        }
        let reason = "the network changed";
        match self.live.as_mut().map(|live| (live.id, &mut live.kind)) {
            Some((_, LinkKind::Session(session))) => {
                session.liveness.suspect();
                self.on_suspect(reason, now);
            }
            Some((link, LinkKind::Plain { .. })) => {
                self.abandon(link);
                self.on_live_lost(reason, Urgency::Prompt, now);
            }
            None => {}
        }
        self.retry_now(now);
    }

    // ---- facts ----

    /// The live link is gone.
    pub(super) fn on_live_lost(&mut self, reason: &str, urgency: Urgency, now: Instant) {
        let Some(live) = self.live.take() else {
            return;
        };
        self.last_failure = reason.into();
        self.detach_all();
        match (urgency, live.session()) {
            // One that breaks the protocol will do so again, and one without acknowledgements has
            // shown nothing unless it was there for long.
            (Urgency::Backoff, _) | (_, None) => self.reconnector.on_useless_link_lost(now),
            (_, Some(_)) => self.reconnector.on_link_lost(now),
        }
        if self.role == Role::Acceptor && live.session().is_none() {
            return self.transition_to_closed(ConnectionClosed::LinkLost);
        }
        self.without_link(urgency, now);
    }

    /// The live link has been silent for too long; it is kept and listened to.
    pub(super) fn on_suspect(&mut self, reason: &str, now: Instant) {
        self.last_failure = reason.into();
        self.reconnector.on_link_lost(now);
        self.without_link(Urgency::Prompt, now);
    }

    /// The old path works again before a new link was found.
    pub(super) fn on_healed(&mut self, now: Instant) {
        if let Some(attempt) = self.attempt.take() {
            self.abandon_attempt(&attempt);
        }
        if let Some(session) = self.live.as_mut().and_then(|live| live.session_mut()) {
            session.hastened = false;
        }
        (self.retry, self.resume_by) = (Retry::None, None);
        self.reconnector.on_link_up(now);
        self.transition_to(DurableConnectionState::Connected);
        self.events.push_back(ConnectionEvent::Connected {
            generation: self.generation,
        });
        self.ping(now);
    }

    /// Measures the round trip and shows that the link carries answers.
    pub(super) fn ping(&mut self, now: Instant) {
        let Some(live) = &mut self.live else { return };
        let link = live.id;
        if let Some(session) = live.session_mut() {
            let (control, id) = (session.control, session.liveness.start_ping(now));
            self.transmit_control(link, control, &ControlFrame::Ping { id });
        }
    }

    /// A datagram of the live link came in, below the session's messages: the path lives, which
    /// keeps a link from becoming suspect for a lost message alone.
    ///
    /// After an outage SCTP takes seconds to try again, while connectivity checks come through at
    /// once: the first one that does while the link is suspect starts an attempt that would
    /// otherwise wait for its backoff.
    pub fn handle_path_activity(&mut self, link: LinkId, now: Instant) {
        let live = self.live.as_mut().filter(|live| live.id == link);
        let Some(session) = live.and_then(|live| live.session_mut()) else {
            return;
        };
        session.liveness.on_datagram(now);
        if session.liveness.is_suspect() && !session.hastened && self.attempt.is_none() {
            session.hastened = true;
            self.retry_now(now);
        }
    }

    /// Plans what replaces a link that is lost or suspect.
    pub(super) fn without_link(&mut self, urgency: Urgency, now: Instant) {
        match self.role {
            Role::Acceptor => {
                self.leave_connected(DurableConnectionState::Disconnected);
                self.resume_by
                    .get_or_insert(now + self.config.resume_window);
            }
            Role::Dialer => {
                self.leave_connected(DurableConnectionState::Reconnecting);
                if self.attempt.is_none() && self.retry == Retry::None {
                    self.plan_attempt(urgency, now);
                }
            }
        }
        self.close_if_flushed();
    }

    fn leave_connected(&mut self, to: DurableConnectionState) {
        if self.state == DurableConnectionState::Connected {
            self.events.push_back(ConnectionEvent::Disconnected);
        }
        self.transition_to(to);
    }

    /// The peer broke the protocol on this link.
    pub(super) fn violation(&mut self, link: LinkId, violation: ProtocolViolation, now: Instant) {
        tracing::warn!(%violation, "the peer broke the session protocol");
        self.events
            .push_back(ConnectionEvent::ProtocolViolation(violation));
        let reason = violation.to_string();
        if self.live.as_ref().is_some_and(|live| live.id == link) {
            self.abandon(link);
            self.on_live_lost(&reason, Urgency::Backoff, now);
        } else if let Some(attempt) = self.attempt.take_if(|attempt| attempt.link == link) {
            self.attempt_lost(attempt, &reason, now);
        }
    }

    // ---- attempts ----

    pub(super) fn was_never_connected(&self) -> bool {
        self.generation == Generation::NONE || self.peer.durability.is_none()
    }

    pub(super) fn begin_first_attempt(&mut self, now: Instant) {
        if self.config.first_attempt == FirstAttempt::FailFast {
            self.connect_by = Some(now + self.config.connection_timeout);
        }
        self.start_attempt(now);
    }

    pub(super) fn start_attempt(&mut self, now: Instant) {
        let link = LinkId(self.next_link);
        self.next_link += 1;
        self.retry = Retry::None;
        self.attempt = Some(Attempt {
            link,
            give_up_at: now + self.config.attempt_timeout,
            announced: false,
            plain_at: None,
            info: None,
            stage: Stage::Dialing,
            hindrance: None,
        });
        self.actions.push_back(Action::Dial { link });
    }

    /// Plans the next attempt, or fails if there is none.
    pub(super) fn plan_attempt(&mut self, urgency: Urgency, now: Instant) {
        if self.role != Role::Dialer || self.state.is_final() {
            return;
        }
        let first = self.reconnector.attempts() == 0 && !self.was_never_connected();
        let Some(next) = self.reconnector.next_attempt() else {
            let failure = ConnectionFailure::AttemptsExhausted {
                attempts: self.reconnector.attempts_in_a_row(),
                last: self.last_failure.clone(),
            };
            return self.transition_to_failed(failure);
        };
        // The first attempt after a stable link need not wait for long: that link has shown that
        // the peer is there, and its application wants it back.
        let delay = match urgency {
            Urgency::Prompt if first => self.random_share(self.config.reconnect_spread),
            Urgency::PeerClosed if first => self.random_share(self.config.backoff.base),
            Urgency::Prompt | Urgency::PeerClosed | Urgency::Backoff => next.delay,
        };
        self.retry = Retry::At(now + delay);
        // Within its time-out, a first connection is one attempt to whoever waits for it.
        if self.connect_by.is_none() {
            self.events.push_back(ConnectionEvent::Reconnecting {
                attempt: next.number,
                max_attempts: self.reconnector.attempts_max(),
                delay,
            });
        }
    }

    pub(super) fn random_share(&mut self, whole: Duration) -> Duration {
        whole.mul_f64(self.rng.f64())
    }

    /// An attempt came to nothing; plans the next one.
    pub(super) fn attempt_lost(&mut self, attempt: Attempt, reason: &str, now: Instant) {
        if !reason.is_empty() {
            self.last_failure = String::from(reason);
        }
        self.abandon_attempt(&attempt);
        self.plan_attempt(Urgency::Backoff, now);
    }

    pub(super) fn abandon_attempt(&mut self, attempt: &Attempt) {
        self.abandon(attempt.link);
        if let Stage::Greeting(greeting) = &attempt.stage
            && let Some(old) = greeting.frozen
        {
            self.abandon(old);
        }
    }

    // ---- links ----

    pub(super) fn transmit_control(
        &mut self,
        link: LinkId,
        stream: StreamId,
        frame: &ControlFrame,
    ) {
        let mut payload = Vec::new();
        frame.encode(&mut payload);
        self.transmits.push_back(Transmit {
            link,
            stream,
            kind: MessageKind::Binary,
            payload: payload.into(),
        });
    }

    pub(super) fn abandon(&mut self, link: LinkId) {
        self.transmits.retain(|transmit| transmit.link != link);
        self.actions.push_back(Action::AbandonLink { link });
    }
}
