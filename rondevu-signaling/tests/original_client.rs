//! What the client makes of each fault of the original server.
#![cfg(all(feature = "http", feature = "original-server"))]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use rondevu_core::{IceCandidate, ServiceName, SessionDescription, Username};
use rondevu_signaling::original::{OriginalServer, Restart};
use rondevu_signaling::{
    HttpSignaling, KeyPair, NewOffer, Publication, PublishedService, Retry, Signaling,
    SignalingError, UnixMillis,
};

const NO_WAIT: Duration = Duration::ZERO;

/// A server, the peer of a service with a claimed name, and a dialer's.
struct Stage {
    server: OriginalServer,
    service: HttpSignaling,
    dialer: HttpSignaling,
    keys: KeyPair,
}

fn alice() -> Username {
    Username::parse("alice").unwrap()
}

fn chat() -> ServiceName {
    ServiceName::parse("com.example.chat@1.0.0").unwrap()
}

impl Stage {
    async fn new() -> Self {
        let server = OriginalServer::start().await.unwrap();
        let stage = Self {
            service: HttpSignaling::new(&server.url()).unwrap(),
            dialer: HttpSignaling::new(&server.url()).unwrap(),
            keys: KeyPair::generate().unwrap(),
            server,
        };
        let claim = stage.keys.sign_claim(&alice(), UnixMillis::now());
        stage.service.claim_username(&claim).await.unwrap();
        stage
    }

    async fn publish(&self, sdp: &str) -> Result<PublishedService, SignalingError> {
        let signed = self.keys.sign_publish(&alice(), &chat(), UnixMillis::now());
        let sdp = SessionDescription::offer(sdp);
        let publication = Publication::new(alice(), chat(), sdp, signed);
        self.service.publish_service(&publication).await
    }
}

fn answer() -> SessionDescription {
    SessionDescription::answer("v=0 answer")
}

#[tokio::test]
async fn the_same_description_again_fails_and_a_new_one_does_not() {
    let stage = Stage::new().await;
    stage.publish("v=0 one").await.unwrap();
    let again = stage.publish("v=0 one").await.unwrap_err();
    assert_eq!(again.retry(), Retry::Backoff, "{again:?}");
    // The refused publication has removed the service.
    let lost = stage.dialer.find_service(&alice(), &chat()).await;
    assert!(matches!(lost, Err(SignalingError::ServiceNotFound)));
    stage.publish("v=0 two").await.unwrap();
    stage.dialer.find_service(&alice(), &chat()).await.unwrap();
    let offers = [NewOffer::new(SessionDescription::offer("v=0 two"))];
    let again = stage.service.create_offers(&offers).await.unwrap_err();
    assert_eq!(again.retry(), Retry::Backoff, "{again:?}");
    let offers = [NewOffer::new(SessionDescription::offer("v=0 three"))];
    stage.service.create_offers(&offers).await.unwrap();
}

#[tokio::test]
async fn a_uuid_from_before_a_renewal_asks_to_look_the_name_up() {
    let stage = Stage::new().await;
    let before = stage.publish("v=0 one").await.unwrap();
    let after = stage.publish("v=0 two").await.unwrap();
    let gone = stage.dialer.take_offer(&before.uuid).await.unwrap_err();
    assert_eq!(gone.retry(), Retry::LookUp, "{gone:?}");
    let found = stage.dialer.find_service(&alice(), &chat()).await.unwrap();
    assert_eq!(found, after.uuid);
    let id = &before.service_id;
    let gone = stage.service.unpublish_service(id, &alice()).await;
    assert!(matches!(gone, Err(SignalingError::ServiceNotFound)));
}

#[tokio::test]
async fn an_offer_that_two_were_given_asks_the_later_for_the_next() {
    let stage = Stage::new().await;
    let service = stage.publish("v=0 one").await.unwrap();
    let other = HttpSignaling::new(&stage.server.url()).unwrap();
    let mine = stage.dialer.take_offer(&service.uuid).await.unwrap();
    let theirs = other.take_offer(&service.uuid).await.unwrap();
    assert_eq!(mine.offer_id, theirs.offer_id);
    let answer = answer();
    let answered = stage.dialer.answer_offer(&mine.offer_id, &answer, None);
    answered.await.unwrap();
    let late = other.answer_offer(&mine.offer_id, &answer, None).await;
    assert_eq!(late.unwrap_err().retry(), Retry::NextOffer);
    let none = other.take_offer(&service.uuid).await.unwrap_err();
    assert!(matches!(none, SignalingError::NoOffers), "{none:?}");
    // The answer is told each time, whatever has been seen.
    for since in [None, Some(UnixMillis(u64::MAX / 2))] {
        let answers = stage.service.answers(since, NO_WAIT).await.unwrap();
        assert_eq!(answers.len(), 1);
    }
}

#[tokio::test]
async fn no_candidate_is_lost_whatever_cursor_is_given() {
    let stage = Stage::new().await;
    let service = stage.publish("v=0 one").await.unwrap();
    let offer = service.offer_id;
    let answer = answer();
    let answered = stage.dialer.answer_offer(&offer, &answer, None);
    answered.await.unwrap();
    let mut cursor = None;
    let mut seen = Vec::new();
    for batch in 0..4 {
        let candidates: Vec<_> = (0..5)
            .map(|number| IceCandidate {
                candidate: format!("candidate:{batch} {number}"),
                sdp_mid: None,
                sdp_m_line_index: None,
                username_fragment: None,
            })
            .collect();
        stage
            .dialer
            .add_candidates(&offer, &candidates)
            .await
            .unwrap();
        let read = stage.service.candidates(&offer, cursor, NO_WAIT).await;
        for one in read.unwrap() {
            cursor = cursor.max(Some(one.created_at));
            if !seen.contains(&one.candidate) {
                seen.push(one.candidate);
            }
        }
    }
    assert_eq!(seen.len(), 20);
}

#[tokio::test]
async fn forgotten_credentials_are_replaced_and_the_loss_is_told() {
    let stage = Stage::new().await;
    stage.publish("v=0 one").await.unwrap();
    stage.server.restart(Restart::ForgetCredentials);
    let lost = stage.service.answers(None, NO_WAIT).await.unwrap_err();
    assert_eq!(lost.retry(), Retry::AfterPublish, "{lost:?}");
    stage.publish("v=0 two").await.unwrap();
    assert!(
        stage
            .service
            .answers(None, NO_WAIT)
            .await
            .unwrap()
            .is_empty()
    );
    stage.server.restart(Restart::ForgetEverything);
    let unclaimed = stage.publish("v=0 three").await.unwrap_err();
    assert_eq!(unclaimed.retry(), Retry::AfterClaim, "{unclaimed:?}");
}

#[tokio::test]
async fn whoever_asks_for_no_time_to_live_gets_a_minute() {
    let stage = Stage::new().await;
    let service = stage.publish("v=0 one").await.unwrap();
    let left = service.expires_at.saturating_since(UnixMillis::now());
    assert!(left <= Duration::from_secs(60) && left > Duration::from_secs(50));
    stage.server.advance(Duration::from_secs(61));
    let gone = stage.dialer.find_service(&alice(), &chat()).await;
    assert!(matches!(gone, Err(SignalingError::ServiceNotFound)));
}

#[tokio::test]
async fn two_peers_of_one_program_keep_their_offers_apart() {
    let stage = Stage::new().await;
    stage.publish("v=0 one").await.unwrap();
    let other = stage.service.another_peer().unwrap();
    assert!(other.list_offers().await.unwrap().is_empty());
    assert_eq!(stage.service.list_offers().await.unwrap().len(), 1);
}
