//! Measures a durable channel on loopback beside raw UDP in the same run: set-up, round trip,
//! throughput. The figures compare within one run; they say little across machines.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rondevu::signaling::MemorySignaling;
use rondevu::{ChannelConfig, DurableChannel, Rondevu, ServiceOptions};

const SERVICE: &str = "com.example.bench@1.0.0";
const ROUND_TRIPS: usize = 2000;
const SETUPS: usize = 9;
const BULK_BYTES: usize = 64 * 1024 * 1024;

#[tokio::main]
async fn main() -> Result<()> {
    let signaling = MemorySignaling::new();
    let service =
        client(&signaling)?.expose_service("alice", SERVICE, ServiceOptions::default())?;
    service.start().await?;
    tokio::spawn(async move { service.for_each(serve).await });

    let bob = client(&signaling)?;
    let mut setups = Vec::new();
    let mut channel = None;
    for _ in 0..SETUPS {
        let start = Instant::now();
        let connection = bob.connect("alice", SERVICE).await?;
        let echo = connection.create_channel("echo", &ChannelConfig::default())?;
        round_trip(&echo).await?;
        setups.push(start.elapsed());
        channel = Some(echo);
    }
    let echo = channel.context("at least one set-up")?;
    let mut durable = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let start = Instant::now();
        round_trip(&echo).await?;
        durable.push(start.elapsed());
    }
    let raw = raw_udp_round_trips()?;

    println!(
        "connect to first echo   p50 {:>8.1?}",
        percentile(&mut setups, 50)
    );
    let (mut durable, mut raw) = (durable, raw);
    for percent in [50, 99] {
        let (ours, udp) = (
            percentile(&mut durable, percent),
            percentile(&mut raw, percent),
        );
        let ratio = ours.as_secs_f64() / udp.as_secs_f64();
        println!(
            "round trip of 64 B      p{percent} {ours:>8.1?}   raw UDP {udp:>8.1?}   ratio {ratio:.1}"
        );
    }
    for size in [64, 1024, 16 * 1024, 64 * 1024] {
        let rate = throughput(&echo, size).await?;
        println!(
            "messages of {size:>6} B  {rate:>8.1} MB/s   {:>9.0} messages/s",
            rate * 1e6 / size as f64
        );
    }
    Ok(())
}

fn client(signaling: &MemorySignaling) -> Result<Rondevu> {
    let builder = Rondevu::builder().signaling(Arc::new(signaling.peer()));
    Ok(builder.bind(([127, 0, 0, 1], 0).into()).build()?)
}

/// Echoes on channels named `echo`, swallows on others and answers when they end.
async fn serve(connection: rondevu::DurableConnection) {
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

async fn round_trip(channel: &DurableChannel) -> Result<()> {
    channel.send(vec![7; 64]).await?;
    channel.recv().await.context("the channel ended")?;
    Ok(())
}

/// Megabytes of payload a second, until the peer has confirmed the last.
async fn throughput(echo: &DurableChannel, size: usize) -> Result<f64> {
    let connection = echo.connection();
    let channel = connection.create_channel("bulk", &ChannelConfig::default())?;
    let count = (BULK_BYTES / size).min(200_000);
    let start = Instant::now();
    for _ in 0..count {
        channel.send(vec![7; size]).await?;
    }
    channel.flushed().await;
    Ok((count * size) as f64 / 1e6 / start.elapsed().as_secs_f64())
}

fn raw_udp_round_trips() -> Result<Vec<Duration>> {
    let (here, there) = (
        UdpSocket::bind("127.0.0.1:0")?,
        UdpSocket::bind("127.0.0.1:0")?,
    );
    here.connect(there.local_addr()?)?;
    there.connect(here.local_addr()?)?;
    here.set_read_timeout(Some(Duration::from_secs(5)))?;
    let echo = std::thread::spawn(move || -> std::io::Result<()> {
        let mut buffer = [0; 64];
        for _ in 0..ROUND_TRIPS {
            let len = there.recv(&mut buffer)?;
            there.send(&buffer[..len])?;
        }
        Ok(())
    });
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    let mut buffer = [0; 64];
    for _ in 0..ROUND_TRIPS {
        let start = Instant::now();
        here.send(&[7; 64])?;
        here.recv(&mut buffer)?;
        times.push(start.elapsed());
    }
    drop(echo.join());
    Ok(times)
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100]
}
