//! What a store in a file keeps when the process ends without warning.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rondevu::{KeyPair, Username};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::program::{Program, SERVICE, claim, http, post, publication, register};

/// What was answered before the end.
#[derive(Default)]
struct Answered {
    names: Vec<(Username, u8)>,
    peers: Vec<String>,
    services: Vec<(Username, Value)>,
    /// Bodies whose signatures are used up.
    used: Vec<Value>,
}

/// Claims and publishes until the server is gone.
async fn claim_and_publish(
    url: String,
    worker: u8,
    count: Arc<AtomicUsize>,
    enough: Arc<Notify>,
) -> Answered {
    let (http, keys) = (http(), KeyPair::from_seed(&[worker; 32]));
    let mut answered = Answered::default();
    let peer = register(&http, &url).await;
    answered.peers.push(peer.clone());
    for number in 0.. {
        let name = Username::parse(&format!("name-{worker}-{number}")).unwrap();
        let body = claim(&keys, &name);
        match post(&http, format!("{url}/usernames/claim"), None, &body).await {
            Ok((200, _)) => answered.names.push((name.clone(), worker)),
            Ok(other) => panic!("{other:?}"),
            Err(_) => break,
        }
        answered.used.push(body);
        let body = publication(&keys, &name, &format!("offer {worker} {number}"));
        match post(&http, format!("{url}/services"), Some(&peer), &body).await {
            Ok((201, reply)) => answered.services.push((name, reply)),
            Ok(other) => panic!("{other:?}"),
            Err(_) => break,
        }
        answered.used.push(body);
        if count.fetch_add(1, Ordering::Relaxed) == 100 {
            enough.notify_one();
        }
    }
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_answered_is_lost_when_the_process_is_killed() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("store.db");
    let store = format!("sqlite:{}", file.display());
    let program = Program::start(&[
        "--store",
        &store,
        "--limit-name-rate",
        "none",
        "--limit-peer-rate",
        "none",
    ])
    .await;
    let (count, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let workers: Vec<_> = (0..8)
        .map(|worker| {
            let url = program.url.clone();
            let work = claim_and_publish(url, worker, Arc::clone(&count), Arc::clone(&enough));
            tokio::spawn(work)
        })
        .collect();
    enough.notified().await;
    // In the middle of their requests.
    program.kill().await;
    let mut all = Vec::new();
    for worker in workers {
        all.push(worker.await.unwrap());
    }

    let program = Program::start(&["--store", &store]).await;
    let (http, url) = (http(), &program.url);
    for answered in &all {
        for (name, worker) in &answered.names {
            let reply = http.get(format!("{url}/usernames/{name}")).send().await;
            let reply: Value = reply.unwrap().json().await.unwrap();
            let key = KeyPair::from_seed(&[*worker; 32]).public_key().to_string();
            assert_eq!(reply["publicKey"], key, "{name}");
        }
        for peer in &answered.peers {
            let mine = http.get(format!("{url}/offers/mine"));
            let mine = mine.header("authorization", peer).send().await.unwrap();
            assert_eq!(mine.status().as_u16(), 200);
            let mine: Value = mine.json().await.unwrap();
            let kept = mine["offers"].as_array().unwrap().len();
            assert!(kept >= answered.services.len(), "{kept}");
        }
        for (name, reply) in &answered.services {
            let query = format!("{url}/index/{name}/query");
            let found = post(&http, query, None, &json!({ "serviceFqn": SERVICE })).await;
            assert_eq!(found.unwrap().1["uuid"], reply["uuid"], "{name}");
        }
        // Signatures that were used before the end are used up after it.
        let last = answered.used.len().saturating_sub(2);
        for body in &answered.used[last..] {
            let (path, peer) = match body["serviceFqn"].is_string() {
                true => ("services", Some(&*answered.peers[0])),
                false => ("usernames/claim", None),
            };
            let (status, _) = post(&http, format!("{url}/{path}"), peer, body)
                .await
                .unwrap();
            assert_eq!(status, 403, "{body}");
        }
    }
    let names: usize = all.iter().map(|answered| answered.names.len()).sum();
    assert!(names > 100, "{names}");
}
