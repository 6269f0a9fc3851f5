//! The client's settings, and how it sends requests.

use core::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Certificate, Client, Method};
use tokio::time::timeout;
use url::Url;

use super::connections::Connections;
use super::error_table::{Asked, meaning};
use super::exchange::{Reply, Request, redirects};
use super::session::{Authorized, Bearing, Session};
use crate::SignalingError;
use crate::wire::{FEATURE_WAIT, SERVER_NAME, ServerInfo};

/// A peer that reaches a signaling server over HTTP.
///
/// Registers when it first has to; registers anew once when the server has forgotten it. Cheap to
/// clone; all clones are the same peer.
///
/// ```no_run
/// # async fn example() -> Result<(), rondevu_signaling::SignalingError> {
/// use rondevu_signaling::{HttpSignaling, Signaling};
///
/// let signaling = HttpSignaling::new("https://rondevu.example")?;
/// let services = signaling.list_services(&"alice".parse().unwrap()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HttpSignaling {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    connections: Arc<Connections>,
    base: Url,
    request_timeout: Duration,
    session: Session,
    /// Whether the server keeps requests open, once it has been asked.
    waits: Mutex<Option<bool>>,
}

impl HttpSignaling {
    /// A peer at the server with this address, with the default settings. Sends nothing.
    ///
    /// # Errors
    ///
    /// Those of [`HttpSignalingBuilder::build`].
    pub fn new(base_url: &str) -> Result<Self, SignalingError> {
        Self::builder(base_url).build()
    }

    /// A peer at the server with this address, with settings.
    pub fn builder(base_url: &str) -> HttpSignalingBuilder {
        HttpSignalingBuilder {
            base_url: base_url.into(),
            request_timeout: REQUEST_TIMEOUT,
            roots_pem: Vec::new(),
        }
    }

    /// The server's address.
    pub fn base_url(&self) -> &str {
        self.shared.base.as_str()
    }

    /// Another peer over the same connections.
    pub(super) fn with_new_session(&self) -> Self {
        let shared = &*self.shared;
        Self {
            shared: Arc::new(Shared {
                connections: Arc::clone(&shared.connections),
                base: shared.base.clone(),
                request_timeout: shared.request_timeout,
                session: Session::default(),
                waits: Mutex::new(*self.waits()),
            }),
        }
    }

    /// Requests from now on use new connections.
    pub(super) fn renew_connections(&self) {
        self.shared.connections.renew();
    }

    /// A request for the path made of `segments`.
    pub(super) fn request(
        &self,
        method: Method,
        segments: &[&str],
    ) -> Result<Request, SignalingError> {
        Request::new(method, &self.shared.base, segments)
    }

    /// Sends a request that needs no credentials; returns a success.
    pub(super) async fn ask(
        &self,
        asked: Asked,
        request: Request,
    ) -> Result<Reply, SignalingError> {
        let client = self.shared.connections.client();
        let sent = request.send(&client, None);
        let reply = self.in_time(Duration::ZERO, sent).await?;
        success(asked, reply)
    }

    /// Sends a request with credentials; returns a success.
    pub(super) async fn ask_as_peer(
        &self,
        asked: Asked,
        request: Request,
        bearing: Bearing,
        wait: Duration,
    ) -> Result<Reply, SignalingError> {
        let shared = &*self.shared;
        let client = shared.connections.client();
        let sent = shared
            .session
            .send(&client, &shared.base, &request, bearing);
        let Authorized { reply, peer } = self.in_time(wait, sent).await?;
        let reply = success(asked, reply)?;
        if matches!(asked, Asked::Publish | Asked::CreateOffers) {
            shared.session.set_creator(peer);
        }
        Ok(reply)
    }

    async fn in_time<T>(
        &self,
        wait: Duration,
        work: impl Future<Output = Result<T, SignalingError>>,
    ) -> Result<T, SignalingError> {
        let after = self.shared.request_timeout.saturating_add(wait);
        let result = match timeout(after, work).await {
            Ok(result) => result,
            Err(_) => Err(SignalingError::Timeout { after }),
        };
        if matches!(result, Err(SignalingError::Unreachable { .. })) {
            // Perhaps another version of the server comes back.
            *self.waits() = None;
        }
        result
    }

    /// Whether the server announces that it keeps requests open.
    pub(super) async fn server_waits(&self) -> Result<bool, SignalingError> {
        let known = *self.waits();
        if let Some(waits) = known {
            return Ok(waits);
        }
        let request = self.request(Method::GET, &[])?;
        let info: ServerInfo = self.ask(Asked::Information, request).await?.parse()?;
        if info.name != SERVER_NAME {
            return Err(SignalingError::NotRondevu {
                reason: format!("it calls itself {}", crate::error::printable(&info.name)),
            });
        }
        let waits = info.features.iter().any(|feature| feature == FEATURE_WAIT);
        *self.waits() = Some(waits);
        Ok(waits)
    }

    fn waits(&self) -> std::sync::MutexGuard<'_, Option<bool>> {
        let waits = &self.shared.waits;
        waits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn success(asked: Asked, reply: Reply) -> Result<Reply, SignalingError> {
    match reply.is_success() {
        true => Ok(reply),
        false => Err(meaning(asked, &reply)),
    }
}

impl fmt::Debug for HttpSignaling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSignaling")
            .field("base", &self.shared.base.as_str())
            .field("session", &self.shared.session)
            .finish_non_exhaustive()
    }
}

/// Settings of an [`HttpSignaling`].
#[derive(Clone, Debug)]
#[must_use]
pub struct HttpSignalingBuilder {
    base_url: String,
    request_timeout: Duration,
    roots_pem: Vec<u8>,
}

impl HttpSignalingBuilder {
    /// Trusts servers whose certificates were issued by one of these too, in PEM: for a server with
    /// a certificate authority of its own, or with a certificate that it issued to itself.
    ///
    /// Default: those that the system trusts, and no others.
    pub fn root_certificates(mut self, pem: &[u8]) -> Self {
        self.roots_pem.extend_from_slice(pem);
        self.roots_pem.push(b'\n');
        self
    }

    /// How long a request may take, registration included; requests that wait may take as much
    /// longer as they wait. Default 10 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Makes the client. Sends nothing.
    ///
    /// # Errors
    ///
    /// [`SignalingError::Invalid`] if the address is no `http` or `https` URL, or holds a user
    /// name, a query or a fragment; if a root certificate cannot be read; or if TLS cannot be set up, for which the system must have
    /// root certificates (for `https` only).
    pub fn build(self) -> Result<HttpSignaling, SignalingError> {
        let base = parse_base(&self.base_url)?;
        let request_timeout = self.request_timeout;
        let scheme = base.scheme().to_owned();
        let connections = Connections::new(move || self.client(&scheme))?;
        Ok(HttpSignaling {
            shared: Arc::new(Shared {
                connections: Arc::new(connections),
                base,
                request_timeout,
                session: Session::default(),
                waits: Mutex::new(None),
            }),
        })
    }

    fn client(&self, scheme: &str) -> Result<Client, SignalingError> {
        let mut client = Client::builder()
            .user_agent(concat!("rondevu-signaling/", env!("CARGO_PKG_VERSION")))
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .redirect(redirects());
        if scheme == "http" {
            // Without TLS there is no need for root certificates, which a small system may lack.
            client = client.tls_certs_only([]);
        }
        let unusable = |error: reqwest::Error| SignalingError::Invalid {
            reason: format!("tls cannot be set up: {}", root_cause(&error)),
        };
        if !self.roots_pem.is_empty() {
            let roots = Certificate::from_pem_bundle(&self.roots_pem).map_err(unusable)?;
            if roots.is_empty() {
                return Err(SignalingError::Invalid {
                    reason: "the root certificates hold none: give them in pem".into(),
                });
            }
            client = client.tls_certs_merge(roots);
        }
        client.build().map_err(unusable)
    }
}

fn parse_base(text: &str) -> Result<Url, SignalingError> {
    let invalid = |reason: &str| SignalingError::Invalid {
        reason: format!("the server's address {reason}, give one like https://rondevu.example"),
    };
    let base = Url::parse(text).map_err(|_| invalid("is no URL"))?;
    if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
        return Err(invalid("starts neither with http:// nor with https://"));
    }
    if !base.username().is_empty() || base.password().is_some() {
        return Err(invalid("holds a user name or password"));
    }
    if base.query().is_some() || base.fragment().is_some() {
        return Err(invalid("holds a query or a fragment"));
    }
    Ok(base)
}

fn root_cause(error: &dyn core::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// A slow server over a slow line; people give up about then.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Shorter than servers and proxies keep connections, so that none is used as it is being closed.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_servers_are_taken() {
        for good in ["http://localhost:1", "https://rondevu.example/api/"] {
            assert!(parse_base(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "rondevu.example",
            "ftp://rondevu.example",
            "data:,x",
            "http://user:pass@rondevu.example",
            "http://rondevu.example?x",
            "http://rondevu.example#x",
        ] {
            assert!(parse_base(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn whatever_a_segment_holds_it_stays_one_segment() {
        let base = Url::parse("http://h/api/").unwrap();
        let request = Request::new(Method::GET, &base, &["offers", "a/b?c#d%2e", "x"]).unwrap();
        let shown = format!("{request:?}");
        assert!(
            shown.contains("/api/offers/a%2Fb%3Fc%23d%252e/x"),
            "{shown}"
        );
        for dots in [".", ".."] {
            assert!(Request::new(Method::GET, &base, &["offers", dots]).is_err());
        }
    }
}
