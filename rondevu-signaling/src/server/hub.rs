//! What all requests of a server share, and the way from a request to its endpoint.

use core::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use rondevu_core::PeerId;
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

use super::credentials::Credentials;
use super::rate::RateMeter;
use super::refused::Refused;
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
    address_meter: RateMeter<IpAddr>,
    peer_meter: RateMeter<PeerId>,
    client_address: ClientAddress,
    cors: Cors,
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
                address_meter: RateMeter::new(config.address_rate),
                peer_meter: RateMeter::new(config.peer_rate),
                client_address: config.client_address,
                cors: config.cors.clone(),
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
        admitted.map_err(Refused::too_many)?;
        Ok(Self(peer))
    }
}

async fn admit(State(hub): State<Hub>, request: Request, next: Next) -> Response {
    let address = client_address(&hub, &request);
    let started = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = match hub.shared.address_meter.admit(address, started) {
        Ok(()) => next.run(request).await,
        Err(retry_after) => Refused::too_many(retry_after).into_response(),
    };
    tracing::debug!(
        %method,
        path,
        status = response.status().as_u16(),
        elapsed = ?started.elapsed(),
        "answered"
    );
    response
}

fn client_address(hub: &Hub, request: &Request) -> IpAddr {
    let connection = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let connection = connection.map_or(Ipv4Addr::UNSPECIFIED.into(), |info| info.0.ip());
    let address = match hub.shared.client_address {
        ClientAddress::Connection => connection,
        ClientAddress::ForwardedFor => forwarded_for(request).unwrap_or(connection),
    };
    rate_key(address)
}

fn forwarded_for(request: &Request) -> Option<IpAddr> {
    let header = request
        .headers()
        .get_all("x-forwarded-for")
        .iter()
        .next_back()?;
    header
        .to_str()
        .ok()?
        .rsplit(',')
        .next()?
        .trim()
        .parse()
        .ok()
}

/// Whoever has one address of IPv6 has 2^64 of them.
fn rate_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

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
        .expose_headers([RETRY_AFTER])
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_ipv6_share_a_limit_and_mapped_ipv4_is_ipv4() {
        let key = |text: &str| rate_key(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:2"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}
