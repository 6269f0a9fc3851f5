//! What the program refuses, and whether it says what to do.

use tempfile::TempDir;

use crate::program::{Program, run};

#[tokio::test]
async fn wrong_arguments_are_refused_with_what_to_do() {
    let folder = TempDir::new().unwrap();
    let text = folder.path().join("text");
    std::fs::write(&text, "no key\n").unwrap();
    let text = text.to_str().unwrap();
    for (arguments, says) in [
        (
            &["--store", "redis:x"][..],
            "write `memory` or `sqlite:PATH`",
        ),
        (&["--store", "sqlite:/nowhere/x.db"], "cannot serve"),
        (&["--listen", "localhost:3000"], "as in 127.0.0.1:3000"),
        (&["--cors", "example.com"], "write `https://example.com`"),
        (&["--limit-peer-rate", "fast"], "50/s:500"),
        (&["--trusted-proxy", "proxy"], "write an address"),
        (&["--key-file", text], "64 hex digits"),
        (&["--tls-cert", text], "--tls-key"),
        (&["--tls-cert", text, "--tls-key", text], "in PEM"),
        (&["--public-url", "example.com"], "https://"),
        (&["--listen", "192.0.2.1:1"], "cannot serve on 192.0.2.1:1"),
    ] {
        let (succeeded, said) = run(arguments).await;
        assert!(!succeeded && said.contains(says), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[tokio::test]
async fn a_second_server_is_kept_away_from_a_file() {
    let folder = TempDir::new().unwrap();
    let store = format!("sqlite:{}", folder.path().join("store.db").display());
    let _first = Program::start(&["--store", &store]).await;
    let (succeeded, said) = run(&["--store", &store]).await;
    assert!(!succeeded);
    assert!(said.contains("another server is using it"), "{said}");
}

#[tokio::test]
async fn the_environment_stands_in_for_arguments() {
    let program = Program::start_with(&[], &[("RONDEVU_LIMIT_OFFERS_PER_PEER", "7")]).await;
    let metrics = crate::program::http().get(format!("{}/metrics", program.url));
    let text = metrics.send().await.unwrap().text().await.unwrap();
    assert!(
        text.contains("rondevu_limit{limit=\"offers_per_peer\"} 7.0"),
        "{text}"
    );
}
