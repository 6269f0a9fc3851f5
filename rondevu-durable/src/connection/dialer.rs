//! The dialer's half of a connection: attempts, hello and what comes back.

use std::string::ToString;
use std::vec::Vec;

use bytes::Bytes;
use core::time::Duration;
use rondevu_core::frame::{ControlFrame, Cursor, Hello, PROTOCOL_VERSION, Welcome};
use rondevu_core::proof::{hello_transcript, welcome_transcript};
use rondevu_core::{
    DurableChannelState, Generation, Incarnation, Instant, LinkClosed, LinkEvent, LinkId, LinkInfo,
    OpenedBy, RejectReason, Seq, SessionId, StreamId, Unconfirmed,
};

use super::ladder::Urgency;
use super::plain::is_control;
use super::{
    Arrival, Attempt, ConnectionEvent, ConnectionMachine, Durability, Greeting, PeerMemory,
    Purpose, Retry, Role, Seeds, Stage, Trust,
};
use crate::config::{ConnectionConfig, FirstAttempt, SessionLoss};
use crate::error::{
    ConnectionClosed, ConnectionFailure, DialFailure, DialRetry, ProtocolViolation,
};

impl ConnectionMachine {
    /// A dialer that has not dialed yet.
    pub fn dialer(config: ConnectionConfig, trust: Trust, seeds: Seeds) -> Self {
        Self::with_role(Role::Dialer, config, trust, seeds.session, seeds)
    }

    /// Begins to connect. A second call does nothing.
    pub fn connect(&mut self, now: Instant) {
        let fresh = self.attempt.is_none() && self.live.is_none() && self.retry == Retry::None;
        if self.role == Role::Dialer && !self.state.is_final() && fresh {
            self.begin_first_attempt(now);
        }
    }

    /// Begins to connect and keeps trying with backoff, as after a lost link. What
    /// [`connect`](Self::connect) has begun goes on without its time-out.
    pub fn connect_in_background(&mut self, now: Instant) {
        if self.was_never_connected() {
            self.config.first_attempt = FirstAttempt::KeepTrying;
            self.connect_by = None;
        }
        self.connect(now);
    }

    /// Stops what [`connect`](Self::connect) has begun, as if it had not been called. Does nothing
    /// once a link has carried the session, while paused or while closing.
    pub fn cancel_connect(&mut self) {
        let settled = self.state.is_final() || self.close_by.is_some();
        let waits = self.role != Role::Dialer || self.retry == Retry::Paused;
        if settled || waits || !self.was_never_connected() {
            return;
        }
        if let Some(attempt) = self.attempt.take() {
            self.abandon_attempt(&attempt);
        }
        (self.retry, self.connect_by) = (Retry::None, None);
        self.soon_retries = 0;
        self.reconnector.reset();
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
            DialRetry::Never | DialRetry::Later if first => {
                self.transition_to_failed(ConnectionFailure::Dial(failure.reason));
            }
            DialRetry::After(delay) => self.retry_after(attempt, delay, now),
            // A name may be back after its service was restarted.
            DialRetry::Never | DialRetry::Later => self.attempt_lost(attempt, "", now),
        }
    }

    /// The peer of an attempt has announced that it speaks the session protocol, so that its silence
    /// does not make it a plain peer.
    pub fn handle_announcement(&mut self, link: LinkId) {
        match &mut self.attempt {
            Some(attempt) if attempt.link == link => {
                attempt.announced = true;
                attempt.plain_at = None;
            }
            _ => self.late_facts += 1,
        }
    }

    /// What keeps the link of an attempt from being connected, for the case that it never is.
    pub fn handle_hindrance(&mut self, link: LinkId, why: String) {
        if let Some(attempt) = &mut self.attempt
            && attempt.link == link
        {
            attempt.hindrance = Some(why);
        }
    }

    /// Signaling asks to try again after `delay`. The first times that counts for nothing; but who
    /// is told so again and again waits longer and longer, or many would ask in vain at a high
    /// rate.
    fn retry_after(&mut self, attempt: Attempt, delay: Duration, now: Instant) {
        let doublings = self.soon_retries.min(16);
        self.soon_retries += 1;
        let longer = delay.saturating_mul(1 << doublings);
        let base = self.config.backoff.base;
        let jitter = 0.75 + 0.5 * self.rng.f64();
        if longer < base || self.connect_by.is_some() {
            let delay = longer.min(base.max(delay));
            self.retry = Retry::At(now + delay.mul_f64(jitter));
            return;
        }
        self.attempt_lost(attempt, "", now);
        if let Retry::At(at) = &mut self.retry {
            *at = (*at).max(now + delay);
        }
    }

    /// A fact about the link that is being established.
    pub(super) fn on_attempt_event(&mut self, event: LinkEvent, now: Instant) {
        match event {
            LinkEvent::Connected(info) => self.on_attempt_connected(info, now),
            LinkEvent::StreamOpened {
                stream,
                options,
                by: OpenedBy::Remote,
            } => {
                if is_control(&options) {
                    self.on_control_opened(stream, now);
                } else if let Some(link) = self.dialing_link() {
                    let event = LinkEvent::StreamOpened {
                        stream,
                        options,
                        by: OpenedBy::Remote,
                    };
                    self.begin_plain(now);
                    self.handle_link_event(link, event, now);
                }
            }
            LinkEvent::StreamMessage {
                stream, payload, ..
            } => self.on_greeting_message(stream, payload, now),
            LinkEvent::Closed { reason } => {
                if let Some(attempt) = self.attempt.take() {
                    let why = match (&reason, attempt.hindrance.clone()) {
                        (LinkClosed::NoPath, Some(why)) => why,
                        (_, _) => reason.to_string(),
                    };
                    self.attempt_lost(attempt, &why, now);
                }
            }
            LinkEvent::Writable
            | LinkEvent::StreamOpened {
                by: OpenedBy::Local,
                ..
            }
            | LinkEvent::StreamClosed { .. } => {}
        }
    }

    fn on_attempt_connected(&mut self, info: LinkInfo, now: Instant) {
        let accepts_plain_peers = self.accepts_plain_peers();
        if let Some(attempt) = &mut self.attempt {
            attempt.info = Some(info);
            let may_be_plain = accepts_plain_peers && !attempt.announced;
            attempt.plain_at = may_be_plain.then(|| now + self.config.plain_after);
        }
    }

    /// The link of the attempt, if its peer has not been greeted.
    fn dialing_link(&self) -> Option<LinkId> {
        let attempt = self.attempt.as_ref()?;
        matches!(attempt.stage, Stage::Dialing).then_some(attempt.link)
    }

    /// The new link can speak.
    fn on_control_opened(&mut self, control: StreamId, now: Instant) {
        if self.dialing_link().is_none() {
            return;
        }
        match self.peer.durability {
            // Its channels have carried messages that nobody numbered: what began plainly stays so.
            Some(Durability::Plain) => self.begin_plain(now),
            Some(Durability::Session) | None => self.send_first_hello(control, now),
        }
    }

    /// The old link is frozen, and its cursors go into the hello.
    fn send_first_hello(&mut self, control: StreamId, now: Instant) {
        if let Some(attempt) = &mut self.attempt {
            let greeted_by = now + self.config.greeting_timeout;
            attempt.give_up_at = attempt.give_up_at.min(greeted_by);
        }
        let frozen = self.live.take().map(|live| live.id);
        self.detach_all();
        // Four billion links, at one a second, take a hundred years.
        self.generation = self.generation.next().unwrap_or(self.generation);
        let hello = Hello {
            version: PROTOCOL_VERSION,
            session: self.session,
            generation: self.generation,
            incarnation: self.incarnation,
            peer_incarnation: self.peer.memory.map(|peer| peer.incarnation),
            limits: self.config.limits(),
            channels: self.cursors(),
            nonce: [0; 16],
            proof: None,
            extensions: Vec::new(),
        };
        self.send_hello(hello, control, frozen, Purpose::Session);
    }

    /// Asks for a new session on the same link. The present one stays until that is granted: a
    /// refusal carries no proof, and somebody else than the peer may have sent it.
    fn send_second_hello(&mut self, greeting: Greeting) {
        let hello = Hello {
            session: SessionId(self.rng.u128(..)),
            generation: FIRST_GENERATION,
            incarnation: Incarnation(self.rng.u64(..)),
            peer_incarnation: None,
            channels: self.fresh_cursors(),
            ..greeting.hello
        };
        let Greeting {
            control, frozen, ..
        } = greeting;
        self.send_hello(hello, control, frozen, Purpose::NewSession);
    }

    /// The cursors of a session that has not begun: only the dialer's own channels go on in it.
    fn fresh_cursors(&self) -> Vec<Cursor> {
        let open = |channel: &&crate::ChannelMachine| {
            self.is_own(channel.id()) && channel.state() != DurableChannelState::Closed
        };
        let own = self.channels().filter(open);
        own.map(|channel| {
            let credit = match channel.is_lossy() {
                true => 0,
                false => self.config.window(),
            };
            channel.cursor_at(channel.id(), Seq::ZERO, credit)
        })
        .collect()
    }

    fn send_hello(
        &mut self,
        mut hello: Hello,
        control: StreamId,
        frozen: Option<LinkId>,
        purpose: Purpose,
    ) {
        let Some(attempt) = &self.attempt else { return };
        let (link, fingerprints) = (attempt.link, attempt.info.and_then(|i| i.fingerprints));
        self.rng.fill(&mut hello.nonce);
        let transcript = fingerprints.map(|seen_here| hello_transcript(&hello, &seen_here));
        hello.proof = self.prove(transcript);
        let frame = ControlFrame::Hello(hello.clone());
        self.transmit_control(link, control, &frame);
        let greeting = Greeting {
            control,
            hello,
            frozen,
            purpose,
        };
        if let Some(attempt) = &mut self.attempt {
            attempt.stage = Stage::Greeting(Box::new(greeting));
        }
    }

    fn on_greeting_message(&mut self, stream: StreamId, mut payload: Bytes, now: Instant) {
        let Some(Attempt {
            link,
            stage: Stage::Greeting(greeting),
            ..
        }) = &self.attempt
        else {
            return;
        };
        let link = *link;
        if stream != greeting.control {
            return self.violation(link, ProtocolViolation::Unexpected, now);
        }
        match ControlFrame::decode(&mut payload) {
            Ok(ControlFrame::Welcome(welcome)) => self.on_welcome(link, welcome, now),
            Ok(ControlFrame::Reject { reason }) => self.on_reject(reason, now),
            Ok(_) => self.violation(link, ProtocolViolation::Unexpected, now),
            Err(error) => self.violation(link, error.into(), now),
        }
    }

    fn on_welcome(&mut self, link: LinkId, mut welcome: Welcome, now: Instant) {
        let key = match self.check_welcome(&welcome) {
            Ok(key) => key,
            Err(ProtocolViolation::Untrusted(failure)) if self.was_never_welcomed() => {
                return self.transition_to_failed(ConnectionFailure::Untrusted(failure));
            }
            Err(violation) => return self.violation(link, violation, now),
        };
        let Some((attempt, greeting)) = self.take_greeting() else {
            return;
        };
        if greeting.purpose == Purpose::NewSession {
            self.begin_new_session(&greeting.hello);
        }
        self.peer.durability = Some(Durability::Session);
        self.peer.key = self.peer.key.or(key);
        self.peer.memory = Some(PeerMemory {
            incarnation: welcome.incarnation,
            limits: welcome.limits,
        });
        if let Some(old) = greeting.frozen {
            self.abandon(old);
        }
        let arrival = Arrival {
            link: attempt.link,
            control: greeting.control,
            info: attempt.info.unwrap_or(LinkInfo::UNKNOWN),
        };
        let cursors = core::mem::take(&mut welcome.channels);
        if let Err(violation) = self.attach(arrival, cursors, Some(&greeting.hello.channels), now) {
            self.detach_all();
            self.violation(link, violation, now);
            self.abandon(link);
            return self.plan_attempt(Urgency::Backoff, now);
        }
        self.end_greeting(now);
    }

    fn take_greeting(&mut self) -> Option<(Attempt, Greeting)> {
        let mut attempt = self.attempt.take()?;
        match core::mem::replace(&mut attempt.stage, Stage::Dialing) {
            Stage::Greeting(greeting) => Some((attempt, *greeting)),
            Stage::Dialing => {
                self.attempt = Some(attempt);
                None
            }
        }
    }

    /// Whether the welcome belongs to the hello and comes from the right peer, and the key that it
    /// proves.
    fn check_welcome(&self, welcome: &Welcome) -> Result<Option<[u8; 32]>, ProtocolViolation> {
        let Some(Attempt {
            info,
            stage: Stage::Greeting(greeting),
            ..
        }) = &self.attempt
        else {
            return Err(ProtocolViolation::Unexpected);
        };
        let transcript = info
            .and_then(|info| info.fingerprints)
            .map(|seen_here| welcome_transcript(&greeting.hello, welcome, &seen_here));
        let key = self.check_proof(welcome.proof.as_ref(), transcript)?;
        let remembered = match (greeting.purpose, self.peer.memory) {
            (Purpose::Session, Some(peer)) => peer.incarnation == welcome.incarnation,
            (Purpose::Session, None) | (Purpose::NewSession, _) => true,
        };
        let matches = welcome.generation == greeting.hello.generation && remembered;
        if !matches || welcome.version != PROTOCOL_VERSION {
            return Err(ProtocolViolation::Greeting);
        }
        Ok(key)
    }

    fn was_never_welcomed(&self) -> bool {
        self.peer.memory.is_none()
    }

    fn on_reject(&mut self, reason: RejectReason, now: Instant) {
        // A refusal is not signed. It ends nothing that a proved peer has agreed to.
        if reason.is_final() && self.peer.key.is_none() {
            return self.transition_to_failed(ConnectionFailure::Rejected(reason));
        }
        let Some((mut attempt, greeting)) = self.take_greeting() else {
            return;
        };
        if reason.means_session_lost() && greeting.purpose == Purpose::Session {
            self.attempt = Some(attempt);
            return self.send_second_hello(greeting);
        }
        // With it the frozen link is given up.
        attempt.stage = Stage::Greeting(Box::new(greeting));
        self.attempt_lost(attempt, &reason.to_string(), now);
        if let (Some(delay), Retry::At(at)) = (reason.retry_after(), &mut self.retry) {
            *at = (*at).max(now + delay);
        }
    }

    /// The peer has welcomed a new session, having forgotten the present one: what is unconfirmed
    /// goes into it.
    fn begin_new_session(&mut self, hello: &Hello) {
        self.session = hello.session;
        self.incarnation = hello.incarnation;
        self.generation = hello.generation;
        self.retire_peer_ids();
        let (mut dropped, mut kept) = (Unconfirmed::default(), Unconfirmed::default());
        let ids: Vec<_> = self.channels.keys().copied().collect();
        for id in ids {
            let own = self.is_own(id);
            let Some(channel) = self.channels.get_mut(&id) else {
                continue;
            };
            if channel.state() == DurableChannelState::Closed {
                // It stays as it ended, for whoever still reads.
                continue;
            }
            if !own {
                // The acceptor created it and no longer knows of it.
                dropped += channel.outbox().unconfirmed();
                channel.close();
                continue;
            }
            if self.config.session_loss == SessionLoss::Drop {
                // Before the reset, which forgets what has left and what has not.
                dropped += channel.drop_unconfirmed();
            }
            kept += channel.on_session_reset();
        }
        if dropped != Unconfirmed::default() && self.close_by.is_some() {
            self.close_reason = ConnectionClosed::LocalUnconfirmed;
        }
        let mut unconfirmed = dropped;
        unconfirmed += kept;
        self.touched.extend(self.channels.keys().copied());
        self.events
            .push_back(ConnectionEvent::SessionReset { unconfirmed });
    }
}

const FIRST_GENERATION: Generation = Generation(1);
