//! How a session moves to a link whose greeting is over.

use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use rondevu_core::frame::{ChannelFrame, Cursor, FRAGMENT_OVERHEAD};
use rondevu_core::{
    ChannelId, DurableChannelState, DurableConnectionState, Instant, LinkId, LinkInfo, Liveness,
    Seq, StreamId, Unconfirmed,
};

use super::streams::{Opener, wire_id};
use super::{ConnectionEvent, ConnectionMachine, LinkKind, LiveLink, Retry, SessionLink};
use crate::channel::ChannelMachine;
use crate::error::{ConnectionClosed, ProtocolViolation};

/// A link on which a hello has come.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// The link.
    pub link: LinkId,
    /// Its control stream.
    pub control: StreamId,
    /// What it said when it connected.
    pub info: LinkInfo,
}

impl ConnectionMachine {
    pub(super) fn cursors(&mut self) -> Vec<Cursor> {
        let base = self.peer_ids_base;
        let own = self.own_parity();
        let open = self.channels.values_mut();
        open.filter(|channel| channel.state() != DurableChannelState::Closed)
            .map(|channel| {
                let wire = wire_id(channel.id(), own, base);
                channel.cursor(wire)
            })
            .collect()
    }

    /// Moves the session to a link. On an error no link carries it.
    pub(super) fn attach(
        &mut self,
        arrival: Arrival,
        cursors: Vec<Cursor>,
        announced: Option<&[Cursor]>,
        now: Instant,
    ) -> Result<(), ProtocolViolation> {
        let mut mentioned = Vec::with_capacity(cursors.len());
        for cursor in cursors {
            mentioned.extend(self.attach_channel(cursor, &arrival.info)?);
        }
        self.settle_unmentioned(&mentioned, announced, &arrival.info);
        self.live = Some(LiveLink {
            id: arrival.link,
            message_bytes_max: arrival.info.message_bytes_max,
            batch_bytes: arrival.info.batch_bytes,
            streams: BTreeMap::new(),
            kind: LinkKind::Session(SessionLink {
                control: arrival.control,
                liveness: Liveness::new(self.config.liveness, now),
                confirmed: false,
                hastened: false,
                early_ends: BTreeSet::new(),
            }),
        });
        self.on_attached(now);
        Ok(())
    }

    /// A link carries the conversation.
    pub(super) fn on_attached(&mut self, now: Instant) {
        self.reconnector.on_link_up(now);
        (self.retry, self.soon_retries) = (Retry::None, 0);
        (self.connect_by, self.resume_by) = (None, None);
        self.touched.extend(self.channels.keys().copied());
        self.transition_to(DurableConnectionState::Connected);
        self.events.push_back(ConnectionEvent::Connected {
            generation: self.generation,
        });
    }

    /// The greeting is over on this side. A ping tells the peer so, and measures the round trip.
    pub(super) fn end_greeting(&mut self, now: Instant) {
        if let Some(session) = self.live.as_mut().and_then(|live| live.session_mut()) {
            session.confirmed = true;
        }
        self.ping(now);
        self.request_streams();
    }

    /// The channel that a cursor names; none if it has ended here, or if the peer has too many.
    fn attach_channel(
        &mut self,
        cursor: Cursor,
        info: &LinkInfo,
    ) -> Result<Option<ChannelId>, ProtocolViolation> {
        let id = self.local_id(cursor.channel)?;
        if !self.channels.contains_key(&id) {
            let over = self.is_own(id) || self.seen.contains(cursor.channel.0 / 2);
            if over || self.open_channels(Opener::Peer) >= self.config.channels_max {
                return Ok(None);
            }
            self.create_incoming(id, cursor.label, cursor.options)?;
        }
        let (fragment, message) = self.bytes_max(info);
        let Some(channel) = self.channels.get_mut(&id) else {
            return Ok(None);
        };
        if channel.state() == DurableChannelState::Closed {
            // Its end was lost with the last link. The answer does not name it, and that ends it there.
            return Ok(Some(id));
        }
        if channel.options() != cursor.options {
            return Err(ProtocolViolation::Greeting);
        }
        if channel.outbox().largest_numbered_fragment() > payload_bytes_max(info) {
            return Err(ProtocolViolation::LinkTooNarrow);
        }
        channel.on_attach(cursor.recv_next, cursor.credit)?;
        channel.on_known_to_peer();
        channel.limit(fragment, message);
        Ok(Some(id))
    }

    /// The largest fragment and the largest message for this link and this peer.
    fn bytes_max(&self, info: &LinkInfo) -> (usize, u64) {
        let own = self.config.fragment_bytes_max() as usize;
        let link = payload_bytes_max(info);
        let Some(peer) = self.peer.memory.map(|peer| peer.limits) else {
            return (own.min(link), self.config.message_bytes_max);
        };
        // A fragment that costs more than the window could never be sent.
        let window = self.config.window().min(peer.window_bytes) / 4 * 3;
        let payload = window.saturating_sub(FRAGMENT_OVERHEAD).max(1);
        let payload = usize::try_from(payload).unwrap_or(usize::MAX);
        let fragment = own.min(peer.fragment_bytes_max as usize).min(link);
        (fragment.min(payload), peer.message_bytes_max)
    }

    /// Attaches a channel that no greeting has mentioned.
    pub(super) fn attach_new(&mut self, id: ChannelId, info: &LinkInfo) {
        let (fragment, message) = self.bytes_max(info);
        if let Some(peer) = self.peer.memory
            && let Some(channel) = self.channels.get_mut(&id)
        {
            // Nothing was sent yet, so position zero cannot be refused.
            let attached = channel.on_attach(Seq::ZERO, peer.limits.window_bytes);
            debug_assert!(attached.is_ok());
            channel.limit(fragment, message);
        }
    }

    /// A channel that the peer does not mention has ended there, unless it cannot know of it yet.
    fn settle_unmentioned(
        &mut self,
        mentioned: &[ChannelId],
        announced: Option<&[Cursor]>,
        info: &LinkInfo,
    ) {
        let announced: Option<Vec<ChannelId>> = announced.map(|cursors| {
            let ids = cursors.iter().map(|cursor| cursor.channel);
            ids.filter_map(|wire| self.local_id(wire).ok()).collect()
        });
        let all: Vec<ChannelId> = self.channels.keys().copied().collect();
        for id in all.into_iter().filter(|id| !mentioned.contains(id)) {
            let channel = self.channels.get_mut(&id);
            let open =
                |channel: &&mut Box<ChannelMachine>| channel.state() != DurableChannelState::Closed;
            let Some(channel) = channel.filter(open) else {
                continue;
            };
            let fresh = !channel.is_known_to_peer();
            let known_to_peer = match &announced {
                // The dialer: the acceptor answers to each channel of the hello that it still has.
                Some(announced) => announced.contains(&id),
                // The acceptor: the dialer mentions each channel that it still has. The stream of
                // one that was opened lately may never have reached it.
                None => channel.is_known_to_peer(),
            };
            match (known_to_peer, fresh) {
                (false, _) => self.attach_new(id, info),
                (true, false) => channel.on_forgotten_by_peer(),
                // The peer has too many channels to take it.
                (true, true) => {
                    let refused = channel.outbox().unconfirmed();
                    channel.close();
                    if refused != Unconfirmed::default() && self.close_by.is_some() {
                        self.close_reason = ConnectionClosed::LocalUnconfirmed;
                        self.refused += refused;
                    }
                }
            }
        }
    }

    pub(super) fn detach_all(&mut self) {
        for channel in self.channels.values_mut() {
            channel.on_detach();
        }
        self.touched.extend(self.channels.keys().copied());
    }
}

/// The largest fragment that fits one message of a link.
fn payload_bytes_max(info: &LinkInfo) -> usize {
    info.message_bytes_max
        .saturating_sub(ChannelFrame::DATA_HEADER_BYTES_MAX)
        .max(1)
}
