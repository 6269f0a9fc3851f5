//! What operators and browsers see of a server: page, description, metrics, numbered answers.
#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use rondevu_signaling::server::{RateLimit, RunningServer, Server, ServerConfig};
use serde_json::{Value, json};

async fn serve(config: ServerConfig) -> (RunningServer, reqwest::Client) {
    let server = Server::bind("127.0.0.1:0", config).await.unwrap();
    let http = reqwest::Client::builder().tls_certs_only([]);
    (server.spawn(), http.build().unwrap())
}

async fn register(server: &RunningServer, http: &reqwest::Client) -> String {
    let reply = http.post(server.url() + "/register").send().await.unwrap();
    let reply: Value = reply.json().await.unwrap();
    let text = |name: &str| reply[name].as_str().unwrap().to_owned();
    format!("Bearer {}:{}", text("peerId"), text("secret"))
}

async fn metrics(server: &RunningServer, http: &reqwest::Client) -> String {
    let reply = http.get(server.url() + "/metrics").send().await.unwrap();
    assert_eq!(reply.status().as_u16(), 200);
    reply.text().await.unwrap()
}

#[tokio::test]
async fn browsers_get_a_page_and_programs_get_json() {
    let config = ServerConfig::default().public_url("https://example.com/<x>");
    let (server, http) = serve(config).await;
    let get = |accept: &'static str| {
        let request = http.get(server.url() + "/").header("accept", accept);
        request.send()
    };
    let browser = "text/html,application/xhtml+xml,*/*;q=0.8";
    let page = get(browser).await.unwrap();
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let vary = page.headers()["vary"].to_str().unwrap();
    assert!(vary.contains("accept"), "{vary}");
    let page = page.text().await.unwrap();
    assert!(page.contains("live services") && page.contains("running for"));
    assert!(page.contains("https://example.com/&lt;x&gt;"), "{page}");
    assert!(!page.contains("{address}") && !page.contains("<x>"));
    for accept in ["*/*", "application/json"] {
        let info: Value = get(accept).await.unwrap().json().await.unwrap();
        assert_eq!(info["name"], "Rondevu");
    }
}

#[tokio::test]
async fn the_description_is_served() {
    let config = ServerConfig::default().public_url("https://example.com");
    let (server, http) = serve(config).await;
    let reply = http.get(server.url() + "/openapi.json").send().await;
    let description: Value = reply.unwrap().json().await.unwrap();
    assert_eq!(description["openapi"], "3.1.0");
    assert_eq!(
        description["servers"],
        json!([{ "url": "https://example.com" }])
    );
}

#[tokio::test]
async fn each_answer_has_a_number_of_its_own_whatever_the_client_says() {
    let (server, http) = serve(ServerConfig::default()).await;
    let mut numbers = std::collections::BTreeSet::new();
    for path in ["/", "/health", "/nothing", "/offers/mine"] {
        let request = http.get(server.url() + path).header("x-request-id", "mine");
        let response = request.send().await.unwrap();
        let number = response.headers()["x-request-id"].to_str().unwrap();
        assert_eq!(number.len(), 16);
        assert!(numbers.insert(number.to_owned()));
    }
}

#[tokio::test]
async fn metrics_tell_requests_by_pattern_and_what_is_kept() {
    let (server, http) = serve(ServerConfig::default()).await;
    let peer = register(&server, &http).await;
    let offers = json!({ "offers": [{ "sdp": "v=0" }, { "sdp": "v=1" }] });
    let created = http.post(server.url() + "/offers").json(&offers);
    created.header("authorization", &peer).send().await.unwrap();
    for path in ["/offers/secret-id/ice-candidates", "/no/such/path"] {
        let request = http.get(server.url() + path);
        request.header("authorization", &peer).send().await.unwrap();
    }
    let text = metrics(&server, &http).await;
    for line in [
        "rondevu_requests_total{method=\"POST\",endpoint=\"/offers\",status=\"201\"} 1",
        "rondevu_requests_total{method=\"GET\",endpoint=\"/offers/{id}/ice-candidates\",status=\"404\"} 1",
        "rondevu_requests_total{method=\"other\",endpoint=\"other\",status=\"404\"} 1",
        "rondevu_request_duration_seconds_count{method=\"POST\",endpoint=\"/register\"} 1",
        "rondevu_kept{kind=\"offers\"} 2",
        "rondevu_waiting_requests 0",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(!text.contains("secret-id"), "{text}");
}

#[tokio::test]
async fn a_limit_that_is_reached_is_counted_by_its_name() {
    let config = ServerConfig::default().peer_rate(RateLimit::per_minute(1, 8));
    let (server, http) = serve(config).await;
    let peer = register(&server, &http).await;
    let offer = |sdp: usize, secret: usize| json!({ "offers": [{ "sdp": "x".repeat(sdp), "secret": "s".repeat(secret) }] });
    let many = json!({ "offers": vec![json!({ "sdp": "x" }); 101] });
    for (path, body, status) in [
        ("/offers", offer(65_537, 0), 400),
        ("/offers", offer(1, 129), 400),
        ("/offers", many, 400),
        ("/offers", offer(3 * 1024 * 1024, 0), 413),
        (
            "/offers/x/answer",
            json!({ "sdp": "x".repeat(600_000) }),
            413,
        ),
        (
            "/offers/x/ice-candidates",
            json!({ "candidates": vec![1; 65] }),
            400,
        ),
        (
            "/offers/x/ice-candidates",
            json!({ "candidates": ["x".repeat(4097)] }),
            400,
        ),
        ("/offers", offer(1, 0), 201),
        ("/offers", offer(1, 0), 429),
    ] {
        let request = http.post(server.url() + path).json(&body);
        // The server may close the connection before a large body is sent.
        let Ok(response) = request.header("authorization", &peer).send().await else {
            assert_eq!(status, 413);
            continue;
        };
        assert_eq!(response.status().as_u16(), status, "{path}");
        assert_eq!(
            response.headers().contains_key("retry-after"),
            status == 429
        );
    }
    let text = metrics(&server, &http).await;
    for limit in [
        "sdp_bytes",
        "secret_bytes",
        "offers_per_request",
        "offers_body_bytes",
        "body_bytes",
        "candidates_per_peer_and_offer",
        "candidate_bytes",
        "peer_rate",
    ] {
        let line = format!("rondevu_limit_reached_total{{limit=\"{limit}\"}} 1");
        assert!(text.contains(&line), "{line} in {text}");
    }
    let line = "rondevu_limit_reached_total{limit=\"address_rate\"} 0";
    assert!(text.contains(line), "{text}");
}
