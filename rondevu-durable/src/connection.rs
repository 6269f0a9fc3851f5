//! A durable connection: one session with a peer, carried by one link after another.

mod acceptor;
mod attach;
mod dialer;
mod duties;
mod ladder;
mod peer;
mod plain;
mod streams;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::string::String;

use bytes::Bytes;
use core::time::Duration;
use rondevu_core::frame::{ControlFrame, Hello, LABEL_LEN_MAX};
use rondevu_core::{
    ByeReason, ChannelId, DurableChannelState, DurableConnectionState, Generation, IdSet,
    Incarnation, Instant, LinkId, LinkInfo, Liveness, MessageKind, Reconnector, Reliability,
    SessionId, StreamId, StreamOptions, Unconfirmed,
};

pub use self::attach::Arrival;
pub use self::peer::{Durability, RequiredProof, Trust};
use self::peer::{Peer, PeerMemory};
use self::streams::Opener;
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
    trust: Trust,
    state: DurableConnectionState,
    session: SessionId,
    incarnation: Incarnation,
    peer: Peer,
    generation: Generation,
    /// Boxed, because a node of the tree has room for eleven.
    channels: BTreeMap<ChannelId, Box<ChannelMachine>>,
    next_channel: u32,
    /// The number of the next channel of a peer that does not number.
    next_plain: u32,
    /// What is added to the ids of the peer's channels: a peer that has lost its memory uses them
    /// again, while the application still holds the channels of the session before.
    peer_ids_base: u32,
    seen: IdSet,
    live: Option<LiveLink>,
    attempt: Option<Attempt>,
    next_link: u64,
    reconnector: Reconnector,
    retry: Retry,
    /// Attempts in a row that signaling asked to repeat very soon.
    soon_retries: u32,
    /// When the first connection must be there.
    connect_by: Option<Instant>,
    /// When an acceptor gives the session up.
    resume_by: Option<Instant>,
    /// When closing stops waiting for the peer.
    close_by: Option<Instant>,
    /// What closing will say when nothing is left to confirm.
    close_reason: ConnectionClosed,
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

/// The link that carries the conversation.
#[derive(Debug)]
struct LiveLink {
    id: LinkId,
    message_bytes_max: usize,
    streams: BTreeMap<StreamId, ChannelId>,
    kind: LinkKind,
}

#[derive(Debug)]
enum LinkKind {
    /// To a peer with the session protocol.
    Session(SessionLink),
    /// To a peer without it.
    Plain {
        /// The offer's own stream, until the peer has used it.
        offered: Option<StreamId>,
    },
}

#[derive(Debug)]
struct SessionLink {
    control: StreamId,
    liveness: Liveness,
    /// Whether the peer is known to have finished the greeting, so that streams may be opened.
    confirmed: bool,
    /// Whether datagrams that came in while the link was suspect have already hastened a retry.
    hastened: bool,
    /// Lossy channels whose end has come before their stream: the two travel on different streams.
    early_ends: BTreeSet<ChannelId>,
}

impl LiveLink {
    fn session(&self) -> Option<&SessionLink> {
        match &self.kind {
            LinkKind::Session(session) => Some(session),
            LinkKind::Plain { .. } => None,
        }
    }

    fn session_mut(&mut self) -> Option<&mut SessionLink> {
        match &mut self.kind {
            LinkKind::Session(session) => Some(session),
            LinkKind::Plain { .. } => None,
        }
    }
}

/// A dialer's attempt to establish the next link.
#[derive(Debug)]
struct Attempt {
    link: LinkId,
    give_up_at: Instant,
    /// Whether the peer has announced that it speaks the session protocol.
    announced: bool,
    /// When a peer that has opened no stream does not speak the session protocol.
    plain_at: Option<Instant>,
    info: Option<LinkInfo>,
    stage: Stage,
    /// What keeps its link from being connected, as far as the embedder says.
    hindrance: Option<String>,
}

#[derive(Debug)]
enum Stage {
    /// Signaling and the transport are at work.
    Dialing,
    /// The hello was sent; the previous link is frozen.
    Greeting(Box<Greeting>),
}

#[derive(Debug)]
struct Greeting {
    control: StreamId,
    hello: Hello,
    /// The link that carried the session before.
    frozen: Option<LinkId>,
    purpose: Purpose,
}

/// What the hello asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To go on with the session, or to begin the first one.
    Session,
    /// To begin a new session, because the peer does not know the present one. The present one is
    /// given up when the peer welcomes the new one.
    NewSession,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retry {
    /// Nothing is planned.
    None,
    At(Instant),
    /// The application wants no link at the moment.
    Paused,
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
    /// Close a stream, after what was transmitted on it.
    CloseStream {
        /// The link.
        link: LinkId,
        /// The stream.
        stream: StreamId,
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

/// A message for a stream. One that the link has no room for is kept by the embedder and
/// offered to the link again, before any other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The link.
    pub link: LinkId,
    /// The stream.
    pub stream: StreamId,
    /// Binary, except for texts to a peer without the session protocol.
    pub kind: MessageKind,
    /// One or more whole frames, or a message to a peer without the session protocol.
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
    /// An attempt to replace the link is planned. A first connection that fails at its time-out
    /// raises none; one that keeps trying does.
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
    /// The peer broke the protocol or is not who it should be; the link was closed, the session
    /// goes on.
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
    fn with_role(
        role: Role,
        config: ConnectionConfig,
        trust: Trust,
        session: SessionId,
        seeds: Seeds,
    ) -> Self {
        let reconnector = Reconnector::new(config.backoff, config.stable_after, seeds.rng);
        Self {
            role,
            trust,
            state: DurableConnectionState::Connecting,
            session,
            incarnation: seeds.incarnation,
            peer: Peer::default(),
            generation: Generation::NONE,
            channels: BTreeMap::new(),
            next_channel: match role {
                Role::Dialer => 0,
                Role::Acceptor => 1,
            },
            next_plain: 0,
            peer_ids_base: 0,
            seen: IdSet::default(),
            live: None,
            attempt: None,
            next_link: 0,
            reconnector,
            retry: Retry::None,
            soon_retries: 0,
            connect_by: None,
            resume_by: None,
            close_by: None,
            close_reason: ConnectionClosed::Local,
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
    ) -> Result<ChannelId, ChannelError> {
        self.check_channel(label, channel)?;
        let id = ChannelId(self.next_channel);
        self.next_channel += 2;
        let options = channel.options;
        let machine = ChannelMachine::new(id, label.into(), channel, options, &self.config);
        self.channels.insert(id, Box::new(machine));
        self.touched.push_back(id);
        self.attach_own(id);
        Ok(id)
    }

    /// Attaches a channel that this side has just created to the link that is up, if one is.
    fn attach_own(&mut self, id: ChannelId) {
        let Some(live) = &self.live else { return };
        let info = LinkInfo {
            fingerprints: None,
            message_bytes_max: live.message_bytes_max,
        };
        match &live.kind {
            LinkKind::Session(session) => {
                let confirmed = session.confirmed;
                self.attach_new(id, &info);
                if confirmed {
                    self.request_stream(id);
                }
            }
            LinkKind::Plain { .. } => {
                self.attach_new_plain(id);
                self.request_stream(id);
            }
        }
    }

    fn check_channel(&self, label: &str, channel: &ChannelConfig) -> Result<(), ChannelError> {
        if self.state.is_final() || self.close_by.is_some() {
            return Err(ChannelError::ConnectionClosed);
        }
        if label.len() > LABEL_LEN_MAX {
            return Err(ChannelError::LabelTooLong { len: label.len() });
        }
        let peers = self.peer.memory.map(|peer| peer.limits.channels_max);
        let max = self
            .config
            .channels_max
            .min(peers.unwrap_or(u32::MAX) as usize);
        if self.open_channels(Opener::Us) >= max || self.next_channel > u32::MAX - 2 {
            return Err(ChannelError::TooMany { max });
        }
        match channel.options.reliability {
            Reliability::MaxPacketLifetime(lifetime) if lifetime > PACKET_LIFETIME_MAX => {
                Err(ChannelError::LifetimeTooLong { lifetime })
            }
            Reliability::Reliable
            | Reliability::MaxRetransmits(_)
            | Reliability::MaxPacketLifetime(_) => Ok(()),
        }
    }

    /// Closes the connection after what was sent is confirmed, or after the close time-out.
    pub fn close(&mut self, now: Instant) {
        if self.state.is_final() || self.close_by.is_some() {
            return;
        }
        self.close_by = Some(now + self.config.close_timeout);
        // What closed before stays readable: its last event has been told, without what would be
        // thrown away now.
        let open =
            |channel: &&mut Box<ChannelMachine>| channel.state() != DurableChannelState::Closed;
        for channel in self.channels.values_mut().filter(open) {
            channel.finish();
            channel.discard_incoming();
        }
        self.close_if_flushed();
    }

    fn close_if_flushed(&mut self) {
        if self.close_by.is_none() {
            return;
        }
        // A peer without the session protocol neither confirms nor says that it is done.
        let waits_for_peer = match &self.live {
            Some(live) => live.session().is_some(),
            None => false,
        };
        let done = self.channels.values().all(|channel| {
            let settled = channel.outbox().is_settled();
            channel.state() == DurableChannelState::Closed
                || (settled && (channel.is_drained() || !waits_for_peer))
        });
        if done {
            self.end_with_bye(ByeReason::Closed, self.close_reason);
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
            if let Some(session) = live.session() {
                let frame = ControlFrame::Bye { reason: bye };
                self.transmit_control(live.id, session.control, &frame);
            }
            self.actions.push_back(Action::FinishLink { link: live.id });
        }
        self.transition_to_closed(reason);
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
            self.abandon_attempt(&attempt);
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
        let session = self.live.as_ref()?.session()?;
        session.liveness.round_trip_time()
    }

    /// A channel.
    pub fn channel(&self, id: ChannelId) -> Option<&ChannelMachine> {
        self.channels.get(&id).map(Box::as_ref)
    }

    /// A channel, to send, receive or finish. Drive the machine afterwards.
    pub fn channel_mut(&mut self, id: ChannelId) -> Option<&mut ChannelMachine> {
        self.channels.get_mut(&id).map(Box::as_mut)
    }

    /// All channels that have not been removed.
    pub fn channels(&self) -> impl Iterator<Item = &ChannelMachine> {
        self.channels.values().map(Box::as_ref)
    }

    /// Removes a closed channel that the application is done with.
    pub fn forget_channel(&mut self, id: ChannelId) {
        let closed = |c: &ChannelMachine| c.state() == DurableChannelState::Closed;
        if self.channel(id).is_some_and(closed) {
            self.channels.remove(&id);
        }
    }

    /// The memory that messages take, in bytes: what waits to be sent or confirmed, and what waits
    /// for the application.
    pub fn held_bytes(&self) -> u64 {
        let held = self.channels.values().map(|channel| channel.held_bytes());
        held.sum()
    }

    /// How many facts came too late to matter.
    pub fn late_facts(&self) -> u64 {
        self.late_facts
    }
}

/// What DCEP can say, in milliseconds (RFC 8832, section 5.1).
const PACKET_LIFETIME_MAX: Duration = Duration::from_millis(u16::MAX as u64);

#[cfg(test)]
mod tests;
