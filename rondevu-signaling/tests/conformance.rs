//! Holds each implementation to the conformance suite.

use std::sync::Arc;

use rondevu_signaling::MemorySignaling;
use rondevu_signaling::conformance::{Expect, run};

#[tokio::test]
async fn signaling_in_memory_conforms() {
    let signaling = MemorySignaling::new();
    let report = run(|| Arc::new(signaling.peer()), Expect::Everything).await;
    report.assert_passed();
    assert_eq!(report.passed.len(), 33);
}

#[cfg(all(feature = "http", feature = "server"))]
#[tokio::test]
async fn the_http_client_with_our_server_conforms() {
    use rondevu_signaling::HttpSignaling;
    use rondevu_signaling::server::{Server, ServerConfig};

    let server = Server::bind("127.0.0.1:0", ServerConfig::default()).await;
    let server = server.unwrap().spawn();
    let url = server.url();
    let make_peer = || Arc::new(HttpSignaling::new(&url).unwrap()) as _;
    run(make_peer, Expect::Everything).await.assert_passed();
    server.shutdown().await;
}

#[cfg(all(feature = "http", feature = "sqlite"))]
#[tokio::test]
async fn the_http_client_with_our_server_and_a_file_conforms() {
    use rondevu_signaling::HttpSignaling;
    use rondevu_signaling::server::{Server, ServerConfig, Storage};

    let folder = tempfile::TempDir::new().unwrap();
    let storage = Storage::Sqlite(folder.path().join("store.db"));
    let config = ServerConfig::default().storage(storage);
    let server = Server::bind("127.0.0.1:0", config).await.unwrap().spawn();
    let url = server.url();
    let make_peer = || Arc::new(HttpSignaling::new(&url).unwrap()) as _;
    run(make_peer, Expect::Everything).await.assert_passed();
    server.shutdown().await;
}

/// Set `RONDEVU_TEST_SERVER` to the address of a server that you may fill with test names.
#[cfg(feature = "http")]
#[tokio::test]
async fn the_server_that_the_environment_names_conforms() {
    use rondevu_signaling::{HttpSignaling, Signaling};

    let Ok(url) = std::env::var("RONDEVU_TEST_SERVER") else {
        return;
    };
    let waits = HttpSignaling::new(&url).unwrap().supports_wait().await;
    let expect = match waits.unwrap() {
        true => Expect::Everything,
        false => Expect::Protocol,
    };
    let make_peer = || Arc::new(HttpSignaling::new(&url).unwrap()) as _;
    let report = run(make_peer, expect).await;
    println!("{url}: {report}");
    report.assert_passed();
}
