//! What all requests of a server share, and the way from a request to its endpoint.

use core::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use rondevu_core::PeerId;
use tower_http::cors::{AllowOrigin, Any, CorsLayer};
use tracing::Instrument;

use super::client_address::Address;
use super::credentials::Credentials;
use super::metrics::Metrics;
use super::rate::RateMeter;
use super::refused::{Exceeded, Refused};
use super::{ClientAddress, Cors, ServerConfig, Storage, routes};
use crate::registry::{Entropy, Registry};
#[cfg(feature = "sqlite")]
use crate::store::SqliteStore;
use crate::store::{MemoryStore, Store, Swept};
use crate::{Limits, UnixMillis};

/// A signaling service without a socket, to be made part of another server.
///
/// Cheap to clone; all clones are the same service.
#[derive(Clone)]
pub struct Hub {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) registry: Registry,
    pub(super) credentials: Credentials,
    pub(super) metrics: Metrics,
    pub(super) public_url: Option<String>,
    pub(super) openapi: String,
    address_meter: RateMeter<Address>,
    peer_meter: RateMeter<PeerId>,
    registration_meter: RateMeter<Address>,
    name_meter: RateMeter<Address>,
    client_address: ClientAddress,
    cors: Cors,
    /// Numbers requests, from a start that differs with each run.
    next_request: AtomicU64,
}

impl Hub {
    /// A service with what its storage holds.
    ///
    /// # Errors
    ///
    /// If the storage cannot be opened, or the operating system gives no random numbers for the
    /// key.
    pub async fn open(config: &ServerConfig) -> io::Result<Self> {
        let (limits, clock) = (config.limits.clone(), Arc::new(UnixMillis::now));
        let store = open_store(&config.storage, &limits)?;
        let registry = Registry::new(store, limits, clock, Entropy::System);
        let key = match config.key {
            Some(key) => key,
            None => {
                let kept = registry.store().server_key(random_key()?).await;
                kept.map_err(io::Error::other)?
            }
        };
        Ok(Self {
            shared: Arc::new(Shared {
                registry,
                credentials: Credentials::new(key),
                metrics: Metrics::new(config),
                public_url: config.public_url.clone(),
                openapi: routes::openapi(config.public_url.as_deref()),
                address_meter: RateMeter::new(config.address_rate),
                peer_meter: RateMeter::new(config.peer_rate),
                registration_meter: RateMeter::new(config.registration_rate),
                name_meter: RateMeter::new(config.name_rate),
                client_address: config.client_address.clone(),
                cors: config.cors.clone(),
                next_request: AtomicU64::new(UnixMillis::now().0 << 24),
            }),
        })
    }

    /// The endpoints of the protocol.
    ///
    /// Clients are told apart by `ConnectInfo<SocketAddr>`, which the embedding server has to
    /// provide; without it all share the limit of one address.
    pub fn router(&self) -> Router {
        routes::router()
            .layer(from_fn_with_state(self.clone(), admit))
            .layer(cors_layer(&self.shared.cors))
            .with_state(self.clone())
    }

    /// Answers everybody who waits, now and in the future, at once: the server is going to stop.
    pub fn stop_waiting(&self) {
        self.shared.registry.stop_waiting();
    }

    /// Finishes what is under way and lets go of the storage; whatever comes later is refused.
    pub async fn close(&self) {
        self.stop_waiting();
        if let Err(error) = self.shared.registry.store().close().await {
            tracing::warn!(%error, "the storage was not closed");
        }
    }

    /// Forgets what has expired. Call it every second or so; requests do a part of it by the way.
    pub async fn sweep(&self) {
        let registry = &self.shared.registry;
        while let Ok(Swept::Partly) = registry.store().sweep(registry.now()).await {
            // Between two portions, requests get their turn.
            tokio::task::yield_now().await;
        }
        if let Ok(census) = registry.store().census().await {
            tracing::trace!(
                names = census.names,
                services = census.services,
                offers = census.offers,
                bytes = census.bytes,
                "swept"
            );
        }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("registry", &self.shared.registry)
            .finish_non_exhaustive()
    }
}

/// The peer that a request comes from, proved by its `Authorization` header and within its rate.
pub(super) struct Peer(pub(super) PeerId);

impl FromRequestParts<Hub> for Peer {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Self, Refused> {
        let header = parts.headers.get(AUTHORIZATION);
        // A header that is not text has the wrong format.
        let header = header.map(|value| value.to_str().unwrap_or_default());
        let peer = hub.shared.credentials.check(header)?;
        let admitted = hub.shared.peer_meter.admit(peer.clone(), Instant::now());
        admitted.map_err(|after| Refused::too_many("peer_rate", after))?;
        Ok(Self(peer))
    }
}

/// Where a request comes from, for what is counted more strictly than requests.
pub(super) struct Origin(Option<Address>);

impl Origin {
    /// Counts a registration.
    pub(super) fn admit_registration(&self, hub: &Hub) -> Result<(), Refused> {
        self.admit(&hub.shared.registration_meter, "registration_rate")
    }

    /// Counts a name that is about to be given away.
    pub(super) fn admit_name(&self, hub: &Hub) -> Result<(), Refused> {
        self.admit(&hub.shared.name_meter, "name_rate")
    }

    fn admit(&self, meter: &RateMeter<Address>, limit: &'static str) -> Result<(), Refused> {
        let Some(address) = self.0 else {
            return Ok(());
        };
        let admitted = meter.admit(address, Instant::now());
        admitted.map_err(|after| Refused::too_many(limit, after))
    }
}

impl FromRequestParts<Hub> for Origin {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Hub) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.extensions.get::<Address>().copied()))
    }
}

/// Lets a request in if its address is within its rate; numbers, counts and logs it.
async fn admit(State(hub): State<Hub>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let address = Address::of(&request, &hub.shared.client_address);
    request.extensions_mut().insert(address);
    let matched = request.extensions().get::<MatchedPath>();
    let endpoint = routes::endpoint(request.method(), matched.map(MatchedPath::as_str));
    let waits = request.uri().query().is_some_and(|q| q.contains("wait="));
    let id = hub.shared.next_request.fetch_add(1, Ordering::Relaxed);
    let id = format!("{id:016x}");
    let span = tracing::debug_span!("request", id);
    let mut response = async {
        let response = match hub.shared.address_meter.admit(address, started) {
            Ok(()) => next.run(request).await,
            Err(after) => Refused::too_many("address_rate", after).into_response(),
        };
        log(endpoint, &response, started.elapsed());
        response
    }
    .instrument(span)
    .await;

    let metrics = &hub.shared.metrics;
    metrics.count(endpoint, response.status().as_u16());
    if !waits {
        metrics.time(endpoint, started.elapsed());
    }
    if let Some(Exceeded(limit)) = response.extensions().get() {
        metrics.limit_reached(limit);
    }
    let id = HeaderValue::from_str(&id).expect("hex digits may stand in a header");
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Without path, query, headers and bodies: identifiers of offers and services are known to few,
/// and credentials to nobody else.
fn log(endpoint: super::metrics::Endpoint, response: &Response, elapsed: Duration) {
    let (method, endpoint) = (endpoint.method, endpoint.pattern);
    let status = response.status().as_u16();
    match response.extensions().get() {
        Some(Exceeded(limit)) => {
            tracing::debug!(
                method,
                endpoint,
                status,
                ?elapsed,
                limit,
                "refused by a limit"
            );
        }
        None if response.status().is_server_error() => {
            // 503 is the ordinary answer where a service has no free offer.
            tracing::debug!(method, endpoint, status, ?elapsed, "not answered");
        }
        None => tracing::debug!(method, endpoint, status, ?elapsed, "answered"),
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

fn cors_layer(cors: &Cors) -> CorsLayer {
    let origin = match cors {
        Cors::Nowhere => return CorsLayer::new(),
        Cors::Anywhere => AllowOrigin::from(Any),
        Cors::Origins(origins) => {
            let valid = origins.iter().filter_map(|o| HeaderValue::from_str(o).ok());
            AllowOrigin::list(valid)
        }
    };
    CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers([AUTHORIZATION, CONTENT_TYPE])
        .expose_headers([RETRY_AFTER, REQUEST_ID])
}

fn open_store(storage: &Storage, limits: &Limits) -> io::Result<Box<dyn Store>> {
    Ok(match storage {
        Storage::Memory => Box::new(MemoryStore::new(limits.clone())),
        #[cfg(feature = "sqlite")]
        Storage::Sqlite(path) => Box::new(SqliteStore::open(path, limits)?),
    })
}

fn random_key() -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    Ok(key)
}
