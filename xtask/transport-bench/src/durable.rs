//! A durable channel between two clients: all of our layers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use rondevu::{ChannelConfig, DurableChannel, DurableConnection, Engine, Rondevu, ServiceOptions};
use rondevu_core::{OfferId, ServiceUuid, SessionDescription};
use rondevu_signaling::{
    MemoryPeer, MemorySignaling, ServiceOffer, Signaling, SignalingError, SignalingLayer,
};

use crate::far;
use crate::stack::{ECHO, Pair, SWALLOW, Stack};
use crate::wire::{Relay, Wire, host_address};

/// A service, and a client for whoever connects to it.
pub(crate) struct Durable {
    signaling: MemorySignaling,
    engine: Engine,
    dialer: Rondevu,
}

struct Connected {
    echo: DurableChannel,
    bulk: DurableChannel,
    _connection: DurableConnection,
    /// Has the relay, if there is one.
    _client: Rondevu,
}

impl Durable {
    pub(crate) async fn new(engine: Engine) -> Result<Self> {
        let signaling = MemorySignaling::new();
        far::run(expose(engine, signaling.peer())).await?;
        Ok(Self {
            dialer: client(engine, signaling.peer())?,
            signaling,
            engine,
        })
    }
}

/// Starts the service in the runtime of the caller.
async fn expose(engine: Engine, signaling: MemoryPeer) -> Result<()> {
    let options = ServiceOptions {
        pool_size: 8,
        ..ServiceOptions::default()
    };
    let service = client(engine, signaling)?;
    let service = service.expose_service("alice", SERVICE, options)?;
    service.start().await?;
    tokio::spawn(async move { service.for_each(serve).await });
    Ok(())
}

fn client(engine: Engine, signaling: impl Signaling + 'static) -> Result<Rondevu> {
    let builder = Rondevu::builder().signaling(Arc::new(signaling));
    let builder = builder.bind(([127, 0, 0, 1], 0).into()).engine(engine);
    Ok(builder.build()?)
}

/// Echoes on channels named `echo` and swallows on others.
async fn serve(connection: DurableConnection) {
    while let Some(channel) = connection.incoming_channel().await {
        tokio::spawn(async move {
            let echoes = channel.label() == "echo";
            while let Some(message) = channel.recv().await {
                if echoes && channel.send(message).await.is_err() {
                    return;
                }
            }
        });
    }
}

#[async_trait]
impl Stack for Durable {
    async fn connect(&self, wire: Wire) -> Result<Box<dyn Pair>> {
        let client = match wire {
            Wire::Loopback => self.dialer.clone(),
            Wire::Delayed(one_way) => {
                let delayed = Delayed {
                    inner: self.signaling.peer(),
                    one_way,
                    relay: Mutex::default(),
                };
                client(self.engine, delayed)?
            }
        };
        let connection = client.connect("alice", SERVICE).await?;
        let echo = connection.create_channel("echo", &ChannelConfig::default())?;
        let bulk = connection.create_channel("bulk", &ChannelConfig::default())?;
        Ok(Box::new(Connected {
            echo,
            bulk,
            _connection: connection,
            _client: client,
        }))
    }
}

#[async_trait]
impl Pair for Connected {
    async fn round_trip(&mut self) -> Result<()> {
        self.echo.send(vec![ECHO; 64]).await?;
        self.echo.recv().await.context("the channel ended")?;
        Ok(())
    }

    async fn bulk(&mut self, size: usize, count: usize) -> Result<()> {
        let message = bytes::Bytes::from(vec![SWALLOW; size]);
        for _ in 0..count {
            self.bulk.send(message.clone()).await?;
        }
        self.bulk.flushed().await;
        Ok(())
    }
}

/// Signaling of a dialer that makes both sides meet over a relay.
struct Delayed {
    inner: MemoryPeer,
    one_way: Duration,
    relay: Mutex<Option<Relay>>,
}

#[async_trait]
impl SignalingLayer for Delayed {
    fn inner(&self) -> &dyn Signaling {
        &self.inner
    }

    async fn take_offer(&self, uuid: &ServiceUuid) -> Result<ServiceOffer, SignalingError> {
        let mut offer = self.inner.take_offer(uuid).await?;
        let service = host_address(&offer.sdp.sdp).expect("the service has one address");
        let relay = Relay::before(service, self.one_way).await;
        let relay = relay.expect("loopback has sockets");
        offer.sdp.sdp = relay.offer(&offer.sdp.sdp);
        *self.relay.lock().expect("no panic under this lock") = Some(relay);
        Ok(offer)
    }

    async fn answer_offer(
        &self,
        offer: &OfferId,
        answer: &SessionDescription,
        secret: Option<&str>,
    ) -> Result<(), SignalingError> {
        let mut answer = answer.clone();
        if let Some(relay) = &*self.relay.lock().expect("no panic under this lock") {
            answer.sdp = relay
                .answer(&answer.sdp)
                .expect("the dialer has an address");
        }
        self.inner.answer_offer(offer, &answer, secret).await
    }
}

const SERVICE: &str = "com.example.bench@1.0.0";
