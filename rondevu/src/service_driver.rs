//! The task of a service: signaling, offers, and links on their way to their sessions.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rondevu_core::frame::{CONTROL_LABEL, CONTROL_PROTOCOL};
use rondevu_core::{OfferId, ServiceId, ServiceName, StreamOptions, Username};
use rondevu_durable::{OfferKey, ServiceAction, ServiceEvent, ServiceMachine, ServiceRetry};
use rondevu_signaling::{
    NewOffer, OfferAnswer, Publication, PublishedService, Retry, SignalingError, UnixMillis,
};
use rondevu_transport::Offered;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;

use crate::client::{Rondevu, seeds};
use crate::connection::DurableConnection;
use crate::dial::with_sources;
use crate::error::Error;
use crate::greeting::{Host, Registry};
use crate::link::Routes;
use crate::service::{DurableServiceEvent, Published, ServiceInfo, ServiceOptions};
use crate::sockets::Sockets;

/// Keeps one service published and greets those who come.
pub(crate) struct ServiceDriver {
    host: Host,
    username: Username,
    service: ServiceName,
    options: ServiceOptions,
    machine: ServiceMachine,
    offers: HashMap<OfferId, (OfferKey, Offered)>,
    published: watch::Sender<Published>,
    seen_until: Option<UnixMillis>,
    requests: JoinSet<Outcome>,
    greetings: JoinSet<()>,
}

/// What a request to the signaling server came to.
enum Outcome {
    Published(
        OfferKey,
        Result<(PublishedService, Offered), SignalingError>,
    ),
    OfferCreated(
        OfferKey,
        Result<(OfferId, UnixMillis, Offered), SignalingError>,
    ),
    Polled(Result<Vec<OfferAnswer>, SignalingError>),
}

impl ServiceDriver {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        client: Rondevu,
        (username, service): (Username, ServiceName),
        options: ServiceOptions,
        sockets: Arc<Sockets>,
        registry: Registry,
        accept: mpsc::Sender<DurableConnection>,
        events: broadcast::Sender<DurableServiceEvent>,
        published: watch::Sender<Published>,
    ) -> Result<Self, Error> {
        let machine = ServiceMachine::new(options.machine_config(), seeds()?.rng);
        let host = Host {
            client,
            sockets,
            routes: Routes::default(),
            registry,
            accept,
            events,
            next_link: Arc::new(AtomicU64::new(0)),
        };
        Ok(Self {
            host,
            username,
            service,
            options,
            machine,
            offers: HashMap::new(),
            published,
            seen_until: None,
            requests: JoinSet::new(),
            greetings: JoinSet::new(),
        })
    }

    /// Runs until told to stop; connections live on.
    pub(crate) async fn run(mut self, mut stop: mpsc::Receiver<()>) {
        let routes = self.host.routes.clone();
        let _readers = self
            .host
            .sockets
            .read(move |inbound| routes.deliver(inbound));
        let clock = self.host.client.inner.clock;
        loop {
            self.machine.handle_timeout(clock.now());
            while let Some(action) = self.machine.poll_action() {
                self.act(action);
            }
            while let Some(event) = self.machine.poll_event() {
                self.publish_event(event);
            }
            let deadline = self
                .machine
                .poll_timeout()
                .map(|deadline| clock.to_tokio(deadline.at));
            let sleep = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = stop.recv() => break,
                () = sleep => {}
                Some(outcome) = self.requests.join_next() => {
                    if let Ok(outcome) = outcome {
                        self.on_outcome(outcome);
                    }
                }
                Some(_) = self.greetings.join_next() => {}
            }
        }
        self.withdraw().await;
        // The sockets are read for as long as connections use them.
        for connection in self.host.registry.connections() {
            connection.close_and_wait().await;
        }
    }

    fn service_id(&self) -> Option<ServiceId> {
        let published = self.published.borrow();
        published.info().map(|info| info.service_id.clone())
    }

    async fn withdraw(&mut self) {
        let info = self.service_id();
        if let Some(id) = info {
            let signaling = &self.host.client.inner.signaling;
            if let Err(error) = signaling.unpublish_service(&id, &self.username).await {
                tracing::debug!(%error, "service not withdrawn, it will expire");
            }
        }
    }

    fn act(&mut self, action: ServiceAction) {
        match action {
            ServiceAction::Publish { offer } => {
                let (host, options) = (self.host.clone(), self.options.clone());
                let names = (self.username.clone(), self.service.clone());
                self.requests.spawn(async move {
                    Outcome::Published(offer, publish(host, names, options).await)
                });
            }
            ServiceAction::CreateOffer { offer } => {
                let host = self.host.clone();
                let service = self.service_id();
                let ttl = self.options.ttl;
                self.requests.spawn(async move {
                    Outcome::OfferCreated(offer, create_offer(host, service, ttl).await)
                });
            }
            ServiceAction::DropOffer { offer } => self.offers.retain(|_, (key, _)| *key != offer),
            ServiceAction::Poll => {
                let (host, since) = (self.host.clone(), self.seen_until);
                let interval = self.options.polling_interval;
                self.requests.spawn(async move {
                    let signaling = &host.client.inner.signaling;
                    if !signaling.supports_wait().await.unwrap_or(false) {
                        tokio::time::sleep(interval).await;
                    }
                    Outcome::Polled(signaling.answers(since, WAIT).await)
                });
            }
        }
    }

    fn on_outcome(&mut self, outcome: Outcome) {
        let now = self.host.client.inner.clock.now();
        match outcome {
            Outcome::Published(key, Ok((published, offered))) => {
                self.offers
                    .insert(published.offer_id.clone(), (key, offered));
                let granted = self.granted(published.expires_at);
                self.published.send_replace(Published::As(ServiceInfo {
                    service_id: published.service_id,
                    uuid: published.uuid,
                    expires_at: published.expires_at,
                }));
                self.machine.handle_published(key, granted, now);
            }
            Outcome::OfferCreated(key, Ok((id, expires_at, offered))) => {
                self.offers.insert(id, (key, offered));
                let granted = self.granted(expires_at);
                self.machine.handle_offer_created(key, granted, now);
            }
            Outcome::Polled(Ok(answers)) => {
                let taken = answers
                    .into_iter()
                    .filter_map(|answer| self.take_answer(answer));
                let taken: Vec<_> = taken.collect();
                self.machine.handle_polled(&taken);
            }
            Outcome::Published(_, Err(error)) => {
                let first = matches!(*self.published.borrow(), Published::NotYet);
                if first {
                    self.published
                        .send_replace(Published::Failed(error.clone()));
                }
                self.machine.handle_write_failed(self.retry(&error), now);
                self.report(&error);
            }
            Outcome::OfferCreated(_, Err(error)) => {
                self.machine.handle_write_failed(self.retry(&error), now);
                self.report(&error);
            }
            Outcome::Polled(Err(error)) => {
                self.machine.handle_poll_failed(self.retry(&error), now);
                self.report(&error);
            }
        }
    }

    /// What is left of a time to live. The server's clock may differ from ours by minutes, but
    /// never gives more than was asked for.
    fn granted(&self, expires_at: UnixMillis) -> Duration {
        let left = expires_at.0.saturating_sub(UnixMillis::now().0);
        let asked = self.options.ttl.unwrap_or(DEFAULT_TTL).max(DEFAULT_TTL);
        Duration::from_millis(left).clamp(Duration::from_secs(5), asked)
    }

    fn retry(&self, error: &SignalingError) -> ServiceRetry {
        match error.retry() {
            Retry::Never => ServiceRetry::Never,
            Retry::AfterPublish => ServiceRetry::Publish,
            _ if matches!(error, SignalingError::ServiceNotFound) => ServiceRetry::Publish,
            _ => ServiceRetry::Backoff,
        }
    }

    fn report(&self, error: &SignalingError) {
        tracing::warn!(error = with_sources(error), "signaling of a service failed");
    }

    fn publish_event(&self, event: ServiceEvent) {
        let info = self.published.borrow().info().cloned();
        let event = match (event, info) {
            (ServiceEvent::Published, Some(info)) => DurableServiceEvent::Published(info),
            (ServiceEvent::Refreshed, Some(info)) => DurableServiceEvent::TtlRefreshed {
                expires_at: info.expires_at,
            },
            (ServiceEvent::SignalingBack, _) => DurableServiceEvent::Recovered,
            (ServiceEvent::SignalingLost, _) => DurableServiceEvent::Error {
                error: "the signaling server fails; connections live on".into(),
                is_final: false,
            },
            (ServiceEvent::Refused, _) => DurableServiceEvent::Error {
                error: "the signaling server refuses the service".into(),
                is_final: true,
            },
            _ => return,
        };
        let _ = self.host.events.send(event);
    }

    /// An offer was answered: its link looks for a path and waits for a hello.
    fn take_answer(&mut self, answer: OfferAnswer) -> Option<OfferKey> {
        self.seen_until = self.seen_until.max(Some(answer.answered_at));
        let (key, offered) = self.offers.remove(&answer.offer_id)?;
        let mut transport = offered.transport;
        let now = self.host.client.inner.clock.now();
        if let Err(error) = transport.accept_answer(&answer.answer, now) {
            tracing::debug!(%error, "an answer cannot be used");
            return Some(key);
        }
        self.host
            .receive(transport, offered.stream, &mut self.greetings);
        Some(key)
    }
}

fn new_offer(host: &Host) -> Result<Offered, SignalingError> {
    let inner = &host.client.inner;
    let stream = StreamOptions::reliable(CONTROL_LABEL, CONTROL_PROTOCOL);
    inner
        .factory
        .create_offer(&host.sockets.addresses(), stream, inner.clock.now())
        .map_err(|error| SignalingError::Invalid {
            reason: error.to_string(),
        })
}

async fn publish(
    host: Host,
    (username, service): (Username, ServiceName),
    options: ServiceOptions,
) -> Result<(PublishedService, Offered), SignalingError> {
    let inner = &host.client.inner;
    let offered = new_offer(&host)?;
    let publication = || {
        let signed = inner
            .key_pair
            .sign_publish(&username, &service, UnixMillis::now());
        Publication {
            ttl: options.ttl,
            visibility: options.visibility,
            ..Publication::new(
                username.clone(),
                service.clone(),
                offered.description.clone(),
                signed,
            )
        }
    };
    let mut published = inner.signaling.publish_service(&publication()).await;
    if matches!(&published, Err(error) if error.retry() == Retry::AfterClaim) {
        let claim = inner.key_pair.sign_claim(&username, UnixMillis::now());
        inner.signaling.claim_username(&claim).await?;
        published = inner.signaling.publish_service(&publication()).await;
    }
    Ok((published?, offered))
}

async fn create_offer(
    host: Host,
    service: Option<ServiceId>,
    ttl: Option<Duration>,
) -> Result<(OfferId, UnixMillis, Offered), SignalingError> {
    let offered = new_offer(&host)?;
    let offer = NewOffer {
        service,
        ttl,
        ..NewOffer::new(offered.description.clone())
    };
    let mut created = host.client.inner.signaling.create_offers(&[offer]).await?;
    let created = created.pop().ok_or_else(|| SignalingError::Malformed {
        reason: "the server created no offer and reported no error".into(),
    })?;
    Ok((created.id, created.expires_at, offered))
}

/// How long a request for answers stays open on the server.
const WAIT: Duration = Duration::from_secs(25);
/// What servers grant if nothing was asked for.
const DEFAULT_TTL: Duration = Duration::from_secs(60);
