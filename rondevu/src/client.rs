//! The client: one identity and its way to the signaling server and the network.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rondevu_core::{Identity, Incarnation, ServiceName, ServiceUuid, SessionId, Username};
use rondevu_durable::{ConnectionConfig, ConnectionMachine, RequiredProof, Seeds, Trust};
use rondevu_signaling::{ClaimedUsername, KeyPair, PublicKey, Signaling, UnixMillis};
use rondevu_transport::TransportFactory;
use tracing::Instrument as _;

use crate::addresses::Addresses;
use crate::builder::RondevuBuilder;
use crate::cable::Cable;
use crate::clock::Clock;
use crate::connection::DurableConnection;
use crate::dial::{Dialer, Target};
use crate::driver::Driver;
use crate::error::Error;
use crate::ice::IceConfig;
use crate::known_keys::{FirstUse, KeyPolicy, KnownKeys};
use crate::line::Lines;
use crate::service::{DurableService, ServiceOptions};
use crate::shared::Shared;

/// Finds peers by name and connects to them. Clones share everything.
#[derive(Clone)]
pub struct Rondevu {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) signaling: Arc<dyn Signaling>,
    pub(crate) factory: Arc<dyn TransportFactory>,
    pub(crate) key_pair: Arc<KeyPair>,
    pub(crate) key_policy: KeyPolicy,
    pub(crate) known_keys: Arc<dyn KnownKeys>,
    pub(crate) bind: SocketAddr,
    pub(crate) config: ConnectionConfig,
    pub(crate) cable: Cable,
    pub(crate) ice: Arc<IceConfig>,
    pub(crate) clock: Clock,
    pub(crate) connections: AtomicU64,
    pub(crate) lines: Lines,
    pub(crate) addresses: Addresses,
}

impl Inner {
    /// Who this client is, and what its peer has to prove.
    pub(crate) fn trust(&self, peer: RequiredProof) -> Trust {
        let identity = match self.key_policy {
            KeyPolicy::Off => None,
            KeyPolicy::TrustOnFirstUse | KeyPolicy::PinnedOnly => {
                Some(Arc::clone(&self.key_pair) as Arc<dyn Identity>)
            }
        };
        Trust { identity, peer }
    }

    /// What the owner of a service has to prove.
    fn required_proof(&self, target: &Target) -> Result<RequiredProof, Error> {
        let username = match (target, self.key_policy) {
            (_, KeyPolicy::Off) => return Ok(RequiredProof::Nothing),
            (Target::Uuid(_), KeyPolicy::TrustOnFirstUse) => return Ok(RequiredProof::Nothing),
            (Target::Uuid(_), KeyPolicy::PinnedOnly) => return Err(Error::UnnamedPeer),
            (Target::Service { username, .. }, _) => username,
        };
        let known = self.known_keys.key_of(username).map_err(Error::KnownKeys)?;
        match (known, self.key_policy) {
            (Some(key), _) => Ok(RequiredProof::Key(*key.as_bytes())),
            (None, KeyPolicy::PinnedOnly) => Err(Error::UnknownKey(username.clone())),
            (None, KeyPolicy::Off | KeyPolicy::TrustOnFirstUse) => Ok(RequiredProof::Nothing),
        }
    }
}

impl Inner {
    /// What remembers the key that the peer proves, if that is wanted.
    fn first_use(&self, target: &Target) -> Option<FirstUse> {
        match (target, self.key_policy) {
            (Target::Service { username, .. }, KeyPolicy::TrustOnFirstUse) => Some(FirstUse::new(
                username.clone(),
                Arc::clone(&self.known_keys),
            )),
            (Target::Uuid(_), _) | (_, KeyPolicy::Off | KeyPolicy::PinnedOnly) => None,
        }
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rondevu")
            .field("bind", &self.bind)
            .field("key_policy", &self.key_policy)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Rondevu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl Rondevu {
    /// A client to be configured.
    pub fn builder() -> RondevuBuilder {
        RondevuBuilder::default()
    }

    /// A client with default settings for a signaling server.
    ///
    /// # Errors
    ///
    /// As [`RondevuBuilder::build`].
    pub fn new(server: &str) -> Result<Self, Error> {
        Self::builder().server(server).build()
    }

    /// Claims a username for this client's key, or renews the claim.
    ///
    /// Cancellation: the claim may have taken effect; claiming again is harmless.
    ///
    /// # Errors
    ///
    /// [`Error::Username`] or [`Error::Signaling`].
    pub async fn claim_username(&self, username: &str) -> Result<ClaimedUsername, Error> {
        let username = Username::parse(username)?;
        let claim = self.inner.key_pair.sign_claim(&username, UnixMillis::now());
        Ok(self.inner.signaling.claim_username(&claim).await?)
    }

    /// Prepares a service; [`DurableService::start`] publishes it.
    ///
    /// # Errors
    ///
    /// [`Error::Username`] or [`Error::ServiceName`].
    pub fn expose_service(
        &self,
        username: &str,
        service: &str,
        options: ServiceOptions,
    ) -> Result<DurableService, Error> {
        let username = Username::parse(username)?;
        let service = ServiceName::parse(service)?;
        Ok(DurableService::new(
            self.clone(),
            username,
            service,
            options,
        ))
    }

    /// Connects to a service by its owner and name, and returns when messages can flow.
    ///
    /// If that does not succeed within [`ConnectionConfig::connection_timeout`], or cannot succeed,
    /// the error says why and nothing goes on: it is reconnected only after a first success.
    /// [`connect_in_background`](Self::connect_in_background) keeps trying instead. Cancellation:
    /// the attempt ends.
    ///
    /// # Errors
    ///
    /// [`Error::Username`], [`Error::ServiceName`], those of [`connection`](Self::connection), and
    /// [`Error::Failed`].
    pub async fn connect(&self, username: &str, service: &str) -> Result<DurableConnection, Error> {
        let connection = self.connection(Target::parse(username, service)?)?;
        connection.connect().await?;
        Ok(connection)
    }

    /// A connection to a service that may not be there yet: attempts are repeated with
    /// [backoff](ConnectionConfig::backoff), as after a lost link, and messages wait meanwhile.
    ///
    /// Watch [`DurableConnection::watch_state`], or wait with [`DurableConnection::connect`].
    ///
    /// # Errors
    ///
    /// [`Error::Username`], [`Error::ServiceName`], those of [`connection`](Self::connection).
    pub fn connect_in_background(
        &self,
        username: &str,
        service: &str,
    ) -> Result<DurableConnection, Error> {
        let connection = self.connection(Target::parse(username, service)?)?;
        connection.connect_in_background();
        Ok(connection)
    }

    /// Connects to a service by its uuid, otherwise as [`connect`](Self::connect). The service has it
    /// from [`DurableService::start`]; `text.parse()` makes it of a text. It may change when the
    /// service is published anew, and its owner's key is not compared with a known one.
    ///
    /// Cancellation: the attempt ends.
    ///
    /// # Errors
    ///
    /// Those of [`connection`](Self::connection), and [`Error::Failed`].
    pub async fn connect_by_uuid(&self, uuid: ServiceUuid) -> Result<DurableConnection, Error> {
        let connection = self.connection(Target::Uuid(uuid))?;
        connection.connect().await?;
        Ok(connection)
    }

    /// A connection that begins to connect with [`DurableConnection::connect`].
    ///
    /// # Errors
    ///
    /// [`Error::NoRandomness`]; [`Error::KnownKeys`], [`Error::UnknownKey`] and
    /// [`Error::UnnamedPeer`] if the peer's key has to be known and is not.
    pub fn connection(&self, target: Target) -> Result<DurableConnection, Error> {
        let inner = &self.inner;
        let trust = inner.trust(inner.required_proof(&target)?);
        let machine = ConnectionMachine::dialer(inner.config.clone(), trust, seeds()?);
        let shared = Shared::new(self.next_connection(), machine, inner.clock);
        let dialer = Dialer {
            target: target.clone(),
            signaling: Arc::clone(&inner.signaling),
            factory: Arc::clone(&inner.factory),
            bind: inner.bind,
            cable: inner.cable.clone(),
            ice: Arc::clone(&inner.ice),
            clock: inner.clock,
            lines: inner.lines.clone(),
            patience: inner.config.signaling_timeout,
        };
        let first_use = inner.first_use(&target);
        let span = tracing::info_span!("connection", id = shared.id, %target);
        let addresses = inner.addresses.watch(&inner.signaling);
        let driver = Driver::dialing(Arc::clone(&shared), dialer, addresses, first_use);
        tokio::spawn(driver.run().instrument(span));
        Ok(DurableConnection::new(shared, Some(target)))
    }

    /// Remembers the key of a username, in place of another that was known: services of this name
    /// have to prove it from now on.
    ///
    /// # Errors
    ///
    /// [`Error::Username`], [`Error::KnownKeys`].
    pub fn pin_key(&self, username: &str, key: PublicKey) -> Result<(), Error> {
        let username = Username::parse(username)?;
        let known_keys = &self.inner.known_keys;
        known_keys
            .remember(&username, key)
            .map_err(Error::KnownKeys)
    }

    /// Forgets the key of a username, because its owner has a new one.
    ///
    /// # Errors
    ///
    /// [`Error::Username`], [`Error::KnownKeys`].
    pub fn forget_key(&self, username: &str) -> Result<(), Error> {
        let username = Username::parse(username)?;
        let known_keys = &self.inner.known_keys;
        known_keys.forget(&username).map_err(Error::KnownKeys)
    }

    /// The public key of this client, which others may pin.
    pub fn public_key(&self) -> PublicKey {
        self.inner.key_pair.public_key()
    }

    pub(crate) fn next_connection(&self) -> u64 {
        self.inner.connections.fetch_add(1, Ordering::Relaxed)
    }
}

/// Fresh randomness for a machine.
pub(crate) fn seeds() -> Result<Seeds, Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| Error::NoRandomness)?;
    let number = |at: usize| {
        bytes[at..at + 8]
            .iter()
            .fold(0, |n, b| (n << 8) | u64::from(*b))
    };
    Ok(Seeds {
        session: SessionId((u128::from(number(0)) << 64) | u128::from(number(8))),
        incarnation: Incarnation(number(16)),
        rng: number(24),
    })
}
