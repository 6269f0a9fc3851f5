//! The HTTP client against servers that answer in every way a server can.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use rondevu_core::{IceCandidate, OfferId, ServiceId, ServiceUuid, SessionDescription, Username};
use rondevu_signaling::{
    HttpSignaling, KeyPair, NewOffer, Publication, Retry, Signaling, SignalingError, UnixMillis,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wiremock::matchers::{any, header, method, path, query_param, query_param_is_missing};
use wiremock::{Mock, MockServer, ResponseTemplate};

const NO_WAIT: Duration = Duration::ZERO;

fn alice() -> Username {
    Username::parse("alice").unwrap()
}

fn offer_id() -> OfferId {
    OfferId::new("o1").unwrap()
}

fn keys() -> KeyPair {
    KeyPair::from_seed(&[1; 32])
}

fn answer() -> SessionDescription {
    SessionDescription::answer("v=0")
}

fn publication() -> Publication {
    let service = "com.example.chat@1.0.0".parse().unwrap();
    let signed = keys().sign_publish(&alice(), &service, UnixMillis(1));
    Publication::new(alice(), service, SessionDescription::offer("v=0"), signed)
}

fn candidate() -> IceCandidate {
    IceCandidate {
        candidate: "candidate:1".into(),
        sdp_mid: None,
        sdp_m_line_index: None,
        username_fragment: None,
    }
}

fn client(server: &MockServer) -> HttpSignaling {
    HttpSignaling::new(&server.uri()).unwrap()
}

fn ok(body: Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body)
}

fn refused(status: u16, text: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(json!({ "error": text }))
}

/// Registers peers with secrets of their own: `s1`, `s2`, …
async fn mount_registration(server: &MockServer, times: u64) {
    for n in 1..=times {
        let registration = json!({ "peerId": format!("p{n}"), "secret": format!("s{n}/+") });
        Mock::given(method("POST"))
            .and(path("/register"))
            .respond_with(ok(registration))
            .up_to_n_times(1)
            .expect(1)
            .mount(server)
            .await;
    }
}

async fn mount_info(server: &MockServer, features: &[&str]) {
    let info =
        json!({ "version": "1", "name": "Rondevu", "description": "", "features": features });
    Mock::given(method("GET"))
        .and(path("/"))
        .respond_with(ok(info))
        .mount(server)
        .await;
}

/// A server that answers each request but the registration in one way.
async fn server_that_answers(response: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    let registration = ok(json!({ "peerId": "p1", "secret": "s1" }));
    Mock::given(path("/register"))
        .respond_with(registration)
        .mount(&server)
        .await;
    mount_info(&server, &[]).await;
    Mock::given(any())
        .respond_with(response)
        .mount(&server)
        .await;
    server
}

/// Makes one kind of request.
async fn request(kind: &str, signaling: &HttpSignaling) -> SignalingError {
    let uuid = ServiceUuid::new("u1").unwrap();
    let id = ServiceId::new("i1").unwrap();
    let service = "com.example.chat@1.0.0".parse().unwrap();
    let offers = [NewOffer::new(SessionDescription::offer("v=0"))];
    let claim = keys().sign_claim(&alice(), UnixMillis(1));
    let failed = match kind {
        "claim" => signaling.claim_username(&claim).await.map(drop),
        "look up" => signaling.look_up_username(&alice()).await.map(drop),
        "list" => signaling.list_services(&alice()).await.map(drop),
        "publish" => signaling.publish_service(&publication()).await.map(drop),
        "unpublish" => signaling.unpublish_service(&id, &alice()).await,
        "find" => signaling.find_service(&alice(), &service).await.map(drop),
        "take" => signaling.take_offer(&uuid).await.map(drop),
        "create" => signaling.create_offers(&offers).await.map(drop),
        "mine" => signaling.list_offers().await.map(drop),
        "delete" => signaling.delete_offer(&offer_id()).await,
        "answer" => signaling.answer_offer(&offer_id(), &answer(), None).await,
        "answers" => signaling.answers(None, NO_WAIT).await.map(drop),
        "add" => signaling.add_candidates(&offer_id(), &[candidate()]).await,
        "candidates" => {
            let found = signaling.candidates(&offer_id(), None, NO_WAIT).await;
            found.map(drop)
        }
        _ => panic!("no such request: {kind}"),
    };
    failed.unwrap_err()
}

const ALL_KINDS: [&str; 14] = [
    "claim",
    "look up",
    "list",
    "publish",
    "unpublish",
    "find",
    "take",
    "create",
    "mine",
    "delete",
    "answer",
    "answers",
    "add",
    "candidates",
];

#[tokio::test]
async fn each_row_of_the_error_table_has_its_meaning() {
    for (kind, status, text, meaning, retry) in [
        (
            "claim",
            400,
            "Missing required parameters",
            "Rejected",
            Retry::Never,
        ),
        (
            "claim",
            400,
            "Invalid signature",
            "SignatureRefused",
            Retry::Never,
        ),
        (
            "claim",
            403,
            "Signature already used",
            "SignatureRefused",
            Retry::Never,
        ),
        (
            "claim",
            409,
            "Username already claimed by different public key",
            "UsernameTaken",
            Retry::Never,
        ),
        ("publish", 400, "Invalid SDP", "Rejected", Retry::Never),
        (
            "publish",
            403,
            "Invalid signature for username",
            "SignatureRefused",
            Retry::Never,
        ),
        (
            "publish",
            404,
            "Username not claimed",
            "UsernameNotClaimed",
            Retry::AfterClaim,
        ),
        (
            "publish",
            500,
            "UNIQUE constraint failed",
            "ServerFailed",
            Retry::Backoff,
        ),
        (
            "take",
            404,
            "Service not found",
            "ServiceNotFound",
            Retry::Backoff,
        ),
        (
            "take",
            503,
            "No available offers",
            "NoOffers",
            Retry::NextOffer,
        ),
        (
            "unpublish",
            404,
            "Service not found or not owned by this username",
            "ServiceNotFound",
            Retry::Backoff,
        ),
        (
            "find",
            404,
            "Service not found",
            "ServiceNotFound",
            Retry::Backoff,
        ),
        ("create", 400, "Too many offers", "Rejected", Retry::Never),
        (
            "create",
            404,
            "Service not found",
            "ServiceNotFound",
            Retry::Backoff,
        ),
        (
            "delete",
            404,
            "Offer not found or not owned by this peer",
            "OfferGone",
            Retry::NextOffer,
        ),
        (
            "answer",
            400,
            "Offer not found or expired",
            "OfferGone",
            Retry::NextOffer,
        ),
        (
            "answer",
            400,
            "Invalid or missing secret",
            "SecretRefused",
            Retry::Never,
        ),
        (
            "answer",
            400,
            "Offer already answered",
            "OfferAlreadyAnswered",
            Retry::NextOffer,
        ),
        (
            "answer",
            400,
            "Offer already answered (race condition)",
            "OfferAlreadyAnswered",
            Retry::NextOffer,
        ),
        (
            "answer",
            400,
            "SDP too large (max 64KB)",
            "Rejected",
            Retry::Never,
        ),
        (
            "answer",
            404,
            "Offer not found",
            "OfferGone",
            Retry::NextOffer,
        ),
        ("add", 404, "Offer not found", "OfferGone", Retry::NextOffer),
        (
            "candidates",
            404,
            "Offer not found",
            "OfferGone",
            Retry::NextOffer,
        ),
    ] {
        let server = server_that_answers(refused(status, text)).await;
        let error = request(kind, &client(&server)).await;
        let found = format!("{error:?}");
        assert!(
            found.starts_with(meaning),
            "{kind} {status} {text}: {found}"
        );
        assert_eq!(error.retry(), retry, "{kind} {status} {text}");
    }
}

#[tokio::test]
async fn what_any_request_can_meet_means_the_same_for_each() {
    let page = |status| ResponseTemplate::new(status).set_body_raw("<h1>hello</h1>", "text/html");
    for (response, meaning, retry) in [
        (refused(418, "no"), "Rejected", Retry::Never),
        (
            refused(401, "Invalid credentials"),
            "Unauthorized",
            Retry::Backoff,
        ),
        (refused(429, "slow down"), "RateLimited", Retry::Backoff),
        (
            refused(429, "slow down").insert_header("retry-after", "7"),
            "RateLimited",
            Retry::After(Duration::from_secs(7)),
        ),
        (
            refused(429, "slow down").insert_header("retry-after", "999999"),
            "RateLimited",
            Retry::After(Duration::from_secs(3600)),
        ),
        (
            refused(500, "Internal server error"),
            "ServerFailed",
            Retry::Backoff,
        ),
        (page(502), "ServerFailed", Retry::Backoff),
        (page(503), "ServerFailed", Retry::Backoff),
        (page(404), "NotRondevu", Retry::Never),
    ] {
        let server = server_that_answers(response).await;
        for kind in ALL_KINDS {
            let error = request(kind, &client(&server)).await;
            assert!(
                format!("{error:?}").starts_with(meaning),
                "{kind}: {error:?}"
            );
            assert_eq!(error.retry(), retry, "{kind}: {error:?}");
        }
    }
}

#[tokio::test]
async fn answers_that_break_the_protocol_are_told_apart_from_pages() {
    let long_id = json!({ "uuid": "x".repeat(300), "allowed": true });
    for (response, meaning) in [
        (ok(json!({})), "Malformed"),
        (ok(json!([1, 2])), "Malformed"),
        (ok(long_id), "Malformed"),
        (
            ResponseTemplate::new(200).set_body_raw("{\"uuid\":", "application/json"),
            "Malformed",
        ),
        (
            ResponseTemplate::new(200).set_body_raw(vec![0xff; 9], "application/json"),
            "Malformed",
        ),
        (
            ResponseTemplate::new(200).set_body_raw("<html>", "text/html"),
            "NotRondevu",
        ),
    ] {
        let server = server_that_answers(response).await;
        let error = request("find", &client(&server)).await;
        assert!(format!("{error:?}").starts_with(meaning), "{error:?}");
    }
}

#[tokio::test]
async fn an_answer_of_more_than_a_mebibyte_is_refused() {
    for status in [200, 400] {
        let large = ResponseTemplate::new(status).set_body_string("x".repeat(1024 * 1024 + 1));
        let server = server_that_answers(large).await;
        let error = request("list", &client(&server)).await;
        assert!(
            matches!(error, SignalingError::Malformed { .. }),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_slow_server_is_given_up() {
    let slow = refused(500, "").set_delay(Duration::from_secs(3600));
    let server = server_that_answers(slow).await;
    let limit = Duration::from_millis(50);
    let signaling = HttpSignaling::builder(&server.uri()).request_timeout(limit);
    let error = request("find", &signaling.build().unwrap()).await;
    assert!(matches!(error, SignalingError::Timeout { after } if after == limit));
    assert!(error.is_outage());
}

#[tokio::test]
async fn a_request_that_waits_has_as_much_longer() {
    let server = MockServer::start().await;
    mount_registration(&server, 1).await;
    mount_info(&server, &["wait"]).await;
    let nothing = ok(json!({ "answers": [] })).set_delay(Duration::from_millis(600));
    Mock::given(path("/offers/answers"))
        .respond_with(nothing)
        .mount(&server)
        .await;
    let signaling = HttpSignaling::builder(&server.uri());
    let signaling = signaling.request_timeout(Duration::from_millis(500));
    let signaling = signaling.build().unwrap();
    signaling.supports_wait().await.unwrap();
    let waiting = signaling.answers(None, Duration::from_secs(20)).await;
    assert!(waiting.unwrap().is_empty());
    let impatient = signaling.answers(None, NO_WAIT).await;
    assert!(matches!(impatient, Err(SignalingError::Timeout { .. })));
}

/// Answers each connection with these bytes and closes it.
async fn server_that_writes(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(bytes).await;
        }
    });
    url
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_outage() {
    for bytes in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"uuid\":",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"uu",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ] {
        let url = server_that_writes(bytes).await;
        let error = request("find", &HttpSignaling::new(&url).unwrap()).await;
        assert!(
            matches!(error, SignalingError::Unreachable { .. }),
            "{error:?}"
        );
        assert!(std::error::Error::source(&error).is_some());
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_outage() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = request("find", &HttpSignaling::new(&url).unwrap()).await;
    assert!(
        matches!(error, SignalingError::Unreachable { .. }),
        "{error:?}"
    );
    assert_eq!(error.retry(), Retry::Backoff);
}

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
async fn a_redirect_to_another_origin_is_not_followed() {
    let elsewhere = MockServer::start().await;
    Mock::given(any())
        .respond_with(ok(json!({ "peerId": "p1", "secret": "s1" })))
        .expect(0)
        .mount(&elsewhere)
        .await;
    for status in [301, 302, 303, 307, 308] {
        let away = ResponseTemplate::new(status).insert_header("location", elsewhere.uri());
        let server = server_that_answers(away).await;
        for kind in ALL_KINDS {
            let error = request(kind, &client(&server)).await;
            assert!(
                matches!(error, SignalingError::NotRondevu { .. }),
                "{kind}: {error:?}"
            );
            assert!(error.to_string().contains(&elsewhere.uri()), "{error}");
        }
    }
}

#[tokio::test]
async fn a_redirect_within_the_origin_is_followed_but_not_in_circles() {
    let server = MockServer::start().await;
    let moved = ResponseTemplate::new(308).insert_header("location", "/v2/index/alice/query");
    Mock::given(path("/index/alice/query"))
        .respond_with(moved)
        .mount(&server)
        .await;
    let found = json!({ "uuid": "u1", "allowed": true });
    Mock::given(path("/v2/index/alice/query"))
        .respond_with(ok(found))
        .mount(&server)
        .await;
    let service = "com.example.chat@1.0.0".parse().unwrap();
    let uuid = client(&server).find_service(&alice(), &service).await;
    assert_eq!(uuid.unwrap().as_str(), "u1");

    let circle = ResponseTemplate::new(307).insert_header("location", "/usernames/alice");
    let server = server_that_answers(circle).await;
    let error = request("look up", &client(&server)).await;
    assert!(
        matches!(error, SignalingError::NotRondevu { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn only_a_server_that_announces_it_is_asked_to_wait() {
    let server = MockServer::start().await;
    mount_registration(&server, 1).await;
    mount_info(&server, &["something else"]).await;
    Mock::given(path("/offers/answers"))
        .and(query_param_is_missing("wait"))
        .and(query_param_is_missing("since"))
        .respond_with(ok(json!({ "answers": [] })))
        .expect(1)
        .mount(&server)
        .await;
    let signaling = client(&server);
    assert!(!signaling.supports_wait().await.unwrap());
    let answers = signaling
        .answers(Some(UnixMillis(5)), Duration::from_secs(9))
        .await;
    assert!(answers.unwrap().is_empty());

    let server = MockServer::start().await;
    mount_registration(&server, 1).await;
    mount_info(&server, &["wait"]).await;
    Mock::given(path("/offers/o1/ice-candidates"))
        .and(query_param("wait", "30000"))
        .and(query_param("since", "5"))
        .respond_with(ok(json!({ "candidates": [] })))
        .expect(1)
        .mount(&server)
        .await;
    let signaling = client(&server);
    let since = Some(UnixMillis(5));
    let found = signaling
        .candidates(&offer_id(), since, Duration::MAX)
        .await;
    assert!(found.unwrap().is_empty());
    assert!(signaling.supports_wait().await.unwrap());
}

#[tokio::test]
async fn the_features_are_asked_for_once_and_again_after_the_connection_broke() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        // One answer, and then there is no server any more.
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        let body = r#"{"name":"Rondevu","features":["wait"]}"#;
        let head = format!("Content-Length: {}\r\nConnection: close", body.len());
        let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}");
        drop(listener);
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let signaling = HttpSignaling::new(&url).unwrap();
    for _ in 0..3 {
        assert!(signaling.supports_wait().await.unwrap());
    }
    let error = request("find", &signaling).await;
    assert!(
        matches!(error, SignalingError::Unreachable { .. }),
        "{error:?}"
    );
    let error = signaling.supports_wait().await.unwrap_err();
    assert!(
        matches!(error, SignalingError::Unreachable { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_of_another_kind_is_recognised() {
    for info in [
        json!({ "name": "Other" }),
        json!({ "name": "Other\u{1b}[31m" }),
    ] {
        let server = MockServer::start().await;
        Mock::given(path("/"))
            .respond_with(ok(info))
            .mount(&server)
            .await;
        let error = client(&server).supports_wait().await.unwrap_err();
        assert!(
            matches!(error, SignalingError::NotRondevu { .. }),
            "{error:?}"
        );
        assert!(!error.to_string().contains('\u{1b}'));
    }
}

#[tokio::test]
async fn texts_of_the_server_are_cut_and_cleaned() {
    let text = format!("\u{1b}[31mred\r\nalert{}", "x".repeat(100_000));
    let server = server_that_answers(refused(418, &text)).await;
    let error = request("find", &client(&server)).await;
    let shown = error.to_string();
    assert!(
        shown.len() < 400 && !shown.chars().any(char::is_control),
        "{shown}"
    );
}

#[tokio::test]
async fn one_odd_entry_does_not_hide_the_others() {
    let candidates = json!([
        { "candidate": { "candidate": "candidate:1", "extra": 1 }, "createdAt": 1 },
        { "candidate": "what is this", "createdAt": 2 },
        { "candidate": { "candidate": "candidate:3", "sdpMid": null }, "createdAt": 3 },
    ]);
    let server = server_that_answers(ok(json!({ "candidates": candidates }))).await;
    let found = client(&server).candidates(&offer_id(), None, NO_WAIT).await;
    let found = found.unwrap();
    let times: Vec<_> = found.iter().map(|one| one.created_at.0).collect();
    assert_eq!(times, [1, 3]);

    let services = json!([
        { "uuid": "u1", "isPublic": true, "serviceFqn": "NOT A NAME", "metadata": "{\"a\":1}" },
        { "uuid": "u2", "isPublic": false },
    ]);
    let list = json!({ "username": "alice", "services": services });
    let server = server_that_answers(ok(list)).await;
    let services = client(&server).list_services(&alice()).await.unwrap();
    assert_eq!(services.len(), 2);
    assert_eq!(services[0].service, None);
    assert_eq!(services[0].metadata, Some(json!({ "a": 1 })));
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
