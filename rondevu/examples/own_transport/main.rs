//! A transport of one's own: two peers of one process that talk through memory instead of WebRTC.
//!
//! `cargo run --package rondevu --example own_transport`
//!
//! Whatever can carry messages can be a link: a serial line, a radio, a test double. See `memory.rs`
//! for the implementation of [`Transport`](rondevu::transport::Transport), and
//! [`conformance`](rondevu::transport::conformance) for what every implementation must do.

mod memory;

use std::sync::Arc;
use std::time::Instant;

use rondevu::signaling::MemorySignaling;
use rondevu::{ChannelConfig, DurableChannel, Message, Rondevu, ServiceOptions};

use self::memory::Memory;

const SERVICE: &str = "com.example.echo@1.0.0";

#[tokio::main]
pub(crate) async fn main() -> anyhow::Result<()> {
    let signaling = MemorySignaling::new();
    // Both peers need the same memory.
    let memory = Arc::new(Memory::default());
    let client = || {
        let builder = Rondevu::builder().signaling(Arc::new(signaling.peer()));
        let builder = builder.transport(memory.clone(), Instant::now());
        builder
            .bind("127.0.0.1:0".parse().expect("an address"))
            .build()
    };
    let service = client()?.expose_service("alice", SERVICE, ServiceOptions::default())?;
    service.start().await?;
    tokio::spawn({
        let service = service.clone();
        async move {
            let echo = |channel: DurableChannel| async move {
                while let Some(message) = channel.recv().await {
                    let _ = channel.send(message).await;
                }
            };
            service.for_each_channel(echo).await;
        }
    });
    let connection = client()?.connect("alice", SERVICE).await?;
    let channel = connection.create_channel("chat", &ChannelConfig::default())?;
    for n in 0..200u32 {
        if n == 100 {
            // All links are lost; the session goes on over the next one.
            memory.cut_all();
        }
        channel.send(n.to_be_bytes().to_vec()).await?;
        let back = channel.recv().await;
        anyhow::ensure!(
            back == Some(Message::from(n.to_be_bytes().to_vec())),
            "{n} is missing"
        );
    }
    println!(
        "200 messages came back, once and in order, over {} links",
        memory.links()
    );
    anyhow::ensure!(memory.links() >= 2, "the cut was not noticed");
    connection.close().await;
    service.stop().await;
    Ok(())
}
