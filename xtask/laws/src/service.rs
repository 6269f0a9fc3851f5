//! A published service whose signaling server does anything.

use std::time::Duration;

use rondevu_core::{Deadline, Instant};
use rondevu_durable::{
    OfferKey, PollEnd, Presence, ServiceAction, ServiceConfig, ServiceEvent, ServiceMachine,
    ServiceRetry,
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
    checking: bool,
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
            checking: false,
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
            Some(ServiceAction::CreateOffers { offers }) => {
                let created: Vec<_> = offers.iter().map(|offer| (*offer, granted)).collect();
                self.service.handle_offers_created(&created, self.now);
                self.open.extend(offers);
            }
            Some(
                ServiceAction::DropOffers { .. }
                | ServiceAction::DeleteOffers { .. }
                | ServiceAction::Poll { .. }
                | ServiceAction::Check,
            )
            | None => {}
        }
    }
}

fn retry(script: &mut Script<'_>) -> ServiceRetry {
    match script.pick(8) {
        0 => ServiceRetry::Never,
        1 | 2 => ServiceRetry::Publish,
        3 => ServiceRetry::After(script.duration()),
        _ => ServiceRetry::Backoff,
    }
}

impl Machine for Subject {
    fn step(&mut self, script: &mut Script<'_>) {
        match script.pick(10) {
            0 | 1 => self.finish_write(script),
            2 if self.writing.take().is_some() => {
                self.service.handle_write_failed(retry(script), self.now);
            }
            3 | 4 if std::mem::take(&mut self.polling) => {
                let count = script.pick(POOL).min(self.open.len());
                let answered: Vec<_> = self.open.drain(..count).collect();
                let end = match script.pick(2) {
                    0 => PollEnd::Waited,
                    _ => PollEnd::AtOnce,
                };
                self.service.handle_polled(&answered, end, self.now);
            }
            6 if std::mem::take(&mut self.checking) => {
                let presence = match script.pick(3) {
                    0 => Presence::Missing,
                    _ => Presence::Found,
                };
                self.service.handle_checked(presence, self.now);
            }
            7 if std::mem::take(&mut self.checking) => {
                self.service.handle_check_failed(retry(script), self.now);
            }
            5 if std::mem::take(&mut self.polling) => {
                self.service.handle_poll_failed(retry(script), self.now);
            }
            8 => {
                // Given up, as the machine asks.
                (self.writing, self.polling, self.checking) = (None, false, false);
                self.service.handle_network_change(self.now);
            }
            _ => {
                self.now += script.duration();
                return;
            }
        }
        // So the machine asks to be driven after each fact.
        self.service.handle_timeout(self.now);
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
                ServiceAction::Publish { .. } | ServiceAction::CreateOffers { .. } => {
                    assert!(!self.refused, "a refused service writes");
                    assert_eq!(self.writing, None, "requests overlap");
                    self.writing = Some(action);
                }
                ServiceAction::Poll { .. } => {
                    assert!(!self.polling, "polls overlap");
                    self.polling = true;
                }
                ServiceAction::Check => {
                    assert!(!self.checking, "checks overlap");
                    self.checking = true;
                }
                ServiceAction::DropOffers { offers } | ServiceAction::DeleteOffers { offers } => {
                    self.open.retain(|open| !offers.contains(open));
                }
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
        assert!(self.service.open_offers(self.now) <= 2 * POOL);
    }
}
