//! Futures that are dropped before they are ready: each of them once, as its documentation says.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something unexpected happens"
)]

mod support;

use futures_util::FutureExt;
use rondevu::signaling::SignalingError;
use rondevu::{
    ChannelConfig, Delivery, DurableChannel, DurableChannelState, DurableServiceEvent, Error,
    Message, QueueLimits, ServiceOptions,
};
use support::meeting::{Meeting, SERVICE, client};

/// Polls once, and drops the future.
fn given_up<T>(future: impl Future<Output = T>) {
    assert!(
        future.now_or_never().is_none(),
        "there was nothing to wait for"
    );
}

/// A channel and its other end.
async fn channels(meeting: &Meeting, config: &ChannelConfig) -> [DurableChannel; 2] {
    let (dialed, accepted) = meeting.connect().await;
    let channel = dialed.create_channel("chat", config).unwrap();
    channel.send("first").await.unwrap();
    let other = accepted.incoming_channel().await.unwrap();
    assert_eq!(other.recv().await, Some(Message::from("first")));
    assert!(channel.flushed().await);
    [channel, other]
}

#[tokio::test]
async fn connecting() {
    let meeting = Meeting::new().await;
    given_up(meeting.bob.connect("alice", SERVICE));
    let uuid = meeting.service.service_info().unwrap().uuid;
    given_up(meeting.bob.connect_by_uuid(uuid.clone()));
    let connection = meeting.bob.connect_by_uuid(uuid).await.unwrap();
    meeting.bob.connect("alice", SERVICE).await.unwrap();
    connection.close().await;
}

#[tokio::test]
async fn claiming_a_name() {
    let meeting = Meeting::new().await;
    // In memory there is nothing to wait for.
    let _ = meeting.bob.claim_username("bob").now_or_never();
    // Two claims within one millisecond have the same signature, and the second is refused.
    let claimed = loop {
        match meeting.bob.claim_username("bob").await {
            Ok(claimed) => break claimed,
            Err(Error::Signaling(SignalingError::SignatureRefused { .. })) => {
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(claimed.username.as_str(), "bob");
}

#[tokio::test]
async fn waiting_for_connections_and_channels() {
    let meeting = Meeting::new().await;
    given_up(meeting.service.accept());
    let dialed = meeting.bob.connect("alice", SERVICE).await.unwrap();
    let accepted = meeting.service.accept().await.unwrap();
    given_up(accepted.incoming_channel());
    let channel = dialed
        .create_channel("chat", &ChannelConfig::default())
        .unwrap();
    channel.send("hello").await.unwrap();
    let other = accepted.incoming_channel().await.unwrap();
    assert_eq!(other.recv().await, Some(Message::from("hello")));
}

#[tokio::test]
async fn receiving() {
    let meeting = Meeting::new().await;
    let [channel, other] = channels(&meeting, &ChannelConfig::default()).await;
    given_up(other.recv());
    given_up(other.recv_delivery());
    channel.send("second").await.unwrap();
    channel.send("third").await.unwrap();
    assert_eq!(other.recv().await, Some(Message::from("second")));
    let third = Delivery::Message(Message::from("third"));
    assert_eq!(other.recv_delivery().await, Some(third));
}

#[tokio::test]
async fn sending() {
    let meeting = Meeting::new().await;
    let one_at_a_time = ChannelConfig {
        queue: QueueLimits {
            messages_max: 1,
            ..QueueLimits::default()
        },
        ..ChannelConfig::default()
    };
    let [channel, other] = channels(&meeting, &one_at_a_time).await;
    channel.connection().pause();
    channel.send("accepted").await.unwrap();
    given_up(channel.send("waits for room"));
    given_up(channel.send_confirmed("waits for room too"));
    given_up(channel.flushed());
    channel.connection().resume();
    assert!(channel.flushed().await);
    // From here on only the outcome is lost.
    given_up(channel.send_confirmed("on its way"));
    channel.finish();
    assert_eq!(other.recv().await, Some(Message::from("accepted")));
    assert_eq!(other.recv().await, Some(Message::from("on its way")));
    assert_eq!(other.recv().await, None);
}

#[tokio::test]
async fn closing() {
    let meeting = Meeting::new().await;
    let [channel, other] = channels(&meeting, &ChannelConfig::default()).await;
    given_up(channel.close());
    assert_eq!(other.recv().await, None, "closing goes on");
    let mut states = channel.watch_state();
    let closed = |state: &DurableChannelState| *state == DurableChannelState::Closed;
    states.wait_for(closed).await.unwrap();

    let connection = channel.connection().clone();
    given_up(connection.closed());
    let [open, _other] = channels(&meeting, &ChannelConfig::default()).await;
    open.send("still to be confirmed").await.unwrap();
    given_up(open.connection().close());
    open.connection().closed().await;
}

#[tokio::test]
async fn starting_and_stopping_a_service() {
    let meeting = Meeting::new().await;
    let carol = client(&meeting.signaling).build().unwrap();
    let service = carol.expose_service("carol", SERVICE, ServiceOptions::default());
    let service = service.unwrap();
    given_up(service.start());
    assert_eq!(service.service_info(), None);
    let (info, again) = tokio::join!(service.start(), service.start());
    assert_eq!(info.unwrap(), again.unwrap(), "it is published once");

    let mut events = service.events();
    given_up(service.for_each(|_| async {}));
    given_up(service.for_each_channel(|_| async {}));
    let _dialed = meeting.bob.connect("carol", SERVICE).await.unwrap();
    service.accept().await.unwrap();
    given_up(service.stop());
    loop {
        let event = events.recv().await.expect("stopping goes on");
        if matches!(event, Ok(DurableServiceEvent::Closed)) {
            break;
        }
    }
    assert!(service.accept().await.is_none());
    service.stop().await;
}
