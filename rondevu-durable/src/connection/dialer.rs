//! The dialer's half of a connection: attempts, hello and what comes back.

use std::string::ToString;
use std::vec::Vec;

use rondevu_core::frame::{
    CONTROL_LABEL, CONTROL_PROTOCOL, ControlFrame, Hello, PROTOCOL_VERSION, Welcome,
};
use rondevu_core::{
    Generation, Incarnation, Instant, LinkEvent, LinkId, OpenedBy, RejectReason, SessionId,
    StreamId, Unconfirmed,
};

use super::{
    Action, Attempt, ConnectionEvent, ConnectionMachine, PeerMemory, Retry, Role, Seeds, Stage,
};
use crate::config::{ConnectionConfig, FirstAttempt, SessionLoss};
use crate::error::{ConnectionFailure, DialFailure, DialRetry, ProtocolViolation};

impl ConnectionMachine {
    /// A dialer that has not dialed yet.
    pub fn dialer(config: ConnectionConfig, seeds: Seeds) -> Self {
        Self::with_role(Role::Dialer, config, seeds.session, seeds)
    }

    /// Begins to connect. A second call does nothing.
    pub fn connect(&mut self, now: Instant) {
        let fresh = self.attempt.is_none() && self.live.is_none() && self.retry == Retry::None;
        if self.role != Role::Dialer || self.state.is_final() || !fresh {
            return;
        }
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
            stage: Stage::Dialing,
        });
        self.actions.push_back(Action::Dial { link });
    }

    /// Plans the next attempt, or fails if there is none.
    pub(super) fn plan_attempt(&mut self, now: Instant) {
        if self.role != Role::Dialer || self.state.is_final() {
            return;
        }
        let was_up_long = self.reconnector.attempts() == 0 && self.generation != Generation::NONE;
        let Some(next) = self.reconnector.next_attempt() else {
            let failure = ConnectionFailure::AttemptsExhausted {
                attempts: self.reconnector.attempts(),
                last: self.last_failure.clone(),
            };
            return self.transition_to_failed(failure);
        };
        // The first attempt after a stable link starts at once: that link has shown that the peer
        // is there, and its application wants it back.
        let delay = if was_up_long {
            core::time::Duration::ZERO
        } else {
            next.delay
        };
        self.retry = Retry::At(now + delay);
        self.events.push_back(ConnectionEvent::Reconnecting {
            attempt: next.number,
            max_attempts: self.reconnector.attempts_max(),
            delay,
        });
    }

    /// The attempt did not get as far as a link.
    pub fn handle_dial_failed(&mut self, link: LinkId, failure: DialFailure, now: Instant) {
        let Some(attempt) = self.attempt.take_if(|attempt| attempt.link == link) else {
            self.late_facts += 1;
            return;
        };
        self.last_failure = failure.reason.clone();
        let first = self.connect_by.is_some();
        match failure.retry {
            DialRetry::Never if first => {
                self.transition_to_failed(ConnectionFailure::Dial(failure.reason));
            }
            DialRetry::Later if first => {
                self.transition_to_failed(ConnectionFailure::Dial(failure.reason));
            }
            DialRetry::After(delay) => {
                let jitter = 0.75 + 0.5 * self.rng.f64();
                self.retry = Retry::At(now + delay.mul_f64(jitter));
            }
            // A name may be back after its service was restarted.
            DialRetry::Never | DialRetry::Later => self.attempt_lost(attempt, "", now),
        }
    }

    /// An attempt came to nothing; plans the next one.
    pub(super) fn attempt_lost(&mut self, attempt: Attempt, reason: &str, now: Instant) {
        if !reason.is_empty() {
            self.last_failure = reason.into();
        }
        self.abandon(attempt.link);
        if let Stage::Greeting {
            frozen: Some(old), ..
        } = attempt.stage
        {
            self.abandon(old);
        }
        self.plan_attempt(now);
    }

    /// A fact about the link that is being established.
    pub(super) fn on_attempt_event(&mut self, event: LinkEvent, now: Instant) {
        match event {
            LinkEvent::StreamOpened {
                stream,
                options,
                by: OpenedBy::Remote,
            } => {
                if options.label == CONTROL_LABEL && options.protocol == CONTROL_PROTOCOL {
                    self.send_first_hello(stream);
                } else {
                    self.transition_to_failed(ConnectionFailure::NotDurable);
                }
            }
            LinkEvent::StreamMessage {
                stream,
                mut payload,
                ..
            } => {
                let Some(Attempt {
                    link,
                    stage: Stage::Greeting { control, .. },
                    ..
                }) = &self.attempt
                else {
                    return;
                };
                let (link, control) = (*link, *control);
                if stream != control {
                    return self.violation(link, ProtocolViolation::Unexpected, now);
                }
                match ControlFrame::decode(&mut payload) {
                    Ok(ControlFrame::Welcome(welcome)) => {
                        if let Err(violation) = self.on_welcome(welcome, now) {
                            self.violation(link, violation, now);
                        }
                    }
                    Ok(ControlFrame::Reject { reason }) => self.on_reject(reason, now),
                    Ok(_) => self.violation(link, ProtocolViolation::Unexpected, now),
                    Err(error) => self.violation(link, error.into(), now),
                }
            }
            LinkEvent::Closed { reason } => {
                if let Some(attempt) = self.attempt.take() {
                    self.attempt_lost(attempt, &reason.to_string(), now);
                }
            }
            LinkEvent::Connected
            | LinkEvent::Writable
            | LinkEvent::StreamOpened {
                by: OpenedBy::Local,
                ..
            }
            | LinkEvent::StreamClosed { .. } => {}
        }
    }

    /// The new link can speak: the old one is frozen, and its cursors go into the hello.
    fn send_first_hello(&mut self, control: StreamId) {
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        if !matches!(attempt.stage, Stage::Dialing) {
            return;
        }
        let frozen = self.live.take().map(|live| live.id);
        for channel in self.channels.values_mut() {
            channel.on_detach();
        }
        attempt.stage = Stage::Greeting {
            control,
            announced: Vec::new(),
            frozen,
            session_retried: false,
        };
        self.send_hello();
    }

    fn send_hello(&mut self) {
        // Four billion links, at one a second, take a hundred years.
        self.generation = self.generation.next().unwrap_or(self.generation);
        let channels = self.cursors();
        let ids = channels.iter().map(|cursor| cursor.channel).collect();
        let Some(Attempt {
            link,
            stage: Stage::Greeting {
                control, announced, ..
            },
            ..
        }) = &mut self.attempt
        else {
            return;
        };
        *announced = ids;
        let (link, control) = (*link, *control);
        let mut nonce = [0; 16];
        self.rng.fill(&mut nonce);
        let hello = Hello {
            version: PROTOCOL_VERSION,
            session: self.session,
            generation: self.generation,
            incarnation: self.incarnation,
            peer_incarnation: self.peer.map(|peer| peer.incarnation),
            limits: self.config.limits(),
            channels,
            nonce,
            proof: None,
            extensions: Vec::new(),
        };
        self.transmit_control(link, control, &ControlFrame::Hello(hello));
    }

    fn on_welcome(&mut self, welcome: Welcome, now: Instant) -> Result<(), ProtocolViolation> {
        let remembered = self
            .peer
            .is_none_or(|peer| peer.incarnation == welcome.incarnation);
        let matches = welcome.generation == self.generation && remembered;
        if !matches || welcome.version != PROTOCOL_VERSION {
            return Err(ProtocolViolation::Greeting);
        }
        let Some(attempt) = self.attempt.take() else {
            return Err(ProtocolViolation::Unexpected);
        };
        let Stage::Greeting {
            control,
            announced,
            frozen,
            ..
        } = attempt.stage
        else {
            return Err(ProtocolViolation::Unexpected);
        };
        self.peer = Some(PeerMemory {
            incarnation: welcome.incarnation,
            limits: welcome.limits,
        });
        if let Some(old) = frozen {
            self.abandon(old);
        }
        if let Err(violation) = self.attach(
            attempt.link,
            control,
            welcome.channels,
            Some(&announced),
            now,
        ) {
            self.abandon(attempt.link);
            self.plan_attempt(now);
            return Err(violation);
        }
        // Tells the acceptor that the greeting is over, and measures the round trip.
        if let Some(live) = &mut self.live {
            live.confirmed = true;
            let id = live.liveness.start_ping(now);
            self.transmit_control(attempt.link, control, &ControlFrame::Ping { id });
        }
        self.request_streams();
        Ok(())
    }

    fn on_reject(&mut self, reason: RejectReason, now: Instant) {
        let retried = matches!(
            &self.attempt,
            Some(Attempt {
                stage: Stage::Greeting {
                    session_retried: true,
                    ..
                },
                ..
            })
        );
        if reason.is_final() {
            self.transition_to_failed(ConnectionFailure::Rejected(reason));
        } else if reason.means_session_lost() && !retried {
            self.begin_new_session();
            if let Some(Attempt {
                stage: Stage::Greeting {
                    session_retried, ..
                },
                ..
            }) = &mut self.attempt
            {
                *session_retried = true;
            }
            self.send_hello();
        } else if let Some(attempt) = self.attempt.take() {
            self.attempt_lost(attempt, &reason.to_string(), now);
            if let Some(delay) = reason.retry_after() {
                self.retry = Retry::At(now + delay);
            }
        }
    }

    /// The acceptor knows nothing any more: what is unconfirmed goes into a new session.
    fn begin_new_session(&mut self) {
        self.session = SessionId(self.rng.u128(..));
        self.incarnation = Incarnation(self.rng.u64(..));
        self.peer = None;
        self.generation = Generation::NONE;
        self.seen = rondevu_core::IdSet::default();
        let mut unconfirmed = Unconfirmed::default();
        let ids: Vec<_> = self.channels.keys().copied().collect();
        for id in ids {
            let own = self.is_own(id);
            let Some(channel) = self.channels.get_mut(&id) else {
                continue;
            };
            if !own {
                // The acceptor created it and no longer knows of it.
                unconfirmed += channel.outbox().unconfirmed();
                channel.close();
                continue;
            }
            unconfirmed += channel.on_session_reset();
            if self.config.session_loss == SessionLoss::Drop {
                channel.drop_unconfirmed();
            }
        }
        self.touched.extend(self.channels.keys().copied());
        self.events
            .push_back(ConnectionEvent::SessionReset { unconfirmed });
    }
}
