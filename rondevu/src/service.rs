//! The handle of a published service.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rondevu_core::{ServiceId, ServiceName, ServiceUuid, Username};
use rondevu_durable::{PollingConfig, ServiceConfig, SessionLimits};
use rondevu_signaling::{UnixMillis, Visibility};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;

use crate::burst::Burst;
use crate::client::Rondevu;
use crate::connection::DurableConnection;
use crate::error::Error;
use crate::greeting::Registry;
use crate::link::Routes;
use crate::paths::Paths;
use crate::service_driver::ServiceDriver;
use crate::shared::lock;

/// How a service is published.
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    /// The time to live to ask for; `None` leaves it to the server (60 s). Renewed at 80 %.
    pub ttl: Option<Duration>,
    /// Whether others see the service in the list of its owner's services. Default private.
    pub visibility: Visibility,
    /// How many offers stand open at once, between 1 and 100: so many dialers can connect at the
    /// same instant; the others wait until the pool is refilled. Default 1.
    pub pool_size: usize,
    /// The share of the time to live that is left when the service is renewed and offers are
    /// replaced. Default 0.2.
    pub ttl_refresh_margin: f64,
    /// How often a server that cannot keep a request waiting is asked for answers while nothing is
    /// expected. Default 2 s. For some seconds after each dialer it is asked every 250 ms.
    pub polling_interval: Duration,
    /// How many sessions the service keeps, and how many of them whose dialer is away.
    pub sessions: SessionLimits,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            ttl: None,
            visibility: Visibility::default(),
            pool_size: 1,
            ttl_refresh_margin: 0.2,
            polling_interval: Duration::from_secs(2),
            sessions: SessionLimits::default(),
        }
    }
}

impl ServiceOptions {
    pub(crate) fn machine_config(&self) -> ServiceConfig {
        ServiceConfig {
            pool_size: self.pool_size.clamp(1, 100),
            ttl_refresh_margin: self.ttl_refresh_margin,
            polling: PollingConfig {
                idle: self.polling_interval,
                ..PollingConfig::default()
            },
            ..ServiceConfig::default()
        }
    }
}

/// What the server says about a published service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceInfo {
    /// The service towards its owner.
    pub service_id: ServiceId,
    /// The service towards dialers.
    pub uuid: ServiceUuid,
    /// When it ends, unless it is renewed.
    pub expires_at: UnixMillis,
}

/// What happened to a service.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum DurableServiceEvent {
    /// The service can be found, for the first time or again after the server had lost it.
    Published(ServiceInfo),
    /// A dialer has connected for the first time.
    Connection {
        /// The id of the connection.
        connection: u64,
    },
    /// A connection has ended for good.
    Disconnection {
        /// The id of the connection.
        connection: u64,
    },
    /// The publication was renewed. Connections were not touched.
    TtlRefreshed {
        /// When it ends now.
        expires_at: UnixMillis,
    },
    /// Something failed that is tried again, or that ends the service (see `is_final`).
    Error {
        /// What, for people.
        error: String,
        /// Whether the service has ended.
        is_final: bool,
    },
    /// The signaling server works again after an error.
    Recovered,
    /// The service was stopped.
    Closed,
}

/// A service under a username that others connect to.
///
/// Dropping the handle withdraws nothing at once: the service ends with its task, and its
/// publication expires. Call [`stop`](Self::stop) to withdraw it properly.
#[derive(Debug)]
pub struct DurableService {
    client: Rondevu,
    username: Username,
    service: ServiceName,
    options: ServiceOptions,
    events: broadcast::Sender<DurableServiceEvent>,
    registry: Registry,
    running: Mutex<Option<Running>>,
    accepted: tokio::sync::Mutex<mpsc::Receiver<DurableConnection>>,
    accept: mpsc::Sender<DurableConnection>,
}

#[derive(Debug)]
struct Running {
    stop: mpsc::Sender<()>,
    task: JoinHandle<()>,
    info: watch::Receiver<Published>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How far publishing has come.
#[derive(Clone, Debug)]
pub(crate) enum Published {
    NotYet,
    As(ServiceInfo),
    Failed(rondevu_signaling::SignalingError),
}

impl Published {
    /// What the server says about the service, once it is published.
    pub(crate) fn info(&self) -> Option<&ServiceInfo> {
        match self {
            Self::As(info) => Some(info),
            Self::NotYet | Self::Failed(_) => None,
        }
    }
}

impl DurableService {
    pub(crate) fn new(
        client: Rondevu,
        username: Username,
        service: ServiceName,
        options: ServiceOptions,
    ) -> Self {
        let (accept, accepted) = mpsc::channel(ACCEPT_MAX);
        let registry = Registry::new(options.sessions);
        Self {
            client,
            username,
            service,
            options,
            events: broadcast::channel(256).0,
            registry,
            running: Mutex::new(None),
            accepted: tokio::sync::Mutex::new(accepted),
            accept,
        }
    }

    /// Publishes the service and begins to accept connections. Claims the username if need be. A
    /// second call does nothing.
    ///
    /// Cancellation: the service is being published.
    ///
    /// # Errors
    ///
    /// [`Error::Socket`], [`Error::NoCandidates`], or [`Error::Signaling`] if the first attempt to publish failed; nothing
    /// is running then.
    pub async fn start(&self) -> Result<ServiceInfo, Error> {
        if let Some(info) = self.service_info() {
            return Ok(info);
        }
        let inner = &self.client.inner;
        let routes = Routes::default();
        let deliver = {
            let routes = routes.clone();
            move |burst: Burst<&[u8]>| routes.deliver(burst)
        };
        let paths = Paths::open(
            inner.bind,
            inner.cable.clone(),
            &inner.ice,
            inner.clock,
            deliver,
        );
        let paths = paths.await.map_err(Error::Socket)?;
        // Without an address nobody can come: better said now than to each dialer.
        paths.candidates().await.map_err(Error::NoCandidates)?;
        let (stop, stopped) = mpsc::channel(1);
        let (published, mut info) = watch::channel(Published::NotYet);
        let driver = ServiceDriver::new(
            self.client.clone(),
            (self.username.clone(), self.service.clone()),
            self.options.clone(),
            (Arc::new(paths), routes),
            self.registry.clone(),
            self.accept.clone(),
            self.events.clone(),
            published,
        )?;
        let task = tokio::spawn(driver.run(stopped));
        let running = Running {
            stop,
            task,
            info: info.clone(),
        };
        let result = info
            .wait_for(|state| !matches!(state, Published::NotYet))
            .await;
        match result.map(|state| state.clone()) {
            Ok(Published::As(info)) => {
                *lock(&self.running) = Some(running);
                Ok(info)
            }
            Ok(Published::Failed(error)) => Err(Error::Signaling(error)),
            Ok(Published::NotYet) | Err(_) => Err(Error::Stopped),
        }
    }

    /// Waits for the next dialer that connects for the first time; one that reconnects goes on
    /// with the connection it has. `None` after [`stop`](Self::stop).
    ///
    /// Cancellation: no connection is lost.
    pub async fn accept(&self) -> Option<DurableConnection> {
        self.accepted.lock().await.recv().await
    }

    /// Accepts connections for ever and runs `handler` for each in a task of its own.
    pub async fn for_each<F>(&self, mut handler: impl FnMut(DurableConnection) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut tasks = tokio::task::JoinSet::new();
        while let Some(connection) = self.accept().await {
            tasks.spawn(handler(connection));
            while tasks.try_join_next().is_some() {}
        }
    }

    /// Withdraws the service and closes its connections after what they sent is delivered.
    pub async fn stop(&self) {
        let running = lock(&self.running).take();
        let Some(mut running) = running else { return };
        let _ = running.stop.send(()).await;
        let _ = (&mut running.task).await;
        let closing: Vec<_> = self
            .registry
            .connections()
            .into_iter()
            .map(|c| c.close_and_wait())
            .collect();
        for closed in closing {
            closed.await;
        }
        self.accepted.lock().await.close();
        let _ = self.events.send(DurableServiceEvent::Closed);
    }

    /// How many connections the service has, those included whose dialer is away at the moment.
    pub fn active_connections(&self) -> usize {
        self.registry.connections().len()
    }

    /// What the server says about the service; `None` while it is not published.
    pub fn service_info(&self) -> Option<ServiceInfo> {
        let running = lock(&self.running);
        running.as_ref()?.info.borrow().info().cloned()
    }

    /// Everything that happens from now on.
    pub fn events(&self) -> broadcast::Receiver<DurableServiceEvent> {
        self.events.subscribe()
    }
}

/// Dialers beyond so many that nobody has accepted are told to come back later.
const ACCEPT_MAX: usize = 256;
