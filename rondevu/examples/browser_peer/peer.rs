//! The service that pages talk to, with a cable that can be pulled and a memory that can be lost.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Result, bail};
use rondevu::core::MessageKind;
use rondevu::{
    Cable, ChannelConfig, DurableChannel, DurableConnection, Engine, KeyPair, Rondevu,
    ServiceOptions,
};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

pub(crate) const USERNAME: &str = "alice";
pub(crate) const SERVICE: &str = "com.example.echo@1.0.0";

/// Clones are handles of the same peer.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    server: String,
    udp: IpAddr,
    engine: Engine,
    seed: String,
    life: Arc<Mutex<Option<Life>>>,
}

/// One life of the service's memory.
#[derive(Debug)]
struct Life {
    cable: Cable,
    serving: JoinHandle<()>,
}

impl Drop for Life {
    fn drop(&mut self) {
        // Nothing leaves any more: the peers learn of the end as they would learn of a power failure.
        self.cable.cut();
        self.serving.abort();
    }
}

impl Peer {
    pub(crate) fn new(server: &str, udp: IpAddr, engine: Engine) -> Result<Self> {
        Ok(Self {
            server: server.to_owned(),
            udp,
            engine,
            seed: KeyPair::generate()?.seed_base64().to_string(),
            life: Arc::default(),
        })
    }

    /// A client with the peer's key.
    pub(crate) fn client(&self, cable: &Cable) -> Result<Rondevu> {
        let client = Rondevu::builder()
            .server(&self.server)
            .bind(SocketAddr::new(self.udp, 0))
            .engine(self.engine)
            .key_pair(KeyPair::from_seed_base64(&self.seed)?)
            .cable(cable.clone())
            .build()?;
        Ok(client)
    }

    /// Publishes the service. What an earlier life remembered is lost, and its dialers are not told.
    pub(crate) async fn start(&self) -> Result<()> {
        let mut life = self.life.lock().await;
        *life = None;
        let cable = Cable::new();
        let options = ServiceOptions {
            pool_size: 3,
            ..ServiceOptions::default()
        };
        let service = self
            .client(&cable)?
            .expose_service(USERNAME, SERVICE, options)?;
        service.start().await?;
        let serving = tokio::spawn(async move { service.for_each(serve).await });
        *life = Some(Life { cable, serving });
        Ok(())
    }

    /// The cable of the present life.
    pub(crate) async fn cable(&self) -> Result<Cable> {
        match &*self.life.lock().await {
            Some(life) => Ok(life.cable.clone()),
            None => bail!("the service is not running"),
        }
    }
}

/// Answers what comes on the channels of one connection, as their labels ask for.
async fn serve(connection: DurableConnection) {
    while let Some(channel) = connection.incoming_channel().await {
        let label = channel.label();
        if let Some(label) = label.strip_prefix("call back ") {
            call_back(&connection, label);
        } else if label == "digest" {
            tokio::spawn(digest(channel));
        } else {
            tokio::spawn(echo(channel));
        }
    }
}

/// Opens a channel of its own, for a peer that wants to see one coming.
fn call_back(connection: &DurableConnection, label: &str) {
    match connection.create_channel(label, &ChannelConfig::default()) {
        Ok(channel) => drop(tokio::spawn(echo(channel))),
        Err(error) => eprintln!("cannot call back: {error}"),
    }
}

async fn echo(channel: DurableChannel) {
    while let Some(message) = channel.recv().await {
        if let Err(error) = channel.send(message).await {
            eprintln!("cannot echo: {error}");
            return;
        }
    }
}

/// Says of each message what kind it is, how long, and what its FNV-1a hash is: a link may take more than
/// it sends.
async fn digest(channel: DurableChannel) {
    while let Some(message) = channel.recv().await {
        let kind = match message.kind() {
            MessageKind::Text => "text",
            MessageKind::Binary => "bytes",
        };
        let hash = message
            .as_bytes()
            .iter()
            .fold(0x811c_9dc5_u32, |hash, byte| {
                (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
            });
        let digest = format!("{kind} {} {hash:x}", message.len());
        if let Err(error) = channel.send(digest.as_str()).await {
            eprintln!("cannot answer: {error}");
            return;
        }
    }
}
