//! A dialer's attempt to establish the next link.

use std::boxed::Box;
use std::string::String;

use rondevu_core::frame::Hello;
use rondevu_core::{Instant, LinkId, LinkInfo, StreamId};

/// A dialer's attempt to establish the next link.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) link: LinkId,
    pub(super) give_up_at: Instant,
    /// Whether the peer has announced that it speaks the session protocol.
    pub(super) announced: bool,
    /// When a peer that has opened no stream does not speak the session protocol.
    pub(super) plain_at: Option<Instant>,
    pub(super) info: Option<LinkInfo>,
    pub(super) stage: Stage,
    /// What keeps its link from being connected, as far as the embedder says.
    pub(super) hindrance: Option<String>,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// Signaling and the transport are at work.
    Dialing,
    /// The hello was sent; the previous link is frozen.
    Greeting(Box<Greeting>),
}

#[derive(Debug)]
pub(super) struct Greeting {
    pub(super) control: StreamId,
    pub(super) hello: Hello,
    /// The link that carried the session before.
    pub(super) frozen: Option<LinkId>,
    pub(super) purpose: Purpose,
}

/// What the hello asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To go on with the session, or to begin the first one.
    Session,
    /// To begin a new session, because the peer does not know the present one. The present one is
    /// given up when the peer welcomes the new one.
    NewSession,
}

impl Attempt {
    /// When the silence of the peer shows that it does not speak the session protocol.
    pub(super) fn plain_at(&self) -> Option<Instant> {
        match self.stage {
            Stage::Dialing => self.plain_at,
            Stage::Greeting(_) => None,
        }
    }
}
