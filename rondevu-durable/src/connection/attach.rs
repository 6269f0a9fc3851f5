//! How a session moves to a link whose greeting is over.

use std::collections::BTreeMap;
use std::vec::Vec;

use rondevu_core::frame::{ChannelFrame, Cursor};
use rondevu_core::{
    ChannelId, DurableChannelState, DurableConnectionState, Instant, LinkId, LinkInfo, Liveness,
    Seq, StreamId,
};

use super::{ConnectionEvent, ConnectionMachine, LinkKind, LiveLink, Retry, SessionLink};
use crate::channel::ChannelMachine;
use crate::error::ProtocolViolation;

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
        let open = self.channels.values_mut();
        open.filter(|channel| channel.state() != DurableChannelState::Closed)
            .map(ChannelMachine::cursor)
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
        let mentioned: Vec<ChannelId> = cursors.iter().map(|cursor| cursor.channel).collect();
        for cursor in cursors {
            self.attach_channel(cursor, &arrival.info)?;
        }
        self.settle_unmentioned(&mentioned, announced, &arrival.info);
        self.live = Some(LiveLink {
            id: arrival.link,
            message_bytes_max: arrival.info.message_bytes_max,
            streams: BTreeMap::new(),
            kind: LinkKind::Session(SessionLink {
                control: arrival.control,
                liveness: Liveness::new(self.config.liveness, now),
                confirmed: false,
                hastened: false,
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

    fn attach_channel(&mut self, cursor: Cursor, info: &LinkInfo) -> Result<(), ProtocolViolation> {
        let id = cursor.channel;
        if !self.channels.contains_key(&id) {
            if self.is_own(id) || self.seen.contains(id.0 / 2) {
                // It has ended here.
                return Ok(());
            }
            self.create_incoming(id, cursor.label, cursor.options)?;
        }
        let (fragment, message) = self.bytes_max(info);
        let Some(channel) = self.channels.get_mut(&id) else {
            return Ok(());
        };
        if channel.options() != cursor.options {
            return Err(ProtocolViolation::Greeting);
        }
        if channel.outbox().largest_numbered_fragment() > payload_bytes_max(info) {
            return Err(ProtocolViolation::LinkTooNarrow);
        }
        channel.on_attach(cursor.recv_next, cursor.credit)?;
        channel.limit(fragment, message);
        Ok(())
    }

    /// The largest fragment and the largest message for this link and this peer.
    fn bytes_max(&self, info: &LinkInfo) -> (usize, u64) {
        let own = self.config.fragment_bytes_max() as usize;
        let link = payload_bytes_max(info);
        match self.peer.memory {
            None => (own.min(link), self.config.message_bytes_max),
            Some(peer) => {
                let fragment = own.min(peer.limits.fragment_bytes_max as usize).min(link);
                (fragment, peer.limits.message_bytes_max)
            }
        }
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
        let all: Vec<ChannelId> = self.channels.keys().copied().collect();
        for id in all.into_iter().filter(|id| !mentioned.contains(id)) {
            let Some(channel) = self.channels.get_mut(&id) else {
                continue;
            };
            let known_to_peer = match announced {
                // The dialer: the acceptor answers to each channel of the hello that it still has.
                Some(announced) => announced.iter().any(|cursor| cursor.channel == id),
                // The acceptor: the dialer mentions each channel that it still has.
                None => channel.state() != DurableChannelState::Connecting,
            };
            if known_to_peer {
                channel.on_forgotten_by_peer();
            } else {
                self.attach_new(id, info);
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
