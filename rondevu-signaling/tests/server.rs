//! The server as others see it: statuses, texts, limits, shutdown.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use rondevu_signaling::server::ServerConfig;
use rondevu_signaling::server::{ClientAddress, Cors, RateLimit, RunningServer, Server};
use rondevu_signaling::{KeyPair, Limits, UnixMillis};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A server and somebody who speaks to it in plain HTTP.
struct Stage {
    server: RunningServer,
    http: reqwest::Client,
}

impl Stage {
    async fn new(config: ServerConfig) -> Self {
        let server = Server::bind("127.0.0.1:0", config).await.unwrap();
        let http = reqwest::Client::builder().tls_certs_only([]);
        Self {
            server: server.spawn(),
            http: http.build().unwrap(),
        }
    }

    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.http.request(method, self.server.url() + path)
    }

    async fn register(&self) -> String {
        let reply = self.request("POST", "/register").send().await.unwrap();
        let body: Value = reply.json().await.unwrap();
        let peer = body["peerId"].as_str().unwrap();
        assert!(peer.len() == 32 && peer.bytes().all(|b| b.is_ascii_hexdigit()));
        let secret = body["secret"].as_str().unwrap();
        assert!(secret.len() <= 256);
        format!("Bearer {peer}:{secret}")
    }

    async fn post(&self, path: &str, peer: &str, body: Value) -> (u16, Value) {
        let request = self.request("POST", path).header("authorization", peer);
        status_and_body(request.json(&body).send().await.unwrap()).await
    }

    async fn create_offer(&self, peer: &str, sdp: &str) -> String {
        let offers = json!({ "offers": [{ "sdp": sdp }] });
        let (status, body) = self.post("/offers", peer, offers).await;
        assert_eq!(status, 201);
        body["offers"][0]["id"].as_str().unwrap().to_owned()
    }
}

async fn status_and_body(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

#[tokio::test]
async fn the_server_says_who_it_is_and_that_it_lives() {
    let stage = Stage::new(ServerConfig::default()).await;
    let info = stage.request("GET", "/").send().await.unwrap();
    let (status, info) = status_and_body(info).await;
    assert_eq!((status, &info["name"]), (200, &json!("Rondevu")));
    assert_eq!(info["features"], json!(["wait"]));
    let health = stage.request("GET", "/health").send().await.unwrap();
    let (status, health) = status_and_body(health).await;
    assert_eq!((status, &health["status"]), (200, &json!("ok")));
    assert!(health["timestamp"].is_u64() && health["version"].is_string());
}

#[tokio::test]
async fn unknown_paths_and_methods_are_404_in_plain_text() {
    let stage = Stage::new(ServerConfig::default()).await;
    for (method, path) in [("GET", "/nothing"), ("PUT", "/offers"), ("POST", "/health")] {
        let response = stage.request(method, path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{method} {path}");
        let kind = response.headers()["content-type"].to_str().unwrap();
        assert!(kind.starts_with("text/plain"), "{kind}");
    }
}

#[tokio::test]
async fn each_way_to_be_unauthorized_has_its_text() {
    let stage = Stage::new(ServerConfig::default()).await;
    let good = stage.register().await;
    let mut wrong = good.clone();
    wrong.replace_range(10..11, if &good[10..11] == "0" { "1" } else { "0" });
    for (header, text) in [
        (None, "Missing Authorization header"),
        (
            Some("Basic x"),
            "Invalid Authorization header format. Expected: Bearer {peerId}:{secret}",
        ),
        (
            Some("Bearer x"),
            "Invalid credentials format. Expected: {peerId}:{secret}",
        ),
        (Some(&*wrong), "Invalid credentials"),
    ] {
        for (method, path) in [
            ("GET", "/offers/mine"),
            ("GET", "/offers/answers"),
            ("POST", "/offers"),
            ("POST", "/services"),
            ("DELETE", "/services/x"),
            ("DELETE", "/offers/x"),
            ("POST", "/offers/x/answer"),
            ("GET", "/offers/x/ice-candidates"),
            ("POST", "/offers/x/ice-candidates"),
        ] {
            let mut request = stage.request(method, path);
            if let Some(header) = header {
                request = request.header("authorization", header);
            }
            let found = status_and_body(request.send().await.unwrap()).await;
            assert_eq!(found, (401, json!({ "error": text })), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn credentials_outlive_a_restart_with_the_same_key() {
    let stage = Stage::new(ServerConfig::default().key([3; 32])).await;
    let peer = stage.register().await;
    stage.server.shutdown().await;
    for (key, status) in [([3; 32], 200), ([4; 32], 401)] {
        let stage = Stage::new(ServerConfig::default().key(key)).await;
        let mine = stage
            .request("GET", "/offers/mine")
            .header("authorization", &peer);
        assert_eq!(mine.send().await.unwrap().status().as_u16(), status);
    }
}

#[tokio::test]
async fn the_life_of_a_service_on_the_wire() {
    let stage = Stage::new(ServerConfig::default()).await;
    let (service, dialer) = (stage.register().await, stage.register().await);
    let keys = KeyPair::from_seed(&[5; 32]);
    let (alice, chat) = (
        "alice".parse().unwrap(),
        "com.example.chat@1.0.0".parse().unwrap(),
    );
    let now = UnixMillis::now();
    let claim = keys.sign_claim(&alice, now);
    let claim = json!({
        "username": "alice",
        "publicKey": claim.public_key.to_string(),
        "signature": claim.signature.to_string(),
        "message": claim.message(),
    });
    let (status, claimed) = stage.post("/usernames/claim", "", claim).await;
    assert_eq!((status, &claimed["username"]), (200, &json!("alice")));
    let year = claimed["expiresAt"].as_u64().unwrap() - claimed["claimedAt"].as_u64().unwrap();
    assert_eq!(year, 365 * 24 * 60 * 60 * 1000);

    let signed = keys.sign_publish(&alice, &chat, now);
    let publication = json!({
        "username": "alice",
        "serviceFqn": "com.example.chat@1.0.0",
        "sdp": "v=0",
        "signature": signed.signature.to_string(),
        "message": signed.message(&alice, &chat),
        "ttl": 300_000,
        "isPublic": true,
        "metadata": { "a": 1 },
    });
    let (status, published) = stage.post("/services", &service, publication).await;
    assert_eq!(status, 201, "{published}");

    let list = stage
        .request("GET", "/usernames/alice/services")
        .send()
        .await
        .unwrap();
    let (_, list) = status_and_body(list).await;
    let entry = json!({
        "uuid": published["uuid"],
        "isPublic": true,
        "serviceFqn": "com.example.chat@1.0.0",
        "metadata": "{\"a\":1}",
    });
    assert_eq!(list, json!({ "username": "alice", "services": [entry] }));

    let query = json!({ "serviceFqn": "com.example.chat@1.0.0" });
    let found = stage.post("/index/alice/query", "", query).await;
    assert_eq!(
        found,
        (200, json!({ "uuid": published["uuid"], "allowed": true }))
    );

    let path = format!("/services/{}", published["uuid"].as_str().unwrap());
    let (status, taken) = status_and_body(stage.request("GET", &path).send().await.unwrap()).await;
    assert_eq!((status, &taken["offerId"]), (200, &published["offerId"]));
    assert_eq!(
        (&taken["metadata"], &taken["sdp"]),
        (&json!({ "a": 1 }), &json!("v=0"))
    );
    assert_eq!(taken["expiresAt"], published["expiresAt"]);

    let path = format!("/offers/{}/answer", published["offerId"].as_str().unwrap());
    let answer = json!({ "sdp": "v=0 answer" });
    let answered = stage.post(&path, &dialer, answer.clone()).await;
    assert_eq!(answered, (200, json!({ "success": true })));
    let answered = stage.post(&path, &dialer, answer).await;
    assert_eq!(
        answered,
        (400, json!({ "error": "Offer already answered" }))
    );

    let path = format!("/services/{}", published["uuid"].as_str().unwrap());
    let (status, busy) = status_and_body(stage.request("GET", &path).send().await.unwrap()).await;
    assert_eq!(
        (status, &busy["error"]),
        (503, &json!("No available offers"))
    );
    assert!(busy["message"].is_string());

    let path = format!("/services/{}", published["serviceId"].as_str().unwrap());
    let withdraw = |peer: &str| {
        let request = stage.request("DELETE", &path).header("authorization", peer);
        request.json(&json!({ "username": "alice" })).send()
    };
    let refused = status_and_body(withdraw(&dialer).await.unwrap()).await;
    let text = "Service not found or not owned by this username";
    assert_eq!(refused, (404, json!({ "error": text })));
    let withdrawn = status_and_body(withdraw(&service).await.unwrap()).await;
    assert_eq!(withdrawn, (200, json!({ "success": true })));
}

#[tokio::test]
async fn malformed_requests_are_400_and_never_500() {
    let stage = Stage::new(ServerConfig::default()).await;
    let peer = stage.register().await;
    let deep = "[".repeat(100_000);
    let bodies = [
        "",
        "{",
        "null",
        "[]",
        "7",
        "\"x\"",
        "{}",
        "\u{0}",
        &deep,
        r#"{"offers":{}}"#,
        r#"{"offers":[{}]}"#,
        r#"{"offers":[{"sdp":7}]}"#,
        r#"{"offers":[]}"#,
        r#"{"offers":[{"sdp":"x","ttl":"soon"}]}"#,
        r#"{"sdp":{}}"#,
        r#"{"candidates":[]}"#,
        r#"{"candidates":7}"#,
        r#"{"username":"A","publicKey":"?","signature":"?","message":"?"}"#,
        r#"{"username":"alice","publicKey":"AA==","signature":"AA==","message":"claim:alice:x"}"#,
        r#"{"serviceFqn":"chat"}"#,
        r#"{"username":"alice","serviceFqn":"chat","sdp":"v=0"}"#,
    ];
    for path in [
        "/usernames/claim",
        "/services",
        "/offers",
        "/index/alice/query",
        "/offers/x/answer",
        "/offers/x/ice-candidates",
    ] {
        for body in bodies {
            let request = stage.request("POST", path).header("authorization", &peer);
            let (status, reply) =
                status_and_body(request.body(body.to_owned()).send().await.unwrap()).await;
            assert_eq!(status, 400, "{path} {:.40} {reply}", body);
            assert!(reply["error"].is_string(), "{path} {reply}");
        }
    }
    for path in ["/usernames/A!", "/usernames/a%00b", "/usernames/x/services"] {
        let response = stage.request("GET", path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{path}");
    }
    for path in ["/offers/answers?wait=soon", "/offers/answers?since=-1"] {
        let request = stage.request("GET", path).header("authorization", &peer);
        assert_eq!(
            request.send().await.unwrap().status(),
            StatusCode::BAD_REQUEST
        );
    }
    let odd = stage
        .request("GET", "/services/%ff%00")
        .send()
        .await
        .unwrap();
    assert!(odd.status().is_client_error());
}

#[tokio::test]
async fn bodies_are_bounded() {
    let stage = Stage::new(ServerConfig::default()).await;
    let peer = stage.register().await;
    let large = json!({ "sdp": "x".repeat(64 * 1024 + 1) });
    let (status, reply) = stage.post("/offers/x/answer", &peer, large).await;
    assert_eq!(
        (status, reply),
        (400, json!({ "error": "SDP too large (max 64KB)" }))
    );
    for path in ["/offers", "/services", "/offers/x/answer"] {
        let huge = json!({ "sdp": "x".repeat(3 * 1024 * 1024) });
        let request = stage.request("POST", path).header("authorization", &peer);
        // The server may close the connection before all is sent.
        if let Ok(response) = request.json(&huge).send().await {
            assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE, "{path}");
        }
    }
}

#[tokio::test]
async fn addresses_and_peers_have_a_rate_each() {
    let config = ServerConfig::default().peer_rate(RateLimit::per_minute(1, 2));
    let stage = Stage::new(config).await;
    let (one, two) = (stage.register().await, stage.register().await);
    let mine = |peer: &str| {
        let request = stage.request("GET", "/offers/mine");
        request.header("authorization", peer).send()
    };
    for _ in 0..2 {
        assert_eq!(mine(&one).await.unwrap().status(), StatusCode::OK);
    }
    let limited = mine(&one).await.unwrap();
    assert_eq!(limited.status(), StatusCode::TOO_MANY_REQUESTS);
    let after = limited.headers()["retry-after"].to_str().unwrap();
    assert!((30..=60).contains(&after.parse().unwrap()), "{after}");
    assert_eq!(mine(&two).await.unwrap().status(), StatusCode::OK);

    let config = ServerConfig::default()
        .address_rate(RateLimit::per_minute(1, 1))
        .client_address(ClientAddress::ForwardedBy(vec![
            "127.0.0.0/8".parse().unwrap(),
        ]));
    let stage = Stage::new(config).await;
    for (address, status) in [
        ("192.0.2.1", 200),
        ("192.0.2.1", 429),
        ("192.0.2.7, 192.0.2.1", 429),
        ("192.0.2.2", 200),
    ] {
        let request = stage.request("GET", "/health");
        let response = request.header("x-forwarded-for", address).send().await;
        assert_eq!(response.unwrap().status().as_u16(), status, "{address}");
    }
}

#[tokio::test]
async fn a_peer_has_so_many_offers_and_no_more() {
    let config = ServerConfig::default().limits(Limits::default().offers_per_peer(2));
    let stage = Stage::new(config).await;
    let peer = stage.register().await;
    for sdp in ["a", "b", "a"] {
        stage.create_offer(&peer, sdp).await;
    }
    let offers = json!({ "offers": [{ "sdp": "c" }] });
    let (status, reply) = stage.post("/offers", &peer, offers).await;
    assert_eq!(status, 429);
    assert_eq!(reply["error"], "Too many offers for this peer (max 2)");
}

#[tokio::test]
async fn pages_of_other_origins_are_let_in_as_configured() {
    let origins = |list: &[&str]| Cors::Origins(list.iter().map(|o| o.to_string()).collect());
    for (cors, allowed) in [
        (Cors::Anywhere, Some("*")),
        (origins(&["https://a.example"]), Some("https://a.example")),
        (origins(&["https://b.example"]), None),
        (Cors::Nowhere, None),
    ] {
        let stage = Stage::new(ServerConfig::default().cors(cors.clone())).await;
        let preflight = stage
            .request("OPTIONS", "/offers")
            .header("origin", "https://a.example")
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,content-type",
            );
        for request in [preflight, stage.request("GET", "/health")] {
            let request = request.header("origin", "https://a.example");
            let response = request.send().await.unwrap();
            let header = response.headers().get("access-control-allow-origin");
            assert_eq!(header.map(|v| v.to_str().unwrap()), allowed, "{cors:?}");
        }
    }
}

/// Sends a request that waits, and returns when it does.
async fn waiting_request(stage: &Stage, peer: &str) -> TcpStream {
    let mut stream = TcpStream::connect(stage.server.local_addr()).await.unwrap();
    let request = |wait: u32| {
        format!(
            "GET /offers/answers?wait={wait} HTTP/1.1\r\nHost: x\r\nAuthorization: {peer}\r\n\r\n"
        )
    };
    // A request that does not wait goes first: the server takes up the second one before anybody
    // hears the answer to the first.
    let both = request(0) + &request(30_000);
    stream.write_all(both.as_bytes()).await.unwrap();
    let mut first = [0; 4096];
    assert!(stream.read(&mut first).await.unwrap() > 0);
    stream
}

#[tokio::test]
async fn shutdown_answers_those_who_wait() {
    let stage = Stage::new(ServerConfig::default()).await;
    let peer = stage.register().await;
    let mut waiting = waiting_request(&stage, &peer).await;
    let Stage { server, http } = stage;
    drop(http);
    let mut rest = String::new();
    let (read, ended) = tokio::join!(
        waiting.read_to_string(&mut rest),
        tokio::time::timeout(Duration::from_secs(5), server.shutdown()),
    );
    ended.expect("nothing keeps the server from ending");
    read.unwrap();
    assert!(rest.starts_with("HTTP/1.1 200 OK"), "{rest}");
    assert!(rest.ends_with("{\"answers\":[]}"), "{rest}");
}

#[tokio::test]
async fn a_dropped_server_is_gone() {
    let stage = Stage::new(ServerConfig::default()).await;
    let peer = stage.register().await;
    let mut waiting = waiting_request(&stage, &peer).await;
    let address = stage.server.local_addr();
    drop(stage);
    let mut rest = Vec::new();
    let _ = waiting.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    assert!(TcpStream::connect(address).await.is_err());
}
