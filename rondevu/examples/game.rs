//! A game's positions: on an unordered channel without repetition, where only the newest counts.
//!
//! `cargo run --package rondevu --features server --example game`
//!
//! What the players may not miss, such as the end of the game, goes over a second, reliable channel
//! of the same connection.

use std::time::Duration;

use rondevu::signaling::server::{Server, ServerConfig};
use rondevu::{
    ChannelConfig, ChannelOptions, DurableChannel, Reliability, Rondevu, ServiceOptions,
};

const SERVICE: &str = "com.example.race@1.0.0";
const GOAL: u32 = 30;

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
    let watching = tokio::spawn({
        let service = service.clone();
        async move {
            let connection = service.accept().await?;
            let mut channels = [(); 2].map(|()| None);
            for channel in &mut channels {
                *channel = connection.incoming_channel().await;
            }
            // They may overtake each other.
            channels.sort_by_key(|channel| channel.as_ref().map(DurableChannel::label));
            let [Some(positions), Some(results)] = channels else {
                return None;
            };
            Some(watch(&positions, &results).await)
        }
    });

    let connection = client()?.connect("alice", SERVICE).await?;
    let lossy = ChannelConfig {
        options: ChannelOptions {
            ordered: false,
            reliability: Reliability::MaxRetransmits(0),
        },
        ..ChannelConfig::default()
    };
    let positions = connection.create_channel("positions", &lossy)?;
    let results = connection.create_channel("results", &ChannelConfig::default())?;
    let mut frame = tokio::time::interval(Duration::from_millis(5));
    for place in 0..=GOAL {
        frame.tick().await;
        // Full only while the connection is away: an old position is worth nothing then.
        let _ = positions.try_send(place.to_be_bytes().to_vec());
    }
    results.send("finished").await?;
    let (seen, result) = watching.await?.unwrap_or_default();
    println!(
        "the other player saw {seen} of {} positions, then: {result}",
        GOAL + 1
    );
    anyhow::ensure!(seen > 0 && result == "finished");
    service.stop().await;
    Ok(())
}

/// How many positions came that were newer than all before, and how it ended.
async fn watch(positions: &DurableChannel, results: &DurableChannel) -> (u32, String) {
    let (mut seen, mut newest) = (0, None);
    loop {
        tokio::select! {
            biased;
            Some(position) = positions.recv() => {
                let Ok(bytes) = position.as_bytes().try_into() else { continue };
                let place = Some(u32::from_be_bytes(bytes));
                // Positions may overtake each other.
                if place > newest {
                    newest = place;
                    seen += 1;
                }
            }
            result = results.recv() => {
                let text = result.as_ref().and_then(|message| message.as_text());
                return (seen, text.unwrap_or("aborted").to_owned());
            }
        }
    }
}
