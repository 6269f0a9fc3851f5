//! Those who call: one that stays, and a crowd that does not.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rondevu::core::LivenessConfig;
use rondevu::{
    Cable, ChannelConfig, ConnectionConfig, ConnectionEvent, DurableChannel, DurableConnection,
    Events, Message,
};
use tokio::task::{JoinHandle, JoinSet};

use super::{SERVICE, World};

/// A connection that lives through everything, and a message on it every 100 ms.
pub(crate) struct Steady {
    connection: DurableConnection,
    events: Events<ConnectionEvent>,
    talk: JoinHandle<Result<u64>>,
}

impl Steady {
    pub(crate) async fn begin(world: &World) -> Result<Self> {
        // A busy machine may let a process wait for a second. That is no business of a renewal.
        let config = ConnectionConfig {
            liveness: LivenessConfig {
                silence_min: Duration::from_secs(20),
                ..LivenessConfig::default()
            },
            ..ConnectionConfig::default()
        };
        let client = world.client().connection(config).build()?;
        let connection = client.connect("soak", SERVICE).await?;
        let channel = connection.create_channel("steady", &ChannelConfig::default())?;
        let talk = tokio::spawn(async move {
            for n in 0u64.. {
                say(&channel, n).await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(0)
        });
        Ok(Self {
            events: connection.events(),
            connection,
            talk,
        })
    }

    /// Its link is the first one: no renewal has touched it.
    pub(crate) fn check(&mut self, time: Duration) -> Result<()> {
        let told = self.events.try_recv();
        ensure!(
            told.is_none(),
            "the steady connection was touched: {told:?}"
        );
        ensure!(
            !self.talk.is_finished(),
            "the steady connection has lost a message"
        );
        let state = self.connection.state();
        ensure!(
            state == rondevu::DurableConnectionState::Connected,
            "it is {state}"
        );
        println!("the steady connection lived for {} s", time.as_secs());
        Ok(())
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.talk.abort();
    }
}

/// Several dialers at a time, each with a fate of its own, until `until`.
pub(crate) async fn crowd(world: &World, until: Instant) -> Result<()> {
    let mut places = JoinSet::new();
    for place in 0..PLACES {
        let world = world.clone();
        places.spawn(async move {
            let mut rng = fastrand::Rng::with_seed(place);
            while Instant::now() < until {
                one(&world, &mut rng).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = places.join_next().await {
        ended??;
    }
    Ok(())
}

/// One dialer from its coming to its end.
async fn one(world: &World, rng: &mut fastrand::Rng) -> Result<()> {
    let counts = &world.counts;
    let cable = Cable::new();
    let client = world.client().cable(cable.clone()).build()?;
    let connection = match rng.u8(..8) {
        // Changes its mind in the middle of the attempt.
        0 => {
            let patience = Duration::from_millis(rng.u64(..30));
            match tokio::time::timeout(patience, client.connect("soak", SERVICE)).await {
                Ok(connected) => connected?,
                Err(_) => return Ok(()),
            }
        }
        _ => client.connect("soak", SERVICE).await?,
    };
    counts.came.fetch_add(1, Ordering::Relaxed);
    let fate = rng.u8(..8);
    let channel = connection.create_channel("crowd", &ChannelConfig::default())?;
    for n in 0..rng.u64(5..60) {
        match (fate, n) {
            (0, 3) => {
                counts.roamed.fetch_add(1, Ordering::Relaxed);
                connection.rebind();
            }
            (1, 3) => {
                counts.outages.fetch_add(1, Ordering::Relaxed);
                cable.cut();
                let cable = cable.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(800)).await;
                    cable.heal();
                });
            }
            // Nobody hears of it any more.
            (2, 4) => {
                counts.crashed.fetch_add(1, Ordering::Relaxed);
                cable.cut();
                return Ok(());
            }
            _ => {}
        }
        say(&channel, n).await?;
        counts.messages.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(rng.u64(..40))).await;
    }
    match rng.u8(..3) {
        0 => drop((channel, connection)),
        1 => connection.close().await,
        _ => channel.close().await,
    }
    Ok(())
}

/// Says a number of some size and hears it back.
pub(crate) async fn say(channel: &DurableChannel, n: u64) -> Result<()> {
    let message = Message::from(n.to_be_bytes().repeat(1 + n as usize % 500));
    channel.send(message.clone()).await?;
    match channel.recv().await {
        Some(back) if back == message => Ok(()),
        Some(_) => bail!("message {n} came back changed, or another came in its place"),
        None => bail!(
            "message {n} did not come back: {}",
            channel.connection().closed().await
        ),
    }
}

/// So many dialers at a time.
const PLACES: u64 = 8;
