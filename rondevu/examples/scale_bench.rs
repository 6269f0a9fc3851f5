//! Many live connections of one service on one UDP socket: what each costs in memory, and what a
//! message costs in time when there are few and when there are many. `cargo xtask bench scale` runs
//! it; arguments are the number of connections and the engine (`str0m` or `composed`).

use std::alloc::System;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::{StreamExt, TryStreamExt, stream};
use rondevu::signaling::{Limits, MemorySignaling, UnixMillis};
use rondevu::{ChannelConfig, DurableChannel, DurableConnection, Engine, Rondevu, ServiceOptions};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SERVICE: &str = "com.example.scale@1.0.0";
const CONNECTIONS: usize = 2000;
/// So many connect at the same time.
const AT_ONCE: usize = 16;
/// Each connection sends a message of 64 bytes and gets it back once in this time,
const INTERVAL: Duration = Duration::from_secs(2);
/// or less often, so that no more than one is sent in this time.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const ROUNDS: u32 = 5;

#[tokio::main]
async fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let connections = match words.next() {
        Some(number) => number.parse().context("the number of connections")?,
        None => CONNECTIONS,
    };
    let engine = match words.next().as_deref() {
        None | Some("str0m") => Engine::Str0m,
        #[cfg(feature = "engine-composed")]
        Some("composed") => Engine::Composed,
        Some(other) => bail!("there is no engine {other} here"),
    };
    // All come within the time to live of an offer, and an answered one counts until its end.
    let limits = Limits::default().offers_per_peer(2 * connections + 1000);
    let signaling = MemorySignaling::with(limits, UnixMillis::now);
    let client = || {
        let builder = Rondevu::builder().signaling(Arc::new(signaling.peer()));
        let builder = builder.bind(([127, 0, 0, 1], 0).into()).engine(engine);
        builder.build()
    };
    let options = ServiceOptions {
        pool_size: 2 * AT_ONCE,
        ..ServiceOptions::default()
    };
    let service = client()?.expose_service("alice", SERVICE, options)?;
    service.start().await?;
    tokio::spawn(async move { service.for_each(echo).await });
    let dialer = client()?;

    println!("{connections} connections over {engine:?}, one socket for the service");
    println!(
        "connections   heap per end   resident   CPU per message there and back   delayed p99"
    );
    let mut live: Vec<Live> = Vec::new();
    // The first ones pay for what all share.
    grow(&mut live, &dialer, connections / 20).await?;
    let (base, base_bytes) = (live.len(), held_bytes());
    for share in [20, 4, 2, 1] {
        grow(&mut live, &dialer, connections / share).await?;
        let (cpu, p99) = light_traffic(&live).await?;
        let heap = match live.len() - base {
            0 => 0,
            more => held_bytes().saturating_sub(base_bytes) / more / 2,
        };
        println!(
            "{:>11}   {:>9.1} kB   {:>5} MB   {cpu:>30.1?}   {p99:>11.1?}",
            live.len(),
            heap as f64 / 1e3,
            resident_megabytes()?,
        );
    }
    Ok(())
}

struct Live {
    channel: DurableChannel,
    connection: DurableConnection,
}

impl Live {
    /// Waits for a message, or says why none comes.
    async fn receive(&self) -> Result<()> {
        match self.channel.recv().await {
            Some(_) => Ok(()),
            None => Err(self.connection.closed().await.into()),
        }
    }
}

async fn echo(connection: DurableConnection) {
    while let Some(channel) = connection.incoming_channel().await {
        tokio::spawn(async move {
            while let Some(message) = channel.recv().await {
                if channel.send(message).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Connects until there are `wanted`.
async fn grow(live: &mut Vec<Live>, dialer: &Rondevu, wanted: usize) -> Result<()> {
    let connecting = stream::iter(live.len()..wanted).map(|_| connect(dialer));
    let more: Vec<Live> = connecting.buffer_unordered(AT_ONCE).try_collect().await?;
    live.extend(more);
    // What is left of connecting ends.
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(())
}

async fn connect(dialer: &Rondevu) -> Result<Live> {
    let connection = dialer.connect("alice", SERVICE).await?;
    let channel = connection.create_channel("light", &ChannelConfig::default())?;
    channel.send(vec![7; 64]).await?;
    let live = Live {
        channel,
        connection,
    };
    live.receive().await?;
    Ok(live)
}

/// Lets each connection carry a message there and back now and then. The CPU time of one of them,
/// and how long the slowest hundredth took.
async fn light_traffic(live: &[Live]) -> Result<(Duration, Duration)> {
    let mut times = Vec::new();
    let cpu = cpu_time()?;
    for _ in 0..ROUNDS {
        let start = tokio::time::Instant::now();
        let pause = PAUSE_MIN.max(INTERVAL / live.len().max(1) as u32);
        let round = stream::iter(live.iter().enumerate()).map(|(number, live)| async move {
            tokio::time::sleep_until(start + pause * number as u32).await;
            let sent = Instant::now();
            live.channel.send(vec![7; 64]).await?;
            live.receive().await?;
            anyhow::Ok(sent.elapsed())
        });
        let round: Vec<_> = round
            .buffer_unordered(live.len().max(1))
            .try_collect()
            .await?;
        times.extend(round);
    }
    times.sort_unstable();
    let p99 = times[(times.len() - 1) * 99 / 100];
    Ok(((cpu_time()? - cpu) / times.len() as u32, p99))
}

fn held_bytes() -> usize {
    let stats = ALLOCATOR.stats();
    stats
        .bytes_allocated
        .saturating_sub(stats.bytes_deallocated)
}

fn resident_megabytes() -> Result<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next());
    Ok(kilobytes.context("no VmRSS")?.parse::<usize>()? / 1024)
}

/// What all threads of this process have used.
fn cpu_time() -> Result<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let schedstat = fs::read_to_string(task?.path().join("schedstat"));
        // A thread may end meanwhile.
        let Ok(schedstat) = schedstat else { continue };
        let running = schedstat.split(' ').next().context("schedstat is empty")?;
        nanos += running.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}
