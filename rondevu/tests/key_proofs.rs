//! A signaling server that swaps descriptions, and what finds it out. Real WebRTC on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test ends where something unexpected happens, and drives links by the clock"
)]

mod support;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use rondevu::core::frame::{CONTROL_LABEL, CONTROL_PROTOCOL, ControlFrame};
use rondevu::core::{LinkEvent, MessageKind, OfferId, SessionDescription, StreamId, StreamOptions};
use rondevu::signaling::{
    MemoryPeer, MemorySignaling, ServiceOffer, Signaling, SignalingError, SignalingLayer,
};
use rondevu::transport::{Offered, TransportFactory};
use rondevu::{
    ChannelConfig, ConnectionFailure, Error, KeyPair, KeyPolicy, Message, ProofFailure, Rondevu,
    RondevuBuilder, ServiceOptions, ServiceUuid,
};
use support::meeting::{SERVICE, expose};
use support::{RawEnd, RawPeer};

/// What the one in between does with the frames that it relays.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tactic {
    /// Leaves them as they are.
    Relay,
    /// Takes the dialer's proof out, so that the service does not see that it is wrong.
    StripHello,
    /// Takes both proofs out.
    StripBoth,
}

/// Signaling of a dialer that goes through somebody who puts himself in between.
struct Swapping {
    real: MemoryPeer,
    tactic: Tactic,
    held: Mutex<Option<(RawEnd, Offered, ServiceOffer)>>,
    /// What he has read.
    overheard: Arc<Mutex<Vec<Bytes>>>,
}

impl Swapping {
    fn new(real: MemoryPeer, tactic: Tactic) -> Self {
        Self {
            real,
            tactic,
            held: Mutex::new(None),
            overheard: Arc::default(),
        }
    }

    /// Meets the dialer with one link and the service with another, and relays.
    async fn intercept(&self, answer: &SessionDescription) {
        let (end, mut offered, offer) = self.held.lock().unwrap().take().unwrap();
        offered.transport.accept_answer(answer, end.now()).unwrap();
        let to_dialer = end.with(offered.transport);

        let end = RawEnd::new().await;
        let factory: &dyn TransportFactory = &end.factory;
        let answered = factory
            .create_answer(&offer.sdp, &[end.address().into()], end.now())
            .unwrap();
        self.real
            .answer_offer(&offer.offer_id, &answered.description, None)
            .await
            .unwrap();
        let to_service = end.with(answered.transport);
        let relay = Relay {
            tactic: self.tactic,
            overheard: Arc::clone(&self.overheard),
            streams: Vec::new(),
        };
        tokio::spawn(relay.run(to_dialer, to_service));
    }
}

/// Joins two links, stream by stream.
struct Relay {
    tactic: Tactic,
    overheard: Arc<Mutex<Vec<Bytes>>>,
    /// The same stream on the dialer's and on the service's link.
    streams: Vec<(Option<StreamId>, Option<StreamId>, String)>,
}

impl Relay {
    async fn run(mut self, mut dialer: RawPeer, mut service: RawPeer) {
        // A stream that one side has opened is opened on the other; messages wait for it.
        let mut waiting: Vec<(bool, StreamId, MessageKind, Bytes)> = Vec::new();
        loop {
            tokio::select! {
                event = dialer.next_event() => {
                    if !self.on_event(true, event, &mut service, &mut waiting) { return }
                }
                event = service.next_event() => {
                    if !self.on_event(false, event, &mut dialer, &mut waiting) { return }
                }
            }
            for (from_dialer, stream, kind, payload) in std::mem::take(&mut waiting) {
                match self.twin(from_dialer, stream) {
                    Some(twin) if from_dialer => service.write(twin, kind, &payload).await,
                    Some(twin) => dialer.write(twin, kind, &payload).await,
                    None => waiting.push((from_dialer, stream, kind, payload)),
                }
            }
        }
    }

    fn twin(&self, from_dialer: bool, stream: StreamId) -> Option<StreamId> {
        let pair = self.streams.iter().find(|(dialer, service, _)| {
            let here = if from_dialer { dialer } else { service };
            *here == Some(stream)
        });
        pair.and_then(|(dialer, service, _)| if from_dialer { *service } else { *dialer })
    }

    fn on_event(
        &mut self,
        from_dialer: bool,
        event: LinkEvent,
        other: &mut RawPeer,
        waiting: &mut Vec<(bool, StreamId, MessageKind, Bytes)>,
    ) -> bool {
        match event {
            LinkEvent::StreamOpened {
                stream, options, ..
            } => {
                let known = self.streams.iter_mut().find(|pair| {
                    let here = if from_dialer { pair.0 } else { pair.1 };
                    pair.2 == options.protocol && here.is_none()
                });
                match known {
                    Some(pair) if from_dialer => pair.0 = Some(stream),
                    Some(pair) => pair.1 = Some(stream),
                    None => {
                        let pair = if from_dialer {
                            (Some(stream), None)
                        } else {
                            (None, Some(stream))
                        };
                        self.streams
                            .push((pair.0, pair.1, options.protocol.clone()));
                        if options.protocol != CONTROL_PROTOCOL {
                            let now = other.now();
                            other.transport.open_stream(options, now).unwrap();
                        }
                    }
                }
            }
            LinkEvent::StreamMessage {
                stream,
                kind,
                payload,
            } => {
                self.overheard.lock().unwrap().push(payload.clone());
                waiting.push((from_dialer, stream, kind, self.tampered(payload)));
            }
            LinkEvent::Closed { .. } => {
                let now = other.now();
                other.transport.close(now);
                return false;
            }
            _ => {}
        }
        true
    }

    fn tampered(&self, payload: Bytes) -> Bytes {
        let mut frame = match ControlFrame::decode(&mut payload.clone()) {
            Ok(frame) => frame,
            Err(_) => return payload,
        };
        match (&mut frame, self.tactic) {
            (ControlFrame::Hello(hello), Tactic::StripHello | Tactic::StripBoth) => {
                hello.proof = None;
            }
            (ControlFrame::Welcome(welcome), Tactic::StripBoth) => welcome.proof = None,
            _ => return payload,
        }
        let mut out = Vec::new();
        frame.encode(&mut out);
        out.into()
    }
}

#[async_trait]
impl SignalingLayer for Swapping {
    fn inner(&self) -> &dyn Signaling {
        &self.real
    }

    async fn take_offer(&self, uuid: &ServiceUuid) -> Result<ServiceOffer, SignalingError> {
        let real = self.real.take_offer(uuid).await?;
        let end = RawEnd::new().await;
        let stream = StreamOptions::reliable(CONTROL_LABEL, CONTROL_PROTOCOL);
        let factory: &dyn TransportFactory = &end.factory;
        let offered = factory
            .create_offer(&[end.address().into()], stream, end.now())
            .unwrap();
        let mut swapped = real.clone();
        swapped.sdp = offered.description.clone();
        *self.held.lock().unwrap() = Some((end, offered, real));
        Ok(swapped)
    }

    async fn answer_offer(
        &self,
        _: &OfferId,
        answer: &SessionDescription,
        _: Option<&str>,
    ) -> Result<(), SignalingError> {
        self.intercept(answer).await;
        Ok(())
    }
}

fn builder(signaling: Arc<dyn Signaling>) -> RondevuBuilder {
    Rondevu::builder()
        .signaling(signaling)
        .bind("127.0.0.1:0".parse().unwrap())
}

/// A service that prints what it gets, and the client that runs it.
async fn service(signaling: &MemorySignaling, key: KeyPair, policy: KeyPolicy) -> Rondevu {
    let alice = builder(Arc::new(signaling.peer()))
        .key_pair(key)
        .key_policy(policy)
        .build()
        .unwrap();
    let service = expose(&alice, ServiceOptions::default()).await;
    tokio::spawn(async move {
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
    });
    alice
}

#[tokio::test]
async fn who_checks_no_keys_is_read_by_a_server_that_swaps_descriptions() {
    let signaling = MemorySignaling::new();
    service(&signaling, KeyPair::generate().unwrap(), KeyPolicy::Off).await;
    let swapping = Arc::new(Swapping::new(signaling.peer(), Tactic::Relay));
    let overheard = Arc::clone(&swapping.overheard);
    let bob = builder(swapping)
        .key_policy(KeyPolicy::Off)
        .build()
        .unwrap();
    let connection = bob.connect("alice", SERVICE).await.unwrap();
    let channel = connection
        .create_channel("x", &ChannelConfig::default())
        .unwrap();
    channel.send("my password").await.unwrap();
    assert_eq!(channel.recv().await, Some(Message::from("my password")));
    let read = overheard
        .lock()
        .unwrap()
        .iter()
        .any(|message| message.windows(11).any(|window| window == b"my password"));
    assert!(read, "the attack works");
}

#[tokio::test]
async fn a_server_that_swaps_descriptions_is_found_out_and_named() {
    let signaling = MemorySignaling::new();
    let key = KeyPair::generate().unwrap();
    let alice = service(&signaling, key, KeyPolicy::TrustOnFirstUse).await;
    for tactic in [Tactic::Relay, Tactic::StripHello, Tactic::StripBoth] {
        let swapping = Swapping::new(signaling.peer(), tactic);
        let bob = builder(Arc::new(swapping)).build().unwrap();
        bob.pin_key("alice", alice.public_key()).unwrap();
        let error = bob.connect("alice", SERVICE).await.unwrap_err();
        let text = error.to_string();
        match (tactic, &error) {
            (Tactic::Relay, Error::Failed(ConnectionFailure::Rejected(_)))
            | (
                Tactic::StripHello,
                Error::Failed(ConnectionFailure::Untrusted(ProofFailure::Invalid)),
            ) => assert!(text.contains("signaling server"), "{text}"),
            (
                Tactic::StripBoth,
                Error::Failed(ConnectionFailure::Untrusted(ProofFailure::Missing)),
            ) => {}
            _ => panic!("{text}"),
        }
    }
}

#[tokio::test]
async fn both_sides_know_each_others_keys() {
    let signaling = MemorySignaling::new();
    let alice = builder(Arc::new(signaling.peer())).build().unwrap();
    let published = expose(&alice, ServiceOptions::default()).await;
    let bob = builder(Arc::new(signaling.peer())).build().unwrap();
    let connection = bob.connect("alice", SERVICE).await.unwrap();
    let peer = connection.peer();
    assert_eq!(peer.username.unwrap().as_str(), "alice");
    assert_eq!(peer.public_key, Some(alice.public_key()));
    let accepted = published.accept().await.unwrap();
    assert_eq!(accepted.peer().public_key, Some(bob.public_key()));
}

#[tokio::test]
async fn a_key_that_was_trusted_on_first_use_is_required_from_then_on() {
    let names = MemorySignaling::new();
    service(
        &names,
        KeyPair::generate().unwrap(),
        KeyPolicy::TrustOnFirstUse,
    )
    .await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("known_keys");
    let known = || Arc::new(rondevu::KnownKeysFile::new(&file));
    let bob = builder(Arc::new(names.peer()))
        .known_keys(known())
        .build()
        .unwrap();
    bob.connect("alice", SERVICE).await.unwrap();

    // Later, under another server, somebody else calls himself alice.
    let others = MemorySignaling::new();
    let thief = service(
        &others,
        KeyPair::generate().unwrap(),
        KeyPolicy::TrustOnFirstUse,
    )
    .await;
    let bob = builder(Arc::new(others.peer()))
        .known_keys(known())
        .build()
        .unwrap();
    let error = bob.connect("alice", SERVICE).await.unwrap_err();
    let untrusted = ConnectionFailure::Untrusted(ProofFailure::OtherKey);
    assert!(
        matches!(&error, Error::Failed(failure) if *failure == untrusted),
        "{error}"
    );

    // It was alice after all, with a new key.
    bob.forget_key("alice").unwrap();
    let connection = bob.connect("alice", SERVICE).await.unwrap();
    assert_eq!(connection.peer().public_key, Some(thief.public_key()));
}

#[tokio::test]
async fn where_only_pinned_keys_are_trusted_a_name_without_one_is_not_called() {
    let signaling = MemorySignaling::new();
    let alice = service(
        &signaling,
        KeyPair::generate().unwrap(),
        KeyPolicy::TrustOnFirstUse,
    )
    .await;
    let bob = builder(Arc::new(signaling.peer()))
        .key_policy(KeyPolicy::PinnedOnly)
        .build()
        .unwrap();
    let error = bob.connect("alice", SERVICE).await.unwrap_err();
    assert!(error.to_string().contains("pin its key first"), "{error}");
    bob.pin_key("alice", alice.public_key()).unwrap();
    assert!(
        bob.connect("alice", SERVICE)
            .await
            .unwrap()
            .peer()
            .is_proved()
    );
}
