//! Peers without the session protocol: web pages, other clients.

use std::collections::BTreeMap;
use std::vec::Vec;

use bytes::Bytes;
use rondevu_core::frame::{CONTROL_LABEL, CONTROL_PROTOCOL, ChannelOptions, LABEL_LEN_MAX};
use rondevu_core::{
    ChannelId, DurableChannelState, Instant, LinkId, LinkInfo, MessageKind, OpenedBy, StreamId,
    StreamOptions,
};

use super::{ConnectionMachine, Durability, LinkKind, LiveLink, Role, Seeds, Trust};
use crate::channel::ChannelMachine;
use crate::config::ConnectionConfig;
use crate::error::{ConnectionFailure, ProtocolViolation};

impl ConnectionMachine {
    /// The acceptor of a peer that has shown on `link` that it does not speak the session
    /// protocol. `control` is the stream that the offer opened; the peer may use it like any other.
    ///
    /// Feed what the link said after it was connected to
    /// [`handle_link_event`](Self::handle_link_event). `None` if such peers are refused: close the
    /// link.
    pub fn plain_acceptor(
        config: ConnectionConfig,
        trust: Trust,
        link: LinkId,
        control: StreamId,
        info: LinkInfo,
        seeds: Seeds,
        now: Instant,
    ) -> Option<Self> {
        let mut machine = Self::with_role(Role::Acceptor, config, trust, seeds.session, seeds);
        machine.accepts_plain_peers().then(|| {
            machine.attach_plain(link, info, Some(control), now);
            machine
        })
    }

    /// The attempt has reached a peer without the session protocol.
    pub(super) fn begin_plain(&mut self, now: Instant) {
        let Some(attempt) = self.attempt.take() else {
            return;
        };
        if !self.accepts_plain_peers() {
            if self.peer.durability.is_none() {
                return self.transition_to_failed(ConnectionFailure::NotDurable);
            }
            let reason = "the peer no longer speaks the session protocol";
            return self.attempt_lost(attempt, reason, now);
        }
        if let Some(old) = self.live.take() {
            self.abandon(old.id);
        }
        self.detach_all();
        let info = attempt.info.unwrap_or(LinkInfo::UNKNOWN);
        self.attach_plain(attempt.link, info, None, now);
    }

    fn attach_plain(
        &mut self,
        link: LinkId,
        info: LinkInfo,
        offered: Option<StreamId>,
        now: Instant,
    ) {
        self.peer.durability = Some(Durability::Plain);
        self.generation = self.generation.next().unwrap_or(self.generation);
        self.live = Some(LiveLink {
            id: link,
            message_bytes_max: info.message_bytes_max,
            batch_bytes: info.batch_bytes,
            streams: BTreeMap::new(),
            kind: LinkKind::Plain { offered },
        });
        for channel in self.channels.values_mut() {
            attach_channel(channel, info.message_bytes_max, &self.config);
        }
        self.on_attached(now);
        // Without acknowledgements nothing else shows that the link is of use.
        self.reconnector.on_ack();
        self.request_streams();
    }

    /// Attaches a channel that was created while a link to such a peer is up.
    pub(super) fn attach_new_plain(&mut self, id: ChannelId) {
        if let (Some(live), Some(channel)) = (&self.live, self.channels.get_mut(&id)) {
            attach_channel(channel, live.message_bytes_max, &self.config);
        }
    }

    /// The channel of a stream: on a new link the peer opens its channels again, and they are
    /// known by their labels.
    pub(super) fn plain_channel(
        &mut self,
        options: &StreamOptions,
        by: OpenedBy,
    ) -> Result<Option<ChannelId>, ProtocolViolation> {
        if self.role == Role::Dialer && by == OpenedBy::Remote && is_control(options) {
            // It came so late that the conversation has begun without it.
            return Ok(None);
        }
        let label = shortened(&options.label);
        let waiting = |channel: &&ChannelMachine| {
            channel.label() == label
                && channel.stream().is_none()
                && channel.state() != DurableChannelState::Closed
                && self.is_own(channel.id()) == (by == OpenedBy::Local)
        };
        if let Some(known) = self.channels().find(waiting) {
            return Ok(Some(known.id()));
        }
        match by {
            // The offer's own stream, or one whose channel has ended meanwhile.
            OpenedBy::Local => Ok(None),
            OpenedBy::Remote => {
                let delivery = ChannelOptions {
                    ordered: options.ordered,
                    reliability: options.reliability,
                };
                self.create_plain(label, delivery).map(Some)
            }
        }
    }

    fn create_plain(
        &mut self,
        label: &str,
        options: ChannelOptions,
    ) -> Result<ChannelId, ProtocolViolation> {
        let parity = u32::from(self.role == Role::Dialer);
        let id = ChannelId(self.next_plain * 2 + parity);
        self.next_plain += 1;
        self.create_incoming(id, label.into(), options)?;
        self.attach_new_plain(id);
        Ok(id)
    }

    /// A message on a stream that belongs to no channel: the first one on the offer's own stream
    /// makes it a channel.
    pub(super) fn on_unclaimed_message(
        &mut self,
        stream: StreamId,
        kind: MessageKind,
        payload: Bytes,
        now: Instant,
    ) -> Result<(), ProtocolViolation> {
        let Some(LiveLink {
            kind: LinkKind::Plain { offered },
            ..
        }) = &mut self.live
        else {
            return Ok(());
        };
        if *offered != Some(stream) {
            return Ok(());
        }
        *offered = None;
        let id = self.create_plain(CONTROL_LABEL, ChannelOptions::default())?;
        if let (Some(live), Some(channel)) = (&mut self.live, self.channels.get_mut(&id)) {
            live.streams.insert(stream, id);
            channel.on_stream_opened(stream);
            channel.on_message(kind, payload, now)?;
            self.touched.push_back(id);
        }
        Ok(())
    }

    /// Ends the channels whose application is done and whose messages were handed over.
    pub(super) fn close_plain_channels(&mut self) {
        let done = self.channels.values_mut();
        let done: Vec<_> = done.filter(|channel| channel.is_plainly_done()).collect();
        let mut streams = Vec::new();
        for channel in done {
            streams.extend(channel.stream());
            channel.close();
            self.touched.push_back(channel.id());
        }
        for stream in streams {
            self.close_stream(stream);
        }
    }
}

/// Whether a stream is the one on which a service waits for a hello.
pub(super) fn is_control(options: &StreamOptions) -> bool {
    options.label == CONTROL_LABEL && options.protocol == CONTROL_PROTOCOL
}

fn attach_channel(
    channel: &mut ChannelMachine,
    message_bytes_max: usize,
    config: &ConnectionConfig,
) {
    let message = config.message_bytes_max.min(message_bytes_max as u64);
    channel.limit(config.fragment_bytes_max() as usize, message);
    channel.on_plain_attach();
}

/// Such a peer knows nothing of our limits.
fn shortened(label: &str) -> &str {
    let fits = (0..=LABEL_LEN_MAX).rev();
    let end = fits.into_iter().find(|end| label.is_char_boundary(*end));
    match label.len() > LABEL_LEN_MAX {
        true => &label[..end.unwrap_or(0)],
        false => label,
    }
}
