//! The task of a service: signaling, offers, and links on their way to their sessions.

mod requests;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rondevu_core::{Instant, OfferId, ServiceId, ServiceName, Username};
use rondevu_durable::{
    OfferKey, PollEnd, Presence, ServiceAction, ServiceEvent, ServiceMachine, ServiceRetry,
};
use rondevu_signaling::{
    OfferAnswer, PublishedService, Retry, Signaling, SignalingError, UnixMillis,
};
use rondevu_transport::Offered;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::accept_queue::AcceptQueue;
use crate::addresses::{INTERVAL, Present};
use crate::client::{Rondevu, seeds};
use crate::dial::with_sources;
use crate::error::Error;
use crate::events::EventSource;
use crate::greeting::{Host, Registry};
use crate::link::{Routes, Standby};
use crate::measure;
use crate::paths::{Found, Paths};
use crate::service::{DurableServiceEvent, Published, ServiceInfo, ServiceOptions};
use crate::sockets::Followed;
use crate::trickle::Trickling;

/// Keeps one service published and greets those who come.
pub(crate) struct ServiceDriver {
    host: Host,
    /// A peer of its own: some servers mix up the offers of a peer that has several services.
    signaling: Arc<dyn Signaling>,
    username: Username,
    service: ServiceName,
    options: ServiceOptions,
    machine: ServiceMachine,
    offers: HashMap<OfferId, (OfferKey, OpenOffer)>,
    /// Answers that came while a request for offers was under way, and may be to these.
    early: HashMap<OfferId, OfferAnswer>,
    writing: Writing,
    /// What signaling failed with last, for people.
    failure: String,
    published: watch::Sender<Published>,
    seen_until: Option<UnixMillis>,
    requests: JoinSet<Outcome>,
    /// Nobody waits for them.
    deletions: JoinSet<()>,
    addresses: watch::Receiver<Present>,
    /// Those by which others are reached.
    usable: Vec<IpAddr>,
    /// When to look at them again: one could not be used yet.
    look_at: Option<Instant>,
    found: watch::Receiver<Found>,
    greetings: JoinSet<()>,
}

/// Whether a request that gives the server new offers is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    No,
    UnderWay,
}

/// An offer that the server has, under its name there and here.
struct Standing {
    key: OfferKey,
    id: OfferId,
    expires_at: UnixMillis,
    open: OpenOffer,
}

/// An offer that may be answered.
struct OpenOffer {
    offered: Offered,
    standby: Standby,
}

/// What a request to the signaling server came to.
enum Outcome {
    Published(
        OfferKey,
        Result<(PublishedService, OpenOffer), SignalingError>,
    ),
    OffersCreated(Result<Vec<Standing>, SignalingError>),
    Polled(Result<(Vec<OfferAnswer>, PollEnd), SignalingError>),
    Checked(Result<Presence, SignalingError>),
}

impl ServiceDriver {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        client: Rondevu,
        (username, service): (Username, ServiceName),
        options: ServiceOptions,
        (paths, routes): (Arc<Paths>, Routes),
        registry: Registry,
        accepted: Arc<AcceptQueue>,
        events: Arc<EventSource<DurableServiceEvent>>,
        published: watch::Sender<Published>,
    ) -> Result<Self, Error> {
        let machine = ServiceMachine::new(options.machine_config(), seeds()?.rng);
        let shared = &client.inner.signaling;
        let signaling = shared.another_peer().unwrap_or_else(|| Arc::clone(shared));
        let addresses = client.inner.addresses.watch(shared);
        let usable = addresses.borrow().usable.clone();
        let found = paths.watch();
        let host = Host {
            client,
            paths,
            routes,
            registry,
            accepted,
            events,
            next_link: Arc::new(AtomicU64::new(0)),
        };
        Ok(Self {
            host,
            signaling,
            username,
            service,
            options,
            machine,
            offers: HashMap::new(),
            early: HashMap::new(),
            writing: Writing::No,
            failure: String::new(),
            published,
            seen_until: None,
            requests: JoinSet::new(),
            deletions: JoinSet::new(),
            usable,
            addresses,
            look_at: None,
            found,
            greetings: JoinSet::new(),
        })
    }

    /// Runs until told to stop; connections live on.
    pub(crate) async fn run(mut self, mut stop: mpsc::Receiver<()>) {
        let clock = self.host.client.inner.clock;
        loop {
            self.machine.handle_timeout(clock.now());
            while let Some(action) = self.machine.poll_action() {
                self.act(action);
            }
            while let Some(event) = self.machine.poll_event() {
                self.publish_event(event);
            }
            let deadline = self.machine.poll_timeout().map(|deadline| deadline.at);
            let (sleep, look) = (clock.sleep_until(deadline), clock.sleep_until(self.look_at));
            tokio::select! {
                _ = stop.recv() => break,
                () = sleep => {}
                Some(outcome) = self.requests.join_next() => {
                    if let Ok(outcome) = outcome {
                        self.on_outcome(outcome);
                    }
                }
                Some(_) = self.greetings.join_next() => {}
                Some(_) = self.deletions.join_next() => {}
                Ok(()) = self.addresses.changed() => self.on_moved().await,
                () = look => self.on_moved().await,
                Ok(()) = self.found.changed() => self.host.routes.stir(),
            }
        }
        // Nobody gets in any more who would not be waited for.
        self.host.accepted.close();
        self.greetings.shutdown().await;
        let connections = self.host.registry.connections().into_iter();
        // All begin to close at once.
        let closing: Vec<_> = connections.map(|one| one.close_and_wait()).collect();
        self.withdraw().await;
        // The paths are open for as long as connections use them.
        for closed in closing {
            closed.await;
        }
        self.host.events.send_last(DurableServiceEvent::Closed);
    }

    /// The addresses of this machine have changed: links and offers are to use the new ones.
    async fn on_moved(&mut self) {
        let usable = self.addresses.borrow_and_update().usable.clone();
        let Followed {
            changed,
            incomplete,
        } = self.host.paths.follow(&usable).await;
        let clock = self.host.client.inner.clock;
        self.look_at = incomplete.then(|| clock.now() + INTERVAL);
        let is_reconnected = !usable.is_empty() && usable != self.usable;
        self.usable = usable;
        if !changed && !is_reconnected {
            return;
        }
        tracing::info!("the addresses of this machine have changed");
        while let Some(outcome) = self.requests.try_join_next() {
            if let Ok(outcome) = outcome {
                self.on_outcome(outcome);
            }
        }
        // What is under way leaves from an address that may be gone, and hangs.
        self.requests.shutdown().await;
        self.writing = Writing::No;
        self.early.clear();
        self.machine.handle_network_change(clock.now());
    }

    fn service_id(&self) -> Option<ServiceId> {
        let published = self.published.borrow();
        published.info().map(|info| info.service_id.clone())
    }

    /// Withdraws the service and deletes its offers, as far as the server does so in time.
    async fn withdraw(&mut self) {
        let work = async {
            // What is being published or created now is to go too.
            while self.writing == Writing::UnderWay
                && let Some(outcome) = self.requests.join_next().await
            {
                if let Ok(outcome) = outcome {
                    self.on_outcome(outcome);
                }
            }
            let service = self.service_id();
            let offers = self.offers.drain().map(|(id, _)| id).collect();
            let signaling = Arc::clone(&self.signaling);
            requests::withdraw(signaling, service, self.username.clone(), offers).await;
            while self.deletions.join_next().await.is_some() {}
        };
        if tokio::time::timeout(WITHDRAWAL_TIME, work).await.is_err() {
            tracing::debug!("service not withdrawn in time, it will expire");
        }
        self.requests.shutdown().await;
        self.deletions.shutdown().await;
    }

    fn act(&mut self, action: ServiceAction) {
        let (host, signaling) = (self.host.clone(), Arc::clone(&self.signaling));
        match action {
            ServiceAction::Publish { offer } => {
                let names = (self.username.clone(), self.service.clone());
                let published = requests::publish(host, signaling, names, self.options.clone());
                self.writing = Writing::UnderWay;
                self.requests
                    .spawn(async move { Outcome::Published(offer, published.await) });
            }
            ServiceAction::CreateOffers { offers } => {
                let (service, ttl) = (self.service_id(), self.options.ttl);
                let created = requests::create_offers(host, signaling, offers, service, ttl);
                self.writing = Writing::UnderWay;
                self.requests
                    .spawn(async move { Outcome::OffersCreated(created.await) });
            }
            ServiceAction::DropOffers { offers } => drop(self.remove_offers(&offers)),
            ServiceAction::DeleteOffers { offers } => {
                let ids = self.remove_offers(&offers);
                self.deletions
                    .spawn(requests::delete_offers(signaling, ids));
            }
            ServiceAction::Poll { wait } => {
                let polled = requests::poll(signaling, self.seen_until, wait);
                self.requests
                    .spawn(async move { Outcome::Polled(polled.await) });
            }
            ServiceAction::Check => {
                let names = (self.username.clone(), self.service.clone());
                let known = self.published.borrow().info().map(|info| info.uuid.clone());
                let checked = requests::check(signaling, names, known);
                self.requests
                    .spawn(async move { Outcome::Checked(checked.await) });
            }
        }
    }

    fn remove_offers(&mut self, keys: &[OfferKey]) -> Vec<OfferId> {
        let gone = self.offers.extract_if(|_, (key, _)| keys.contains(key));
        gone.map(|(id, _)| id).collect()
    }

    fn on_outcome(&mut self, outcome: Outcome) {
        let now = self.host.client.inner.clock.now();
        match outcome {
            Outcome::Published(key, Ok((published, open))) => {
                let granted = self.granted(published.expires_at);
                self.published.send_replace(Published::As(ServiceInfo {
                    service_id: published.service_id,
                    uuid: published.uuid,
                    expires_at: published.expires_at,
                }));
                self.machine.handle_published(key, granted, now);
                self.offers.insert(published.offer_id, (key, open));
                self.written();
            }
            Outcome::OffersCreated(Ok(created)) => {
                let granted = created
                    .iter()
                    .map(|offer| (offer.key, self.granted(offer.expires_at)));
                let granted: Vec<_> = granted.collect();
                self.machine.handle_offers_created(&granted, now);
                let created = created.into_iter();
                self.offers
                    .extend(created.map(|offer| (offer.id, (offer.key, offer.open))));
                self.written();
            }
            Outcome::Polled(Ok((answers, end))) => {
                let taken: Vec<_> = answers
                    .into_iter()
                    .filter_map(|answer| self.take_answer(answer))
                    .collect();
                self.machine.handle_polled(&taken, end, now);
            }
            Outcome::Checked(Ok(presence)) => self.machine.handle_checked(presence, now),
            Outcome::Published(_, Err(error)) => {
                let first = matches!(*self.published.borrow(), Published::NotYet);
                if first {
                    self.published
                        .send_replace(Published::Failed(error.clone()));
                }
                let retry = self.retry(&error);
                self.machine.handle_write_failed(retry, now);
                self.written();
            }
            Outcome::OffersCreated(Err(error)) => {
                let retry = self.retry(&error);
                self.machine.handle_write_failed(retry, now);
                self.written();
            }
            Outcome::Polled(Err(error)) => {
                // Whatever server comes back, its clock may be another one.
                self.seen_until = None;
                let retry = self.retry(&error);
                self.machine.handle_poll_failed(retry, now);
            }
            Outcome::Checked(Err(error)) => {
                let retry = self.retry(&error);
                self.machine.handle_check_failed(retry, now);
            }
        }
    }

    /// What is left of a time to live.
    ///
    /// The server's clock may differ from ours by minutes, so what it says is taken only as far as
    /// it is possible: no server grants less than a minute, or more than was asked for.
    fn granted(&self, expires_at: UnixMillis) -> Duration {
        let left = expires_at.saturating_since(UnixMillis::now());
        let asked = self.options.ttl.unwrap_or(DEFAULT_TTL).max(DEFAULT_TTL);
        match left < IMPOSSIBLE_TTL {
            true => DEFAULT_TTL,
            false => left.min(asked),
        }
    }

    fn retry(&mut self, error: &SignalingError) -> ServiceRetry {
        self.failure = with_sources(error);
        tracing::debug!(error = self.failure, "signaling of a service failed");
        let was_published = self.published.borrow().info().is_some();
        match error.retry() {
            Retry::Never => match error {
                SignalingError::UsernameTaken | SignalingError::Invalid { .. } => {
                    ServiceRetry::Never
                }
                // What worked before may work again: a proxy whose server is away says strange
                // things, and a clock that is off is set right.
                _ if was_published => ServiceRetry::Backoff,
                _ => ServiceRetry::Never,
            },
            Retry::AfterPublish => ServiceRetry::StartOver,
            Retry::After(pause) => ServiceRetry::After(pause),
            Retry::NewDescription => ServiceRetry::After(Duration::ZERO),
            _ if matches!(error, SignalingError::ServiceNotFound) => ServiceRetry::Publish,
            _ => ServiceRetry::Backoff,
        }
    }

    fn publish_event(&self, event: ServiceEvent) {
        let info = self.published.borrow().info().cloned();
        let event = match (event, info) {
            (ServiceEvent::Published, Some(info)) => DurableServiceEvent::Published(info),
            (ServiceEvent::Refreshed, Some(info)) => DurableServiceEvent::TtlRefreshed {
                expires_at: info.expires_at,
            },
            (ServiceEvent::SignalingBack, _) => {
                tracing::warn!("the signaling server works again");
                DurableServiceEvent::Recovered
            }
            (ServiceEvent::SignalingLost, _) => {
                let error = &self.failure;
                tracing::warn!(error, "the signaling server fails; connections live on");
                DurableServiceEvent::Error {
                    error: format!("the signaling server fails; connections live on: {error}"),
                    is_final: false,
                }
            }
            (ServiceEvent::Refused, info) => {
                let error = &self.failure;
                tracing::warn!(error, "the signaling server refuses the service");
                if info.is_some() {
                    // Connections live on; no more will come.
                    self.host.accepted.close();
                }
                DurableServiceEvent::Error {
                    error: format!("the signaling server refuses the service: {error}"),
                    is_final: true,
                }
            }
            _ => return,
        };
        measure::service_event(&event);
        self.host.events.send(event);
    }

    /// An offer was answered: its link looks for a path and waits for a hello. An answer that the
    /// server repeats finds its offer gone.
    fn take_answer(&mut self, answer: OfferAnswer) -> Option<OfferKey> {
        self.seen_until = self.seen_until.max(Some(answer.answered_at));
        let Some((key, open)) = self.offers.remove(&answer.offer_id) else {
            if self.writing == Writing::UnderWay && self.early.len() < EARLY_MAX {
                self.early.insert(answer.offer_id.clone(), answer);
            }
            return None;
        };
        self.meet(&answer, open);
        Some(key)
    }

    /// No request for offers is under way any more. The server may have told of an answer before
    /// its word that it has the offer was here.
    fn written(&mut self) {
        self.writing = Writing::No;
        let early = std::mem::take(&mut self.early);
        let mut early: Vec<_> = early.into_values().collect();
        early.sort_by_key(|answer| answer.answered_at);
        for answer in early {
            if let Some((key, open)) = self.offers.remove(&answer.offer_id) {
                self.meet(&answer, open);
                self.machine.handle_answered(key);
            }
        }
    }

    fn meet(&mut self, answer: &OfferAnswer, open: OpenOffer) {
        let OpenOffer { offered, standby } = open;
        let client = &self.host.client.inner;
        let clock = client.clock;
        let mut transport = offered.transport;
        if let Err(error) = transport.accept_answer(&answer.answer, clock.now()) {
            tracing::debug!(%error, "an answer cannot be used");
            return;
        }
        let signaling = Arc::clone(&self.signaling);
        let offer = answer.offer_id.clone();
        let transport = Trickling::start(transport, signaling, offer, client.ice.mdns(), clock);
        let (transport, control) = (Box::new(transport), offered.stream);
        self.host
            .receive(standby, transport, control, &mut self.greetings);
    }
}

/// What servers grant if nothing was asked for, and at least.
const DEFAULT_TTL: Duration = Duration::from_secs(60);
/// Whoever grants less, or seems to, has another clock.
const IMPOSSIBLE_TTL: Duration = Duration::from_secs(30);
/// Programs that end do not wait for a server that is away.
const WITHDRAWAL_TIME: Duration = Duration::from_secs(3);
/// Servers that repeat answers may do so for as many as a peer has offers.
const EARLY_MAX: usize = 1000;
