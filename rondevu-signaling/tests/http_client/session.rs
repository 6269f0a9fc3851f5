//! Registering, and registering again when the server forgot the peer.

use super::*;

#[tokio::test]
async fn many_requests_at_once_register_once() {
    let server = MockServer::start().await;
    mount_registration(&server, 1).await;
    Mock::given(path("/offers/mine"))
        .and(header("authorization", "Bearer p1:s1/+"))
        .respond_with(ok(json!({ "offers": [] })))
        .expect(4)
        .mount(&server)
        .await;
    let signaling = client(&server);
    let (a, b, c, d) = tokio::join!(
        signaling.list_offers(),
        signaling.list_offers(),
        signaling.list_offers(),
        signaling.list_offers(),
    );
    for offers in [a, b, c, d] {
        assert!(offers.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_peer_that_the_server_forgot_registers_again_once() {
    let server = MockServer::start().await;
    mount_registration(&server, 2).await;
    Mock::given(path("/offers/o1/answer"))
        .and(header("authorization", "Bearer p1:s1/+"))
        .respond_with(refused(401, "Invalid credentials"))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(path("/offers/o1/answer"))
        .and(header("authorization", "Bearer p2:s2/+"))
        .respond_with(ok(json!({ "success": true })))
        .expect(2)
        .mount(&server)
        .await;
    let signaling = client(&server);
    for _ in 0..2 {
        let answered = signaling.answer_offer(&offer_id(), &answer(), None).await;
        answered.unwrap();
    }
}

#[tokio::test]
async fn whoever_had_offers_on_a_forgetful_server_hears_that_they_are_lost() {
    let server = MockServer::start().await;
    mount_registration(&server, 2).await;
    mount_info(&server, &[]).await;
    let created = |peer: &str| {
        let offer = json!({ "id": "o1", "peerId": peer, "expiresAt": 2, "createdAt": 1 });
        ResponseTemplate::new(201).set_body_json(json!({ "offers": [offer] }))
    };
    Mock::given(path("/offers"))
        .and(header("authorization", "Bearer p1:s1/+"))
        .respond_with(created("p1"))
        .mount(&server)
        .await;
    Mock::given(path("/offers"))
        .and(header("authorization", "Bearer p2:s2/+"))
        .respond_with(created("p2"))
        .mount(&server)
        .await;
    Mock::given(path("/offers/answers"))
        .and(header("authorization", "Bearer p1:s1/+"))
        .respond_with(refused(401, "Invalid credentials"))
        .mount(&server)
        .await;
    Mock::given(path("/offers/answers"))
        .and(header("authorization", "Bearer p2:s2/+"))
        .respond_with(ok(json!({ "answers": [] })))
        .mount(&server)
        .await;
    let signaling = client(&server);
    let offers = [NewOffer::new(SessionDescription::offer("v=0"))];
    signaling.create_offers(&offers).await.unwrap();
    for _ in 0..2 {
        let error = signaling.answers(None, NO_WAIT).await.unwrap_err();
        assert!(matches!(error, SignalingError::Forgotten), "{error:?}");
        assert_eq!(error.retry(), Retry::AfterPublish);
    }
    signaling.create_offers(&offers).await.unwrap();
    assert!(signaling.answers(None, NO_WAIT).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_server_that_accepts_no_credentials_is_not_asked_for_ever() {
    let server = MockServer::start().await;
    mount_registration(&server, 2).await;
    Mock::given(path("/offers/mine"))
        .respond_with(refused(401, "Invalid credentials"))
        .expect(2)
        .mount(&server)
        .await;
    let error = request("mine", &client(&server)).await;
    assert!(
        matches!(error, SignalingError::Unauthorized { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_secret_that_fits_no_header_is_refused() {
    for secret in ["", "a\r\nX: y", &"x".repeat(257)] {
        let server = MockServer::start().await;
        let registration = json!({ "peerId": "p1", "secret": secret });
        Mock::given(any())
            .respond_with(ok(registration))
            .mount(&server)
            .await;
        let error = request("mine", &client(&server)).await;
        assert!(
            matches!(error, SignalingError::Malformed { .. }),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn debug_shows_no_secret() {
    let server = MockServer::start().await;
    mount_registration(&server, 1).await;
    Mock::given(path("/offers/mine"))
        .respond_with(ok(json!({ "offers": [] })))
        .mount(&server)
        .await;
    let signaling = client(&server);
    signaling.list_offers().await.unwrap();
    let shown = format!("{signaling:?}");
    assert!(shown.contains("p1") && !shown.contains("s1/+"), "{shown}");
}
