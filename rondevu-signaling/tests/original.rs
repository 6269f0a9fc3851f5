//! The stand-in for the original server keeps the protocol and shows each of its faults.
#![cfg(all(feature = "http", feature = "original-server"))]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use rondevu_signaling::conformance::{Expect, run};
use rondevu_signaling::original::{OriginalServer, Restart};
use rondevu_signaling::{HttpSignaling, KeyPair, Signaling, UnixMillis};
use serde_json::{Value, json};

#[tokio::test]
async fn the_original_keeps_what_the_protocol_promises() {
    let server = OriginalServer::start().await.unwrap();
    let url = server.url();
    let make_peer = || Arc::new(HttpSignaling::new(&url).unwrap()) as Arc<dyn Signaling>;
    assert!(!make_peer().supports_wait().await.unwrap());
    run(make_peer, Expect::Protocol).await.assert_passed();
}

/// Somebody who speaks plain HTTP to the original, with a name that is claimed.
struct Stage {
    server: OriginalServer,
    http: reqwest::Client,
    keys: KeyPair,
}

impl Stage {
    async fn new() -> Self {
        let stage = Self {
            server: OriginalServer::start().await.unwrap(),
            http: reqwest::Client::builder()
                .tls_certs_only([])
                .build()
                .unwrap(),
            keys: KeyPair::from_seed(&[5; 32]),
        };
        let claim = stage
            .keys
            .sign_claim(&"alice".parse().unwrap(), UnixMillis::now());
        let claim = json!({
            "username": "alice",
            "publicKey": claim.public_key.to_string(),
            "signature": claim.signature.to_string(),
            "message": claim.message(),
        });
        assert_eq!(stage.post("/usernames/claim", "", claim).await.0, 200);
        stage
    }

    async fn send(&self, method: Method, path: &str, peer: &str, body: Value) -> (u16, Value) {
        let request = self.http.request(method, self.server.url() + path);
        let request = request.header("authorization", peer).json(&body);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    async fn post(&self, path: &str, peer: &str, body: Value) -> (u16, Value) {
        self.send(Method::POST, path, peer, body).await
    }

    async fn get(&self, path: &str, peer: &str) -> (u16, Value) {
        self.send(Method::GET, path, peer, json!({})).await
    }

    async fn register(&self) -> String {
        let (_, reply) = self.post("/register", "", json!({})).await;
        let (peer, secret) = (&reply["peerId"], &reply["secret"]);
        format!(
            "Bearer {}:{}",
            peer.as_str().unwrap(),
            secret.as_str().unwrap()
        )
    }

    async fn publish(&self, peer: &str, sdp: &str) -> (u16, Value) {
        let (owner, chat) = (
            "alice".parse().unwrap(),
            "com.example.chat@1.0.0".parse().unwrap(),
        );
        let signed = self.keys.sign_publish(&owner, &chat, UnixMillis::now());
        let body = json!({
            "username": "alice",
            "serviceFqn": "com.example.chat@1.0.0",
            "sdp": sdp,
            "signature": signed.signature.to_string(),
            "message": signed.message(&owner, &chat),
        });
        self.post("/services", peer, body).await
    }

    async fn query(&self) -> u16 {
        let body = json!({ "serviceFqn": "com.example.chat@1.0.0" });
        self.post("/index/alice/query", "", body).await.0
    }
}

#[tokio::test]
async fn republishing_changes_the_ids_and_the_same_description_removes_the_service() {
    let stage = Stage::new().await;
    let peer = stage.register().await;
    let (status, first) = stage.publish(&peer, "one").await;
    assert_eq!(status, 201);
    let (_, second) = stage.publish(&peer, "two").await;
    assert_ne!(first["uuid"], second["uuid"]);
    assert_ne!(first["serviceId"], second["serviceId"]);
    let old = format!("/services/{}", first["uuid"].as_str().unwrap());
    assert_eq!(stage.get(&old, "").await.0, 404);
    assert_eq!(stage.query().await, 200);
    assert_eq!(stage.publish(&peer, "two").await.0, 500);
    assert_eq!(stage.query().await, 404);
    assert_eq!(stage.publish(&peer, "three").await.0, 201);
    assert_eq!(stage.publish(&peer, &"x".repeat(65_537)).await.0, 400);
    assert_eq!(stage.query().await, 404);
}

#[tokio::test]
async fn an_offer_without_ttl_lives_a_minute_and_is_reserved_for_nobody() {
    let stage = Stage::new().await;
    let (peer, dialer) = (stage.register().await, stage.register().await);
    let (_, published) = stage.publish(&peer, "one").await;
    let lives = published["expiresAt"].as_u64().unwrap() - UnixMillis::now().0;
    assert!((50_000..=60_000).contains(&lives), "{lives}");
    let path = format!("/services/{}", published["uuid"].as_str().unwrap());
    let (one, other) = (stage.get(&path, "").await, stage.get(&path, "").await);
    assert_eq!(one, other);
    let answer = format!("/offers/{}/answer", one.1["offerId"].as_str().unwrap());
    let sdp = json!({ "sdp": "answer" });
    assert_eq!(stage.post(&answer, &dialer, sdp.clone()).await.0, 200);
    assert_eq!(stage.post(&answer, &dialer, sdp).await.0, 400);
    assert_eq!(stage.get(&path, "").await.0, 503);
    for _ in 0..2 {
        let (_, answers) = stage
            .get("/offers/answers?since=99999999999999", &peer)
            .await;
        assert_eq!(answers["answers"].as_array().unwrap().len(), 1);
    }
    stage.server.advance(Duration::from_secs(61));
    assert_eq!(stage.query().await, 404);
}

#[tokio::test]
async fn a_cursor_loses_the_candidates_that_follow_a_large_batch() {
    let stage = Stage::new().await;
    let (peer, dialer) = (stage.register().await, stage.register().await);
    let (_, published) = stage.publish(&peer, "one").await;
    let path = format!(
        "/offers/{}/ice-candidates",
        published["offerId"].as_str().unwrap()
    );
    // A minute's worth of stamps.
    let batch = json!({ "candidates": vec!["a"; 60_000] });
    stage.post(&path, &dialer, batch).await;
    let (_, found) = stage.get(&path, &peer).await;
    let found = found["candidates"].as_array().unwrap().clone();
    let cursor = found.last().unwrap()["createdAt"].as_u64().unwrap();
    let late = json!({ "candidates": ["late"] });
    stage.post(&path, &dialer, late).await;
    let (_, after) = stage.get(&format!("{path}?since={cursor}"), &peer).await;
    assert_eq!(after, json!({ "candidates": [] }));
    let (_, all) = stage.get(&path, &peer).await;
    assert_eq!(all["candidates"].as_array().unwrap().len(), found.len() + 1);
}

#[tokio::test]
async fn a_restart_forgets_credentials_or_everything() {
    let stage = Stage::new().await;
    let peer = stage.register().await;
    stage.publish(&peer, "one").await;
    stage.server.restart(Restart::ForgetCredentials);
    assert_eq!(stage.get("/offers/mine", &peer).await.0, 401);
    assert_eq!(stage.query().await, 200);
    let peer = stage.register().await;
    stage.server.restart(Restart::ForgetEverything);
    assert_eq!(stage.get("/offers/mine", &peer).await.0, 401);
    assert_eq!(stage.query().await, 404);
    let peer = stage.register().await;
    assert_eq!(stage.publish(&peer, "two").await.0, 404);
    assert_eq!(stage.server.requests("GET /offers/mine"), 1);
}

#[tokio::test]
async fn an_outage_fails_every_request_until_it_is_over() {
    let stage = Stage::new().await;
    stage.server.go_down();
    assert_eq!(stage.get("/health", "").await.0, 502);
    stage.server.come_up();
    assert_eq!(stage.get("/health", "").await.0, 200);
}
