//! Dials a service that is a page without the session protocol, and checks what comes back.

use anyhow::{Context, Result, bail, ensure};
use rondevu::core::frame::CONTROL_LABEL;
use rondevu::{
    Cable, ChannelConfig, ChannelOptions, Durability, DurableChannel, DurableConnection, Message,
};
use serde_json::{Value, json};

use crate::peer::Peer;

/// Sends messages of all sizes and kinds over several channels and compares the echo.
pub(crate) async fn dial(peer: &Peer, username: &str, service: &str) -> Result<Value> {
    let client = peer.client(&Cable::new())?;
    let connection = client.connect(username, service).await?;
    ensure!(
        connection.durability() == Some(Durability::Plain),
        "a plain page was taken for something else"
    );
    // The page speaks first on the stream of its own offer, and opens one more channel.
    let mut incoming = Vec::new();
    for _ in 0..2 {
        let channel = connection.incoming_channel().await;
        incoming.push(channel.context("the page opened no channel")?);
    }
    let mut labels: Vec<String> = incoming.iter().map(DurableChannel::label).collect();
    labels.sort_unstable();
    ensure!(labels == ["from the page", CONTROL_LABEL], "{labels:?}");
    for channel in &incoming {
        let greeting = channel.recv().await;
        ensure!(greeting == Some(Message::from("hello from the page")));
        let [_, largest] = both_kinds(LARGEST_INCOMING);
        ensure!(
            channel.recv().await == Some(largest),
            "the largest message differs"
        );
    }
    let ordered = open(&connection, "ordered", true)?;
    let unordered = open(&connection, "unordered", false)?;
    let mut exchanged = 0;
    for channel in incoming.iter().chain([&ordered, &unordered]) {
        exchanged += exchange(channel).await?;
    }
    connection.close().await;
    Ok(json!({ "channels": labels.len() + 2, "messages": exchanged }))
}

fn open(connection: &DurableConnection, label: &str, ordered: bool) -> Result<DurableChannel> {
    let options = ChannelOptions {
        ordered,
        ..ChannelOptions::default()
    };
    let config = ChannelConfig {
        options,
        ..ChannelConfig::default()
    };
    Ok(connection.create_channel(label, &config)?)
}

/// Sends everything before it looks at what comes back; an unordered channel may mix it.
async fn exchange(channel: &DurableChannel) -> Result<usize> {
    let mut missing: Vec<Message> = SIZES.iter().flat_map(|size| both_kinds(*size)).collect();
    let count = missing.len();
    for message in missing.clone() {
        channel.send(message).await?;
    }
    while !missing.is_empty() {
        let echo = channel.recv().await.context("the page closed a channel")?;
        let Some(at) = missing.iter().position(|message| *message == echo) else {
            bail!("{} echoed something else: {echo:?}", channel.label());
        };
        missing.swap_remove(at);
    }
    Ok(count)
}

fn both_kinds(size: usize) -> [Message; 2] {
    let letters = (0..size).map(|at| b'a' + (at % 26) as u8);
    let text: String = letters.map(char::from).collect();
    let bytes: Vec<u8> = (0..size).map(|at| (at * 7 % 251) as u8).collect();
    [Message::from(text.as_str()), Message::from(bytes)]
}

/// The last is the most that the default transport sends, and that a browser takes.
const SIZES: [usize; 6] = [1, 1_000, 16_384, 65_536, 131_073, 262_144];
/// The most that the default transport takes.
const LARGEST_INCOMING: usize = 262_144;
