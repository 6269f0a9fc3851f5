//! The link that carries the conversation at the moment.

use std::collections::{BTreeMap, BTreeSet};

use rondevu_core::{ChannelId, LinkId, LinkInfo, Liveness, StreamId};

/// The link that carries the conversation.
#[derive(Debug)]
pub(super) struct LiveLink {
    pub(super) id: LinkId,
    pub(super) message_bytes_max: usize,
    pub(super) batch_bytes: usize,
    pub(super) streams: BTreeMap<StreamId, ChannelId>,
    pub(super) kind: LinkKind,
}

#[derive(Debug)]
pub(super) enum LinkKind {
    /// To a peer with the session protocol.
    Session(SessionLink),
    /// To a peer without it.
    Plain {
        /// The offer's own stream, until the peer has used it.
        offered: Option<StreamId>,
    },
}

#[derive(Debug)]
pub(super) struct SessionLink {
    pub(super) control: StreamId,
    pub(super) liveness: Liveness,
    /// Whether the peer is known to have finished the greeting, so that streams may be opened.
    pub(super) confirmed: bool,
    /// Whether datagrams that came in while the link was suspect have already hastened a retry.
    pub(super) hastened: bool,
    /// Lossy channels whose end has come before their stream: the two travel on different streams.
    pub(super) early_ends: BTreeSet<ChannelId>,
}

impl LiveLink {
    /// What a channel has to know of the link that it comes to.
    pub(super) fn info(&self) -> LinkInfo {
        LinkInfo {
            fingerprints: None,
            message_bytes_max: self.message_bytes_max,
            batch_bytes: self.batch_bytes,
        }
    }

    pub(super) fn session(&self) -> Option<&SessionLink> {
        match &self.kind {
            LinkKind::Session(session) => Some(session),
            LinkKind::Plain { .. } => None,
        }
    }

    pub(super) fn session_mut(&mut self) -> Option<&mut SessionLink> {
        match &mut self.kind {
            LinkKind::Session(session) => Some(session),
            LinkKind::Plain { .. } => None,
        }
    }
}
