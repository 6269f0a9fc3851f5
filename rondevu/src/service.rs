//! The handle of a published service.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use rondevu_core::{ServiceId, ServiceName, ServiceUuid, Username};
use rondevu_durable::{PollingConfig, ServiceConfig, SessionLimits};
use rondevu_signaling::{UnixMillis, Visibility};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tracing::Instrument as _;

use crate::accept_queue::AcceptQueue;
use crate::burst::Burst;
use crate::channel::DurableChannel;
use crate::client::Rondevu;
use crate::connection::DurableConnection;
use crate::error::Error;
use crate::events::{EventSource, Events};
use crate::greeting::Registry;
use crate::link::Routes;
use crate::paths::Paths;
use crate::service_driver::ServiceDriver;
use crate::shared::lock;
use crate::waiting::Waiting;

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
    /// Whatever else others may want to know; shown with public services. Default nothing.
    pub metadata: Option<serde_json::Value>,
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
            metadata: None,
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
/// Clones are handles of the same service. Dropping the last withdraws nothing at once: the
/// service ends with its task, its publication expires, and connections that were accepted live on.
/// Call [`stop`](Self::stop) to withdraw it properly.
///
/// ```no_run
/// use rondevu::{KeyPair, Rondevu, ServiceOptions};
///
/// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Rondevu::builder()
///     .server("http://127.0.0.1:3000")
///     // Without it, the username belongs to a key that ends with the program.
///     .key_pair(KeyPair::load_or_generate("alice.pem")?)
///     .build()?;
/// let service = client.expose_service("alice", "com.example.chat@1.0.0", ServiceOptions::default())?;
/// let info = service.start().await?;
/// println!("found as {}/{} and as {}", service.username(), service.name(), info.uuid);
/// while let Some(connection) = service.accept().await {
///     tokio::spawn(async move {
///         while let Some(channel) = connection.incoming_channel().await {
///             println!("{} of {:?}", channel.label(), connection.peer().public_key);
///         }
///     });
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct DurableService(Arc<ServiceHandle>);

#[derive(Debug)]
struct ServiceHandle {
    client: Rondevu,
    username: Username,
    service: ServiceName,
    options: ServiceOptions,
    events: Arc<EventSource<DurableServiceEvent>>,
    registry: Registry,
    accepted: Arc<AcceptQueue>,
    /// Held while the service is being published for the first time.
    starting: tokio::sync::Mutex<()>,
    running: Mutex<Option<Running>>,
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

/// The connections of a service, as [`DurableService::accept`] gives them.
#[derive(Debug)]
pub struct IncomingConnections {
    accepted: Arc<AcceptQueue>,
    waiting: Waiting,
}

impl Drop for ServiceHandle {
    fn drop(&mut self) {
        // Ends the streams of its connections.
        self.accepted.close();
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
        let registry = Registry::new(options.sessions);
        Self(Arc::new(ServiceHandle {
            client,
            username,
            service,
            options,
            events: Arc::new(EventSource::new()),
            registry,
            accepted: Arc::default(),
            starting: tokio::sync::Mutex::default(),
            running: Mutex::new(None),
        }))
    }

    /// Publishes the service and begins to accept connections. Claims the username if need be.
    ///
    /// Does nothing if that was done already; calls at the same time publish once. Cancellation:
    /// the attempt ends; the server may have the service until its publication expires, and a later
    /// call publishes it anew.
    ///
    /// # Errors
    ///
    /// [`Error::Socket`], [`Error::NoCandidates`], or [`Error::Signaling`] if the first attempt to
    /// publish failed; nothing is running then, and a later call may succeed. [`Error::Stopped`]
    /// after [`stop`](Self::stop).
    pub async fn start(&self) -> Result<ServiceInfo, Error> {
        let handle = &self.0;
        let _one_at_a_time = handle.starting.lock().await;
        if handle.accepted.is_closed() {
            return Err(Error::Stopped);
        }
        if let Some(info) = self.service_info() {
            return Ok(info);
        }
        let inner = &handle.client.inner;
        let routes = Routes::default();
        let deliver = {
            let routes = routes.clone();
            move |burst: Burst| routes.deliver(burst)
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
            handle.client.clone(),
            (handle.username.clone(), handle.service.clone()),
            handle.options.clone(),
            (Arc::new(paths), routes),
            handle.registry.clone(),
            Arc::clone(&handle.accepted),
            Arc::clone(&handle.events),
            published,
        )?;
        let (username, name) = (&handle.username, &handle.service);
        let span = tracing::info_span!("service", %username, %name);
        let task = tokio::spawn(driver.run(stopped).instrument(span));
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
                *lock(&handle.running) = Some(running);
                Ok(info)
            }
            Ok(Published::Failed(error)) => Err(Error::Signaling(error)),
            Ok(Published::NotYet) | Err(_) => Err(Error::Stopped),
        }
    }

    /// Waits for the next dialer that connects for the first time; one that reconnects goes on
    /// with the connection it has. `None` when the service has ended.
    ///
    /// Cancellation: no connection is lost.
    pub async fn accept(&self) -> Option<DurableConnection> {
        let mut waiting = Waiting::on(self.0.accepted.changed());
        std::future::poll_fn(|cx| waiting.poll(cx, || self.0.accepted.take())).await
    }

    /// The connections as a `Stream`; it ends with the service. Several streams and
    /// [`accept`](Self::accept) share them. It is no handle of the service.
    pub fn incoming(&self) -> IncomingConnections {
        IncomingConnections {
            waiting: Waiting::on(self.0.accepted.changed()),
            accepted: Arc::clone(&self.0.accepted),
        }
    }

    /// Accepts connections and runs `handler` for each in a task of its own, until the service has
    /// ended and all handlers have returned.
    ///
    /// Cancellation: the handlers are stopped where they wait.
    pub async fn for_each<F>(&self, mut handler: impl FnMut(DurableConnection) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        while let Some(connection) = self.accept().await {
            tasks.spawn(handler(connection));
            while tasks.try_join_next().is_some() {}
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Accepts connections and runs `handler` for each channel that a dialer creates on any of
    /// them, in a task of its own, until the service has ended and all handlers have returned.
    ///
    /// [`DurableChannel::connection`] tells whose channel it is. A connection stays open until its
    /// dialer closes it. Cancellation: the handlers are stopped where they wait.
    pub async fn for_each_channel<F>(
        &self,
        handler: impl Fn(DurableChannel) -> F + Clone + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        self.for_each(|connection| {
            let handler = handler.clone();
            async move {
                let mut tasks = JoinSet::new();
                while let Some(channel) = connection.incoming_channel().await {
                    tasks.spawn(handler(channel));
                    while tasks.try_join_next().is_some() {}
                }
                while tasks.join_next().await.is_some() {}
            }
        })
        .await;
    }

    /// Withdraws the service and closes its connections after what they sent is delivered.
    ///
    /// Dialers that were not accepted are closed too. Cancellation: stopping goes on while a
    /// handle exists.
    pub async fn stop(&self) {
        let handle = &self.0;
        handle.accepted.close();
        let stopping = lock(&handle.running)
            .as_ref()
            .map(|running| (running.stop.clone(), running.info.clone()));
        let Some((stop, mut info)) = stopping else {
            // It was never started.
            return handle.events.send_last(DurableServiceEvent::Closed);
        };
        // Full if somebody else stops it too.
        let _ = stop.try_send(());
        // The other end goes with the task.
        while info.changed().await.is_ok() {}
    }

    /// How many connections the service has, those included whose dialer is away at the moment.
    pub fn active_connections(&self) -> usize {
        self.0.registry.connections().len()
    }

    /// What the server says about the service; `None` before it is published for the first time.
    pub fn service_info(&self) -> Option<ServiceInfo> {
        let running = lock(&self.0.running);
        running.as_ref()?.info.borrow().info().cloned()
    }

    /// The username that owns the service.
    pub fn username(&self) -> &Username {
        &self.0.username
    }

    /// The name of the service.
    pub fn name(&self) -> &ServiceName {
        &self.0.service
    }

    /// Everything that happens from now on; the last event is [`DurableServiceEvent::Closed`].
    pub fn events(&self) -> Events<DurableServiceEvent> {
        self.0.events.listen()
    }
}

impl Stream for IncomingConnections {
    type Item = DurableConnection;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<DurableConnection>> {
        let Self { accepted, waiting } = &mut *self;
        waiting.poll(cx, || accepted.take())
    }
}
