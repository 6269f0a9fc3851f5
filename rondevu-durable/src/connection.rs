//! A durable connection: one session with a peer, carried by one link after another.

mod acceptor;
mod dialer;
mod duties;

use std::collections::{BTreeMap, VecDeque};
use std::string::String;
use std::vec::Vec;

use bytes::Bytes;
use core::time::Duration;
use rondevu_core::frame::{ControlFrame, Cursor, LABEL_LEN_MAX, Limits, parse_channel_protocol};
use rondevu_core::{
    ByeReason, ChannelId, DurableConnectionState, Generation, IdSet, Incarnation, Instant, LinkId,
    Liveness, Reconnector, Reliability, Seq, SessionId, StreamId, StreamOptions, Unconfirmed,
};

use crate::channel::ChannelMachine;
use crate::config::{ChannelConfig, ConnectionConfig};
use crate::error::{ChannelError, ConnectionClosed, ConnectionFailure, ProtocolViolation};

/// The machine of one connection, dialer or acceptor.
///
/// ```text
///              dialer                                      acceptor
///   connect() ──► Dial ──► link ──► Hello ───────────────► handle_hello()
///                                     ◄──────── Welcome ── attach
///   attach ── Ping ──────────────────────────────────────► opens its own channels' streams
/// ```
///
/// The link that carries the session is *live*. A dialer may have one *attempt* beside it. What
/// comes from any other link is late and changes nothing.
#[derive(Debug)]
pub struct ConnectionMachine {
    config: ConnectionConfig,
    role: Role,
    state: DurableConnectionState,
    session: SessionId,
    incarnation: Incarnation,
    peer: Option<PeerMemory>,
    generation: Generation,
    channels: BTreeMap<ChannelId, ChannelMachine>,
    next_channel: u32,
    seen: IdSet,
    live: Option<LiveLink>,
    attempt: Option<Attempt>,
    next_link: u64,
    reconnector: Reconnector,
    retry: Retry,
    /// When the first connection must be there.
    connect_by: Option<Instant>,
    /// When an acceptor gives the session up.
    resume_by: Option<Instant>,
    /// When closing stops waiting for the peer.
    close_by: Option<Instant>,
    last_failure: String,
    last_served: ChannelId,
    rng: fastrand::Rng,
    transmits: VecDeque<Transmit>,
    actions: VecDeque<Action>,
    events: VecDeque<ConnectionEvent>,
    touched: VecDeque<ChannelId>,
    late_facts: u64,
}

/// Which side of the session a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The side that called: it alone establishes links.
    Dialer,
    /// The service.
    Acceptor,
}

/// Randomness from outside.
#[derive(Clone, Copy, Debug)]
pub struct Seeds {
    /// The id of the session, unguessable; only a dialer uses it.
    pub session: SessionId,
    /// The number of this life of the memory, unique with overwhelming probability.
    pub incarnation: Incarnation,
    /// For jitter and for the ids of later sessions; unguessable too.
    pub rng: u64,
}

/// What is known of the peer's memory.
#[derive(Clone, Copy, Debug)]
struct PeerMemory {
    incarnation: Incarnation,
    limits: Limits,
}

/// The link that carries the session.
#[derive(Debug)]
struct LiveLink {
    id: LinkId,
    control: StreamId,
    liveness: Liveness,
    /// Whether the peer is known to have finished the greeting, so that streams may be opened.
    confirmed: bool,
    /// Whether datagrams that came in while the link was suspect have already hastened a retry.
    hastened: bool,
}

/// A dialer's attempt to establish the next link.
#[derive(Debug)]
struct Attempt {
    link: LinkId,
    give_up_at: Instant,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Signaling and the transport are at work.
    Dialing,
    /// The hello was sent; the previous link is frozen.
    Greeting {
        control: StreamId,
        announced: Vec<ChannelId>,
        frozen: Option<LinkId>,
        session_retried: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retry {
    /// Nothing is planned.
    None,
    At(Instant),
}

/// What the embedder must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Establish a link: find the peer through signaling, answer its offer, feed the link's
    /// events. Tell a failure before that with `handle_dial_failed`.
    Dial {
        /// The name of the link from now on.
        link: LinkId,
    },
    /// Open a stream.
    OpenStream {
        /// The link.
        link: LinkId,
        /// Label, sub-protocol and delivery.
        options: StreamOptions,
    },
    /// Close the link at once, or stop dialing it.
    AbandonLink {
        /// The link.
        link: LinkId,
    },
    /// Close the link after what was transmitted on it has left, or the peer has closed it.
    FinishLink {
        /// The link.
        link: LinkId,
    },
}

/// A binary message for a stream. One that the link has no room for is kept by the embedder and
/// offered to the link again, before any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The link.
    pub link: LinkId,
    /// The stream.
    pub stream: StreamId,
    /// One or more whole frames.
    pub payload: Bytes,
}

/// What happened, for the application.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// The state changed.
    StateChanged {
        /// The state before.
        from: DurableConnectionState,
        /// The state now.
        to: DurableConnectionState,
    },
    /// A link carries the session.
    Connected {
        /// The number of the link within the session.
        generation: Generation,
    },
    /// An attempt to replace the link is planned.
    Reconnecting {
        /// Its number, counted from 1.
        attempt: u32,
        /// How many are allowed; `None` for no limit.
        max_attempts: Option<u32>,
        /// How long until it starts.
        delay: Duration,
    },
    /// No link carries the session at the moment.
    Disconnected,
    /// The peer opened a channel.
    IncomingChannel {
        /// The channel.
        channel: ChannelId,
    },
    /// The peer has lost its memory of the session, and a new one begins.
    SessionReset {
        /// What was unconfirmed in the old session.
        unconfirmed: Unconfirmed,
    },
    /// The peer broke the protocol; the link was closed, the session goes on.
    ProtocolViolation(ProtocolViolation),
    /// The connection failed for good.
    Failed {
        /// Why.
        failure: ConnectionFailure,
        /// What was unconfirmed.
        unconfirmed: Unconfirmed,
    },
    /// The connection was closed.
    Closed {
        /// Why.
        reason: ConnectionClosed,
        /// What was unconfirmed.
        unconfirmed: Unconfirmed,
    },
}

impl ConnectionMachine {
    fn with_role(role: Role, config: ConnectionConfig, session: SessionId, seeds: Seeds) -> Self {
        let reconnector = Reconnector::new(config.backoff, config.stable_after, seeds.rng);
        Self {
            role,
            state: DurableConnectionState::Connecting,
            session,
            incarnation: seeds.incarnation,
            peer: None,
            generation: Generation::NONE,
            channels: BTreeMap::new(),
            next_channel: match role {
                Role::Dialer => 0,
                Role::Acceptor => 1,
            },
            seen: IdSet::default(),
            live: None,
            attempt: None,
            next_link: 0,
            reconnector,
            retry: Retry::None,
            connect_by: None,
            resume_by: None,
            close_by: None,
            last_failure: String::from("no attempt was made"),
            last_served: ChannelId(u32::MAX),
            rng: fastrand::Rng::with_seed(seeds.rng ^ 0x5eed),
            transmits: VecDeque::new(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
            touched: VecDeque::new(),
            late_facts: 0,
            config,
        }
    }

    // ---- commands ----

    /// Creates a channel. Messages may be sent at once; they wait for the link.
    ///
    /// # Errors
    ///
    /// [`ChannelError`] says why there is no channel.
    pub fn open_channel(
        &mut self,
        label: &str,
        channel: &ChannelConfig,
        now: Instant,
    ) -> Result<ChannelId, ChannelError> {
        self.check_channel(label, channel)?;
        let id = ChannelId(self.next_channel);
        self.next_channel += 2;
        let options = channel.options;
        let mut machine = ChannelMachine::new(id, label.into(), channel, options, &self.config);
        if let Some(live) = &self.live {
            let confirmed = live.confirmed;
            self.attach_new(&mut machine);
            if confirmed {
                self.request_stream(&machine);
            }
        }
        self.channels.insert(id, machine);
        self.touched.push_back(id);
        let _ = now;
        Ok(id)
    }

    fn check_channel(&self, label: &str, channel: &ChannelConfig) -> Result<(), ChannelError> {
        if self.state.is_final() || self.close_by.is_some() {
            return Err(ChannelError::ConnectionClosed);
        }
        if label.len() > LABEL_LEN_MAX {
            return Err(ChannelError::LabelTooLong { len: label.len() });
        }
        if self.channels.len() >= self.config.channels_max || self.next_channel > u32::MAX - 2 {
            return Err(ChannelError::TooMany {
                max: self.config.channels_max,
            });
        }
        if !channel.options.ordered || channel.options.reliability != Reliability::Reliable {
            return Err(ChannelError::UnsupportedOptions);
        }
        Ok(())
    }

    /// Closes the connection after what was sent is confirmed, or after the close time-out.
    pub fn close(&mut self, now: Instant) {
        if self.state.is_final() || self.close_by.is_some() {
            return;
        }
        self.close_by = Some(now + self.config.close_timeout);
        // What closed before stays readable: its last event has been told, without what would be
        // thrown away now.
        let closed = rondevu_core::DurableChannelState::Closed;
        for channel in self.channels.values_mut().filter(|c| c.state() != closed) {
            channel.finish();
            channel.discard_incoming();
        }
        self.close_if_flushed();
    }

    fn close_if_flushed(&mut self) {
        let flushed = self.channels.values().all(|c| {
            c.state() == rondevu_core::DurableChannelState::Closed
                || (c.outbox().settled() == c.outbox().accepted() && c.is_drained())
        });
        let idle = self
            .channels
            .values()
            .all(|c| c.outbox().settled() == c.outbox().accepted());
        if self.close_by.is_some() && (flushed || (self.live.is_none() && idle)) {
            self.end_with_bye(ByeReason::Closed, ConnectionClosed::Local);
        }
    }

    /// Closes the connection at once and tells the peer, if a link is up.
    pub fn abort(&mut self, reason: ByeReason) {
        self.end_with_bye(reason, ConnectionClosed::LocalUnconfirmed);
    }

    fn end_with_bye(&mut self, bye: ByeReason, reason: ConnectionClosed) {
        if self.state.is_final() {
            return;
        }
        if let Some(live) = self.live.take() {
            self.transmit_control(live.id, live.control, &ControlFrame::Bye { reason: bye });
            self.actions.push_back(Action::FinishLink { link: live.id });
        }
        self.transition_to_closed(reason);
    }

    /// Starts the next attempt now instead of after the backoff.
    pub fn retry_now(&mut self, now: Instant) {
        let waiting = matches!(self.retry, Retry::At(_));
        if self.role == Role::Dialer && waiting && self.attempt.is_none() {
            self.retry = Retry::At(now);
            self.handle_timeout(now);
        }
    }

    /// The machine's network has changed: whatever the live link said so far counts no more, and
    /// the next attempt begins at once.
    pub fn handle_network_change(&mut self, now: Instant) {
        if self.role != Role::Dialer || self.state.is_final() {
            return;
        }
        self.reconnector.reset();
        if let Some(attempt) = self.attempt.take() {
            self.attempt_lost(attempt, "the network changed", now);
        }
        if let Some(live) = &mut self.live {
            live.liveness.suspect();
            self.on_suspect(now);
        }
        self.retry_now(now);
    }

    // ---- channels and streams ----

    fn is_own(&self, id: ChannelId) -> bool {
        let dialers = id.0.is_multiple_of(2);
        dialers == (self.role == Role::Dialer)
    }

    /// Attaches a channel that no greeting has mentioned.
    fn attach_new(&self, channel: &mut ChannelMachine) {
        if let Some(peer) = self.peer {
            let fragment = peer
                .limits
                .fragment_bytes_max
                .min(self.config.fragment_bytes);
            // Nothing was sent yet, so position zero can not be refused.
            let attached = channel.on_attach(Seq::ZERO, peer.limits.window_bytes, fragment);
            channel.limit_messages(peer.limits.message_bytes_max);
            debug_assert!(attached.is_ok());
        }
    }

    fn request_stream(&mut self, channel: &ChannelMachine) {
        let Some(live) = &self.live else { return };
        let options = StreamOptions {
            label: channel.label().into(),
            protocol: rondevu_core::frame::channel_protocol(channel.id()),
            ordered: channel.options().ordered,
            reliability: channel.options().reliability,
        };
        self.actions.push_back(Action::OpenStream {
            link: live.id,
            options,
        });
    }

    /// Opens the streams of all channels that this side created.
    fn request_streams(&mut self) {
        let own: Vec<ChannelId> = self
            .channels
            .keys()
            .copied()
            .filter(|id| self.is_own(*id))
            .collect();
        for id in own {
            if let Some(channel) = self.channels.remove(&id) {
                if channel.state() != rondevu_core::DurableChannelState::Closed {
                    self.request_stream(&channel);
                }
                self.channels.insert(id, channel);
            }
        }
    }

    fn on_stream_opened(
        &mut self,
        stream: StreamId,
        options: StreamOptions,
    ) -> Result<(), ProtocolViolation> {
        let Some(id) = parse_channel_protocol(&options.protocol) else {
            return Err(ProtocolViolation::Unexpected);
        };
        if !self.channels.contains_key(&id) {
            if self.is_own(id) || self.seen.contains(id.0 / 2) {
                // Closed on this side meanwhile.
                return Ok(());
            }
            let delivery = rondevu_core::frame::ChannelOptions {
                ordered: options.ordered,
                reliability: options.reliability,
            };
            self.create_incoming(id, options.label, delivery)?;
            if let Some(mut channel) = self.channels.remove(&id) {
                self.attach_new(&mut channel);
                channel.on_known_to_peer();
                self.channels.insert(id, channel);
            }
        }
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.on_stream_opened(stream);
            self.touched.push_back(id);
        }
        Ok(())
    }

    fn create_incoming(
        &mut self,
        id: ChannelId,
        label: String,
        options: rondevu_core::frame::ChannelOptions,
    ) -> Result<(), ProtocolViolation> {
        if self.channels.len() >= self.config.channels_max
            || self.seen.sparse_len() >= self.config.channels_max
            || label.len() > LABEL_LEN_MAX
        {
            return Err(ProtocolViolation::TooManyChannels);
        }
        if !options.ordered || options.reliability != Reliability::Reliable {
            return Err(ProtocolViolation::Unexpected);
        }
        self.seen.insert(id.0 / 2);
        let config = self.config.incoming_channel;
        let mut channel = ChannelMachine::new(id, label, &config, options, &self.config);
        if self.close_by.is_some() {
            channel.finish();
            channel.discard_incoming();
        }
        self.channels.insert(id, channel);
        self.events
            .push_back(ConnectionEvent::IncomingChannel { channel: id });
        Ok(())
    }

    fn cursors(&mut self) -> Vec<Cursor> {
        let live = self.channels.values_mut();
        live.filter(|c| c.state() != rondevu_core::DurableChannelState::Closed)
            .map(ChannelMachine::cursor)
            .collect()
    }

    /// Moves the session to a link whose greeting is over.
    fn attach(
        &mut self,
        link: LinkId,
        control: StreamId,
        cursors: Vec<Cursor>,
        announced: Option<&[ChannelId]>,
        now: Instant,
    ) -> Result<(), ProtocolViolation> {
        let Some(peer) = self.peer else {
            return Err(ProtocolViolation::Greeting);
        };
        let fragment = peer
            .limits
            .fragment_bytes_max
            .min(self.config.fragment_bytes);
        let mut mentioned = Vec::with_capacity(cursors.len());
        for cursor in cursors {
            let id = cursor.channel;
            mentioned.push(id);
            if !self.channels.contains_key(&id) {
                if self.is_own(id) || self.seen.contains(id.0 / 2) {
                    continue;
                }
                self.create_incoming(id, cursor.label, cursor.options)?;
            }
            // The end of one that is closed here was lost with the last link; the answer does not
            // name it, and that ends it there.
            let closed = rondevu_core::DurableChannelState::Closed;
            let channel = self.channels.get_mut(&id);
            if let Some(channel) = channel.filter(|channel| channel.state() != closed) {
                channel.on_attach(cursor.recv_next, cursor.credit, fragment)?;
                channel.on_known_to_peer();
                channel.limit_messages(peer.limits.message_bytes_max);
            }
        }
        self.settle_unmentioned(&mentioned, announced);
        self.live = Some(LiveLink {
            id: link,
            control,
            liveness: Liveness::new(self.config.liveness, now),
            confirmed: false,
            hastened: false,
        });
        self.reconnector.on_link_up(now);
        self.retry = Retry::None;
        self.connect_by = None;
        self.resume_by = None;
        self.touched.extend(self.channels.keys().copied());
        self.transition_to(DurableConnectionState::Connected);
        self.events.push_back(ConnectionEvent::Connected {
            generation: self.generation,
        });
        Ok(())
    }

    /// A channel that the peer does not mention has ended there, unless it cannot know of it yet.
    fn settle_unmentioned(&mut self, mentioned: &[ChannelId], announced: Option<&[ChannelId]>) {
        let ids: Vec<ChannelId> = self
            .channels
            .keys()
            .copied()
            .filter(|id| !mentioned.contains(id))
            .collect();
        for id in ids {
            let Some(mut channel) = self.channels.remove(&id) else {
                continue;
            };
            let known_to_peer = match announced {
                // The dialer: the acceptor answers to each channel of the hello that it still has.
                Some(announced) => announced.contains(&id),
                // The acceptor: the dialer mentions each channel that it still has. The stream of one
                // that was opened lately may never have reached it.
                None => channel.is_known_to_peer(),
            };
            if known_to_peer {
                channel.on_forgotten_by_peer();
            } else {
                self.attach_new(&mut channel);
            }
            self.channels.insert(id, channel);
        }
    }

    // ---- links ----

    fn transmit_control(&mut self, link: LinkId, stream: StreamId, frame: &ControlFrame) {
        let mut payload = Vec::new();
        frame.encode(&mut payload);
        self.transmits.push_back(Transmit {
            link,
            stream,
            payload: payload.into(),
        });
    }

    fn abandon(&mut self, link: LinkId) {
        self.transmits.retain(|transmit| transmit.link != link);
        self.actions.push_back(Action::AbandonLink { link });
    }

    /// The live link is gone.
    fn on_live_lost(&mut self, reason: &str, now: Instant) {
        if self.live.take().is_none() {
            return;
        }
        self.last_failure = reason.into();
        for channel in self.channels.values_mut() {
            channel.on_detach();
        }
        self.touched.extend(self.channels.keys().copied());
        self.reconnector.on_link_lost(now);
        self.without_link(now);
    }

    /// The live link has been silent for too long; it is kept and listened to.
    fn on_suspect(&mut self, now: Instant) {
        self.last_failure = "nothing was heard from the peer".into();
        self.reconnector.on_link_lost(now);
        self.without_link(now);
    }

    /// Plans what replaces a link that is lost or suspect.
    fn without_link(&mut self, now: Instant) {
        match self.role {
            Role::Acceptor => {
                if self.state == DurableConnectionState::Connected {
                    self.transition_to(DurableConnectionState::Disconnected);
                    self.events.push_back(ConnectionEvent::Disconnected);
                }
                self.resume_by
                    .get_or_insert(now + self.config.resume_window);
            }
            Role::Dialer => {
                if self.state == DurableConnectionState::Connected {
                    self.transition_to(DurableConnectionState::Reconnecting);
                    self.events.push_back(ConnectionEvent::Disconnected);
                }
                if self.attempt.is_none() && self.retry == Retry::None {
                    self.plan_attempt(now);
                }
            }
        }
        self.close_if_flushed();
    }

    fn violation(&mut self, link: LinkId, violation: ProtocolViolation, now: Instant) {
        tracing::warn!(%violation, "the peer broke the session protocol");
        self.events
            .push_back(ConnectionEvent::ProtocolViolation(violation));
        self.abandon(link);
        if self.live.as_ref().is_some_and(|live| live.id == link) {
            self.on_live_lost("the peer broke the protocol", now);
        } else if self
            .attempt
            .as_ref()
            .is_some_and(|attempt| attempt.link == link)
        {
            self.attempt = None;
            self.plan_attempt(now);
        }
    }

    // ---- states ----

    fn transition_to(&mut self, to: DurableConnectionState) {
        let from = self.state;
        if from.can_become(to) {
            self.state = to;
            tracing::info!(%from, %to, generation = self.generation.0, "connection state");
            self.events
                .push_back(ConnectionEvent::StateChanged { from, to });
        }
    }

    fn transition_to_closed(&mut self, reason: ConnectionClosed) {
        let unconfirmed = self.end_everything();
        self.transition_to(DurableConnectionState::Closed);
        self.events.push_back(ConnectionEvent::Closed {
            reason,
            unconfirmed,
        });
    }

    fn transition_to_failed(&mut self, failure: ConnectionFailure) {
        let unconfirmed = self.end_everything();
        self.transition_to(DurableConnectionState::Failed);
        self.events.push_back(ConnectionEvent::Failed {
            failure,
            unconfirmed,
        });
    }

    fn end_everything(&mut self) -> Unconfirmed {
        let mut unconfirmed = Unconfirmed::default();
        for channel in self.channels.values_mut() {
            unconfirmed += channel.outbox().unconfirmed();
            channel.close();
        }
        self.touched.extend(self.channels.keys().copied());
        if let Some(live) = self.live.take() {
            self.abandon(live.id);
        }
        if let Some(attempt) = self.attempt.take() {
            self.abandon(attempt.link);
        }
        (self.retry, self.connect_by) = (Retry::None, None);
        (self.resume_by, self.close_by) = (None, None);
        unconfirmed
    }

    // ---- looks ----

    /// The state.
    pub fn state(&self) -> DurableConnectionState {
        self.state
    }

    /// The role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The session.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// The number of the latest link.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The link that carries the session.
    pub fn live_link(&self) -> Option<LinkId> {
        self.live.as_ref().map(|live| live.id)
    }

    /// The smoothed round-trip time of the live link.
    pub fn round_trip_time(&self) -> Option<Duration> {
        self.live.as_ref()?.liveness.round_trip_time()
    }

    /// A channel.
    pub fn channel(&self, id: ChannelId) -> Option<&ChannelMachine> {
        self.channels.get(&id)
    }

    /// A channel, to send, receive or finish. Drive the machine afterwards.
    pub fn channel_mut(&mut self, id: ChannelId) -> Option<&mut ChannelMachine> {
        self.channels.get_mut(&id)
    }

    /// All channels that have not been removed.
    pub fn channels(&self) -> impl Iterator<Item = &ChannelMachine> {
        self.channels.values()
    }

    /// Removes a closed channel that the application is done with.
    pub fn forget_channel(&mut self, id: ChannelId) {
        let closed = |c: &ChannelMachine| c.state() == rondevu_core::DurableChannelState::Closed;
        if self.channels.get(&id).is_some_and(closed) {
            self.channels.remove(&id);
        }
    }

    /// How many facts came too late to matter.
    pub fn late_facts(&self) -> u64 {
        self.late_facts
    }
}

#[cfg(test)]
mod tests;
