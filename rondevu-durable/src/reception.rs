//! A link of a service whose peer has not said yet what it speaks.

use std::vec::Vec;

use bytes::Bytes;
use core::time::Duration;
use rondevu_core::frame::{ControlFrame, Hello};
use rondevu_core::{
    Deadline, DeadlineReason, Instant, LinkEvent, LinkInfo, MessageKind, OpenedBy, RejectReason,
    StreamId,
};

/// Waits on one link for the peer to show whether it speaks the session protocol.
///
/// ```text
///            Hello on the control stream ──► Caller::Session ─┬─► its session takes the link
///   Reception                                                 └─► refuse() ─► Hello again, or over
///            anything else ────────────────► Caller::Plain
/// ```
#[derive(Debug)]
pub struct Reception {
    control: StreamId,
    info: Option<LinkInfo>,
    refusals: u32,
    give_up_at: Instant,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing was heard yet.
    Waiting,
    /// The peer speaks the session protocol, but its session was refused.
    Refused,
    Over,
}

/// What the peer has shown itself to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// It speaks the session protocol and names its session.
    Session {
        /// What the link said when it connected.
        info: LinkInfo,
        /// The first frame.
        hello: Hello,
    },
    /// It does not.
    Plain {
        /// What the link said when it connected.
        info: LinkInfo,
        /// What showed it: feed this to the connection.
        event: LinkEvent,
    },
}

impl Reception {
    /// Waits for `patience` at most. `control` is the stream that the offer opened.
    pub fn new(control: StreamId, patience: Duration, now: Instant) -> Self {
        Self {
            control,
            info: None,
            refusals: 0,
            give_up_at: now + patience,
            phase: Phase::Waiting,
        }
    }

    /// A fact about the link; who the peer is, once that has become clear.
    pub fn handle_link_event(&mut self, event: LinkEvent) -> Option<Caller> {
        if self.is_over() {
            return None;
        }
        match event {
            LinkEvent::Connected(info) => self.info = Some(info),
            LinkEvent::Closed { .. } => self.phase = Phase::Over,
            LinkEvent::StreamMessage {
                stream,
                kind: MessageKind::Binary,
                ref payload,
            } if stream == self.control => {
                return match ControlFrame::decode(&mut payload.clone()) {
                    Ok(ControlFrame::Hello(hello)) => {
                        let info = self.info.unwrap_or(LinkInfo::UNKNOWN);
                        Some(Caller::Session { info, hello })
                    }
                    Ok(_) | Err(_) => self.plain(event),
                };
            }
            LinkEvent::StreamMessage { .. }
            | LinkEvent::StreamOpened {
                by: OpenedBy::Remote,
                ..
            } => return self.plain(event),
            LinkEvent::StreamClosed { stream } if stream == self.control => {
                self.phase = Phase::Over;
            }
            LinkEvent::StreamOpened { .. }
            | LinkEvent::StreamClosed { .. }
            | LinkEvent::Writable => {}
        }
        None
    }

    fn plain(&mut self, event: LinkEvent) -> Option<Caller> {
        match self.phase {
            Phase::Waiting => Some(Caller::Plain {
                info: self.info.unwrap_or(LinkInfo::UNKNOWN),
                event,
            }),
            // It has said hello before: this is no way to go on.
            Phase::Refused | Phase::Over => {
                self.phase = Phase::Over;
                None
            }
        }
    }

    /// Refuses the hello that came; what to send on the control stream. The peer may say another
    /// one.
    pub fn refuse(&mut self, reason: RejectReason) -> Bytes {
        self.refusals += 1;
        self.phase = match self.refusals > REFUSALS_MAX {
            true => Phase::Over,
            false => Phase::Refused,
        };
        let mut out = Vec::new();
        ControlFrame::Reject { reason }.encode(&mut out);
        out.into()
    }

    /// Notices that the peer has had time enough.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.give_up_at <= now {
            self.phase = Phase::Over;
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let deadline = Deadline::new(self.give_up_at, DeadlineReason::AttemptTimeout);
        (self.phase != Phase::Over).then_some(deadline)
    }

    /// Whether nothing will come of it: close the link.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }
}

/// A dialer whose session was refused asks for a new one, and that is that.
const REFUSALS_MAX: u32 = 2;

#[cfg(test)]
mod tests;
