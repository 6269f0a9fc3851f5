//! A service that runs for a long time while dialers come, go, crash and roam.
//!
//! `cargo xtask soak --minutes 30` runs it. It prints memory, tasks and open files as they change, and fails
//! if they are not flat, if a renewal touches a living connection, if a message is lost, or if a service
//! that was restarted under the same key does not get its dialer back.

mod dialers;
mod restart;
mod samples;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rondevu::signaling::server::{Server, ServerConfig};
use rondevu::{
    ConnectionConfig, DurableChannel, DurableService, DurableServiceEvent, Rondevu, RondevuBuilder,
    ServiceOptions,
};

use self::samples::Samples;

/// The service that the dialers of all kinds call.
const SERVICE: &str = "com.example.soak@1.0.0";

#[tokio::main]
async fn main() -> Result<()> {
    let minutes: f64 = match std::env::args().nth(1) {
        Some(text) => text
            .parse()
            .context("the argument is a number of minutes")?,
        None => 1.0,
    };
    let time = Duration::from_secs_f64(minutes * 60.0);
    let server = Server::bind("127.0.0.1:0", ServerConfig::default()).await?;
    let server = server.spawn();
    let counts = Arc::new(Counts::default());
    let world = World {
        url: server.url(),
        counts: Arc::clone(&counts),
    };
    let service = world.expose().await?;
    count_renewals(&service, Arc::clone(&counts));
    let mut steady = dialers::Steady::begin(&world).await?;
    let restarted = restart::Restarted::begin(&world).await?;

    let mut samples = Samples::new(service.clone());
    samples.note_idle();
    let until = Instant::now() + time;
    let crowd = dialers::crowd(&world, until);
    let restarts = restarted.run(until);
    let sampling = samples.run(until, &counts);
    let (crowd, restarts, ()) = tokio::join!(crowd, restarts, sampling);
    crowd.context("a dialer")?;
    let restarts = restarts.context("the service that is restarted")?;
    steady.check(time)?;
    println!("{counts}, {restarts} restarts");
    ensure!(restarts > 0 && counts.renewals.load(Ordering::Relaxed) > 0);

    // All dialers are gone; what crashed is forgotten when its time is over.
    let deadline = Instant::now() + RESUME_WINDOW * 3;
    while service.active_connections() > 1 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    ensure!(
        service.active_connections() == 1,
        "sessions of crashed dialers stay for ever"
    );
    // Links that were on their way, and the server's connections, end by themselves within seconds.
    tokio::time::sleep(SETTLING).await;
    samples.judge()?;
    drop(steady);
    service.stop().await;
    server.shutdown().await;
    Ok(())
}

/// Where everybody meets.
#[derive(Clone)]
struct World {
    url: String,
    counts: Arc<Counts>,
}

/// What has happened so far.
#[derive(Debug, Default)]
struct Counts {
    messages: AtomicU64,
    came: AtomicU64,
    crashed: AtomicU64,
    roamed: AtomicU64,
    outages: AtomicU64,
    renewals: AtomicU64,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        write!(
            f,
            "{} messages, {} dialers of which {} crashed, {} moves, {} outages, {} renewals",
            of(&self.messages),
            of(&self.came),
            of(&self.crashed),
            of(&self.roamed),
            of(&self.outages),
            of(&self.renewals)
        )
    }
}

impl World {
    fn client(&self) -> RondevuBuilder {
        let config = ConnectionConfig {
            resume_window: RESUME_WINDOW,
            ..ConnectionConfig::default()
        };
        let builder = Rondevu::builder().server(self.url.as_str());
        let builder = builder.bind("127.0.0.1:0".parse().expect("an address"));
        builder.connection(config)
    }

    async fn expose(&self) -> Result<DurableService> {
        let options = ServiceOptions {
            pool_size: 8,
            // Every three seconds instead of every 48.
            ttl_refresh_margin: 0.95,
            ..ServiceOptions::default()
        };
        let client = self.client().build()?;
        let service = client.expose_service("soak", SERVICE, options)?;
        service.start().await?;
        let serving = service.clone();
        tokio::spawn(async move { serving.for_each_channel(echo).await });
        Ok(service)
    }
}

async fn echo(channel: DurableChannel) {
    while let Some(message) = channel.recv().await {
        if channel.send(message).await.is_err() {
            return;
        }
    }
}

fn count_renewals(service: &DurableService, counts: Arc<Counts>) {
    let mut events = service.events();
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if let Ok(DurableServiceEvent::TtlRefreshed { .. }) = event {
                counts.renewals.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
}

/// How long a dialer that crashed is waited for.
const RESUME_WINDOW: Duration = Duration::from_secs(10);
const SETTLING: Duration = Duration::from_secs(25);
