//! Echo: a service gives each message back. The shortest use of both sides.
//!
//! `cargo run --package rondevu --features server --example echo`
//!
//! All examples are one program that plays both sides beside a signaling server of its own, on
//! loopback. In earnest each side is a program, and leaves `bind` out.

use rondevu::signaling::server::{Server, ServerConfig};
use rondevu::{ChannelConfig, DurableChannel, Message, Rondevu, ServiceOptions};

#[tokio::main]
pub(crate) async fn main() -> anyhow::Result<()> {
    let config = ServerConfig::default();
    let server = Server::bind("127.0.0.1:0", config).await?.spawn();
    let client = || {
        let builder = Rondevu::builder().server(server.url());
        builder
            .bind("127.0.0.1:0".parse().expect("an address"))
            .build()
    };

    let service =
        client()?.expose_service("alice", "com.example.echo@1.0.0", ServiceOptions::default())?;
    service.start().await?;
    let serving = tokio::spawn({
        let service = service.clone();
        async move { service.for_each_channel(echo).await }
    });

    let connection = client()?.connect("alice", "com.example.echo@1.0.0").await?;
    let channel = connection.create_channel("chat", &ChannelConfig::default())?;
    for text in ["hello", "is anybody there?"] {
        channel.send(text).await?;
        let back = channel.recv().await;
        println!("{back:?}");
        anyhow::ensure!(back == Some(Message::from(text)), "another answer came");
    }
    connection.close().await;
    service.stop().await;
    serving.await?;
    server.shutdown().await;
    Ok(())
}

async fn echo(channel: DurableChannel) {
    while let Some(message) = channel.recv().await {
        // An error means that the dialer has closed the channel.
        if channel.send(message).await.is_err() {
            return;
        }
    }
}
