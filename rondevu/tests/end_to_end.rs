//! Two clients in one process, over real UDP on loopback, with in-memory signaling.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something unexpected happens"
)]

use std::sync::Arc;
use std::time::Duration;

use rondevu::signaling::MemorySignaling;
use rondevu::{Cable, ChannelConfig, Message, Rondevu, ServiceOptions};

const SERVICE: &str = "com.example.echo@1.0.0";

fn client(signaling: &MemorySignaling, cable: &Cable) -> Rondevu {
    Rondevu::builder()
        .signaling(Arc::new(signaling.peer()))
        .bind("127.0.0.1:0".parse().unwrap())
        .cable(cable.clone())
        .build()
        .unwrap()
}

async fn echo(service: rondevu::DurableService) {
    service
        .for_each(|connection| async move {
            while let Some(channel) = connection.incoming_channel().await {
                while let Some(message) = channel.recv().await {
                    if channel.send(message).await.is_err() {
                        break;
                    }
                }
            }
        })
        .await;
}

#[tokio::test]
async fn messages_come_back_across_a_cut_once_and_in_order() {
    let signaling = MemorySignaling::new();
    let cable = Cable::new();
    let alice = client(&signaling, &Cable::new());
    let service = alice
        .expose_service("alice", SERVICE, ServiceOptions::default())
        .unwrap();
    service.start().await.unwrap();
    tokio::spawn(echo(service));

    let bob = client(&signaling, &cable);
    let connection = bob.connect("alice", SERVICE).await.unwrap();
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
            cable.cut();
            let cable = cable.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(700)).await;
                cable.heal();
            });
        }
        let message = channel.recv().await.unwrap();
        assert_eq!(message, Message::from(numbered(n)));
    }
    connection.close().await;
}

#[tokio::test]
async fn an_unknown_name_is_an_error_at_once() {
    let signaling = MemorySignaling::new();
    let bob = client(&signaling, &Cable::new());
    let error = bob.connect("nobody", SERVICE).await.unwrap_err();
    assert!(error.to_string().contains("nobody exposes"), "{error}");
}
