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
mod tests {
    use rondevu_core::{LinkClosed, StreamOptions};

    use super::*;

    const CONTROL: StreamId = StreamId(0);

    fn reception() -> Reception {
        Reception::new(CONTROL, Duration::from_secs(20), Instant::ORIGIN)
    }

    fn message(stream: StreamId, kind: MessageKind, payload: &'static [u8]) -> LinkEvent {
        LinkEvent::StreamMessage {
            stream,
            kind,
            payload: Bytes::from_static(payload),
        }
    }

    #[test]
    fn what_is_not_a_hello_shows_a_plain_peer() {
        let stream = LinkEvent::StreamOpened {
            stream: StreamId(1),
            options: StreamOptions::reliable("page", ""),
            by: OpenedBy::Remote,
        };
        for event in [
            stream,
            message(CONTROL, MessageKind::Text, b"hi"),
            message(CONTROL, MessageKind::Binary, b"hi"),
        ] {
            let caller = reception().handle_link_event(event.clone());
            let info = LinkInfo::UNKNOWN;
            assert_eq!(caller, Some(Caller::Plain { info, event }));
        }
    }

    #[test]
    fn a_peer_that_was_refused_too_often_or_stops_to_greet_is_given_up() {
        let mut often = reception();
        for over in [false, false, true] {
            often.refuse(RejectReason::UnknownSession);
            assert_eq!(often.is_over(), over);
        }
        let mut stops = reception();
        stops.refuse(RejectReason::UnknownSession);
        let junk = message(CONTROL, MessageKind::Binary, b"junk");
        assert_eq!(stops.handle_link_event(junk), None);
        assert!(stops.is_over());
    }

    #[test]
    fn a_hello_that_comes_too_late_names_nobody() {
        let mut late = reception();
        late.handle_timeout(late.poll_timeout().unwrap().at);
        // Tag, version, session, generation, incarnation, no peer_incarnation, four limits, no
        // channels, nonce, no proof, no extensions.
        let hello: &[u8] = &[
            0, 1, 5, 1, 7, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        let hello = message(CONTROL, MessageKind::Binary, hello);
        let in_time = reception().handle_link_event(hello.clone());
        assert!(matches!(in_time, Some(Caller::Session { .. })));
        assert_eq!(late.handle_link_event(hello), None);
    }

    #[test]
    fn silence_and_a_lost_link_end_it() {
        let mut silent = reception();
        let at = silent.poll_timeout().unwrap().at;
        silent.handle_timeout(at);
        assert!(silent.is_over());
        assert_eq!(silent.poll_timeout(), None);
        let mut lost = reception();
        let reason = LinkClosed::NoPath;
        assert_eq!(lost.handle_link_event(LinkEvent::Closed { reason }), None);
        assert!(lost.is_over());
    }
}
