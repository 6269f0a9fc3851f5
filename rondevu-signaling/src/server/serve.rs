//! The server's socket, its connections, and its orderly end.

use std::convert::Infallible;
use std::future::{pending, ready};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
#[cfg(feature = "tls")]
use tokio_rustls::TlsAcceptor;
use tower_service::Service;

use super::{Hub, ServerConfig};

/// A signaling server that listens and has not begun to answer.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    hub: Hub,
    connections_max: usize,
    #[cfg(feature = "tls")]
    tls: Option<TlsAcceptor>,
}

impl Server {
    /// Listens at an address; port 0 picks a free one.
    ///
    /// # Errors
    ///
    /// If the address is taken or not this machine's, the storage cannot be opened, or the
    /// operating system gives no random numbers.
    pub async fn bind(address: impl ToSocketAddrs, config: ServerConfig) -> io::Result<Self> {
        let hub = Hub::open(&config).await?;
        let listener = TcpListener::bind(address).await?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            hub,
            connections_max: config.connections_max.max(1),
            #[cfg(feature = "tls")]
            tls: config.tls.map(|tls| TlsAcceptor::from(tls.config)),
        })
    }

    /// The address at which it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Its URL for clients on this machine.
    pub fn url(&self) -> String {
        url(self.scheme(), self.address)
    }

    fn scheme(&self) -> &'static str {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return "https";
        }
        "http"
    }

    /// Answers requests until the future is dropped, which cuts off everybody.
    ///
    /// # Errors
    ///
    /// None at present: a failure to accept is tried again.
    pub async fn run(self) -> io::Result<()> {
        self.run_until(pending()).await
    }

    /// Answers requests until `shutdown` is ready, then ends in order: accepts nobody, answers
    /// those who wait, lets requests under way finish for at most 10 s, and closes all
    /// connections. Dropping the future cuts off everybody.
    ///
    /// # Errors
    ///
    /// None at present: a failure to accept is tried again.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        tracing::info!(address = %self.address, scheme = self.scheme(), "listening");
        let connections = Connections {
            router: self.hub.router(),
            hub: self.hub.clone(),
            #[cfg(feature = "tls")]
            tls: self.tls,
            graceful: GracefulShutdown::new(),
            tasks: JoinSet::new(),
            permits: Arc::new(Semaphore::new(self.connections_max)),
        };
        let connections = tokio::select! {
            connections = accept_until(&self.listener, connections, shutdown) => connections,
            never = sweep_forever(&self.hub) => match never {},
        };
        tracing::info!("shutting down");
        drop(self.listener);
        self.hub.stop_waiting();
        connections.finish().await;
        self.hub.close().await;
        tracing::info!("shut down");
        Ok(())
    }

    /// Answers requests in a task of its own, until the returned handle is dropped or asked to
    /// shut down. Needs a tokio runtime.
    pub fn spawn(self) -> RunningServer {
        let (address, url) = (self.address, self.url());
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            // A dropped handle aborts the task, so only a request to stop ends this.
            let _: Result<(), _> = stopped.await;
        };
        RunningServer {
            address,
            url,
            stop: Some(stop),
            task: tokio::spawn(self.run_until(shutdown)),
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .field("hub", &self.hub)
            .finish_non_exhaustive()
    }
}

/// A server that runs in a task of its own; dropping it stops the server and cuts off everybody.
#[derive(Debug)]
pub struct RunningServer {
    address: SocketAddr,
    url: String,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<io::Result<()>>,
}

impl RunningServer {
    /// The address at which it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Its URL for clients on this machine.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Ends the server in order, as [`Server::run_until`] does. Cancellation cuts off everybody.
    pub async fn shutdown(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        let _ = (&mut self.task).await;
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The open connections; dropping them closes them at once.
struct Connections {
    router: Router,
    hub: Hub,
    #[cfg(feature = "tls")]
    tls: Option<TlsAcceptor>,
    graceful: GracefulShutdown,
    tasks: JoinSet<()>,
    permits: Arc<Semaphore>,
}

impl Connections {
    fn open(&mut self, stream: TcpStream, address: SocketAddr, permit: OwnedSemaphorePermit) {
        // Without this, small answers wait for the client's acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let router = self.router.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(address));
            let response = router.clone().call(request.map(Body::new));
            async { Ok::<_, Infallible>(response.await.unwrap_or_else(|never| match never {})) }
        });
        let open = OpenConnection {
            service,
            watcher: self.graceful.watcher(),
        };
        let counted = Counted::new(self.hub.clone());
        #[cfg(feature = "tls")]
        if let Some(tls) = self.tls.clone() {
            self.tasks.spawn(async move {
                let _held = (permit, counted);
                match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                    Ok(Ok(stream)) => open.serve(stream).await,
                    Ok(Err(error)) => tracing::trace!(%error, "no TLS"),
                    Err(_) => tracing::trace!("TLS took too long"),
                }
            });
            return;
        }
        self.tasks.spawn(async move {
            let _held = (permit, counted);
            open.serve(stream).await;
        });
    }

    async fn finish(mut self) {
        let all_closed = async {
            self.graceful.shutdown().await;
            while self.tasks.join_next().await.is_some() {}
        };
        if timeout(FINISH_TIMEOUT, all_closed).await.is_err() {
            tracing::warn!("some requests were cut off by the shutdown");
        }
    }
}

/// What it takes to answer the requests of one connection.
struct OpenConnection<S> {
    service: S,
    watcher: Watcher,
}

impl<S, F> OpenConnection<S>
where
    S: hyper::service::Service<
            Request<Incoming>,
            Response = Response,
            Error = Infallible,
            Future = F,
        >,
    F: Future<Output = Result<Response, Infallible>>,
{
    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + 'static) {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(IDLE_TIMEOUT)
            .max_buf_size(HEAD_LEN_MAX);
        let connection = http.serve_connection(TokioIo::new(stream), self.service);
        if let Err(error) = self.watcher.watch(connection).await {
            tracing::trace!(%error, "connection broke");
        }
    }
}

/// Counts as an open connection until dropped.
struct Counted(Hub);

impl Counted {
    fn new(hub: Hub) -> Self {
        hub.shared.metrics.connections.inc();
        Self(hub)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.shared.metrics.connections.dec();
    }
}

async fn accept_until(
    listener: &TcpListener,
    mut connections: Connections,
    shutdown: impl Future<Output = ()>,
) -> Connections {
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let permits = Arc::clone(&connections.permits);
        tokio::select! {
            () = &mut shutdown => return connections,
            Some(_) = connections.tasks.join_next() => {}
            (accepted, permit) = accept(listener, permits, &connections.hub) => match accepted {
                Ok((stream, address)) => connections.open(stream, address, permit),
                Err(error) => wait_after(&error).await,
            },
        }
    }
}

async fn sweep_forever(hub: &Hub) -> Infallible {
    let mut ticks = interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        hub.sweep().await;
    }
}

/// Cancellation loses no connection: the kernel keeps it until it is accepted.
async fn accept(
    listener: &TcpListener,
    permits: Arc<Semaphore>,
    hub: &Hub,
) -> (io::Result<(TcpStream, SocketAddr)>, OwnedSemaphorePermit) {
    let permit = match Arc::clone(&permits).try_acquire_owned() {
        Ok(permit) => permit,
        Err(_) => {
            hub.shared.metrics.limit_reached("connections");
            let permit = permits.acquire_owned().await;
            permit.expect("the semaphore is never closed")
        }
    };
    (listener.accept().await, permit)
}

/// A client that went away is nothing; a lack of file descriptors needs time to pass.
async fn wait_after(error: &io::Error) {
    let went_away = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    );
    match went_away {
        true => ready(()).await,
        false => {
            tracing::warn!(%error, "a connection could not be accepted");
            sleep(ACCEPT_PAUSE).await;
        }
    }
}

/// A server that listens everywhere is reached on this machine through loopback.
fn url(scheme: &str, mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("{scheme}://{address}")
}

/// A handshake takes a round trip or two.
#[cfg(feature = "tls")]
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may say nothing between two requests, and how long a head may take.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const HEAD_LEN_MAX: usize = 16 * 1024;
const FINISH_TIMEOUT: Duration = Duration::from_secs(10);
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
