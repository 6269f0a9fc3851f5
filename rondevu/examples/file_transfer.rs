//! File transfer: progress on the side that sends, and a slow receiver that holds it back.
//!
//! `cargo run --package rondevu --features server --example file_transfer`
//!
//! What is not received yet waits in bounded queues: a megabyte on the receiver's side
//! (`window_bytes`), and on the sender's what `bytes_max` allows. Beyond that `send` waits.

use rondevu::signaling::server::{Server, ServerConfig};
use rondevu::{ChannelConfig, DurableChannel, QueueLimits, Rondevu, ServiceOptions};

const SERVICE: &str = "com.example.files@1.0.0";
const PIECE_BYTES: usize = 64 * 1024;
const FILE_BYTES: usize = 64 * PIECE_BYTES;

#[tokio::main]
pub(crate) async fn main() -> anyhow::Result<()> {
    let server = Server::bind("127.0.0.1:0", ServerConfig::default()).await?;
    let server = server.spawn();
    let client = || {
        let builder = Rondevu::builder().server(server.url());
        builder
            .bind("127.0.0.1:0".parse().expect("an address"))
            .build()
    };

    let service = client()?.expose_service("alice", SERVICE, ServiceOptions::default())?;
    service.start().await?;
    let receiving = tokio::spawn({
        let service = service.clone();
        async move {
            let connection = service.accept().await?;
            Some(receive(&connection.incoming_channel().await?).await)
        }
    });

    let connection = client()?.connect("alice", SERVICE).await?;
    // No piece may be dropped because it had to wait, however long an outage takes.
    let limits = QueueLimits {
        age_max: None,
        bytes_max: 4 * PIECE_BYTES,
        ..QueueLimits::default()
    };
    let config = ChannelConfig {
        queue: limits,
        ..ChannelConfig::default()
    };
    let channel = connection.create_channel("photo.jpg", &config)?;
    let file: Vec<u8> = (0..FILE_BYTES).map(|n| (n / 7) as u8).collect();
    send(&channel, &file).await?;
    let received = receiving.await?.unwrap_or_default();
    anyhow::ensure!(received == file, "the file was changed on its way");
    service.stop().await;
    Ok(())
}

async fn send(channel: &DurableChannel, file: &[u8]) -> anyhow::Result<()> {
    let mut confirmed_before = 0;
    let mut sent = 0;
    for piece in file.chunks(PIECE_BYTES) {
        channel.send(piece.to_vec()).await?;
        sent += piece.len();
        let confirmed = (sent - channel.buffered_amount()) * 100 / file.len();
        if confirmed >= confirmed_before + 25 {
            println!("{confirmed} % are there");
            confirmed_before = confirmed;
        }
    }
    channel.finish();
    // The receiver's process has all of it.
    anyhow::ensure!(channel.flushed().await, "the connection ended before");
    println!("100 % are there");
    Ok(())
}

async fn receive(channel: &DurableChannel) -> Vec<u8> {
    let mut file = Vec::new();
    while let Some(piece) = channel.recv().await {
        file.extend_from_slice(piece.as_bytes());
        // Whatever takes its time here, the sender waits for.
        tokio::task::yield_now().await;
    }
    println!("{}: {} bytes", channel.label(), file.len());
    file
}
