//! What works against the original server, and must not work against this one.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use reqwest::{Method, Response};
use rondevu_signaling::server::{
    ClientAddress, Cors, RateLimit, RunningServer, Server, ServerConfig,
};
use rondevu_signaling::{KeyPair, UnixMillis};
use serde_json::{Value, json};

const CHAT: &str = "com.example.chat@1.0.0";
const OTHER: &str = "com.example.other@1.0.0";

/// A server, and plain HTTP to attack it with.
struct Stage {
    server: RunningServer,
    http: reqwest::Client,
    owner: KeyPair,
}

impl Stage {
    async fn new(config: ServerConfig) -> Self {
        let server = Server::bind("127.0.0.1:0", config).await.unwrap();
        let http = reqwest::Client::builder().tls_certs_only([]);
        Self {
            server: server.spawn(),
            http: http.build().unwrap(),
            owner: KeyPair::from_seed(&[7; 32]),
        }
    }

    /// With a claimed name and a peer of its owner.
    async fn with_alice() -> (Self, String) {
        let stage = Self::new(ServerConfig::default()).await;
        let peer = stage.register().await;
        let claim = stage.claim_body("alice", &stage.owner);
        assert_eq!(stage.post("/usernames/claim", "", claim).await.0, 200);
        (stage, peer)
    }

    fn request(&self, method: Method, path: &str, peer: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, self.server.url() + path);
        match peer {
            "" => request,
            peer => request.header("authorization", peer),
        }
    }

    async fn post(&self, path: &str, peer: &str, body: Value) -> (u16, Value) {
        read(
            self.request(Method::POST, path, peer)
                .json(&body)
                .send()
                .await
                .unwrap(),
        )
        .await
    }

    async fn get(&self, path: &str, peer: &str) -> (u16, Value) {
        read(self.request(Method::GET, path, peer).send().await.unwrap()).await
    }

    async fn register(&self) -> String {
        let (status, reply) = self.post("/register", "", json!({})).await;
        assert_eq!(status, 200);
        let text = |name: &str| reply[name].as_str().unwrap().to_owned();
        format!("Bearer {}:{}", text("peerId"), text("secret"))
    }

    fn claim_body(&self, name: &str, keys: &KeyPair) -> Value {
        let claim = keys.sign_claim(&name.parse().unwrap(), UnixMillis::now());
        json!({
            "username": name,
            "publicKey": claim.public_key.to_string(),
            "signature": claim.signature.to_string(),
            "message": claim.message(),
        })
    }

    /// Signed now; `later` tells publications within a millisecond apart.
    fn publish_body(&self, service: &str, sdp: &str, later: u64) -> Value {
        let (owner, name) = ("alice".parse().unwrap(), service.parse().unwrap());
        let at = UnixMillis::now().saturating_add(Duration::from_millis(later));
        let signed = self.owner.sign_publish(&owner, &name, at);
        json!({
            "username": "alice",
            "serviceFqn": service,
            "sdp": sdp,
            "signature": signed.signature.to_string(),
            "message": signed.message(&owner, &name),
        })
    }

    async fn publish(&self, peer: &str, service: &str, sdp: &str) -> Value {
        let body = self.publish_body(service, sdp, 0);
        let (status, reply) = self.post("/services", peer, body).await;
        assert_eq!(status, 201, "{reply}");
        reply
    }

    async fn take(&self, published: &Value) -> (u16, Value) {
        let path = format!("/services/{}", published["uuid"].as_str().unwrap());
        self.get(&path, "").await
    }

    async fn create(&self, peer: &str, offer: Value) -> String {
        let (status, reply) = self
            .post("/offers", peer, json!({ "offers": [offer] }))
            .await;
        assert_eq!(status, 201, "{reply}");
        reply["offers"][0]["id"].as_str().unwrap().to_owned()
    }
}

async fn read(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

#[tokio::test]
async fn a_captured_publication_serves_nobody_else() {
    let (stage, owner) = Stage::with_alice().await;
    let attacker = stage.register().await;
    let captured = stage.publish_body(CHAT, "of the owner", 0);
    let (status, published) = stage.post("/services", &owner, captured.clone()).await;
    assert_eq!(status, 201);
    let mut forged = captured;
    forged["sdp"] = "of the attacker".into();
    let (status, refused) = stage.post("/services", &attacker, forged.clone()).await;
    assert_eq!(status, 403, "{refused}");
    // Nor with another encoding of time or service around the same signature.
    for (field, value) in [
        (
            "message",
            format!("{} ", forged["message"].as_str().unwrap()),
        ),
        ("serviceFqn", OTHER.to_owned()),
    ] {
        let mut changed = forged.clone();
        changed[field] = value.into();
        assert_eq!(stage.post("/services", &attacker, changed).await.0, 403);
    }
    assert_eq!(stage.take(&published).await.1["sdp"], "of the owner");
}

#[tokio::test]
async fn only_the_peer_that_published_a_service_withdraws_it() {
    let (stage, owner) = Stage::with_alice().await;
    let attacker = stage.register().await;
    let published = stage.publish(&owner, CHAT, "offer").await;
    let path = format!("/services/{}", published["serviceId"].as_str().unwrap());
    let body = json!({ "username": "alice" });
    let request = stage.request(Method::DELETE, &path, &attacker).json(&body);
    assert_eq!(read(request.send().await.unwrap()).await.0, 404);
    assert_eq!(stage.take(&published).await.0, 200);
    let offer = format!("/offers/{}", published["offerId"].as_str().unwrap());
    let request = stage.request(Method::DELETE, &offer, &attacker);
    assert_eq!(read(request.send().await.unwrap()).await.0, 404);
}

#[tokio::test]
async fn candidates_of_two_peers_are_no_third_ones_business_and_not_many() {
    let (stage, owner) = Stage::with_alice().await;
    let (dialer, attacker) = (stage.register().await, stage.register().await);
    let offer = stage.create(&owner, json!({ "sdp": "offer" })).await;
    let path = format!("/offers/{offer}/ice-candidates");
    let one = |text: &str| json!({ "candidates": [{ "candidate": text }] });
    // Before the answer nobody knows yet who the dialer is; what a stranger posts then is never read.
    stage.post(&path, &attacker, one("injected")).await;
    let answer = json!({ "sdp": "answer" });
    let answered = stage
        .post(&format!("/offers/{offer}/answer"), &dialer, answer)
        .await;
    assert_eq!(answered.0, 200);
    assert_eq!(
        stage.post(&path, &dialer, one("of the dialer")).await.0,
        200
    );
    assert_eq!(stage.post(&path, &owner, one("of the owner")).await.0, 200);
    assert_eq!(stage.post(&path, &attacker, one("injected")).await.0, 404);
    assert_eq!(stage.get(&path, &attacker).await.0, 404);
    for (reader, text) in [(&owner, "of the dialer"), (&dialer, "of the owner")] {
        let (_, found) = stage.get(&path, reader).await;
        let found = found["candidates"].as_array().unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0]["candidate"]["candidate"], text);
    }
    let many = json!({ "candidates": vec!["x"; 100_000] });
    let status = stage.post(&path, &dialer, many).await.0;
    assert!([400, 413].contains(&status), "{status}");
    let large = json!({ "candidates": ["x".repeat(5000)] });
    assert_eq!(stage.post(&path, &dialer, large).await.0, 400);
}

#[tokio::test]
async fn whoever_answers_every_offer_is_named_and_slowed_and_new_offers_get_through() {
    let config = ServerConfig::default().peer_rate(RateLimit::per_minute(1, 20));
    let stage = Stage::new(config).await;
    let owner = stage.register().await;
    let attacker = stage.register().await;
    let offers: Vec<_> = (0..40).map(|n| json!({ "sdp": format!("{n}") })).collect();
    let (_, created) = stage
        .post("/offers", &owner, json!({ "offers": offers }))
        .await;
    let mut answered = 0;
    let mut slowed = 0;
    for offer in created["offers"].as_array().unwrap() {
        let path = format!("/offers/{}/answer", offer["id"].as_str().unwrap());
        match stage.post(&path, &attacker, json!({ "sdp": "x" })).await.0 {
            200 => answered += 1,
            429 => slowed += 1,
            other => panic!("{other}"),
        }
    }
    assert!(answered <= 21 && slowed >= 19, "{answered} {slowed}");
    let (_, answers) = stage.get("/offers/answers", &owner).await;
    let attacker_id = &attacker["Bearer ".len()..][..32];
    for answer in answers["answers"].as_array().unwrap() {
        assert_eq!(answer["answererId"], attacker_id);
    }
    let id = stage.create(&owner, json!({ "sdp": "new" })).await;
    let dialer = stage.register().await;
    let path = format!("/offers/{id}/answer");
    assert_eq!(
        stage.post(&path, &dialer, json!({ "sdp": "x" })).await.0,
        200
    );
}

#[tokio::test]
async fn a_lookup_hands_out_only_the_offers_of_its_service_and_secrets_protect() {
    let (stage, owner) = Stage::with_alice().await;
    let public = stage.publish(&owner, CHAT, "public").await;
    let private = stage.publish(&owner, OTHER, "private").await;
    let service = private["serviceId"].clone();
    let guarded = json!({ "sdp": "guarded", "secret": "s", "serviceId": service });
    let guarded = stage.create(&owner, guarded).await;
    for _ in 0..5 {
        assert_eq!(stage.take(&public).await.1["sdp"], "public");
    }
    let (_, list) = stage.get("/usernames/alice/services", "").await;
    for service in list["services"].as_array().unwrap() {
        assert!(service.get("serviceFqn").is_none(), "{service}");
    }
    let attacker = stage.register().await;
    let path = format!("/offers/{guarded}/answer");
    for body in [json!({ "sdp": "x" }), json!({ "sdp": "x", "secret": "t" })] {
        let refused = stage.post(&path, &attacker, body).await;
        let text = json!({ "error": "Invalid or missing secret" });
        assert_eq!(refused, (400, text));
    }
    // Whoever has no service of its own cannot slip an offer into that of another.
    let intruder = json!({ "sdp": "intruder", "serviceId": public["serviceId"] });
    let (status, _) = stage
        .post("/offers", &attacker, json!({ "offers": [intruder] }))
        .await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_publication_that_is_retried_or_refused_leaves_the_service_as_it_was() {
    let (stage, owner) = Stage::with_alice().await;
    let first = stage.publish(&owner, CHAT, "offer").await;
    let retried = stage.publish_body(CHAT, "offer", 1);
    let (status, again) = stage.post("/services", &owner, retried).await;
    assert_eq!(status, 201);
    assert_eq!(
        (&again["uuid"], &again["offerId"]),
        (&first["uuid"], &first["offerId"])
    );
    let mut metadata = stage.publish_body(CHAT, "new", 3);
    metadata["metadata"] = "x".repeat(9000).into();
    for wrong in [
        stage.publish_body(CHAT, &"x".repeat(65_537), 2),
        metadata,
        stage.publish_body(CHAT, "", 4),
    ] {
        assert_eq!(stage.post("/services", &owner, wrong).await.0, 400);
        assert_eq!(stage.take(&first).await.1["sdp"], "offer");
    }
}

#[tokio::test]
async fn registrations_names_and_metadata_are_rationed() {
    let config = ServerConfig::default()
        .registration_rate(RateLimit::per_minute(1, 5))
        .name_rate(RateLimit::per_minute(1, 3));
    let stage = Stage::new(config).await;
    let mut registered = 0;
    for _ in 0..50 {
        let response = stage.request(Method::POST, "/register", "").send().await;
        let response = response.unwrap();
        match response.status().as_u16() {
            200 => registered += 1,
            429 => assert!(response.headers().contains_key("retry-after")),
            other => panic!("{other}"),
        }
    }
    assert!(registered < 20, "{registered}");
    let thief = KeyPair::from_seed(&[9; 32]);
    let mut squatted = 0;
    for number in 0..20 {
        let claim = stage.claim_body(&format!("name-{number}"), &thief);
        match stage.post("/usernames/claim", "", claim).await.0 {
            200 => squatted += 1,
            429 => {}
            other => panic!("{other}"),
        }
    }
    assert_eq!(squatted, 3);
    // Renewing what one has is not squatting.
    let renewal = stage.claim_body("name-0", &thief);
    assert_eq!(stage.post("/usernames/claim", "", renewal).await.0, 200);
    // The default limits stop the 200 in a row too, in any hour.
    let defaults = Stage::new(ServerConfig::default()).await;
    let mut squatted = 0;
    for number in 0..200 {
        let claim = defaults.claim_body(&format!("name-{number}"), &thief);
        squatted += usize::from(defaults.post("/usernames/claim", "", claim).await.0 == 200);
    }
    assert!((100..120).contains(&squatted), "{squatted}");
}

#[tokio::test]
async fn no_page_gets_credentials_from_a_browser() {
    for cors in [
        Cors::Anywhere,
        Cors::Origins(vec!["https://a.example".into()]),
        Cors::Nowhere,
    ] {
        let stage = Stage::new(ServerConfig::default().cors(cors.clone())).await;
        for method in [Method::GET, Method::OPTIONS] {
            let request = stage
                .request(method, "/offers/mine", "")
                .header("origin", "https://evil.example")
                .header("access-control-request-method", "GET");
            let response = request.send().await.unwrap();
            let headers = response.headers();
            assert!(!headers.contains_key("access-control-allow-credentials"));
            let allowed = headers.get("access-control-allow-origin");
            let allowed = allowed.map(|value| value.to_str().unwrap());
            assert_ne!(allowed, Some("https://evil.example"), "{cors:?}");
        }
    }
}

#[tokio::test]
async fn a_made_up_forwarding_header_passes_no_limit() {
    let limit = RateLimit::per_minute(1, 3);
    let proxy = "127.0.0.0/8".parse().unwrap();
    for (source, made_up) in [
        (ClientAddress::Connection, "{}"),
        // Behind a proxy, which appends the address that it really sees.
        (ClientAddress::ForwardedBy(vec![proxy]), "{}, 192.0.2.1"),
    ] {
        let config = ServerConfig::default()
            .address_rate(limit)
            .client_address(source);
        let stage = Stage::new(config).await;
        let mut passed = 0;
        for number in 0..20 {
            let header = made_up.replace("{}", &format!("198.51.100.{number}"));
            let request = stage.request(Method::GET, "/", "");
            let response = request.header("x-forwarded-for", header).send().await;
            passed += usize::from(response.unwrap().status().is_success());
        }
        assert!(passed <= 4, "{passed}");
    }
}

#[tokio::test]
async fn a_claim_that_is_replayed_elsewhere_gives_the_name_to_its_signer_alone() {
    let (stage, _) = Stage::with_alice().await;
    let elsewhere = Stage::new(ServerConfig::default()).await;
    let captured = stage.claim_body("alice", &stage.owner);
    let claimed = elsewhere
        .post("/usernames/claim", "", captured.clone())
        .await;
    assert_eq!(claimed.0, 200);
    // The one who replayed it cannot use the name, nor replay it again.
    let attacker = elsewhere.register().await;
    let mut forged = elsewhere.publish_body(CHAT, "of the attacker", 0);
    let thief = KeyPair::from_seed(&[9; 32]);
    let message = forged["message"].as_str().unwrap().to_owned();
    let at = message.rsplit_once(':').unwrap().1.parse().unwrap();
    let signed = thief.sign_publish(
        &"alice".parse().unwrap(),
        &CHAT.parse().unwrap(),
        UnixMillis(at),
    );
    forged["signature"] = signed.signature.to_string().into();
    assert_eq!(elsewhere.post("/services", &attacker, forged).await.0, 403);
    assert_eq!(
        elsewhere.post("/usernames/claim", "", captured).await.0,
        403
    );
    let stolen = elsewhere.claim_body("alice", &thief);
    assert_eq!(elsewhere.post("/usernames/claim", "", stolen).await.0, 409);
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_restart_makes_no_used_signature_good_again() {
    use rondevu_signaling::server::Storage;

    let folder = tempfile::TempDir::new().unwrap();
    let storage = Storage::Sqlite(folder.path().join("store.db"));
    let config = ServerConfig::default().storage(storage);
    let stage = Stage::new(config.clone()).await;
    let peer = stage.register().await;
    let claim = stage.claim_body("alice", &stage.owner);
    assert_eq!(
        stage.post("/usernames/claim", "", claim.clone()).await.0,
        200
    );
    let publication = stage.publish_body(CHAT, "offer", 0);
    assert_eq!(
        stage.post("/services", &peer, publication.clone()).await.0,
        201
    );
    stage.server.shutdown().await;

    let stage = Stage::new(config).await;
    assert_eq!(stage.post("/usernames/claim", "", claim).await.0, 403);
    assert_eq!(stage.post("/services", &peer, publication).await.0, 403);
    let fresh = stage.publish_body(CHAT, "offer", 5);
    assert_eq!(stage.post("/services", &peer, fresh).await.0, 201);
}
