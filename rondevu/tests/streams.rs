//! Channels as streams, sinks and byte streams, over real WebRTC on loopback.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something unexpected happens"
)]

mod support;

use std::io::ErrorKind;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rondevu::{
    ChannelConfig, ConnectionConfig, DurableConnection, HalfOpen, Message, QueueLimits,
    ServiceOptions,
};
use support::meeting::{Meeting, pull};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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

async fn meet() -> (DurableConnection, DurableConnection, Meeting) {
    let config = ConnectionConfig {
        incoming_channel: byte_stream(),
        close_timeout: Duration::from_millis(100),
        ..ConnectionConfig::default()
    };
    let meeting = Meeting::with(ServiceOptions::default(), config).await;
    let (dialed, accepted) = meeting.connect().await;
    (dialed, accepted, meeting)
}

#[tokio::test]
async fn a_sink_feeds_the_stream_on_the_other_side_until_it_is_closed() {
    let (dialed, accepted, _meeting) = meet().await;
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
    let (dialed, accepted, meeting) = meet().await;
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
    let (half, payload, cable) = (sent.len() / 2, sent.clone(), meeting.cable.clone());
    tokio::spawn(async move {
        writing.write_all(&payload[..half]).await.unwrap();
        pull(&cable, Duration::from_millis(700));
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
    let (dialed, accepted, _meeting) = meet().await;
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
