//! Which stream of the live link belongs to which channel.

use std::string::String;
use std::vec::Vec;

use rondevu_core::frame::{
    ChannelOptions, LABEL_LEN_MAX, channel_protocol, parse_channel_protocol,
};
use rondevu_core::{ChannelId, DurableChannelState, IdSet, OpenedBy, Seq, StreamId, StreamOptions};

use super::{Action, ConnectionEvent, ConnectionMachine, Durability, LinkKind, Role};
use crate::channel::ChannelMachine;
use crate::error::ProtocolViolation;

/// Who created a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opener {
    Us,
    Peer,
}

/// The id of a channel in the session.
pub(super) fn wire_id(id: ChannelId, own_parity: u32, peer_ids_base: u32) -> ChannelId {
    match id.0 % 2 == own_parity {
        true => id,
        false => ChannelId(id.0.saturating_sub(peer_ids_base)),
    }
}

impl ConnectionMachine {
    pub(super) fn own_parity(&self) -> u32 {
        match self.role {
            Role::Dialer => 0,
            Role::Acceptor => 1,
        }
    }

    pub(super) fn is_own(&self, id: ChannelId) -> bool {
        id.0 % 2 == self.own_parity()
    }

    /// The id by which this side knows the channel that has the id `wire` in the session.
    pub(super) fn local_id(&self, wire: ChannelId) -> Result<ChannelId, ProtocolViolation> {
        if self.is_own(wire) {
            return Ok(wire);
        }
        let local = wire.0.checked_add(self.peer_ids_base).map(ChannelId);
        local.ok_or(ProtocolViolation::TooManyChannels)
    }

    /// From now on the peer's ids mean other channels than those that it has had.
    pub(super) fn retire_peer_ids(&mut self) {
        let peers = self.channels.keys().filter(|id| !self.is_own(**id));
        if let Some(highest) = peers.max() {
            self.peer_ids_base = (highest.0 - (highest.0 % 2)).saturating_add(2);
        }
        self.seen = IdSet::default();
    }

    /// How many channels are open that one side created.
    pub(super) fn open_channels(&self, by: Opener) -> usize {
        let open = self.channels.values().filter(|channel| {
            self.is_own(channel.id()) == (by == Opener::Us)
                && channel.state() != DurableChannelState::Closed
        });
        open.count()
    }

    /// Asks for the stream of a channel that this side created.
    pub(super) fn request_stream(&mut self, id: ChannelId) {
        let (Some(live), Some(channel)) = (&self.live, self.channels.get(&id)) else {
            return;
        };
        if channel.state() == DurableChannelState::Closed {
            return;
        }
        let protocol = match live.kind {
            LinkKind::Session(_) => channel_protocol(id),
            LinkKind::Plain { .. } => String::new(),
        };
        self.actions.push_back(Action::OpenStream {
            link: live.id,
            options: StreamOptions {
                label: channel.label().into(),
                protocol,
                ordered: channel.options().ordered,
                reliability: channel.options().reliability,
            },
        });
    }

    /// Asks for the streams of all channels that this side created.
    pub(super) fn request_streams(&mut self) {
        let own = self.channels.keys().copied();
        let own: Vec<ChannelId> = own.filter(|id| self.is_own(*id)).collect();
        for id in own {
            self.request_stream(id);
        }
    }

    /// A stream of the live link is open.
    pub(super) fn on_stream_opened(
        &mut self,
        stream: StreamId,
        options: StreamOptions,
        by: OpenedBy,
    ) -> Result<(), ProtocolViolation> {
        let id = match self.peer.durability {
            Some(Durability::Plain) => self.plain_channel(&options, by)?,
            Some(Durability::Session) | None => self.session_channel(&options)?,
        };
        let (Some(id), Some(live)) = (id, &mut self.live) else {
            return Ok(());
        };
        if let Some(channel) = self.channels.get_mut(&id) {
            live.streams.insert(stream, id);
            channel.on_stream_opened(stream);
            let session = live.session_mut();
            if session.is_some_and(|session| session.early_ends.remove(&id)) && channel.is_lossy() {
                channel.on_known_to_peer();
                channel.on_fin(Seq::ZERO)?;
            }
            self.touched.push_back(id);
        }
        Ok(())
    }

    /// The channel of a stream of the session protocol; none if the channel has ended here.
    fn session_channel(
        &mut self,
        options: &StreamOptions,
    ) -> Result<Option<ChannelId>, ProtocolViolation> {
        let wire = parse_channel_protocol(&options.protocol);
        let wire = wire.ok_or(ProtocolViolation::Unexpected)?;
        let id = self.local_id(wire)?;
        let delivery = ChannelOptions {
            ordered: options.ordered,
            reliability: options.reliability,
        };
        match self.channels.get(&id) {
            Some(channel) if channel.options() != delivery => Err(ProtocolViolation::Unexpected),
            Some(_) => Ok(Some(id)),
            None if self.is_own(id) || self.seen.contains(wire.0 / 2) => Ok(None),
            None => {
                self.create_incoming(id, options.label.clone(), delivery)?;
                if let Some(live) = &self.live {
                    let info = live.info();
                    self.attach_new(id, &info);
                }
                if let Some(channel) = self.channels.get_mut(&id) {
                    channel.on_known_to_peer();
                }
                Ok(Some(id))
            }
        }
    }

    /// Enters a channel that the peer opened.
    pub(super) fn create_incoming(
        &mut self,
        id: ChannelId,
        label: String,
        options: ChannelOptions,
    ) -> Result<(), ProtocolViolation> {
        // The news of a channel that has closed may still be on its way to the peer: twice as many
        // as it was told are too many in any case.
        let max = self.config.channels_max.saturating_mul(2);
        // So are closed ones that the application has not looked at.
        let held = self.channels.keys().filter(|id| !self.is_own(**id));
        if held.count() >= max.saturating_mul(2)
            || self.open_channels(Opener::Peer) >= max
            || self.seen.sparse_len() >= max
            || label.len() > LABEL_LEN_MAX
        {
            return Err(ProtocolViolation::TooManyChannels);
        }
        let wire = wire_id(id, self.own_parity(), self.peer_ids_base);
        self.seen.insert(wire.0 / 2);
        let config = self.config.incoming_channel;
        let mut channel = ChannelMachine::new(id, label, &config, options, &self.config);
        if self.close_by.is_some() {
            channel.finish();
            channel.discard_incoming();
        }
        self.channels.insert(id, Box::new(channel));
        self.events
            .push_back(ConnectionEvent::IncomingChannel { channel: id });
        Ok(())
    }

    /// Closes the `stream` that a channel had before the peer spoke, if what it said was the end:
    /// then nothing of ours is on the way.
    pub(super) fn close_stream_of_ended(&mut self, id: ChannelId, stream: Option<StreamId>) {
        let closed = |channel: &ChannelMachine| channel.state() == DurableChannelState::Closed;
        if let Some(stream) = stream
            && self.channel(id).is_some_and(closed)
        {
            self.close_stream(stream);
        }
    }

    /// Closes the stream of a channel that has ended, so that the link has room for others.
    pub(super) fn close_stream(&mut self, stream: StreamId) {
        if let Some(live) = &mut self.live {
            live.streams.remove(&stream);
            self.actions.push_back(Action::CloseStream {
                link: live.id,
                stream,
            });
        }
    }
}
