//! Handles of a channel: any number of them, and what they hear.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use rondevu::{ChannelConfig, ChannelEvent, ConnectionConfig, DurableChannel, DurableConnection};
use rondevu::{Message, Outcome, QueueLimits, SendError, ServiceOptions};
use support::meeting::Meeting;

#[tokio::test]
async fn a_handle_that_was_asked_for_by_label_is_one_of_the_others() {
    let meeting = Meeting::with(ServiceOptions::default(), ConnectionConfig::default()).await;
    let (dialed, accepted) = meeting.connect().await;
    let config = ChannelConfig::default();
    let first = dialed.create_channel("chat", &config).unwrap();
    first.send("one").await.unwrap();
    let other = accepted.incoming_channel().await.unwrap();
    assert_eq!(other.recv().await, Some(Message::from("one")));
    let second = dialed.channel("chat").unwrap();
    drop(second);
    drop(accepted.channel("chat").unwrap());
    first.send("two").await.unwrap();
    assert_eq!(other.recv().await, Some(Message::from("two")));
    other.send("three").await.unwrap();
    assert_eq!(first.recv().await, Some(Message::from("three")));
    // The last one ends the channel.
    let second = dialed.channel("chat").unwrap();
    drop(first);
    second.send("four").await.unwrap();
    drop(second);
    assert_eq!(other.recv().await, Some(Message::from("four")));
    assert_eq!(other.recv().await, None);
}

/// A channel whose queue has room for one message, which may wait for so long.
fn narrow_channel(connection: &DurableConnection, age_max: Option<Duration>) -> DurableChannel {
    let queue = QueueLimits {
        age_max,
        messages_max: 1,
        ..QueueLimits::default()
    };
    let config = ChannelConfig {
        queue,
        ..ChannelConfig::default()
    };
    connection.create_channel("chat", &config).unwrap()
}

#[tokio::test]
async fn whoever_waits_hears_of_what_was_dropped_while_there_is_no_link() {
    let meeting = Meeting::with(ServiceOptions::default(), ConnectionConfig::default()).await;
    let (dialed, _accepted) = meeting.connect().await;
    let channel = narrow_channel(&dialed, Some(Duration::from_millis(50)));
    dialed.pause();
    let waiting = channel.send_confirmed("expires");
    assert_eq!(waiting.await.unwrap(), Outcome::Undelivered);
    // There is room again for whoever waits for it.
    channel.send("fills the queue").await.unwrap();
    channel.send("waits until that has expired").await.unwrap();
}

#[tokio::test]
async fn whoever_waits_for_room_hears_that_the_channel_takes_no_more() {
    let meeting = Meeting::with(ServiceOptions::default(), ConnectionConfig::default()).await;
    let (dialed, _accepted) = meeting.connect().await;
    let channel = narrow_channel(&dialed, None);
    dialed.pause();
    channel.send("fills the queue").await.unwrap();
    let finish = async { channel.finish() };
    let (sent, ()) = tokio::join!(channel.send("finds no room"), finish);
    assert!(matches!(sent, Err(SendError::Closed(_))), "{sent:?}");
}

#[tokio::test]
async fn whoever_listens_hears_how_a_channel_without_handles_ended() {
    let meeting = Meeting::with(ServiceOptions::default(), ConnectionConfig::default()).await;
    let (dialed, accepted) = meeting.connect().await;
    let config = ChannelConfig::default();
    let channel = dialed.create_channel("chat", &config).unwrap();
    channel.send("one").await.unwrap();
    let other = accepted.incoming_channel().await.unwrap();
    assert_eq!(other.recv().await, Some(Message::from("one")));
    other.send("unread").await.unwrap();
    assert!(other.flushed().await);
    let mut events = channel.events();
    drop(channel);
    let told = loop {
        if let ChannelEvent::Closed { unread, .. } = events.recv().await.unwrap().unwrap() {
            break unread;
        }
    };
    assert_eq!(told, 1);
    assert!(dialed.channel("chat").is_none());
}
