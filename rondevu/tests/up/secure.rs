//! HTTPS, and what stands in the log.

use rondevu::{KeyPair, Username};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{Program, claim, http, post, publication, register};

#[tokio::test]
async fn with_a_certificate_the_server_speaks_https_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let program = Program::start(&[
        "--tls-cert",
        certificate.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
    ])
    .await;
    assert!(program.url.starts_with("https://"), "{}", program.url);
    let trusted = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([trusted]);
    let client = client.build().unwrap();
    let health = client.get(format!("{}/health", program.url)).send().await;
    assert_eq!(health.unwrap().status().as_u16(), 200);
    let plain = format!("http://{}/health", program.address());
    assert!(http().get(plain).send().await.is_err());
    let distrustful = http().get(format!("{}/health", program.url)).send().await;
    assert!(distrustful.is_err());
}

#[tokio::test]
async fn not_even_the_most_talkative_log_tells_a_secret() {
    let environment = [("RUST_LOG", "trace"), ("RONDEVU_LOG_FORMAT", "json")];
    let program = Program::start_with(&[], &environment).await;
    let (http, url) = (http(), program.url.clone());
    let (keys, name) = (
        KeyPair::from_seed(&[1; 32]),
        Username::parse("alice").unwrap(),
    );
    let peer = register(&http, &url).await;
    let secret = peer.rsplit_once(':').unwrap().1.to_owned();
    let body = claim(&keys, &name);
    let signature = body["signature"].as_str().unwrap().to_owned();
    let claimed = post(&http, format!("{url}/usernames/claim"), None, &body);
    assert_eq!(claimed.await.unwrap().0, 200);
    let body = publication(&keys, &name, "description-of-alice");
    let published = post(&http, format!("{url}/services"), Some(&peer), &body);
    let (status, published) = published.await.unwrap();
    assert_eq!(status, 201);
    let offers = json!({ "offers": [{ "sdp": "v=0", "secret": "password-of-alice" }] });
    let created = post(&http, format!("{url}/offers"), Some(&peer), &offers);
    assert_eq!(created.await.unwrap().0, 201);
    let taken = http.get(format!(
        "{url}/services/{}",
        published["uuid"].as_str().unwrap()
    ));
    let taken = taken.send().await.unwrap();
    let id = taken.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(taken.status().as_u16(), 200);
    program.terminate().await;
    let (_, log) = program.ended().await;
    for hidden in [
        &secret,
        &signature,
        "description-of-alice",
        "password-of-alice",
        published["uuid"].as_str().unwrap(),
    ] {
        assert!(!log.contains(hidden), "{hidden} in {log}");
    }
    // It is one object a line, and names the request.
    let lines = log.lines().filter(|line| line.starts_with('{'));
    let lines: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of_request = lines.iter().find(|line| line["span"]["id"] == id.as_str());
    let fields = &of_request.expect("the request is logged")["fields"];
    assert_eq!(fields["endpoint"], "/services/{id}");
    assert_eq!(fields["status"], 200);
}
