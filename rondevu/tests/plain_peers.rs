//! Peers that know nothing of the session protocol, over real WebRTC on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test ends where something unexpected happens, and drives a link by the clock"
)]

mod support;

use rondevu::core::frame::CONTROL_LABEL;
use rondevu::core::{MessageKind, StreamOptions};
use rondevu::signaling::{MemorySignaling, OfferAnswer, Publication, Signaling, UnixMillis};
use rondevu::{
    ChannelConfig, Durability, DurableConnectionState, KeyPair, Message, Rondevu, ServiceName,
    ServiceOptions, Username,
};
use support::meeting::{self, SERVICE, expose};
use support::{RawEnd, RawPeer};

fn client(signaling: &MemorySignaling) -> Rondevu {
    meeting::client(signaling).build().unwrap()
}

/// Answers an offer of the service, as a page would.
async fn dial(signaling: &impl Signaling) -> RawPeer {
    let end = RawEnd::new().await;
    let name = Username::parse("alice").unwrap();
    let service = ServiceName::parse(SERVICE).unwrap();
    let uuid = signaling.find_service(&name, &service).await.unwrap();
    let offer = signaling.take_offer(&uuid).await.unwrap();
    let factory: &dyn rondevu::transport::TransportFactory = &end.factory;
    let answered = factory
        .create_answer(&offer.sdp, &[end.address().into()], end.now())
        .unwrap();
    signaling
        .answer_offer(&offer.offer_id, &answered.description, None)
        .await
        .unwrap();
    end.with(answered.transport)
}

#[tokio::test]
async fn a_page_that_dials_our_service_gets_its_messages_as_they_are() {
    let signaling = MemorySignaling::new();
    let service = expose(&client(&signaling), ServiceOptions::default()).await;
    let mut page = dial(&signaling.peer()).await;
    page.opened(CONTROL_LABEL).await;
    let one = page.open("one").await;
    let two = page.open("two").await;

    let connection = service.accept().await.unwrap();
    assert_eq!(connection.durability(), Some(Durability::Plain));
    assert!(!connection.peer().is_proved());
    let serving = tokio::spawn(async move {
        for _ in 0..2 {
            let channel = connection.incoming_channel().await.unwrap();
            tokio::spawn(async move {
                while let Some(message) = channel.recv().await {
                    channel.send(message).await.unwrap();
                }
            });
        }
        connection.closed().await
    });
    page.write(one, MessageKind::Text, b"text on one").await;
    assert_eq!(
        page.message().await,
        (one, MessageKind::Text, "text on one".into())
    );
    let large = vec![7; 60_000];
    page.write(two, MessageKind::Binary, &large).await;
    assert_eq!(
        page.message().await,
        (two, MessageKind::Binary, large.into())
    );
    page.close().await;
    assert!(serving.await.unwrap().to_string().contains("cannot resume"));
}

#[tokio::test]
async fn a_page_that_only_uses_the_offered_stream_is_served_on_it() {
    let signaling = MemorySignaling::new();
    let service = expose(&client(&signaling), ServiceOptions::default()).await;
    let mut page = dial(&signaling.peer()).await;
    let offered = page.opened(CONTROL_LABEL).await;
    page.write(offered, MessageKind::Text, b"hi").await;
    let connection = service.accept().await.unwrap();
    let channel = connection.incoming_channel().await.unwrap();
    assert_eq!(channel.label(), CONTROL_LABEL);
    assert_eq!(channel.recv().await, Some(Message::from("hi")));
    channel.send("hello").await.unwrap();
    assert_eq!(
        page.message().await,
        (offered, MessageKind::Text, "hello".into())
    );
}

/// Publishes a service with one offer, as a page would, and waits for its answer.
async fn serve(signaling: &impl Signaling, key: &KeyPair) -> RawPeer {
    let end = RawEnd::new().await;
    let name = Username::parse("page").unwrap();
    let service = ServiceName::parse(SERVICE).unwrap();
    let claim = key.sign_claim(&name, UnixMillis::now());
    signaling.claim_username(&claim).await.unwrap();
    let first = StreamOptions::reliable(CONTROL_LABEL, "");
    let factory: &dyn rondevu::transport::TransportFactory = &end.factory;
    let mut offered = factory
        .create_offer(&[end.address().into()], first, end.now())
        .unwrap();
    let signed = key.sign_publish(&name, &service, UnixMillis::now());
    let publication = Publication::new(name, service, offered.description, signed);
    let published = signaling.publish_service(&publication).await.unwrap();
    let mut seen = None;
    let answer = loop {
        let wait = std::time::Duration::from_secs(20);
        let answers = signaling.answers(seen, wait).await.unwrap();
        seen = seen.max(answers.iter().map(|answer| answer.answered_at).max());
        let ours = |answer: &&OfferAnswer| answer.offer_id == published.offer_id;
        if let Some(answer) = answers.iter().find(ours) {
            break answer.answer.clone();
        }
    };
    offered.transport.accept_answer(&answer, end.now()).unwrap();
    end.with(offered.transport)
}

#[tokio::test]
async fn what_waits_for_a_page_is_sent_when_it_serves_again() {
    let signaling = MemorySignaling::new();
    let (pages, key) = (signaling.peer(), KeyPair::generate().unwrap());
    let bob = client(&signaling);
    let dialing = tokio::spawn(async move {
        // The page is there in a moment.
        loop {
            if let Ok(connection) = bob.connect("page", SERVICE).await {
                return connection;
            }
            tokio::task::yield_now().await;
        }
    });
    let mut page = serve(&pages, &key).await;
    let offered = page.opened(CONTROL_LABEL).await;
    let pump = tokio::spawn(async move {
        let heard = page.message().await;
        page.write(offered, MessageKind::Text, b"welcome").await;
        page.opened("later").await;
        (page, heard)
    });
    let connection = dialing.await.unwrap();
    assert_eq!(connection.durability(), Some(Durability::Plain));
    let channel = connection.incoming_channel().await.unwrap();
    channel.send("hello page").await.unwrap();
    assert_eq!(channel.recv().await, Some(Message::from("welcome")));
    let own = connection
        .create_channel("later", &ChannelConfig::default())
        .unwrap();
    let (mut page, heard) = pump.await.unwrap();
    assert_eq!(heard, (offered, MessageKind::Text, "hello page".into()));

    let mut states = connection.watch_state();
    page.close().await;
    states
        .wait_for(|state| *state == DurableConnectionState::Reconnecting)
        .await
        .unwrap();
    channel.send("waited").await.unwrap();
    own.send(vec![1, 2, 3]).await.unwrap();
    let mut page = serve(&pages, &key).await;
    let mut heard =
        [page.message().await, page.message().await].map(|(_, kind, payload)| (kind, payload));
    heard.sort_by_key(|(_, payload)| payload.len());
    assert_eq!(heard[0], (MessageKind::Binary, vec![1, 2, 3].into()));
    assert_eq!(heard[1], (MessageKind::Text, "waited".into()));
}
