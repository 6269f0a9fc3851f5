//! How the program ends when it is asked to.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{Program, http, register};

#[tokio::test]
async fn a_request_to_end_answers_those_who_wait_and_closes_the_store() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("store.db");
    let store = format!("sqlite:{}", file.display());
    let program = Program::start_with(&["--store", &store], &[("RUST_LOG", "off")]).await;
    let http = http();
    let peer = register(&http, &program.url).await;
    let waiting = http
        .get(format!("{}/offers/answers?wait=30000", program.url))
        .header("authorization", &peer);
    let waiting = tokio::spawn(waiting.send());
    // The server counts it as soon as it waits.
    let is_waiting = async || {
        let metrics = http.get(format!("{}/metrics", program.url)).send().await;
        let text = metrics.unwrap().text().await.unwrap();
        text.contains("rondevu_waiting_requests 1")
    };
    while !is_waiting().await {
        tokio::task::yield_now().await;
    }
    program.terminate().await;
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(
        answer.json::<Value>().await.unwrap(),
        json!({ "answers": [] })
    );
    let (status, log) = program.ended().await;
    assert!(status.success(), "{log}");
    assert!(log.ends_with("signaling server stopped\n"), "{log}");
    assert!(file.exists());
    assert!(!folder.path().join("store.db-wal").exists());
}

#[tokio::test]
async fn with_a_key_file_credentials_outlive_a_restart_in_memory() {
    let folder = TempDir::new().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, format!("{}\n", "5a".repeat(32))).unwrap();
    let arguments = ["--key-file", key.to_str().unwrap()];
    let program = Program::start(&arguments).await;
    let peer = register(&http(), &program.url).await;
    program.kill().await;
    let program = Program::start(&arguments).await;
    let mine = http().get(format!("{}/offers/mine", program.url));
    let mine = mine.header("authorization", &peer).send().await.unwrap();
    assert_eq!(mine.status().as_u16(), 200);
}
