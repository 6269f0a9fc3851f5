//! Clients with different engines understand each other, over real UDP on loopback.

#![cfg(feature = "engine-composed")]
#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something unexpected happens"
)]

mod support;

use rondevu::signaling::MemorySignaling;
use rondevu::{ChannelConfig, Engine, Message, Rondevu, ServiceOptions};
use support::meeting::{self, SERVICE, expose};

fn client(signaling: &MemorySignaling, engine: Engine) -> Rondevu {
    meeting::client(signaling).engine(engine).build().unwrap()
}

async fn messages_come_back(service: Engine, dialer: Engine) {
    let signaling = MemorySignaling::new();
    let service = expose(&client(&signaling, service), ServiceOptions::default()).await;
    let serving = tokio::spawn(async move {
        let connection = service.accept().await.unwrap();
        let channel = connection.incoming_channel().await.unwrap();
        while let Some(message) = channel.recv().await {
            channel.send(message).await.unwrap();
        }
    });
    let connection = client(&signaling, dialer)
        .connect("alice", SERVICE)
        .await
        .unwrap();
    let channel = connection
        .create_channel("echo", &ChannelConfig::default())
        .unwrap();
    // Up to three fragments each.
    let message = |n: usize| vec![n as u8; 1 + n * 97];
    let sender = channel.clone();
    let sending = tokio::spawn(async move {
        for n in 0..500 {
            sender.send(message(n)).await.unwrap();
        }
    });
    for n in 0..500 {
        assert_eq!(channel.recv().await, Some(Message::from(message(n))));
    }
    sending.await.unwrap();
    drop(channel);
    connection.close().await;
    serving.await.unwrap();
}

#[tokio::test]
async fn composed_to_composed() {
    messages_come_back(Engine::Composed, Engine::Composed).await;
}

#[tokio::test]
async fn a_composed_dialer_and_a_service_with_str0m() {
    messages_come_back(Engine::Str0m, Engine::Composed).await;
}

#[tokio::test]
async fn a_dialer_with_str0m_and_a_composed_service() {
    messages_come_back(Engine::Composed, Engine::Str0m).await;
}
