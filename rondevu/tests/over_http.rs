//! Clients and a signaling server in one process, over real HTTP and UDP on loopback.
#![cfg(feature = "server")]
#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something unexpected happens"
)]

mod support;

use std::time::{Duration, Instant};

use rondevu::signaling::server::{RunningServer, Server, ServerConfig};
use rondevu::signaling::{HttpSignaling, Signaling, SignalingError, UnixMillis};
use rondevu::{
    ChannelConfig, DurableConnection, DurableConnectionState, DurableService, DurableServiceEvent,
    Error, KeyPair, Message, Rondevu, ServiceOptions, Visibility,
};
use support::meeting::{SERVICE, expose};

async fn server() -> RunningServer {
    Server::bind("127.0.0.1:0", ServerConfig::default())
        .await
        .unwrap()
        .spawn()
}

fn client(server: &RunningServer) -> Rondevu {
    let builder = Rondevu::builder().server(server.url());
    builder
        .bind("127.0.0.1:0".parse().unwrap())
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_service_is_found_by_uuid_and_tells_what_happens_to_it() {
    let server = server().await;
    let service = client(&server)
        .expose_service("alice", SERVICE, ServiceOptions::default())
        .unwrap();
    let mut events = service.events();
    let info = service.start().await.unwrap();
    assert!(
        matches!(events.recv().await, Some(Ok(DurableServiceEvent::Published(p))) if p == info)
    );

    let connection = client(&server).connect_by_uuid(info.uuid).await.unwrap();
    let accepted = service.accept().await.unwrap();
    assert!(matches!(
        events.recv().await,
        Some(Ok(DurableServiceEvent::Connection { .. }))
    ));
    assert_eq!(service.active_connections(), 1);

    // The service speaks first, on a channel of its own.
    let news = accepted
        .create_channel("news", &ChannelConfig::default())
        .unwrap();
    news.send("headline").await.unwrap();
    let incoming = connection.incoming_channel().await.unwrap();
    assert_eq!(incoming.label(), "news");
    assert_eq!(incoming.recv().await, Some(Message::from("headline")));
    assert!(news.flushed().await);

    service.stop().await;
    assert!(matches!(connection.closed().await, Error::Closed(_)));
    assert_eq!(connection.state(), DurableConnectionState::Closed);
    let gone = client(&server).connect("alice", SERVICE).await.unwrap_err();
    assert!(gone.to_string().contains("nobody exposes"), "{gone}");
}

#[tokio::test]
async fn several_dialers_at_once_each_get_a_connection_of_their_own() {
    let server = server().await;
    let options = ServiceOptions {
        pool_size: 4,
        ..ServiceOptions::default()
    };
    let service = expose(&client(&server), options).await;
    let mut dialers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let client = client(&server);
        dialers.spawn(async move { client.connect("alice", SERVICE).await });
    }
    let mut connections = Vec::new();
    while let Some(connected) = dialers.join_next().await {
        connections.push(connected.unwrap().unwrap());
    }
    assert_eq!(service.active_connections(), 8);
    service.stop().await;
}

/// What the next `count` callers send first, in the order in which the service gets to know them.
async fn numbers_of_callers(service: &DurableService, count: usize) -> Vec<u8> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let accepted = service.accept().await.unwrap();
        let channel = accepted.incoming_channel().await.unwrap();
        let Some(Message::Binary(number)) = channel.recv().await else {
            panic!("a caller says its number");
        };
        numbers.push(number[0]);
    }
    numbers
}

fn times(calls: &[(DurableConnection, Duration)]) -> Vec<Duration> {
    let mut times: Vec<_> = calls.iter().map(|(_, took)| *took).collect();
    times.sort();
    times
}

/// Connects and sends `number`; tells how long that took.
async fn call_in(client: Rondevu, number: u8) -> (DurableConnection, Duration) {
    let begun = Instant::now();
    let connection = client.connect("alice", SERVICE).await.unwrap();
    let took = begun.elapsed();
    let config = ChannelConfig::default();
    let channel = connection.create_channel("number", &config).unwrap();
    channel.send(vec![number]).await.unwrap();
    (connection, took)
}

#[tokio::test]
async fn twenty_dialers_at_once_are_all_served_from_a_pool_of_four() {
    let server = server().await;
    let options = ServiceOptions {
        pool_size: 4,
        ..ServiceOptions::default()
    };
    let service = expose(&client(&server), options).await;
    let mut dialers = tokio::task::JoinSet::new();
    for number in 0..20 {
        dialers.spawn(call_in(client(&server), number));
    }
    let calls = dialers.join_all().await;
    let mut numbers = numbers_of_callers(&service, 20).await;
    println!("{numbers:?} connected after {:?}", times(&calls));
    numbers.sort_unstable();
    assert_eq!(numbers, (0..20).collect::<Vec<u8>>(), "each once");
    service.stop().await;
}

#[tokio::test]
async fn twenty_dialers_of_one_client_are_all_served_from_a_pool_of_one() {
    let server = server().await;
    let service = expose(&client(&server), ServiceOptions::default()).await;
    let client = client(&server);
    let mut dialers = tokio::task::JoinSet::new();
    for number in 0..20 {
        dialers.spawn(call_in(client.clone(), number));
    }
    let calls = dialers.join_all().await;
    let mut numbers = numbers_of_callers(&service, 20).await;
    println!("{numbers:?} connected after {:?}", times(&calls));
    numbers.sort_unstable();
    assert_eq!(numbers, (0..20).collect::<Vec<u8>>(), "each once");
    service.stop().await;
}

#[tokio::test]
async fn a_name_that_belongs_to_another_key_cannot_be_served() {
    let server = server().await;
    client(&server).claim_username("alice").await.unwrap();
    let thief = Rondevu::builder()
        .server(server.url())
        .bind("127.0.0.1:0".parse().unwrap())
        .key_pair(KeyPair::generate().unwrap())
        .build()
        .unwrap();
    let service = thief
        .expose_service("alice", SERVICE, ServiceOptions::default())
        .unwrap();
    let refused = service.start().await;
    assert!(
        matches!(
            refused,
            Err(Error::Signaling(SignalingError::UsernameTaken))
        ),
        "{refused:?}"
    );
    assert!(service.service_info().is_none());
}

#[tokio::test]
async fn dropping_the_last_handle_closes_the_connection_after_delivery() {
    let server = server().await;
    let service = expose(&client(&server), ServiceOptions::default()).await;
    let connection = client(&server).connect("alice", SERVICE).await.unwrap();
    let channel = connection
        .create_channel("last", &ChannelConfig::default())
        .unwrap();
    channel.send("words").await.unwrap();
    drop((channel, connection));
    let accepted = service.accept().await.unwrap();
    let channel = accepted.incoming_channel().await.unwrap();
    assert_eq!(channel.recv().await, Some(Message::from("words")));
    assert_eq!(channel.recv().await, None);
    assert!(matches!(accepted.closed().await, Error::Closed(_)));
}

#[tokio::test]
async fn a_service_is_published_as_its_options_say() {
    let server = server().await;
    let asked = Duration::from_secs(120);
    let options = ServiceOptions {
        ttl: Some(asked),
        visibility: Visibility::Public,
        metadata: Some(serde_json::json!({ "room": "green" })),
        ..ServiceOptions::default()
    };
    let service = client(&server).expose_service("alice", SERVICE, options);
    let service = service.unwrap();
    let info = service.start().await.unwrap();
    assert_eq!(service.service_info(), Some(info.clone()));
    let left = info.expires_at.saturating_since(UnixMillis::now());
    assert!(left > asked / 2 && left <= asked, "{left:?}");
    let others = HttpSignaling::new(&server.url()).unwrap();
    let listed = others.list_services(service.username()).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].uuid, info.uuid);
    assert_eq!(listed[0].service.as_ref(), Some(service.name()));
    assert_eq!(listed[0].metadata.as_ref().unwrap()["room"], "green");
    service.stop().await;
}
