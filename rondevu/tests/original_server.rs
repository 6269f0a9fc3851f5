//! A service and dialers of ours with the original signaling server as it is, faults included.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something unexpected happens"
)]

use rondevu::signaling::UnixMillis;
use rondevu::signaling::original::{OriginalServer, Restart};
use rondevu::{
    ChannelConfig, ConnectionEvent, DurableConnection, DurableService, DurableServiceEvent, Events,
    Message, Rondevu, ServiceInfo, ServiceOptions,
};
use tokio::task::JoinSet;

const SERVICE: &str = "com.example.test@1.0.0";

fn client(server: &OriginalServer) -> Rondevu {
    Rondevu::builder()
        .server(server.url())
        .bind("127.0.0.1:0".parse().unwrap())
        .build()
        .unwrap()
}

async fn connect(server: &OriginalServer) -> DurableConnection {
    let client = client(server);
    client.connect("alice", SERVICE).await.unwrap()
}

async fn expose(server: &OriginalServer, options: ServiceOptions) -> DurableService {
    let client = client(server);
    let service = client.expose_service("alice", SERVICE, options).unwrap();
    service.start().await.unwrap();
    service
}

/// Renewed after 3 s instead of 48 s.
fn renewed_often() -> ServiceOptions {
    ServiceOptions {
        ttl_refresh_margin: 0.95,
        ..ServiceOptions::default()
    }
}

/// Waits for an event; fails at one that says that something is wrong.
async fn event(
    events: &mut Events<DurableServiceEvent>,
    is_it: impl Fn(&DurableServiceEvent) -> bool,
) {
    loop {
        let event = events.recv().await.unwrap().unwrap();
        if is_it(&event) {
            return;
        }
        let is_wrong = matches!(event, DurableServiceEvent::Error { .. });
        assert!(!is_wrong, "{event:?}");
    }
}

async fn published_again(events: &mut Events<DurableServiceEvent>) {
    event(events, |event| {
        matches!(event, DurableServiceEvent::Published(_))
    })
    .await;
}

async fn renewed(events: &mut Events<DurableServiceEvent>) {
    event(events, |event| {
        matches!(event, DurableServiceEvent::TtlRefreshed { .. })
    })
    .await;
}

/// Waits until the service has asked for answers so many times more.
async fn polled(server: &OriginalServer, times: usize) {
    let before = server.requests("GET /offers/answers");
    while server.requests("GET /offers/answers") < before + times {
        tokio::task::yield_now().await;
    }
}

/// A message each way.
async fn talk(dialed: &DurableConnection, accepted: &DurableConnection, label: &str) {
    let config = ChannelConfig::default();
    let near = dialed.create_channel(label, &config).unwrap();
    near.send("question").await.unwrap();
    let far = accepted.incoming_channel().await.unwrap();
    assert_eq!(far.recv().await, Some(Message::from("question")));
    far.send("answer").await.unwrap();
    assert_eq!(near.recv().await, Some(Message::from("answer")));
}

#[tokio::test]
async fn dialers_that_are_given_the_same_offer_all_connect_and_each_once() {
    let server = OriginalServer::start().await.unwrap();
    let options = ServiceOptions {
        pool_size: 4,
        ..ServiceOptions::default()
    };
    let service = expose(&server, options).await;
    polled(&server, 3).await;
    assert_eq!(server.requests("POST /offers"), 1, "one request for all");
    let mut dialers = JoinSet::new();
    for _ in 0..12 {
        let client = client(&server);
        dialers.spawn(async move { client.connect("alice", SERVICE).await.unwrap() });
    }
    let connections = dialers.join_all().await;
    let refused = server.requests("POST /offers/*/answer") - connections.len();
    println!("{refused} answers came too late");
    assert!(refused > 0, "nobody was given a spent offer");
    // The server repeats all answers each time; none makes another link.
    polled(&server, 3).await;
    assert_eq!(service.active_connections(), 12);
    let deleted = server.requests("DELETE /offers/*");
    service.stop().await;
    assert_eq!(server.requests("DELETE /offers/*"), deleted + 4);
    assert_eq!(server.requests("DELETE /services/*"), 1);
}

#[tokio::test]
async fn a_dialer_that_knows_the_name_comes_back_under_the_new_uuid() {
    let server = OriginalServer::start().await.unwrap();
    let service = expose(&server, renewed_often()).await;
    let before = service.service_info().unwrap();
    assert_eq!(
        ttl(&before),
        60,
        "what the server gives to whoever asks for nothing"
    );
    let dialer = client(&server);
    let dialed = dialer.connect("alice", SERVICE).await.unwrap();
    let accepted = service.accept().await.unwrap();
    talk(&dialed, &accepted, "before").await;

    let mut events = service.events();
    renewed(&mut events).await;
    let after = service.service_info().unwrap();
    assert_ne!(after.uuid, before.uuid);
    let mut link_events = dialed.events();
    dialed.rebind();
    loop {
        let event = link_events.recv().await.unwrap().unwrap();
        if matches!(event, ConnectionEvent::Connected { .. }) {
            break;
        }
    }
    talk(&dialed, &accepted, "after").await;
    let late = dialer.connect_by_uuid(before.uuid).await.unwrap_err();
    assert!(late.to_string().contains("published again"), "{late}");
    let now = service.service_info().unwrap();
    dialer.connect_by_uuid(now.uuid).await.unwrap();
    service.stop().await;
}

fn ttl(info: &ServiceInfo) -> u64 {
    let left = info.expires_at.saturating_since(UnixMillis::now());
    left.as_millis().div_ceil(1000) as u64
}

#[tokio::test]
async fn a_service_survives_its_renewals_with_offers_that_are_new_each_time() {
    let server = OriginalServer::start().await.unwrap();
    let options = ServiceOptions {
        pool_size: 3,
        ..renewed_often()
    };
    let service = expose(&server, options).await;
    let mut events = service.events();
    let mut connections = Vec::new();
    for _ in 0..2 {
        renewed(&mut events).await;
        connections.push(connect(&server).await);
    }
    assert_eq!(
        server.requests("POST /services"),
        4,
        "one finds the name unclaimed"
    );
    assert_eq!(service.active_connections(), 2);
    service.stop().await;
}

#[tokio::test]
async fn credentials_that_a_restart_made_worthless_are_replaced() {
    let server = OriginalServer::start().await.unwrap();
    let service = expose(&server, ServiceOptions::default()).await;
    let dialed = connect(&server).await;
    let accepted = service.accept().await.unwrap();
    let mut link_events = dialed.events();
    for restart in [Restart::ForgetCredentials, Restart::ForgetEverything] {
        let mut events = service.events();
        server.restart(restart);
        published_again(&mut events).await;
        connect(&server).await;
    }
    assert!(link_events.try_recv().is_none(), "the link was touched");
    talk(&dialed, &accepted, "still there").await;
    service.stop().await;
}

#[tokio::test]
async fn an_outage_is_told_once_and_so_is_its_end() {
    let server = OriginalServer::start().await.unwrap();
    let service = expose(&server, ServiceOptions::default()).await;
    let mut events = service.events();
    server.go_down();
    let lost = events.recv().await.unwrap().unwrap();
    let DurableServiceEvent::Error {
        is_final: false, ..
    } = lost
    else {
        panic!("{lost:?}");
    };
    server.come_up();
    let back = events.recv().await.unwrap().unwrap();
    assert!(matches!(back, DurableServiceEvent::Recovered), "{back:?}");
    let _newcomer = connect(&server).await;
    assert!(events.try_recv().is_some(), "a dialer has come");
    assert!(events.try_recv().is_none(), "and nothing else happened");
    service.stop().await;
}

#[tokio::test]
async fn two_services_of_one_client_are_not_mixed_up() {
    let server = OriginalServer::start().await.unwrap();
    let client = client(&server);
    let names = ["com.example.one@1.0.0", "com.example.two@1.0.0"];
    let mut services = Vec::new();
    for name in names {
        let service = client.expose_service("alice", name, ServiceOptions::default());
        let service = service.unwrap();
        service.start().await.unwrap();
        services.push(service);
    }
    for (name, service) in names.iter().zip(&services) {
        let mut connections = Vec::new();
        for _ in 0..3 {
            let dialed = client.connect("alice", name).await.unwrap();
            let accepted = service.accept().await.unwrap();
            talk(&dialed, &accepted, "hello").await;
            connections.push((dialed, accepted));
        }
        assert_eq!(service.active_connections(), 3);
    }
    for service in &services {
        service.stop().await;
    }
}
