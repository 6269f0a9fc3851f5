//! One connection of a simulated process: its machine, its links and its application.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use rondevu_core::{
    ChannelId, DurableChannelState, DurableConnectionState, Generation, Instant, LinkEvent, LinkId,
    MessageKind, Seq, SessionId, StreamId,
};

use super::fabric::{EndId, Node};
use super::ledger::{Name, name};
use super::stranger::Acquaintance;
use crate::{ConnectionClosed, ConnectionMachine};

/// A machine with what its driver and its application would know.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) node: Node,
    /// The dialer whose conversation this is.
    pub(super) dialer: u8,
    pub(super) machine: ConnectionMachine,
    pub(super) links: Vec<Link>,
    /// The attempt that has not got as far as a link.
    pub(super) dialing: Option<LinkId>,
    /// Links that the machine has had.
    pub(super) past: BTreeSet<LinkId>,
    /// The state that the events tell.
    pub(super) told_state: DurableConnectionState,
    /// The channels' states when they were seen last.
    pub(super) channel_states: BTreeMap<ChannelId, DurableChannelState>,
    /// The session of what was taken last.
    pub(super) session: SessionId,
    pub(super) reading: Reading,
    /// When the driver has something to do, as of its last turn.
    pub(super) due: Option<Instant>,
    /// Channels that may lose messages, also those that were forgotten.
    pub(super) lossy: BTreeSet<Name>,
    /// How far the ids of the acceptor's channels are shifted on a dialer.
    pub(super) peer_ids_base: u32,
    /// Messages of which the application wants to know what became of them.
    pub(super) watched: Vec<(ChannelId, u64)>,
    pub(super) ended: Option<Ended>,
    /// Channels that the application does not read any more.
    pub(super) discarding: BTreeSet<Name>,
    /// Whether the application has closed the connection.
    pub(super) is_closing: bool,
    /// The number after the highest that was handed to a link.
    pub(super) numbered: BTreeMap<ChannelId, Seq>,
    /// Since when it is connected, if nobody has slept meanwhile.
    pub(super) up_since: Option<Instant>,
    /// The link that was connected last.
    pub(super) up_generation: Option<Generation>,
    /// How many links have carried the session, all sessions together.
    pub(super) attaches: u64,
    /// Set where the peer is a stranger.
    pub(super) stranger: Option<Acquaintance>,
}

/// How the application takes what comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Eager,
    Slow,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Closed(ConnectionClosed),
    Failed,
    /// Its process was killed.
    Killed,
}

/// A link with the messages for which it had no room.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) end: EndId,
    pub(super) blocked: VecDeque<Blocked>,
    /// What happened while signaling had not confirmed the answer: nobody looks at it before.
    pub(super) early: VecDeque<LinkEvent>,
    pub(super) finish_by: Option<Instant>,
}

/// What waits for room.
#[derive(Debug)]
pub(super) enum Blocked {
    Message(StreamId, MessageKind, Bytes),
    /// A stream is to be closed after the messages before.
    Close(StreamId),
}

impl Link {
    pub(super) fn new(id: LinkId, end: EndId) -> Self {
        Self {
            id,
            end,
            blocked: VecDeque::new(),
            early: VecDeque::new(),
            finish_by: None,
        }
    }
}

impl Conn {
    pub(super) fn new(node: Node, dialer: u8, machine: ConnectionMachine) -> Self {
        Self {
            node,
            dialer,
            session: machine.session(),
            told_state: DurableConnectionState::Connecting,
            machine,
            links: Vec::new(),
            dialing: None,
            past: BTreeSet::new(),
            channel_states: BTreeMap::new(),
            reading: Reading::Eager,
            due: None,
            lossy: BTreeSet::new(),
            peer_ids_base: 0,
            watched: Vec::new(),
            ended: None,
            discarding: BTreeSet::new(),
            is_closing: false,
            numbered: BTreeMap::new(),
            up_since: None,
            up_generation: None,
            attaches: 0,
            stranger: None,
        }
    }

    pub(super) fn is_dialer(&self) -> bool {
        matches!(self.node, Node::Dialer(_))
    }

    /// 0 for a dialer, 1 for an acceptor: a column of tables.
    pub(super) fn side(&self) -> usize {
        usize::from(!self.is_dialer())
    }

    pub(super) fn link(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.iter_mut().find(|link| link.id == id)
    }

    pub(super) fn link_of(&self, end: EndId) -> Option<LinkId> {
        self.links
            .iter()
            .find(|link| link.end == end)
            .map(|link| link.id)
    }

    pub(super) fn is_blocked(&self) -> bool {
        let live = self.machine.live_link();
        let mut links = self.links.iter();
        links.any(|link| Some(link.id) == live && !link.blocked.is_empty())
    }

    /// When the driver has something to do.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let machine = self.machine.poll_timeout().map(|deadline| deadline.at);
        let finishing = self.links.iter().filter_map(|link| link.finish_by);
        finishing.chain(machine).min()
    }

    /// The channel with this number, counted round.
    pub(super) fn channel(&self, number: u8) -> Option<ChannelId> {
        let count = self.machine.channels().count();
        let place = (number as usize).checked_rem(count)?;
        self.machine
            .channels()
            .nth(place)
            .map(|channel| channel.id())
    }

    /// The id of a channel in the session.
    pub(super) fn wire(&self, id: ChannelId) -> ChannelId {
        match self.is_dialer() && id.0 % 2 == 1 {
            true => ChannelId(id.0.wrapping_sub(self.peer_ids_base)),
            false => id,
        }
    }

    /// The id by which the machine knows a channel of the session.
    pub(super) fn local(&self, wire: ChannelId) -> ChannelId {
        match self.is_dialer() && wire.0 % 2 == 1 {
            true => ChannelId(wire.0.wrapping_add(self.peer_ids_base)),
            false => wire,
        }
    }

    pub(super) fn name(&self, id: ChannelId) -> Name {
        name(self.wire(id), self.session)
    }

    pub(super) fn channel_ids(&self) -> Vec<ChannelId> {
        self.machine
            .channels()
            .map(|channel| channel.id())
            .collect()
    }
}
