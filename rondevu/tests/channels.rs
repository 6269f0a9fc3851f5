//! Kinds of channels and what becomes of single messages, over real WebRTC on loopback.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something unexpected happens"
)]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use rondevu::signaling::MemorySignaling;
use rondevu::{
    ChannelConfig, ChannelEvent, ChannelOptions, ConnectionConfig, Delivery, Durability,
    DurableChannelState, DurableConnection, DurableConnectionState, Message, Outcome, Overflow,
    QueueLimits, Reliability, ServiceOptions, SessionLimits,
};
use support::meeting::{Meeting, SERVICE, client, expose, pull};

async fn meeting(options: ServiceOptions) -> Meeting {
    let config = ConnectionConfig {
        close_timeout: Duration::from_millis(100),
        ..ConnectionConfig::default()
    };
    Meeting::with(options, config).await
}

fn kind(ordered: bool, reliability: Reliability) -> ChannelConfig {
    ChannelConfig {
        options: ChannelOptions {
            ordered,
            reliability,
        },
        ..ChannelConfig::default()
    }
}

#[tokio::test]
async fn an_unordered_channel_delivers_each_message_once_across_a_cut() {
    let meeting = meeting(ServiceOptions::default()).await;
    let (dialed, accepted) = meeting.connect().await;
    assert_eq!(dialed.durability(), Some(Durability::Session));
    let config = kind(false, Reliability::Reliable);
    let sending = dialed.create_channel("any order", &config).unwrap();
    let numbered = |n: u32| n.to_be_bytes().repeat(6000);
    let (sender, cable) = (sending.clone(), meeting.cable.clone());
    tokio::spawn(async move {
        for n in 0..600u32 {
            if n == 200 {
                pull(&cable, Duration::from_millis(700));
            }
            sender.send(numbered(n)).await.unwrap();
        }
        sender.finish();
    });
    let receiving = accepted.incoming_channel().await.unwrap();
    let mut got = BTreeSet::new();
    while let Some(message) = receiving.recv().await {
        let bytes = message.into_bytes();
        let n = u32::from_be_bytes(bytes[..4].try_into().unwrap());
        assert_eq!(bytes, numbered(n));
        assert!(got.insert(n), "{n} came twice");
    }
    assert_eq!(got.len(), 600);
}

#[tokio::test]
async fn a_lossy_channel_carries_messages_and_closes_on_both_sides() {
    let meeting = meeting(ServiceOptions::default()).await;
    let (dialed, accepted) = meeting.connect().await;
    let config = kind(false, Reliability::MaxRetransmits(0));
    let sending = dialed.create_channel("positions", &config).unwrap();
    sending.send("x=1").await.unwrap();
    let receiving = accepted.incoming_channel().await.unwrap();
    assert_eq!(receiving.recv().await, Some(Message::from("x=1")));
    assert_eq!(
        sending.send_confirmed("x=2").await.unwrap(),
        Outcome::Unknown
    );
    sending.close().await;
    receiving.close().await;
}

#[tokio::test]
async fn a_confirmed_message_is_in_the_peers_memory() {
    let meeting = meeting(ServiceOptions::default()).await;
    let (dialed, accepted) = meeting.connect().await;
    let channel = dialed
        .create_channel("confirmed", &ChannelConfig::default())
        .unwrap();
    assert_eq!(
        channel.send_confirmed("one").await.unwrap(),
        Outcome::Delivered
    );
    let receiving = accepted.incoming_channel().await.unwrap();
    assert_eq!(receiving.recv().await, Some(Message::from("one")));

    dialed.pause();
    let waiting = tokio::spawn(async move { channel.send_confirmed("two").await });
    tokio::task::yield_now().await;
    dialed.close().await;
    assert_eq!(waiting.await.unwrap().unwrap(), Outcome::Undelivered);
}

#[tokio::test]
async fn a_paused_connection_waits_and_resumes_with_what_was_sent_meanwhile() {
    let meeting = meeting(ServiceOptions::default()).await;
    let (dialed, accepted) = meeting.connect().await;
    let channel = dialed
        .create_channel("pause", &ChannelConfig::default())
        .unwrap();
    dialed.pause();
    let mut states = accepted.watch_state();
    states
        .wait_for(|state| *state == DurableConnectionState::Disconnected)
        .await
        .unwrap();
    channel.send("meanwhile").await.unwrap();
    dialed.resume();
    let receiving = accepted.incoming_channel().await.unwrap();
    assert_eq!(receiving.recv().await, Some(Message::from("meanwhile")));
}

/// Pauses the dialer's end and waits until the service's end knows.
async fn leave(dialed: &DurableConnection, accepted: &DurableConnection) {
    dialed.pause();
    accepted
        .watch_state()
        .wait_for(|state| *state == DurableConnectionState::Disconnected)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_session_that_waits_for_longest_makes_room_for_others() {
    let options = ServiceOptions {
        sessions: SessionLimits {
            detached_max: 1,
            ..SessionLimits::default()
        },
        ..ServiceOptions::default()
    };
    let meeting = meeting(options).await;
    let (first, first_accepted) = meeting.connect().await;
    let (second, second_accepted) = meeting.connect().await;
    leave(&first, &first_accepted).await;
    second.pause();
    let reason = first_accepted.closed().await.to_string();
    assert!(reason.contains("make room"), "{reason}");
    assert_eq!(
        second_accepted.state(),
        DurableConnectionState::Disconnected
    );
    assert_eq!(meeting.service.active_connections(), 1);
}

#[tokio::test]
async fn a_full_service_prefers_a_dialer_who_is_there() {
    let options = ServiceOptions {
        sessions: SessionLimits {
            sessions_max: 1,
            ..SessionLimits::default()
        },
        ..ServiceOptions::default()
    };
    let meeting = meeting(options).await;
    let (first, accepted) = meeting.connect().await;
    leave(&first, &accepted).await;
    let (_second, second_accepted) = meeting.connect().await;
    let reason = accepted.closed().await.to_string();
    assert!(reason.contains("make room"), "{reason}");
    assert_eq!(second_accepted.state(), DurableConnectionState::Connected);
}

#[tokio::test]
async fn more_channels_than_a_link_has_streams_come_and_go_on_one_link() {
    let meeting = meeting(ServiceOptions::default()).await;
    let (dialed, accepted) = meeting.connect().await;
    tokio::spawn(async move {
        while let Some(channel) = accepted.incoming_channel().await {
            while let Some(message) = channel.recv().await {
                channel.send(message).await.unwrap();
            }
        }
    });
    let mut events = dialed.events();
    for n in 0..400 {
        let channel = dialed
            .create_channel("again", &ChannelConfig::default())
            .unwrap();
        let text = format!("message {n}");
        channel.send(text.as_str()).await.unwrap();
        assert_eq!(channel.recv().await, Some(Message::from(text)));
        channel.close().await;
    }
    while let Some(Ok(event)) = events.try_recv() {
        let lost = matches!(event, rondevu::ConnectionEvent::Disconnected);
        assert!(!lost, "the link was replaced");
    }
}

#[tokio::test]
async fn a_message_larger_than_the_peer_takes_is_reported_on_both_sides() {
    let signaling = MemorySignaling::new();
    let client = |message_bytes_max| {
        let config = ConnectionConfig {
            message_bytes_max,
            ..ConnectionConfig::default()
        };
        client(&signaling).connection(config).build().unwrap()
    };
    let service = expose(&client(100), ServiceOptions::default()).await;
    let bob = client(1 << 20);
    let target = rondevu::Target::parse("alice", SERVICE).unwrap();
    let connection = bob.connection(target).unwrap();
    let channel = connection
        .create_channel("large", &ChannelConfig::default())
        .unwrap();
    let mut events = channel.events();
    channel.send(vec![0; 5000]).await.unwrap();
    channel.send("small").await.unwrap();
    connection.connect().await.unwrap();
    let accepted = service.accept().await.unwrap();
    let receiving = accepted.incoming_channel().await.unwrap();
    assert_eq!(receiving.recv().await, Some(Message::from("small")));
    let refused = ChannelEvent::Refused { dropped: 1 };
    while events.recv().await.unwrap() != Ok(refused.clone()) {}
}

#[tokio::test]
async fn what_happens_to_a_channel_is_told_until_its_end() {
    let meeting = meeting(ServiceOptions::default()).await;
    let (dialed, accepted) = meeting.connect().await;
    dialed.pause();
    let config = ChannelConfig {
        queue: QueueLimits {
            messages_max: 2,
            overflow: Overflow::DropOldest,
            ..QueueLimits::default()
        },
        ..ChannelConfig::default()
    };
    let channel = dialed.create_channel("news", &config).unwrap();
    assert_eq!(channel.state(), DurableChannelState::Connecting);
    let (mut events, mut states) = (channel.events(), channel.watch_state());
    for text in ["one", "two", "three", "four", "five"] {
        channel.send(text).await.unwrap();
    }
    dialed.resume();
    let other = accepted.incoming_channel().await.unwrap();
    let lost = Delivery::Lost { messages: 3 };
    assert_eq!(other.recv_delivery().await, Some(lost));
    assert_eq!(other.recv().await, Some(Message::from("four")));
    assert_eq!(other.recv().await, Some(Message::from("five")));
    let is_open = |state: &DurableChannelState| *state == DurableChannelState::Open;
    states.wait_for(is_open).await.unwrap();
    assert!(channel.flushed().await);
    channel.close().await;
    let mut told = Vec::new();
    while let Some(event) = events.recv().await {
        told.push(event.unwrap());
    }
    let dropped: u64 = told
        .iter()
        .map(|event| match event {
            ChannelEvent::QueueOverflow { dropped } => *dropped,
            _ => 0,
        })
        .sum();
    assert_eq!(dropped, 3, "{told:?}");
    assert!(told.contains(&ChannelEvent::Opened), "{told:?}");
    assert!(told.contains(&ChannelEvent::BufferedAmountLow), "{told:?}");
    assert!(
        matches!(told.last(), Some(ChannelEvent::Closed { unread: 0, .. })),
        "{told:?}"
    );
}

#[tokio::test]
async fn who_leaves_at_the_end_of_a_channel_has_confirmed_it() {
    let meeting = meeting(ServiceOptions::default()).await;
    for _ in 0..20 {
        let (dialed, accepted) = meeting.connect().await;
        let sending = dialed
            .create_channel("news", &ChannelConfig::default())
            .unwrap();
        let reading = tokio::spawn(async move {
            let channel = accepted.incoming_channel().await.unwrap();
            while channel.recv().await.is_some() {}
            // All handles go with the last message, which closes the connection.
        });
        for _ in 0..3 {
            sending.send("news").await.unwrap();
        }
        sending.finish();
        assert!(sending.flushed().await, "not all is known to be there");
        reading.await.unwrap();
        dialed.close().await;
    }
}
