//! Channels as streams, sinks and byte streams, over real WebRTC on loopback.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something unexpected happens"
)]

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rondevu::signaling::MemorySignaling;
use rondevu::{
    Cable, ChannelConfig, DurableConnection, DurableService, HalfOpen, Message, QueueLimits,
    Rondevu, ServiceOptions,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SERVICE: &str = "com.example.streams@1.0.0";

fn byte_stream() -> ChannelConfig {
    ChannelConfig {
        half_open: HalfOpen::Keep,
        queue: QueueLimits {
            age_max: None,
            ..QueueLimits::default()
        },
        ..ChannelConfig::default()
    }
}

async fn meet(cable: &Cable) -> (DurableConnection, DurableConnection, DurableService) {
    let signaling = MemorySignaling::new();
    let client = |cable: &Cable| {
        Rondevu::builder()
            .signaling(Arc::new(signaling.peer()))
            .bind("127.0.0.1:0".parse().unwrap())
            .connection(rondevu::ConnectionConfig {
                incoming_channel: byte_stream(),
                close_timeout: Duration::from_millis(100),
                ..rondevu::ConnectionConfig::default()
            })
            .cable(cable.clone())
            .build()
            .unwrap()
    };
    let service = client(&Cable::new())
        .expose_service("alice", SERVICE, ServiceOptions::default())
        .unwrap();
    service.start().await.unwrap();
    let dialed = client(cable).connect("alice", SERVICE).await.unwrap();
    let accepted = service.accept().await.unwrap();
    (dialed, accepted, service)
}

#[tokio::test]
async fn a_sink_feeds_the_stream_on_the_other_side_until_it_is_closed() {
    let (dialed, accepted, _service) = meet(&Cable::new()).await;
    let config = ChannelConfig {
        queue: QueueLimits {
            messages_max: 3,
            ..QueueLimits::default()
        },
        ..ChannelConfig::default()
    };
    let channel = dialed.create_channel("numbers", &config).unwrap();
    let numbers = (0..100).map(|n: u32| Ok(Message::from(n.to_string())));
    let sending = tokio::spawn(async move {
        let mut sink = channel.sink();
        let mut numbers = futures_util::stream::iter(numbers);
        sink.send_all(&mut numbers).await.unwrap();
        sink.close().await.unwrap();
    });
    let incoming = accepted.incoming().next().await.unwrap();
    let got: Vec<String> = incoming
        .messages()
        .map(|message| message.as_text().unwrap().to_owned())
        .collect()
        .await;
    assert_eq!(got, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
    incoming.finish();
    sending.await.unwrap();
    dialed.close().await;
    assert!(accepted.incoming().next().await.is_none());
}

#[tokio::test]
async fn bytes_pass_both_ways_across_a_cut_with_half_close() {
    let cable = Cable::new();
    let (dialed, accepted, _service) = meet(&cable).await;
    let sent: Vec<u8> = (0..2_000_000u32).map(|n| (n * 7 / 3) as u8).collect();
    let echo = tokio::spawn(async move {
        let channel = accepted.incoming_channel().await.unwrap();
        let mut io = channel.into_io();
        // Reads to the end before it answers: the other direction stays open after a shutdown.
        let mut all = Vec::new();
        io.read_to_end(&mut all).await.unwrap();
        io.write_all(&all).await.unwrap();
        io.shutdown().await.unwrap();
        all.len()
    });
    let io = dialed
        .create_channel("bytes", &byte_stream())
        .unwrap()
        .into_io();
    let (mut reading, mut writing) = tokio::io::split(io);
    let (half, payload) = (sent.len() / 2, sent.clone());
    tokio::spawn(async move {
        writing.write_all(&payload[..half]).await.unwrap();
        cable.cut();
        let healing = cable.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(700)).await;
            healing.heal();
        });
        writing.write_all(&payload[half..]).await.unwrap();
        writing.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    reading.read_to_end(&mut back).await.unwrap();
    assert_eq!(echo.await.unwrap(), sent.len());
    assert!(back == sent, "what came back differs");
}

#[tokio::test]
async fn a_connection_that_is_closed_in_the_middle_is_an_error_to_the_reader() {
    let (dialed, accepted, _service) = meet(&Cable::new()).await;
    let mut io = dialed
        .create_channel("bytes", &byte_stream())
        .unwrap()
        .into_io();
    io.write_all(b"hello").await.unwrap();
    let channel = accepted.incoming_channel().await.unwrap();
    let mut other = channel.into_io();
    let mut hello = [0; 5];
    other.read_exact(&mut hello).await.unwrap();
    accepted.close().await;
    let error = io.read(&mut hello).await;
    match error {
        // The service said that it was done before it left.
        Ok(0) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionAborted),
        Ok(n) => panic!("{n} bytes from nowhere"),
    }
    dialed.closed().await;
    let error = io.write(b"too late").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}
