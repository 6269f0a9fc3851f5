//! A published service whose signaling server does anything.

use std::time::Duration;

use rondevu_core::{Deadline, Instant};
use rondevu_durable::{
    OfferKey, ServiceAction, ServiceConfig, ServiceEvent, ServiceMachine, ServiceRetry,
};

use crate::{Machine, Script, Trace, hold_for};

const POOL: usize = 3;

/// The laws hold, requests do not overlap, and a refused service asks for nothing more.
pub(crate) fn service(input: &[u8]) {
    hold_for(|script| Subject::new(script.byte().into()), input);
}

struct Subject {
    service: ServiceMachine,
    now: Instant,
    writing: Option<ServiceAction>,
    polling: bool,
    refused: bool,
    open: Vec<OfferKey>,
}

impl Subject {
    fn new(seed: u64) -> Self {
        let config = ServiceConfig {
            pool_size: POOL,
            ..ServiceConfig::default()
        };
        Self {
            service: ServiceMachine::new(config, seed),
            now: Instant::ORIGIN,
            writing: None,
            polling: false,
            refused: false,
            open: Vec::new(),
        }
    }

    fn finish_write(&mut self, script: &mut Script<'_>) {
        let granted = Duration::from_secs(30) + script.duration();
        match self.writing.take() {
            Some(ServiceAction::Publish { offer }) => {
                self.service.handle_published(offer, granted, self.now);
                self.open.push(offer);
            }
            Some(ServiceAction::CreateOffer { offer }) => {
                self.service.handle_offer_created(offer, granted, self.now);
                self.open.push(offer);
            }
            Some(ServiceAction::DropOffer { .. } | ServiceAction::Poll) | None => {}
        }
    }
}

fn retry(script: &mut Script<'_>) -> ServiceRetry {
    match script.pick(8) {
        0 => ServiceRetry::Never,
        1 | 2 => ServiceRetry::Publish,
        _ => ServiceRetry::Backoff,
    }
}

impl Machine for Subject {
    fn step(&mut self, script: &mut Script<'_>) {
        match script.pick(8) {
            0 | 1 => self.finish_write(script),
            2 if self.writing.take().is_some() => {
                self.service.handle_write_failed(retry(script), self.now);
            }
            3 | 4 if std::mem::take(&mut self.polling) => {
                let count = script.pick(POOL).min(self.open.len());
                let answered: Vec<_> = self.open.drain(..count).collect();
                self.service.handle_polled(&answered);
            }
            5 if std::mem::take(&mut self.polling) => {
                self.service.handle_poll_failed(retry(script), self.now);
            }
            _ => self.now += script.duration(),
        }
    }

    fn drain(&mut self, trace: &mut Trace) {
        while let Some(event) = self.service.poll_event() {
            trace.push(&event);
            assert!(!self.refused, "{event:?} after the end");
            self.refused |= event == ServiceEvent::Refused;
        }
        while let Some(action) = self.service.poll_action() {
            trace.push(&action);
            match action {
                ServiceAction::Publish { .. } | ServiceAction::CreateOffer { .. } => {
                    assert!(!self.refused, "a refused service writes");
                    assert_eq!(self.writing, None, "requests overlap");
                    self.writing = Some(action);
                }
                ServiceAction::Poll => {
                    assert!(!self.polling, "polls overlap");
                    self.polling = true;
                }
                ServiceAction::DropOffer { offer } => self.open.retain(|open| *open != offer),
            }
        }
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn handle_timeout(&mut self) {
        self.service.handle_timeout(self.now);
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.service.poll_timeout()
    }

    fn is_over(&self) -> bool {
        self.refused
    }

    fn check(&self) {
        // A renewal brings an offer of its own, at most once in each lease.
        assert!(self.service.open_offers() <= 2 * POOL);
    }
}
