//! Stories of peers at a registry whose clock the test sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rondevu_core::{IceCandidate, ServiceName, SessionDescription, Username};

use crate::registry::Limits;
use crate::{
    KeyPair, MemoryPeer, MemorySignaling, NewOffer, Publication, PublishedService, Signaling,
    SignalingError, UnixMillis, UsernameStatus,
};

/// A registry, its clock, and the owner of `alice`.
struct Stage {
    clock: Arc<AtomicU64>,
    signaling: MemorySignaling,
    keys: KeyPair,
    service: MemoryPeer,
}

const NO_WAIT: Duration = Duration::ZERO;

impl Stage {
    async fn new(limits: Limits) -> Self {
        let clock = Arc::new(AtomicU64::new(1_700_000_000_000));
        let read = Arc::clone(&clock);
        let now = move || UnixMillis(read.load(Ordering::Relaxed));
        let signaling = MemorySignaling::with(limits, now);
        let stage = Self {
            clock,
            service: signaling.peer(),
            signaling,
            keys: KeyPair::from_seed(&[1; 32]),
        };
        stage.claim().await.unwrap();
        stage
    }

    fn now(&self) -> UnixMillis {
        UnixMillis(self.clock.load(Ordering::Relaxed))
    }

    fn pass(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap();
        self.clock.fetch_add(millis, Ordering::Relaxed);
    }

    async fn claim(&self) -> Result<(), SignalingError> {
        let claim = self.keys.sign_claim(&alice(), self.now());
        self.service.claim_username(&claim).await.map(drop)
    }

    fn publication(&self, service: &str, sdp: &str) -> Publication {
        // Signatures are good once: each is made at its own time.
        self.pass(Duration::from_millis(1));
        let service = ServiceName::parse(service).unwrap();
        let signed = self.keys.sign_publish(&alice(), &service, self.now());
        Publication::new(alice(), service, SessionDescription::offer(sdp), signed)
    }

    async fn publish(&self, service: &str, sdp: &str) -> PublishedService {
        let publication = self.publication(service, sdp);
        self.service.publish_service(&publication).await.unwrap()
    }
}

fn alice() -> Username {
    Username::parse("alice").unwrap()
}

fn offer(sdp: &str) -> NewOffer {
    NewOffer::new(SessionDescription::offer(sdp))
}

fn answer(sdp: &str) -> SessionDescription {
    SessionDescription::answer(sdp)
}

fn candidate(text: &str) -> IceCandidate {
    IceCandidate {
        candidate: text.into(),
        sdp_mid: None,
        sdp_m_line_index: None,
        username_fragment: None,
    }
}

const CHAT: &str = "com.example.chat@1.0.0";
const FILES: &str = "com.example.files@1.0.0";
const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_name_is_free_again_after_365_days_unless_it_is_used() {
    let stage = Stage::new(Limits::default()).await;
    stage.pass(MINUTE * 60 * 24 * 364);
    stage.publish(CHAT, "o").await;
    stage.pass(MINUTE * 60 * 24 * 364);
    let status = stage.service.look_up_username(&alice()).await.unwrap();
    assert!(matches!(status, UsernameStatus::Taken { .. }));
    stage.pass(MINUTE * 60 * 24);
    let status = stage.service.look_up_username(&alice()).await.unwrap();
    assert_eq!(status, UsernameStatus::Available);
    let other = KeyPair::from_seed(&[2; 32]).sign_claim(&alice(), stage.now());
    stage.service.claim_username(&other).await.unwrap();
    assert!(matches!(
        stage.claim().await,
        Err(SignalingError::UsernameTaken)
    ));
}

#[tokio::test]
async fn a_signature_is_good_once_and_for_five_minutes_either_way() {
    let stage = Stage::new(Limits::default()).await;
    let publication = stage.publication(CHAT, "o");
    stage.service.publish_service(&publication).await.unwrap();
    for time in [Duration::ZERO, MINUTE * 5, MINUTE] {
        stage.pass(time);
        let again = stage.service.publish_service(&publication).await;
        assert!(matches!(
            again,
            Err(SignalingError::SignatureRefused { .. })
        ));
    }
    for (minutes, accepted) in [(5, true), (6, false)] {
        let future = stage.now().saturating_add(MINUTE * minutes);
        let claim = stage.keys.sign_claim(&alice(), future);
        assert_eq!(stage.service.claim_username(&claim).await.is_ok(), accepted);
    }
}

#[tokio::test]
async fn publishing_again_keeps_the_ids_and_a_refused_one_changes_nothing() {
    let stage = Stage::new(Limits::default()).await;
    let first = stage.publish(CHAT, "one").await;
    let again = stage.publish(CHAT, "two").await;
    assert_eq!(
        (&first.service_id, &first.uuid),
        (&again.service_id, &again.uuid)
    );
    let mut forged = stage.publication(CHAT, "three");
    forged.signed.signed_at = UnixMillis(forged.signed.signed_at.0 + 1);
    let refused = stage.service.publish_service(&forged).await;
    assert!(matches!(
        refused,
        Err(SignalingError::SignatureRefused { .. })
    ));
    let taken = stage
        .signaling
        .peer()
        .take_offer(&first.uuid)
        .await
        .unwrap();
    assert_eq!(taken.sdp, SessionDescription::offer("two"));
    assert_eq!(taken.expires_at, again.expires_at);
}

#[tokio::test]
async fn a_service_of_another_peer_with_the_same_key_replaces_the_pool() {
    let stage = Stage::new(Limits::default()).await;
    let first = stage.publish(CHAT, "old process").await;
    let restarted = stage.signaling.peer();
    let publication = stage.publication(CHAT, "new process");
    let second = restarted.publish_service(&publication).await.unwrap();
    assert_eq!(first.uuid, second.uuid);
    for _ in 0..3 {
        let taken = stage
            .signaling
            .peer()
            .take_offer(&second.uuid)
            .await
            .unwrap();
        assert_eq!(taken.sdp, SessionDescription::offer("new process"));
    }
    let stale = stage
        .service
        .unpublish_service(&first.service_id, &alice())
        .await;
    assert!(matches!(stale, Err(SignalingError::ServiceNotFound)));
}

#[tokio::test]
async fn two_services_of_a_peer_never_hand_out_each_others_offers() {
    let stage = Stage::new(Limits::default()).await;
    stage
        .service
        .create_offers(&[offer("early")])
        .await
        .unwrap();
    let chat = stage.publish(CHAT, "chat 1").await;
    stage
        .service
        .create_offers(&[offer("chat 2")])
        .await
        .unwrap();
    let files = stage.publish(FILES, "files 1").await;
    let mut named = offer("files 2");
    named.service = Some(files.service_id.clone());
    stage
        .service
        .create_offers(&[named, offer("whose?")])
        .await
        .unwrap();
    let mut handed_out = [Vec::new(), Vec::new()];
    for (sdps, uuid) in handed_out.iter_mut().zip([&chat.uuid, &files.uuid]) {
        for _ in 0..4 {
            sdps.push(stage.service.take_offer(uuid).await.unwrap().sdp.sdp);
        }
    }
    assert_eq!(handed_out[0], ["chat 2", "chat 1", "early", "chat 2"]);
    assert_eq!(handed_out[1], ["files 2", "files 1", "files 2", "files 1"]);
}

#[tokio::test]
async fn nobody_can_create_offers_for_a_service_of_somebody_else() {
    let stage = Stage::new(Limits::default()).await;
    let chat = stage.publish(CHAT, "o").await;
    let mut intruder = offer("intruder");
    intruder.service = Some(chat.service_id.clone());
    let stranger = stage.signaling.peer();
    let refused = stranger.create_offers(&[offer("fine"), intruder]).await;
    assert!(matches!(refused, Err(SignalingError::ServiceNotFound)));
    assert!(stranger.list_offers().await.unwrap().is_empty());
    let refused = stranger.unpublish_service(&chat.service_id, &alice()).await;
    assert!(matches!(refused, Err(SignalingError::ServiceNotFound)));
}

#[tokio::test]
async fn offers_and_services_end_with_their_lifetime_and_so_does_what_they_cost() {
    let stage = Stage::new(Limits::default().offers_per_peer(2)).await;
    let chat = stage.publish(CHAT, "one").await;
    let second = stage.service.create_offers(&[offer("two")]).await.unwrap();
    let third = stage.service.create_offers(&[offer("three")]).await;
    assert!(matches!(third, Err(SignalingError::RateLimited { .. })));
    stage.pass(MINUTE);
    let dialer = stage.signaling.peer();
    let gone = dialer.take_offer(&chat.uuid).await;
    assert!(matches!(gone, Err(SignalingError::ServiceMoved)));
    let gone = dialer.answer_offer(&second[0].id, &answer("a"), None).await;
    assert!(matches!(gone, Err(SignalingError::OfferGone)));
    assert!(stage.service.list_offers().await.unwrap().is_empty());
    let offers = [offer("three"), offer("four")];
    stage.service.create_offers(&offers).await.unwrap();
}

#[tokio::test]
async fn offers_outlive_a_service_that_is_renewed_too_late() {
    let stage = Stage::new(Limits::default()).await;
    stage.publish(CHAT, "one").await;
    let mut long = offer("long");
    long.ttl = Some(MINUTE * 10);
    stage.service.create_offers(&[long]).await.unwrap();
    stage.pass(MINUTE * 2);
    let late = stage.publish(CHAT, "late").await;
    let dialer = stage.signaling.peer();
    let sdps = [
        dialer.take_offer(&late.uuid).await.unwrap().sdp.sdp,
        dialer.take_offer(&late.uuid).await.unwrap().sdp.sdp,
    ];
    assert_eq!(sdps, ["late", "long"]);
}

#[tokio::test]
async fn a_full_server_says_so_and_recovers_by_expiry() {
    let stage = Stage::new(Limits::default().bytes_total(200_000)).await;
    let big = |n: usize| offer(&format!("{n}{}", "x".repeat(50_000)));
    stage
        .service
        .create_offers(&[big(1), big(2), big(3)])
        .await
        .unwrap();
    let full = stage.service.create_offers(&[big(4)]).await;
    assert!(matches!(full, Err(SignalingError::RateLimited { .. })));
    stage.pass(MINUTE);
    stage.service.create_offers(&[big(4)]).await.unwrap();
}

#[tokio::test]
async fn several_answers_within_a_millisecond_pass_a_cursor_one_by_one() {
    let stage = Stage::new(Limits::default()).await;
    let mut cursor = None;
    let mut seen = Vec::new();
    for n in 0..3 {
        let new = offer(&format!("offer {n}"));
        let created = stage.service.create_offers(&[new]).await.unwrap();
        let dialer = stage.signaling.peer();
        let sdp = answer(&format!("answer {n}"));
        dialer
            .answer_offer(&created[0].id, &sdp, None)
            .await
            .unwrap();
        for answer in stage.service.answers(cursor, NO_WAIT).await.unwrap() {
            cursor = Some(answer.answered_at);
            seen.push(answer.answer.sdp);
        }
        if n == 1 {
            // Even when everything that was answered is gone.
            for offer in stage.service.list_offers().await.unwrap() {
                stage.service.delete_offer(&offer.id).await.unwrap();
            }
        }
    }
    assert_eq!(seen, ["answer 0", "answer 1", "answer 2"]);
}

#[tokio::test]
async fn candidates_are_for_the_two_peers_of_an_offer_only() {
    let stage = Stage::new(Limits::default()).await;
    let created = stage.service.create_offers(&[offer("o")]).await.unwrap();
    let id = &created[0].id;
    let (dialer, stranger) = (stage.signaling.peer(), stage.signaling.peer());
    for (peer, text) in [(&stage.service, "s"), (&dialer, "d"), (&stranger, "x")] {
        peer.add_candidates(id, &[candidate(text)]).await.unwrap();
    }
    // Before the answer nobody learns anything.
    for peer in [&stage.service, &dialer, &stranger] {
        assert!(peer.candidates(id, None, NO_WAIT).await.unwrap().is_empty());
    }
    dialer.answer_offer(id, &answer("a"), None).await.unwrap();
    for (peer, text) in [(&stage.service, "d"), (&dialer, "s")] {
        let found = peer.candidates(id, None, NO_WAIT).await.unwrap();
        let texts: Vec<_> = found
            .iter()
            .map(|c| c.candidate.candidate.as_str())
            .collect();
        assert_eq!(texts, [text]);
    }
    let read = stranger.candidates(id, None, NO_WAIT).await;
    assert!(matches!(read, Err(SignalingError::OfferGone)));
    let written = stranger.add_candidates(id, &[candidate("y")]).await;
    assert!(matches!(written, Err(SignalingError::OfferGone)));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_is_woken_by_the_event_and_else_by_the_end_of_the_wait() {
    let stage = Stage::new(Limits::default()).await;
    let created = stage.service.create_offers(&[offer("o")]).await.unwrap();
    let started = tokio::time::Instant::now();
    let nothing = stage.service.answers(None, Duration::MAX).await.unwrap();
    assert!(nothing.is_empty());
    assert_eq!(started.elapsed(), Duration::from_secs(30));

    let dialer = stage.signaling.peer();
    let sdp = answer("a");
    let (answers, answered) = tokio::join!(
        stage.service.answers(None, Duration::from_secs(20)),
        dialer.answer_offer(&created[0].id, &sdp, None),
    );
    answered.unwrap();
    assert_eq!(answers.unwrap().len(), 1);
    assert_eq!(started.elapsed(), Duration::from_secs(30));
}
