//! Who this peer is to the server, and what to do when the server has forgotten it.

use std::sync::Mutex as SyncMutex;
use std::sync::{Arc, PoisonError};

use reqwest::header::HeaderValue;
use reqwest::{Client, Method};
use rondevu_core::PeerId;
use tokio::sync::Mutex;
use url::Url;

use super::error_table::{Asked, meaning};
use super::exchange::{Reply, Request, malformed};
use crate::SignalingError;
use crate::wire::Registration;

/// Registers when it first has to, once for all who wait for it.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// Held while registering, so that others wait for the same registration.
    credentials: Mutex<Option<Arc<Credentials>>>,
    /// As whom this peer created the offers that it has on the server.
    creator: SyncMutex<Option<PeerId>>,
}

/// What the server gave this peer when it registered.
pub(super) struct Credentials {
    pub(super) peer: PeerId,
    authorization: HeaderValue,
}

/// Whether a request means the same to a server that does not know what this peer did before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bearing {
    /// It does: ask again as a new peer.
    Fresh,
    /// It is about this peer's offers and services, which are lost.
    OwnState,
}

/// An answer, and who got it.
pub(super) struct Authorized {
    pub(super) reply: Reply,
    pub(super) peer: PeerId,
}

impl Session {
    /// Sends a request with credentials; registers before it if need be, and once more if the
    /// server does not know them any more.
    pub(super) async fn send(
        &self,
        client: &Client,
        base: &Url,
        request: &Request,
        bearing: Bearing,
    ) -> Result<Authorized, SignalingError> {
        let credentials = self.credentials(client, base).await?;
        self.check_creator(&credentials, bearing)?;
        let reply = request
            .send(client, Some(&credentials.authorization))
            .await?;
        if reply.status != 401 {
            return Ok(credentials.got(reply));
        }
        tracing::info!(peer = %credentials.peer, "the signaling server forgot this peer");
        self.forget(&credentials).await;
        let credentials = self.credentials(client, base).await?;
        self.check_creator(&credentials, bearing)?;
        let reply = request
            .send(client, Some(&credentials.authorization))
            .await?;
        Ok(credentials.got(reply))
    }

    /// Remembers that the offers on the server are this peer's.
    pub(super) fn set_creator(&self, peer: PeerId) {
        *self.creator() = Some(peer);
    }

    fn check_creator(
        &self,
        credentials: &Credentials,
        bearing: Bearing,
    ) -> Result<(), SignalingError> {
        let lost = self
            .creator()
            .as_ref()
            .is_some_and(|p| *p != credentials.peer);
        match bearing {
            Bearing::OwnState if lost => Err(SignalingError::Forgotten),
            Bearing::OwnState | Bearing::Fresh => Ok(()),
        }
    }

    fn creator(&self) -> std::sync::MutexGuard<'_, Option<PeerId>> {
        self.creator.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn credentials(
        &self,
        client: &Client,
        base: &Url,
    ) -> Result<Arc<Credentials>, SignalingError> {
        let mut slot = self.credentials.lock().await;
        if let Some(credentials) = &*slot {
            return Ok(Arc::clone(credentials));
        }
        let credentials = Arc::new(register(client, base).await?);
        tracing::debug!(peer = %credentials.peer, "registered with the signaling server");
        *slot = Some(Arc::clone(&credentials));
        Ok(credentials)
    }

    /// Forgets these credentials, but not newer ones that somebody else has got by now.
    async fn forget(&self, refused: &Arc<Credentials>) {
        let mut slot = self.credentials.lock().await;
        if slot.as_ref().is_some_and(|held| Arc::ptr_eq(held, refused)) {
            *slot = None;
        }
    }
}

impl Credentials {
    fn got(&self, reply: Reply) -> Authorized {
        Authorized {
            reply,
            peer: self.peer.clone(),
        }
    }
}

impl core::fmt::Debug for Credentials {
    /// Leaves out the secret.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Credentials")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

async fn register(client: &Client, base: &Url) -> Result<Credentials, SignalingError> {
    let request = Request::new(Method::POST, base, &["register"])?.json(&serde_json::json!({}))?;
    let reply = request.send(client, None).await?;
    if !reply.is_success() {
        return Err(meaning(Asked::Registration, &reply));
    }
    let Registration { peer_id, secret } = reply.parse()?;
    let printable = secret.bytes().all(|b| b.is_ascii_graphic());
    if secret.is_empty() || secret.len() > SECRET_LEN_MAX || !printable {
        return Err(malformed("its secret is empty, too long or unprintable"));
    }
    let mut authorization = HeaderValue::from_str(&format!("Bearer {peer_id}:{secret}"))
        .expect("both parts consist of printable ASCII");
    authorization.set_sensitive(true);
    Ok(Credentials {
        peer: peer_id,
        authorization,
    })
}

/// As the protocol has it.
const SECRET_LEN_MAX: usize = 256;
