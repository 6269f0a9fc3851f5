//! The HTTP client against servers that answer in every way a server can.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod broken_servers;
mod extension;
mod meaning;
mod session;
mod tls;

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
