//! A service that is restarted again and again under the same key, and the dialer that comes back to it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rondevu::{
    BackoffPolicy, Cable, ChannelConfig, ConnectionConfig, ConnectionEvent, DurableChannel,
    DurableService, KeyPair, ServiceOptions,
};

use super::{World, dialers, echo};

const SERVICE: &str = "com.example.restarted@1.0.0";

/// Both sides of it.
pub(crate) struct Restarted {
    world: World,
    key: KeyPair,
    service: DurableService,
    /// That of the present life of the service.
    cable: Cable,
    channel: DurableChannel,
}

impl Restarted {
    pub(crate) async fn begin(world: &World) -> Result<Self> {
        let key = KeyPair::generate()?;
        let (service, cable) = expose(world, &key).await?;
        let config = ConnectionConfig {
            backoff: BackoffPolicy {
                attempts_max: None,
                max: Duration::from_secs(2),
                ..BackoffPolicy::default()
            },
            ..ConnectionConfig::default()
        };
        // The key of the first time is remembered: only the same key is taken later.
        let client = world.client().connection(config).build()?;
        let connection = client.connect("restarted", SERVICE).await?;
        let channel = connection.create_channel("faithful", &ChannelConfig::default())?;
        Ok(Self {
            world: world.clone(),
            key,
            service,
            cable,
            channel,
        })
    }

    /// How many restarts there were until `until`.
    pub(crate) async fn run(mut self, until: Instant) -> Result<u32> {
        let mut restarts = 0;
        let mut events = self.channel.connection().events();
        while Instant::now() < until {
            for n in 0..20 {
                dialers::say(&self.channel, n).await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            // A message that was answered and not confirmed would be sent to the next life too.
            ensure!(self.channel.flushed().await, "the channel has closed");
            // As suddenly as a process may end: the dialer hears nothing.
            self.cable.cut();
            (self.service, self.cable) = expose(&self.world, &self.key).await?;
            let back = tokio::time::timeout(COMEBACK, async {
                loop {
                    let event = events.recv().await.context("the connection has ended")?;
                    if let Ok(ConnectionEvent::SessionReset { .. }) = event {
                        return anyhow::Ok(());
                    }
                }
            });
            back.await.context("the dialer did not come back")??;
            ensure!(
                self.channel.connection().peer().is_proved(),
                "without its key"
            );
            restarts += 1;
        }
        self.channel.connection().close().await;
        self.service.stop().await;
        Ok(restarts)
    }
}

/// One life of the service; it is over when its cable is cut.
async fn expose(world: &World, key: &KeyPair) -> Result<(DurableService, Cable)> {
    let cable = Cable::new();
    let client = world.client().cable(cable.clone()).key_pair(key.clone());
    let client = client.build()?;
    let service = client.expose_service("restarted", SERVICE, ServiceOptions::default())?;
    service.start().await?;
    let mut incoming = service.incoming();
    tokio::spawn(async move {
        use futures_util::StreamExt as _;
        while let Some(connection) = incoming.next().await {
            tokio::spawn(async move {
                while let Some(channel) = connection.incoming_channel().await {
                    tokio::spawn(echo(channel));
                }
            });
        }
    });
    Ok((service, cable))
}

/// Silence is noticed after six seconds, then come an attempt and a greeting.
const COMEBACK: Duration = Duration::from_secs(60);
