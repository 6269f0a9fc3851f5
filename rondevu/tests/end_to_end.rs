//! Two clients in one process, over real UDP on loopback, with in-memory signaling.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something unexpected happens"
)]

mod support;

use std::time::Duration;

use rondevu::signaling::MemorySignaling;
use rondevu::{ChannelConfig, DurableChannel, Message};
use support::meeting::{Meeting, SERVICE, client, pull};

#[tokio::test]
async fn messages_come_back_across_a_cut_once_and_in_order() {
    let meeting = Meeting::new().await;
    let service = meeting.service.clone();
    tokio::spawn(async move {
        let echo = |channel: DurableChannel| async move {
            while let Some(message) = channel.recv().await {
                if channel.send(message).await.is_err() {
                    break;
                }
            }
        };
        service.for_each_channel(echo).await;
    });
    let connection = meeting.bob.connect("alice", SERVICE).await.unwrap();
    let channel = connection
        .create_channel("numbers", &ChannelConfig::default())
        .unwrap();
    // Large enough that the link's buffer is full at the cut: what waits there must not stand in
    // the way of the next link's greeting.
    let numbered = |n: u32| n.to_be_bytes().repeat(500);
    let sender = channel.clone();
    tokio::spawn(async move {
        for n in 0..3000u32 {
            sender.send(numbered(n)).await.unwrap();
        }
    });
    for n in 0..3000u32 {
        if n == 1000 {
            pull(&meeting.cable, Duration::from_millis(700));
        }
        let message = channel.recv().await.unwrap();
        assert_eq!(message, Message::from(numbered(n)));
    }
    connection.close().await;
}

#[tokio::test]
async fn an_unknown_name_is_an_error_at_once() {
    let bob = client(&MemorySignaling::new()).build().unwrap();
    let error = bob.connect("nobody", SERVICE).await.unwrap_err();
    assert!(error.to_string().contains("nobody exposes"), "{error}");
}
