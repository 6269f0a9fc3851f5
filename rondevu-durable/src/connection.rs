//! A durable connection: one session with a peer, carried by one link after another.

mod acceptor;
mod action;
mod attach;
mod attempt;
mod closing;
mod dialer;
mod duties;
mod event;
mod ladder;
mod live_link;
mod peer;
mod plain;
mod streams;

use std::collections::{BTreeMap, VecDeque};
use std::string::String;

use core::time::Duration;
use rondevu_core::frame::LABEL_LEN_MAX;
use rondevu_core::{
    ChannelId, DurableChannelState, DurableConnectionState, Generation, IdSet, Incarnation,
    Instant, LinkId, Reconnector, Reliability, SessionId, Unconfirmed,
};

pub use self::action::{Action, Transmit};
pub use self::attach::Arrival;
use self::attempt::{Attempt, Greeting, Purpose, Stage};
pub use self::event::ConnectionEvent;
use self::live_link::{LinkKind, LiveLink, SessionLink};
pub use self::peer::{Durability, RequiredProof, Trust};
use self::peer::{Peer, PeerMemory};
use self::streams::Opener;
use crate::channel::ChannelMachine;
use crate::config::{ChannelConfig, ConnectionConfig};
use crate::error::{ChannelError, ConnectionClosed};

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
    /// What was on channels that the peer had no room for, while the connection was closing.
    refused: Unconfirmed,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retry {
    /// Nothing is planned.
    None,
    At(Instant),
    /// The application wants no link at the moment.
    Paused,
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
            refused: Unconfirmed::default(),
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
        let info = live.info();
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
