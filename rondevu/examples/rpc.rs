//! Remote procedure calls over `into_io`: any protocol over a stream of bytes becomes durable.
//!
//! `cargo run --package rondevu --features server --example rpc`
//!
//! Here it is JSON, one value on each line. The cable is pulled in the middle of it; neither side's
//! code knows.

use std::time::Duration;

use rondevu::signaling::server::{Server, ServerConfig};
use rondevu::{Cable, ChannelConfig, ChannelIo, QueueLimits, Rondevu, ServiceOptions};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};

const SERVICE: &str = "com.example.calculator@1.0.0";

#[tokio::main]
pub(crate) async fn main() -> anyhow::Result<()> {
    let server = Server::bind("127.0.0.1:0", ServerConfig::default()).await?;
    let server = server.spawn();
    let client = |cable: &Cable| {
        let builder = Rondevu::builder().server(server.url()).cable(cable.clone());
        builder
            .bind("127.0.0.1:0".parse().expect("an address"))
            .build()
    };

    let alice = client(&Cable::new())?;
    let service = alice.expose_service("alice", SERVICE, ServiceOptions::default())?;
    service.start().await?;
    tokio::spawn({
        let service = service.clone();
        let serve = |channel: rondevu::DurableChannel| async move {
            if let Err(error) = serve(channel.into_io()).await {
                eprintln!("a caller is gone: {error}");
            }
        };
        async move { service.for_each_channel(serve).await }
    });

    let cable = Cable::new();
    let connection = client(&cable)?.connect("alice", SERVICE).await?;
    // A byte that waited too long must not be dropped: it would tear a hole.
    let config = ChannelConfig {
        queue: QueueLimits {
            age_max: None,
            ..QueueLimits::default()
        },
        ..ChannelConfig::default()
    };
    let channel = connection.create_channel("rpc", &config)?;
    let mut calls = BufStream::new(channel.into_io());
    for n in 1..=10u64 {
        if n == 5 {
            cable.cut();
            let cable = cable.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(700)).await;
                cable.heal();
            });
        }
        let sum = call(&mut calls, "add", json!([n, n * n])).await?;
        println!("{n} + {} = {sum}", n * n);
        anyhow::ensure!(sum == json!(n + n * n), "a wrong sum");
    }
    calls.shutdown().await?;
    service.stop().await;
    Ok(())
}

async fn call(io: &mut BufStream<ChannelIo>, method: &str, params: Value) -> anyhow::Result<Value> {
    let request = json!({ "method": method, "params": params });
    io.write_all(format!("{request}\n").as_bytes()).await?;
    io.flush().await?;
    let mut line = String::new();
    io.read_line(&mut line).await?;
    Ok(serde_json::from_str(&line)?)
}

async fn serve(io: ChannelIo) -> std::io::Result<()> {
    let mut io = BufStream::new(io);
    let mut line = String::new();
    while io.read_line(&mut line).await? > 0 {
        let request: Value = serde_json::from_str(&line)?;
        let numbers = request["params"].as_array().into_iter().flatten();
        let sum: u64 = numbers.filter_map(Value::as_u64).sum();
        io.write_all(format!("{sum}\n").as_bytes()).await?;
        io.flush().await?;
        line.clear();
    }
    Ok(())
}
