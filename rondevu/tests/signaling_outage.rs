//! Services whose signaling server goes away and comes back, over real HTTP and UDP on loopback.
#![cfg(feature = "server")]
#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something unexpected happens"
)]

use std::net::SocketAddr;

use rondevu::signaling::server::{RunningServer, Server, ServerConfig};
use rondevu::{
    ChannelConfig, DurableChannel, DurableConnection, DurableService, DurableServiceEvent, Message,
    Rondevu, ServiceOptions,
};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;

const SERVICE: &str = "com.example.test@1.0.0";

fn client(url: &str) -> Rondevu {
    let builder = Rondevu::builder().server(url);
    builder
        .bind("127.0.0.1:0".parse().unwrap())
        .build()
        .unwrap()
}

/// A server at `address`, which an earlier one may be about to leave.
async fn server(address: SocketAddr, config: &ServerConfig) -> RunningServer {
    loop {
        match Server::bind(address, config.clone()).await {
            Ok(server) => return server.spawn(),
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

/// A service and a dialer with a channel between them.
struct Pair {
    service: DurableService,
    dialed: (DurableConnection, DurableChannel),
    accepted: (DurableConnection, DurableChannel),
}

impl Pair {
    async fn new(url: &str) -> Self {
        let service = client(url).expose_service("alice", SERVICE, ServiceOptions::default());
        let service = service.unwrap();
        service.start().await.unwrap();
        let dialed = client(url).connect("alice", SERVICE).await.unwrap();
        let channel = dialed.create_channel("chat", &ChannelConfig::default());
        let channel = channel.unwrap();
        channel.send("hello").await.unwrap();
        let accepted = service.accept().await.unwrap();
        let incoming = accepted.incoming_channel().await.unwrap();
        assert_eq!(incoming.recv().await, Some(Message::from("hello")));
        Self {
            service,
            dialed: (dialed, channel),
            accepted: (accepted, incoming),
        }
    }

    async fn talk(&self, text: &'static str) {
        let (near, far) = (&self.dialed.1, &self.accepted.1);
        for (from, to) in [(near, far), (far, near)] {
            from.send(text).await.unwrap();
            assert_eq!(to.recv().await, Some(Message::from(text)));
        }
    }
}

/// The events up to the first that `is_last` says yes to.
async fn events_until(
    events: &mut broadcast::Receiver<DurableServiceEvent>,
    is_last: impl Fn(&DurableServiceEvent) -> bool,
) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        let event = events.recv().await.unwrap();
        let name = format!("{event:?}");
        let end = name.find([' ', '(', '{']).unwrap_or(name.len());
        names.push(name[..end].to_owned());
        if is_last(&event) {
            return names;
        }
    }
}

/// The server is killed and comes back without its memory; nothing happens to the link meanwhile.
async fn outage(config: ServerConfig) {
    let first = server("127.0.0.1:0".parse().unwrap(), &config).await;
    let (address, url) = (first.local_addr(), first.url());
    let pair = Pair::new(&url).await;
    let mut events = pair.service.events();
    let mut link_events = [pair.dialed.0.events(), pair.accepted.0.events()];

    drop(first);
    let lost = events_until(&mut events, |_| true).await;
    assert_eq!(lost, ["Error"]);
    pair.talk("while it is away").await;

    let second = server(address, &config).await;
    let mut seen = Vec::new();
    while !["Published", "Recovered"]
        .iter()
        .all(|name| seen.iter().any(|seen| seen == name))
    {
        seen.extend(events_until(&mut events, |_| true).await);
    }
    seen.sort();
    assert_eq!(seen, ["Published", "Recovered"], "each is told once");
    pair.talk("after it came back").await;

    // The service is found again by somebody who was never there.
    let newcomer = client(&url).connect("alice", SERVICE).await.unwrap();
    assert_eq!(pair.service.active_connections(), 2);
    newcomer.close().await;
    pair.talk("and at last").await;
    for events in &mut link_events {
        let event = events.try_recv();
        assert_eq!(event, Err(TryRecvError::Empty), "the links were touched");
    }
    pair.service.stop().await;
    second.shutdown().await;
}

#[tokio::test]
async fn a_server_that_comes_back_without_memory_gets_the_service_anew_and_links_live_on() {
    outage(ServerConfig::default()).await;
}

#[tokio::test]
async fn a_server_that_knows_the_peer_but_not_its_service_gets_it_anew_too() {
    outage(ServerConfig::default().key([7; 32])).await;
}
