//! A link of a service whose peer says anything.

use std::time::Duration;

use bytes::Bytes;
use rondevu_core::{Deadline, Instant, LinkEvent, RejectReason, StreamId};
use rondevu_durable::{Caller, Reception};

use crate::connection::events::{hello, link_event};
use crate::{Machine, Script, Trace, hold_for};

/// The laws hold, and a reception that is over names nobody.
pub(crate) fn reception(input: &[u8]) {
    hold_for(|_| Subject::new(), input);
}

struct Subject {
    reception: Reception,
    now: Instant,
    refusals: u32,
    out: Vec<String>,
}

impl Subject {
    fn new() -> Self {
        let patience = Duration::from_secs(20);
        Self {
            reception: Reception::new(StreamId(0), patience, Instant::ORIGIN),
            now: Instant::ORIGIN,
            refusals: 0,
            out: Vec::new(),
        }
    }

    fn feed(&mut self, event: LinkEvent) {
        let was_over = self.reception.is_over();
        let caller = self.reception.handle_link_event(event);
        if let Some(caller) = &caller {
            self.out.push(format!("{caller:?}"));
            let plain = matches!(caller, Caller::Plain { .. });
            assert!(!(plain && was_over), "a plain peer after the end");
            assert!(
                !(plain && self.refusals > 0),
                "a plain peer that said hello"
            );
            assert!(!was_over, "somebody after the end");
        }
    }
}

impl Machine for Subject {
    fn step(&mut self, script: &mut Script<'_>) {
        match script.pick(8) {
            0 if !self.reception.is_over() => {
                self.refusals += 1;
                let payload = self.reception.refuse(RejectReason::UnknownSession);
                self.out.push(format!("{payload:?}"));
                assert!(self.refusals <= 2 || self.reception.is_over());
            }
            1 => self.now += script.duration(),
            2 => {
                let mut payload = Vec::new();
                rondevu_core::frame::ControlFrame::Hello(hello(script)).encode(&mut payload);
                self.feed(LinkEvent::StreamMessage {
                    stream: StreamId(0),
                    kind: rondevu_core::MessageKind::Binary,
                    payload: Bytes::from(payload),
                });
            }
            _ => {
                let event = link_event(script);
                self.feed(event);
            }
        }
    }

    fn drain(&mut self, trace: &mut Trace) {
        for line in self.out.drain(..) {
            trace.push(&line);
        }
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn handle_timeout(&mut self) {
        self.reception.handle_timeout(self.now);
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.reception.poll_timeout()
    }

    fn is_over(&self) -> bool {
        self.reception.is_over()
    }

    fn check(&self) {}
}
