//! Streams to TURN servers: TCP, and TLS over TCP.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rondevu_transport::gather::GatherAction;
use rustls_pki_types::ServerName;
use rustls_platform_verifier::ConfigVerifierExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;

use super::gathering::Shared;

/// The streams of one gatherer by their number.
#[derive(Debug, Default)]
pub(super) struct Streams(HashMap<u64, Stream>);

/// A stream that ends with this value, or after what was written when its queue is dropped.
#[derive(Debug)]
struct Stream {
    queue: mpsc::Sender<Vec<u8>>,
    task: JoinHandle<()>,
}

impl Streams {
    /// Does what the gatherer wants done with streams.
    pub(super) fn act(&mut self, action: GatherAction, shared: &Arc<Shared>) {
        match action {
            GatherAction::Connect {
                stream,
                server,
                tls_name,
            } => {
                let (queue, bytes) = mpsc::channel(QUEUE_MAX);
                let shared = Arc::downgrade(shared);
                let task = tokio::spawn(serve(stream, server, tls_name, bytes, shared));
                if let Some(old) = self.0.insert(stream, Stream { queue, task }) {
                    old.task.abort();
                }
            }
            GatherAction::Write { stream, bytes } => {
                if let Some(stream) = self.0.get(&stream)
                    && stream.queue.try_send(bytes).is_err()
                {
                    tracing::trace!("a stream to a server is full");
                }
            }
            GatherAction::Disconnect { stream } => {
                if let Some(stream) = self.0.remove(&stream) {
                    // Another one will have its number.
                    tokio::spawn(stream.finish());
                }
            }
            GatherAction::Resolve { .. } => {}
        }
    }

    /// Lets what was written leave, for a moment.
    pub(super) async fn finish(self) {
        for stream in self.0.into_values() {
            stream.finish().await;
        }
    }
}

impl Stream {
    /// Lets what was written leave, for a moment; a server that takes nothing is not waited for.
    async fn finish(self) {
        let Self { queue, mut task } = self;
        drop(queue);
        if tokio::time::timeout(FAREWELL, &mut task).await.is_err() {
            task.abort();
        }
    }
}

/// Connects and carries bytes both ways until one side ends it.
async fn serve(
    number: u64,
    server: SocketAddr,
    tls_name: Option<String>,
    mut bytes: mpsc::Receiver<Vec<u8>>,
    shared: Weak<Shared>,
) {
    let connected = connect(server, tls_name);
    let connected = tokio::time::timeout(CONNECT_TIME, connected).await;
    let why = match connected {
        Err(_) => "no answer".to_owned(),
        Ok(Err(why)) => why,
        Ok(Ok((local, stream))) => {
            if let Some(shared) = shared.upgrade() {
                shared.tell(|machine, now| machine.handle_connected(number, local, now));
            }
            match carry(number, stream, &mut bytes, &shared).await {
                Ok(()) => return,
                Err(why) => why,
            }
        }
    };
    if let Some(shared) = shared.upgrade() {
        shared.tell(|machine, now| machine.handle_disconnected(number, &why, now));
    }
}

/// A stream to a server.
trait Carrier: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Carrier for S {}

async fn connect(
    server: SocketAddr,
    tls_name: Option<String>,
) -> Result<(SocketAddr, Box<dyn Carrier>), String> {
    let plain = TcpStream::connect(server);
    let plain = plain.await.map_err(|error| error.to_string())?;
    let local = plain.local_addr().map_err(|error| error.to_string())?;
    // Datagrams travel in it: none may wait for the next.
    if let Err(error) = plain.set_nodelay(true) {
        tracing::debug!(%error, "the stream gathers what it sends");
    }
    let Some(name) = tls_name else {
        return Ok((local, Box::new(plain)));
    };
    let name = ServerName::try_from(name).map_err(|error| error.to_string())?;
    let config = ClientConfig::with_platform_verifier().map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(Arc::new(config));
    let encrypted = connector.connect(name, plain).await;
    let encrypted = encrypted.map_err(|error| format!("TLS: {error}"))?;
    Ok((local, Box::new(encrypted)))
}

/// Carries bytes until this side (`Ok`) or the other one ends the stream.
async fn carry(
    number: u64,
    stream: Box<dyn Carrier>,
    bytes: &mut mpsc::Receiver<Vec<u8>>,
    shared: &Weak<Shared>,
) -> Result<(), String> {
    let (mut input, mut output) = tokio::io::split(stream);
    let reading = async {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match input.read(&mut buffer).await {
                Ok(0) => return "the server closed it".to_owned(),
                Err(error) => return error.to_string(),
                Ok(len) => {
                    let Some(shared) = shared.upgrade() else {
                        return String::new();
                    };
                    shared.tell(|machine, now| machine.handle_stream(number, &buffer[..len], now));
                }
            }
        }
    };
    let writing = async {
        while let Some(bytes) = bytes.recv().await {
            output.write_all(&bytes).await?;
            output.flush().await?;
        }
        output.shutdown().await
    };
    tokio::select! {
        why = reading => Err(why),
        written = writing => written.map_err(|error| error.to_string()),
    }
}

/// As a socket buffer: what is more is lost.
const QUEUE_MAX: usize = 512;
const READ_BYTES: usize = 64 * 1024;
const CONNECT_TIME: Duration = Duration::from_secs(10);
const FAREWELL: Duration = Duration::from_millis(200);
