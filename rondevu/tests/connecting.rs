//! What `connect` promises, and what both sides are told of a connection's beginning and end.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something unexpected happens"
)]

mod support;

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use rondevu::signaling::MemorySignaling;
use rondevu::{
    BackoffPolicy, ChannelConfig, ConnectionClosed, ConnectionConfig, ConnectionEvent,
    ConnectionFailure, DurableConnectionState, DurableServiceEvent, Error, Message, Rondevu,
    ServiceOptions, Target,
};
use support::meeting::{Meeting, SERVICE, client};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

fn hasty() -> ConnectionConfig {
    ConnectionConfig {
        backoff: BackoffPolicy {
            base: Duration::from_millis(20),
            max: Duration::from_millis(20),
            ..BackoffPolicy::default()
        },
        ..ConnectionConfig::default()
    }
}

#[tokio::test]
async fn a_connection_that_failed_has_stopped_for_good() {
    let signaling = MemorySignaling::new();
    let bob = client(&signaling).connection(hasty()).build().unwrap();
    let target = Target::parse("alice", SERVICE).unwrap();
    let connection = bob.connection(target).unwrap();
    let mut events = connection.events();
    assert_eq!(connection.state(), DurableConnectionState::Connecting);
    let refused = |error: &Error| matches!(error, Error::Failed(ConnectionFailure::Dial(_)));
    let error = connection.connect().await.unwrap_err();
    assert!(refused(&error), "{error}");
    assert_eq!(connection.state(), DurableConnectionState::Failed);

    // It does not come to life when the service does.
    let alice = client(&signaling).build().unwrap();
    let service = alice.expose_service("alice", SERVICE, ServiceOptions::default());
    let service = service.unwrap();
    service.start().await.unwrap();
    assert!(refused(&connection.connect().await.unwrap_err()));
    assert!(service.accept().now_or_never().is_none());
    let told: Vec<_> = std::iter::from_fn(|| events.try_recv()).collect();
    let reconnecting =
        |event: &Result<_, _>| matches!(event, Ok(ConnectionEvent::Reconnecting { .. }));
    assert!(!told.iter().any(reconnecting), "{told:?}");
    assert!(matches!(
        told.last(),
        Some(Ok(ConnectionEvent::Failed { .. }))
    ));
    assert_eq!(events.recv().await, None, "nothing follows the last event");
}

#[tokio::test]
async fn in_the_background_it_connects_when_the_service_comes() {
    let signaling = MemorySignaling::new();
    let bob = client(&signaling).connection(hasty()).build().unwrap();
    let connection = bob.connect_in_background("alice", SERVICE).unwrap();
    let mut events = connection.events();
    let channel = connection
        .create_channel("early", &ChannelConfig::default())
        .unwrap();
    channel.send("waits").await.unwrap();
    loop {
        let event = events.recv().await.unwrap().unwrap();
        if let ConnectionEvent::Reconnecting { attempt: 2, .. } = event {
            break;
        }
    }
    let alice = client(&signaling).build().unwrap();
    let service = alice.expose_service("alice", SERVICE, ServiceOptions::default());
    let service = service.unwrap();
    service.start().await.unwrap();
    let accepted = service.incoming().next().await.unwrap();
    let incoming = accepted.incoming_channel().await.unwrap();
    assert_eq!(incoming.recv().await, Some(Message::from("waits")));
    // The key is remembered although nobody called `connect`.
    connection.connect().await.unwrap();
    let another = bob.connect("alice", SERVICE).await.unwrap();
    assert_eq!(another.peer().public_key, Some(alice.public_key()));
}

#[tokio::test]
async fn calls_at_the_same_time_wait_for_one_and_the_same_attempt() {
    let meeting = Meeting::new().await;
    let target = Target::parse("alice", SERVICE).unwrap();
    let connection = meeting.bob.connection(target).unwrap();
    let (first, second) = tokio::join!(connection.connect(), connection.connect());
    first.and(second).unwrap();
    connection.connect().await.unwrap();
    meeting.service.accept().await.unwrap();
    assert!(meeting.service.accept().now_or_never().is_none());
    assert_eq!(meeting.service.active_connections(), 1);
}

/// A server that takes requests and answers none.
async fn mute_server() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

fn to_mute_server(url: &str, config: ConnectionConfig) -> Rondevu {
    let builder = Rondevu::builder().server(url).connection(config);
    builder
        .bind("127.0.0.1:0".parse().unwrap())
        .build()
        .unwrap()
}

#[tokio::test]
async fn when_nobody_waits_any_more_the_attempt_ends() {
    let (listener, url) = mute_server().await;
    let bob = to_mute_server(&url, ConnectionConfig::default());
    let target = Target::parse("alice", SERVICE).unwrap();
    let connection = bob.connection(target).unwrap();
    let [first, second] = [(); 2].map(|()| {
        let connection = connection.clone();
        tokio::spawn(async move { connection.connect().await })
    });
    let (mut request, _) = listener.accept().await.unwrap();
    let mut buffer = [0; 4096];
    assert_ne!(request.read(&mut buffer).await.unwrap(), 0);
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    // The second still waits for the answer to the same request.
    assert!(request.read(&mut buffer).now_or_never().is_none());
    second.abort();
    // The request is given up.
    while !matches!(request.read(&mut buffer).await, Ok(0) | Err(_)) {}
    assert_eq!(connection.state(), DurableConnectionState::Connecting);
    // A later call begins anew.
    let third = tokio::spawn(async move { connection.connect().await });
    listener.accept().await.unwrap();
    third.abort();
}

#[tokio::test]
async fn each_phase_has_its_time_out_and_the_error_names_it() {
    let limit = Duration::from_millis(100);
    let (_listener, url) = mute_server().await;
    let slow_signaling = ConnectionConfig {
        connection_timeout: limit * 3,
        signaling_timeout: limit,
        ..hasty()
    };
    let bob = to_mute_server(&url, slow_signaling);
    let error = bob.connect("alice", SERVICE).await.unwrap_err().to_string();
    assert!(error.contains("no connection within 300ms"), "{error}");
    assert!(
        error.contains("signaling took longer than 100ms"),
        "{error}"
    );

    let no_path = ConnectionConfig {
        connection_timeout: limit * 3,
        attempt_timeout: limit,
        ..hasty()
    };
    let meeting = Meeting::with(ServiceOptions::default(), no_path).await;
    meeting.cable.cut();
    let error = meeting.bob.connect("alice", SERVICE).await.unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("no path to the peer: none of its"),
        "{error}"
    );
}

#[tokio::test]
async fn a_close_is_told_on_both_sides_and_to_the_service() {
    let meeting = Meeting::new().await;
    let mut service_events = meeting.service.events();
    let (dialed, accepted) = meeting.connect().await;
    let mut events = [dialed.events(), accepted.events()];
    dialed.close().await;
    let reason = accepted.closed().await;
    assert!(
        matches!(reason, Error::Closed(ConnectionClosed::Remote(_))),
        "{reason}"
    );
    for (events, by_peer) in events.iter_mut().zip([false, true]) {
        let told: Vec<_> = events.collect().await;
        let Some(Ok(ConnectionEvent::Closed {
            reason,
            unconfirmed,
        })) = told.last()
        else {
            panic!("{told:?}");
        };
        assert_eq!(matches!(reason, ConnectionClosed::Remote(_)), by_peer);
        assert_eq!(unconfirmed.undelivered + unconfirmed.maybe_delivered, 0);
    }
    let connection = accepted.id();
    let told = service_events.recv().await.unwrap().unwrap();
    assert!(matches!(told, DurableServiceEvent::Connection { connection: c } if c == connection));
    let told = service_events.recv().await.unwrap().unwrap();
    assert!(
        matches!(told, DurableServiceEvent::Disconnection { connection: c } if c == connection)
    );
    assert_eq!(meeting.service.active_connections(), 0);
}

#[tokio::test]
async fn a_service_that_stops_closes_its_connections_and_says_so_last() {
    let meeting = Meeting::new().await;
    let (dialed, accepted) = meeting.connect().await;
    let incoming = meeting.service.incoming();
    let mut service_events = meeting.service.events();
    meeting.service.clone().stop().await;
    let reason = dialed.closed().await;
    assert!(
        matches!(reason, Error::Closed(ConnectionClosed::Remote(_))),
        "{reason}"
    );
    let reason = accepted.closed().await;
    assert!(
        matches!(reason, Error::Closed(ConnectionClosed::Local)),
        "{reason}"
    );
    let mut told = Vec::new();
    while let Some(event) = service_events.recv().await {
        told.push(event.unwrap());
    }
    assert!(
        matches!(
            &told[..],
            [
                DurableServiceEvent::Disconnection { .. },
                DurableServiceEvent::Closed
            ]
        ),
        "{told:?}"
    );
    assert_eq!(incoming.count().await, 0);
    assert!(matches!(meeting.service.start().await, Err(Error::Stopped)));
}

#[tokio::test]
async fn a_dialer_that_drops_its_last_handle_leaves() {
    let meeting = Meeting::new().await;
    let (dialed, accepted) = meeting.connect().await;
    let channel = dialed
        .create_channel("last words", &ChannelConfig::default())
        .unwrap();
    channel.send("bye").await.unwrap();
    drop((dialed, channel));
    let incoming = accepted.incoming_channel().await.unwrap();
    assert_eq!(incoming.recv().await, Some(Message::from("bye")));
    assert_eq!(incoming.recv().await, None);
    let reason = accepted.closed().await;
    assert!(
        matches!(reason, Error::Closed(ConnectionClosed::Remote(_))),
        "{reason}"
    );
}
