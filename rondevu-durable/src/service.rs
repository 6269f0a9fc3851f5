//! A published service: when to publish again, how many offers stand open, when to ask for answers.

use std::collections::{BTreeMap, VecDeque};

use core::time::Duration;
use rondevu_core::{BackoffPolicy, Deadline, DeadlineReason, Instant};

/// How a service is kept published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServiceConfig {
    /// How many offers stand open at once: so many dialers can connect at the same instant.
    /// Default 1.
    pub pool_size: usize,
    /// The service is published again when this share of its time to live is left. Default 0.2,
    /// that is at 80 %.
    pub ttl_refresh_margin: f64,
    /// Delays between attempts after the signaling server failed; without a limit of attempts.
    pub backoff: BackoffPolicy,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        let backoff = BackoffPolicy {
            attempts_max: None,
            ..BackoffPolicy::default()
        };
        Self {
            pool_size: 1,
            ttl_refresh_margin: 0.2,
            backoff,
        }
    }
}

/// Names an offer that this side made, whatever the server calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OfferKey(pub u64);

/// What the embedder must do; each ends with one of the `handle_*` calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceAction {
    /// Publish the service with a new offer.
    Publish {
        /// The name of the new offer.
        offer: OfferKey,
    },
    /// Create one more offer.
    CreateOffer {
        /// The name of the new offer.
        offer: OfferKey,
    },
    /// Drop an offer that has expired.
    DropOffer {
        /// The offer.
        offer: OfferKey,
    },
    /// Ask for answers.
    Poll,
}

/// Whether a failed request may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceRetry {
    /// It will fail again: the service stops.
    Never,
    /// After the usual delay.
    Backoff,
    /// The server has forgotten the service: publish it again.
    Publish,
}

/// What happened, for the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceEvent {
    /// The service can be found.
    Published,
    /// The service was published again in time.
    Refreshed,
    /// The signaling server fails; told once, however often it does. Connections live on.
    SignalingLost,
    /// The signaling server works again.
    SignalingBack,
    /// The service cannot be published; final.
    Refused,
}

/// The machine of one published service.
#[derive(Debug)]
pub struct ServiceMachine {
    config: ServiceConfig,
    rng: fastrand::Rng,
    lease: Lease,
    offers: BTreeMap<OfferKey, Instant>,
    next_offer: u64,
    /// Whether a publish or create request is under way.
    writing: bool,
    polling: bool,
    failures: u32,
    not_before: Instant,
    actions: VecDeque<ServiceAction>,
    events: VecDeque<ServiceEvent>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lease {
    /// The service is not published, or the server has forgotten it.
    Wanted {
        before: bool,
    },
    Held {
        renew_at: Instant,
        ends_at: Instant,
    },
    Refused,
}

impl ServiceMachine {
    /// A service that is to be published.
    pub fn new(config: ServiceConfig, seed: u64) -> Self {
        Self {
            config,
            rng: fastrand::Rng::with_seed(seed),
            lease: Lease::Wanted { before: false },
            offers: BTreeMap::new(),
            next_offer: 0,
            writing: false,
            polling: false,
            failures: 0,
            not_before: Instant::ORIGIN,
            actions: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The service is published for `granted` together with `offer`.
    pub fn handle_published(&mut self, offer: OfferKey, granted: Duration, now: Instant) {
        self.writing = false;
        if self.lease == Lease::Refused {
            return;
        }
        self.succeeded();
        let share = 1.0 - self.config.ttl_refresh_margin.clamp(0.05, 0.95);
        self.events.push_back(match self.lease {
            Lease::Held { .. } | Lease::Wanted { before: true } => ServiceEvent::Refreshed,
            Lease::Wanted { before: false } | Lease::Refused => ServiceEvent::Published,
        });
        self.lease = Lease::Held {
            renew_at: now + granted.mul_f64(share),
            ends_at: now + granted,
        };
        self.offers.insert(offer, now + granted);
    }

    /// An offer stands open for `granted`.
    pub fn handle_offer_created(&mut self, offer: OfferKey, granted: Duration, now: Instant) {
        self.writing = false;
        if self.lease == Lease::Refused {
            return;
        }
        self.succeeded();
        self.offers.insert(offer, now + granted);
    }

    /// A publish or create request failed.
    pub fn handle_write_failed(&mut self, retry: ServiceRetry, now: Instant) {
        self.writing = false;
        self.failed(retry, now);
    }

    /// A request for answers came back; the answered offers are no longer open.
    pub fn handle_polled(&mut self, answered: &[OfferKey]) {
        self.polling = false;
        if self.lease == Lease::Refused {
            return;
        }
        self.succeeded();
        for offer in answered {
            self.offers.remove(offer);
        }
    }

    /// A request for answers failed.
    pub fn handle_poll_failed(&mut self, retry: ServiceRetry, now: Instant) {
        self.polling = false;
        self.failed(retry, now);
    }

    fn succeeded(&mut self) {
        if core::mem::take(&mut self.failures) > 0 {
            self.events.push_back(ServiceEvent::SignalingBack);
        }
    }

    fn failed(&mut self, retry: ServiceRetry, now: Instant) {
        if self.lease == Lease::Refused {
            return;
        }
        match retry {
            ServiceRetry::Never => {
                self.lease = Lease::Refused;
                self.events.push_back(ServiceEvent::Refused);
            }
            ServiceRetry::Publish => {
                self.offers.clear();
                self.lease = Lease::Wanted { before: true };
            }
            ServiceRetry::Backoff => {
                if self.failures == 0 {
                    self.events.push_back(ServiceEvent::SignalingLost);
                }
                self.failures = self.failures.saturating_add(1);
                self.not_before = now + self.config.backoff.delay(self.failures, &mut self.rng);
            }
        }
    }

    /// Plans what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.lease == Lease::Refused {
            return;
        }
        let expired: Vec<OfferKey> = self
            .offers
            .iter()
            .filter(|(_, ends)| **ends <= now)
            .map(|(key, _)| *key)
            .collect();
        for offer in expired {
            self.offers.remove(&offer);
            self.actions.push_back(ServiceAction::DropOffer { offer });
        }
        if now < self.not_before {
            return;
        }
        if let Lease::Held { ends_at, .. } = self.lease
            && ends_at <= now
        {
            self.lease = Lease::Wanted { before: true };
        }
        self.plan_write(now);
        if !self.polling && matches!(self.lease, Lease::Held { .. }) {
            self.polling = true;
            self.actions.push_back(ServiceAction::Poll);
        }
    }

    fn plan_write(&mut self, now: Instant) {
        if self.writing {
            return;
        }
        let offer = OfferKey(self.next_offer);
        let action = match self.lease {
            Lease::Wanted { .. } => ServiceAction::Publish { offer },
            Lease::Held { renew_at, .. } if renew_at <= now => ServiceAction::Publish { offer },
            Lease::Held { .. } if self.offers.len() < self.config.pool_size => {
                ServiceAction::CreateOffer { offer }
            }
            Lease::Held { .. } | Lease::Refused => return,
        };
        self.writing = true;
        self.next_offer += 1;
        self.actions.push_back(action);
    }

    /// When to call [`ServiceMachine::handle_timeout`]; also call it after each `handle_*`.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        if self.lease == Lease::Refused {
            return None;
        }
        let expiry = self.offers.values().min();
        let expiry = expiry.map(|at| Deadline::new(*at, DeadlineReason::OfferExpiry));
        let Lease::Held { renew_at, .. } = self.lease else {
            let retry = Deadline::new(self.not_before, DeadlineReason::Retry);
            return Deadline::earlier(expiry, (!self.writing).then_some(retry));
        };
        let renewal = (!self.writing)
            .then(|| Deadline::new(renew_at.max(self.not_before), DeadlineReason::Renewal));
        let refill = !self.writing && self.offers.len() < self.config.pool_size;
        let refill = refill.then(|| Deadline::new(self.not_before, DeadlineReason::Refill));
        let poll = (!self.polling).then(|| Deadline::new(self.not_before, DeadlineReason::Poll));
        [renewal, refill, poll, expiry]
            .into_iter()
            .fold(None, Deadline::earlier)
    }

    /// What the embedder must do.
    pub fn poll_action(&mut self) -> Option<ServiceAction> {
        self.actions.pop_front()
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<ServiceEvent> {
        self.events.pop_front()
    }

    /// How many offers stand open.
    pub fn open_offers(&self) -> usize {
        self.offers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(60);

    fn at(secs: u64) -> Instant {
        Instant::from_origin(Duration::from_secs(secs))
    }

    fn actions(service: &mut ServiceMachine, now: Instant) -> Vec<ServiceAction> {
        service.handle_timeout(now);
        core::iter::from_fn(|| service.poll_action()).collect()
    }

    fn published(pool_size: usize) -> ServiceMachine {
        let config = ServiceConfig {
            pool_size,
            ..ServiceConfig::default()
        };
        let mut service = ServiceMachine::new(config, 1);
        let offer = OfferKey(0);
        assert_eq!(
            actions(&mut service, at(0)),
            [ServiceAction::Publish { offer }]
        );
        service.handle_published(offer, TTL, at(0));
        assert_eq!(service.poll_event(), Some(ServiceEvent::Published));
        service
    }

    #[test]
    fn it_is_published_then_asks_for_answers() {
        let mut service = published(1);
        assert_eq!(actions(&mut service, at(0)), [ServiceAction::Poll]);
        assert_eq!(actions(&mut service, at(1)), [], "polls do not overlap");
    }

    #[test]
    fn an_answered_offer_is_replaced() {
        let mut service = published(1);
        actions(&mut service, at(0));
        service.handle_polled(&[OfferKey(0)]);
        let offer = OfferKey(1);
        assert_eq!(
            actions(&mut service, at(1)),
            [ServiceAction::CreateOffer { offer }, ServiceAction::Poll]
        );
    }

    #[test]
    fn it_is_renewed_at_four_fifths_of_its_time_to_live() {
        let mut service = published(1);
        actions(&mut service, at(0));
        let renewal = Deadline::new(at(48), DeadlineReason::Renewal);
        assert_eq!(service.poll_timeout(), Some(renewal));
        let offer = OfferKey(1);
        assert_eq!(
            actions(&mut service, at(48)),
            [ServiceAction::Publish { offer }]
        );
        service.handle_published(offer, TTL, at(48));
        assert_eq!(service.poll_event(), Some(ServiceEvent::Refreshed));
    }

    #[test]
    fn an_outage_is_reported_once_and_its_end_once() {
        let mut service = published(1);
        actions(&mut service, at(0));
        service.handle_poll_failed(ServiceRetry::Backoff, at(1));
        assert_eq!(actions(&mut service, at(1)), []);
        let retry = service.poll_timeout().unwrap().at;
        assert_eq!(actions(&mut service, retry), [ServiceAction::Poll]);
        service.handle_poll_failed(ServiceRetry::Backoff, retry);
        actions(&mut service, retry + TTL / 2);
        service.handle_polled(&[]);
        let events: Vec<_> = core::iter::from_fn(|| service.poll_event()).collect();
        assert_eq!(
            events,
            [ServiceEvent::SignalingLost, ServiceEvent::SignalingBack]
        );
    }

    #[test]
    fn the_pool_is_refilled_when_an_outage_is_over_although_a_poll_is_under_way() {
        let mut service = published(1);
        actions(&mut service, at(0));
        service.handle_polled(&[OfferKey(0)]);
        service.handle_timeout(at(1));
        while service.poll_action().is_some() {}
        service.handle_write_failed(ServiceRetry::Backoff, at(1));
        let refill = service.poll_timeout().unwrap();
        assert_eq!(refill.reason, DeadlineReason::Refill);
        let offer = OfferKey(2);
        let create = ServiceAction::CreateOffer { offer };
        assert_eq!(actions(&mut service, refill.at), [create]);
    }

    #[test]
    fn a_service_that_was_refused_stays_so_whatever_comes_back_late() {
        let mut service = published(2);
        actions(&mut service, at(0));
        service.handle_poll_failed(ServiceRetry::Never, at(1));
        service.handle_offer_created(OfferKey(1), TTL, at(2));
        service.handle_published(OfferKey(2), TTL, at(2));
        service.handle_write_failed(ServiceRetry::Publish, at(2));
        assert_eq!(service.poll_event(), Some(ServiceEvent::Refused));
        assert_eq!(service.poll_event(), None);
        assert_eq!(
            (actions(&mut service, at(99)), service.poll_timeout()),
            (vec![], None)
        );
    }

    #[test]
    fn a_forgotten_service_is_published_again_and_a_refused_one_is_not() {
        let mut service = published(1);
        actions(&mut service, at(0));
        service.handle_poll_failed(ServiceRetry::Publish, at(1));
        let offer = OfferKey(1);
        assert_eq!(
            actions(&mut service, at(1)),
            [ServiceAction::Publish { offer }]
        );
        service.handle_write_failed(ServiceRetry::Never, at(1));
        assert_eq!(
            (actions(&mut service, at(9)), service.poll_timeout()),
            (vec![], None)
        );
    }
}
