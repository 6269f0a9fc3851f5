//! A published service: when to publish again, how many offers stand open, when to ask for answers.

mod lease;
mod offer_pool;
pub(crate) mod polling;
pub(crate) mod request;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::vec::Vec;

use core::time::Duration;
use rondevu_core::{BackoffPolicy, Deadline, DeadlineReason, Instant};

pub use self::offer_pool::OfferKey;
pub use self::polling::{PollEnd, PollingConfig};
pub use self::request::ServiceRetry;

use self::lease::Lease;
use self::offer_pool::OfferPool;
use self::polling::Polling;
use self::request::Request;

/// How a service is kept published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ServiceConfig {
    /// How many offers stand open at once, between 1 and 100: so many dialers can connect at the
    /// same instant. Default 1.
    pub pool_size: usize,
    /// The service is published again, and an offer replaced, when this share of its time to live
    /// is left. Default 0.2, that is at 80 %.
    pub ttl_refresh_margin: f64,
    /// How often to ask for answers a server that cannot keep a request open.
    pub polling: PollingConfig,
    /// How often to ask whether the server still knows the service, besides after each outage.
    /// Default 60 s.
    pub check_interval: Duration,
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
            polling: PollingConfig::default(),
            check_interval: Duration::from_secs(60),
            backoff,
        }
    }
}

/// What the embedder must do; requests end with one of the `handle_*` calls.
///
/// Of each kind of request there is never more than one under way; the first two count as one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceAction {
    /// Publish the service with a new offer.
    Publish {
        /// The name of the new offer.
        offer: OfferKey,
    },
    /// Create more offers with one request.
    CreateOffers {
        /// The names of the new offers.
        offers: Vec<OfferKey>,
    },
    /// Drop offers that nobody can answer any more. No request.
    DropOffers {
        /// The offers.
        offers: Vec<OfferKey>,
    },
    /// Drop offers that are not needed, and delete them on the server. Nobody waits for the end.
    DeleteOffers {
        /// The offers.
        offers: Vec<OfferKey>,
    },
    /// Ask for answers.
    Poll {
        /// How long the server may keep the request open.
        wait: Duration,
    },
    /// Look the service up, as a dialer would.
    Check,
}

/// What a look at the server has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// The service is found.
    Found,
    /// It is not, or only under another uuid.
    Missing,
}

/// What happened, for the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceEvent {
    /// The service can be found, for the first time or again after the server had lost it.
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
///
/// | duty | when |
/// | --- | --- |
/// | publish | until published, before the end of its time to live, when the server lost it |
/// | create offers | as soon as fewer than the pool's size stand ready; before they expire; when they name old addresses |
/// | poll | all the time, see [`PollingConfig`] |
/// | check | after an outage and now and then: a server that came back empty does not say so |
#[derive(Debug)]
pub struct ServiceMachine {
    config: ServiceConfig,
    rng: fastrand::Rng,
    lease: Lease,
    pool: OfferPool,
    polling: Polling,
    next_offer: u64,
    writing: Request,
    /// What the latest of these was for.
    wrote: Wrote,
    /// The server wants no more offers before.
    refill_at: Instant,
    asking: Request,
    checking: Request,
    actions: VecDeque<ServiceAction>,
    events: VecDeque<ServiceEvent>,
    now: Instant,
}

/// The kinds of requests, each with pauses of its own: a server may do one and fail at another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Write,
    Poll,
    Check,
}

/// What is given to the server, with one request at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrote {
    Publication,
    Offers,
}

impl ServiceMachine {
    /// A service that is to be published.
    pub fn new(config: ServiceConfig, seed: u64) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            lease: Lease::Wanted,
            pool: OfferPool::new(config.pool_size, config.ttl_refresh_margin),
            polling: Polling::new(config.polling),
            next_offer: 0,
            writing: Request::default(),
            wrote: Wrote::Publication,
            refill_at: Instant::ORIGIN,
            asking: Request::default(),
            checking: Request::default(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
            now: Instant::ORIGIN,
            config,
        }
    }

    /// The service is published for `granted` together with `offer`.
    pub fn handle_published(&mut self, offer: OfferKey, granted: Duration, now: Instant) {
        if self.is_over() {
            return;
        }
        self.succeeded(Kind::Write, now);
        match self.lease {
            Lease::Held { .. } => self.events.push_back(ServiceEvent::Refreshed),
            Lease::Wanted | Lease::Refused => {
                self.events.push_back(ServiceEvent::Published);
                self.polling.expect(now);
            }
        }
        let (margin, check) = (self.config.ttl_refresh_margin, self.config.check_interval);
        self.lease = Lease::grant(granted, margin, check, now);
        self.pool.add(offer, granted, now);
    }

    /// Offers stand open, each for its time.
    pub fn handle_offers_created(&mut self, offers: &[(OfferKey, Duration)], now: Instant) {
        if self.is_over() {
            return;
        }
        self.succeeded(Kind::Write, now);
        for (offer, granted) in offers {
            self.pool.add(*offer, *granted, now);
        }
    }

    /// The addresses of this side have changed: all offers name old ones, so others replace them.
    ///
    /// Requests that are under way may never come back. Give up those to publish, to create offers,
    /// to poll and to check; do not tell what became of them. They are asked for anew.
    pub fn handle_network_change(&mut self, now: Instant) {
        if self.is_over() {
            return;
        }
        self.pool.outdate(now);
        for kind in [Kind::Write, Kind::Poll, Kind::Check] {
            self.request(kind).restart(now);
        }
    }

    /// A publish or create request failed.
    pub fn handle_write_failed(&mut self, retry: ServiceRetry, now: Instant) {
        self.failed(Kind::Write, retry, now);
    }

    /// A request for answers came back. `answered` are those of this service's offers that had no
    /// answer before.
    pub fn handle_polled(&mut self, answered: &[OfferKey], end: PollEnd, now: Instant) {
        if self.is_over() {
            return;
        }
        let took = self.succeeded(Kind::Poll, now);
        self.polling.polled(answered.len(), end, took, now);
        for offer in answered {
            self.pool.take(*offer);
        }
    }

    /// An offer was answered of which a request for answers had told too early.
    pub fn handle_answered(&mut self, offer: OfferKey) {
        self.pool.take(offer);
    }

    /// A request for answers failed.
    pub fn handle_poll_failed(&mut self, retry: ServiceRetry, now: Instant) {
        self.failed(Kind::Poll, retry, now);
    }

    /// The service was looked up.
    pub fn handle_checked(&mut self, presence: Presence, now: Instant) {
        if self.is_over() {
            return;
        }
        self.succeeded(Kind::Check, now);
        self.lease.plan_check(now + self.config.check_interval);
        match presence {
            Presence::Found => {}
            Presence::Missing => self.lose_service(),
        }
    }

    /// The service could not be looked up.
    pub fn handle_check_failed(&mut self, retry: ServiceRetry, now: Instant) {
        self.failed(Kind::Check, retry, now);
    }

    fn request(&mut self, kind: Kind) -> &mut Request {
        match kind {
            Kind::Write => &mut self.writing,
            Kind::Poll => &mut self.asking,
            Kind::Check => &mut self.checking,
        }
    }

    fn is_failing(&self) -> bool {
        [&self.writing, &self.asking, &self.checking]
            .iter()
            .any(|request| request.is_failing())
    }

    /// Returns how long the request took.
    fn succeeded(&mut self, kind: Kind, now: Instant) -> Duration {
        let failed_before = self.request(kind).is_failing();
        let took = self.request(kind).succeed(now);
        self.recover(failed_before, now);
        took
    }

    /// The server answers, whatever it says. If it did not before, it may have lost its memory.
    fn recover(&mut self, failed_before: bool, now: Instant) {
        if failed_before {
            for other in [Kind::Write, Kind::Poll, Kind::Check] {
                self.request(other).hasten(now);
            }
            self.polling.expect(now);
            self.lease.plan_check(now);
            if !self.is_failing() {
                self.events.push_back(ServiceEvent::SignalingBack);
            }
        }
    }

    /// Whether the service was refused, which is final: what still comes back changes nothing.
    fn is_over(&self) -> bool {
        self.lease == Lease::Refused
    }

    fn failed(&mut self, kind: Kind, retry: ServiceRetry, now: Instant) {
        if self.is_over() {
            return;
        }
        let failing_before = self.is_failing();
        let (backoff, mut rng) = (self.config.backoff, self.rng.fork());
        let request = self.request(kind);
        let failed_before = request.is_failing();
        match retry {
            ServiceRetry::Never => {
                request.pause(Duration::ZERO, now);
                self.lease = Lease::Refused;
                self.events.push_back(ServiceEvent::Refused);
                let offers = self.pool.clear();
                self.drop_offers(offers);
            }
            ServiceRetry::After(pause) => {
                self.recover(failed_before, now);
                if kind == Kind::Write && self.wrote == Wrote::Offers {
                    // The server has enough offers of ours. The service is not to end for that.
                    self.refill_at = now + pause;
                    self.writing.pause(Duration::ZERO, now);
                } else {
                    self.request(kind).pause(pause, now);
                }
            }
            ServiceRetry::Backoff => {
                request.fail(&backoff, &mut rng, now);
                if !failing_before {
                    self.events.push_back(ServiceEvent::SignalingLost);
                }
            }
            ServiceRetry::Publish => {
                request.set_back(&backoff, &mut rng, now);
                self.recover(failed_before, now);
                self.lose_service();
            }
            ServiceRetry::StartOver => {
                request.set_back(&backoff, &mut rng, now);
                self.recover(failed_before, now);
                self.lease.lose();
                let offers = self.pool.clear();
                self.drop_offers(offers);
            }
        }
    }

    fn lose_service(&mut self) {
        self.lease.lose();
        self.pool.doubt();
    }

    fn drop_offers(&mut self, offers: Vec<OfferKey>) {
        if !offers.is_empty() {
            self.actions.push_back(ServiceAction::DropOffers { offers });
        }
    }

    /// Plans what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        if self.is_over() {
            return;
        }
        self.lease.handle_timeout(now);
        let gone = self.pool.handle_timeout(now);
        self.drop_offers(gone.expired);
        if !gone.surplus.is_empty() {
            let offers = gone.surplus;
            self.actions
                .push_back(ServiceAction::DeleteOffers { offers });
        }
        self.plan_write(now);
        if self.lease.is_held() {
            self.plan_poll(now);
            self.plan_check(now);
        }
    }

    fn plan_write(&mut self, now: Instant) {
        if self.lease == Lease::Refused || !self.writing.is_ready(now) {
            return;
        }
        let action = if self.lease.is_due(now) {
            self.wrote = Wrote::Publication;
            ServiceAction::Publish {
                offer: self.new_offer(),
            }
        } else {
            let missing = self.pool.missing(now);
            if missing == 0 {
                return self.writing.settle();
            }
            if now < self.refill_at {
                return;
            }
            self.wrote = Wrote::Offers;
            ServiceAction::CreateOffers {
                offers: (0..missing).map(|_| self.new_offer()).collect(),
            }
        };
        self.writing.start(now);
        self.actions.push_back(action);
    }

    fn new_offer(&mut self) -> OfferKey {
        let key = OfferKey(self.next_offer);
        self.next_offer += 1;
        key
    }

    fn plan_poll(&mut self, now: Instant) {
        if self.polling.next_at() <= now && self.asking.is_ready(now) {
            // After an outage it is worth knowing soon that it is over.
            let wait = match self.asking.is_failing() {
                true => Duration::ZERO,
                false => WAIT,
            };
            self.asking.start(now);
            self.actions.push_back(ServiceAction::Poll { wait });
        }
    }

    fn plan_check(&mut self, now: Instant) {
        let due = self.lease.check_at().is_some_and(|at| at <= now);
        if due && self.checking.is_ready(now) {
            self.checking.start(now);
            self.actions.push_back(ServiceAction::Check);
        }
    }

    /// When to call [`ServiceMachine::handle_timeout`]; also call it after each `handle_*`.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        if self.lease == Lease::Refused {
            return None;
        }
        let with = |request: &Request, at: Option<Instant>, reason| {
            let at = at?.max(request.ready_at()?);
            Some(Deadline::new(at, reason))
        };
        let held = self.lease.is_held();
        let poll_at = held.then(|| self.polling.next_at());
        let is_missing = held && self.pool.missing(self.now) > 0;
        let refill_at = is_missing.then_some(self.now.max(self.refill_at));
        let expiry = self.pool.poll_timeout(self.now);
        [
            with(&self.writing, self.lease.due_at(), DeadlineReason::Renewal),
            with(&self.writing, refill_at, DeadlineReason::Refill),
            with(&self.asking, poll_at, DeadlineReason::Poll),
            with(&self.checking, self.lease.check_at(), DeadlineReason::Retry),
            expiry.map(|at| Deadline::new(at, DeadlineReason::OfferExpiry)),
            self.lease
                .ends_at()
                .map(|at| Deadline::new(at, DeadlineReason::Expiry)),
        ]
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

    /// How many offers stand ready at `now`.
    pub fn open_offers(&self, now: Instant) -> usize {
        self.pool.ready(now)
    }
}

/// Servers keep a request open for 30 s at most, and networks forget silent connections.
const WAIT: Duration = Duration::from_secs(25);
