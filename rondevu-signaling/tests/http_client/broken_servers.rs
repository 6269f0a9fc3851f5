//! Servers that are slow, cut off, too talkative, elsewhere or not there.

use super::*;

#[tokio::test]
async fn an_answer_of_more_than_a_mebibyte_is_refused() {
    for status in [200, 400] {
        let large = ResponseTemplate::new(status).set_body_string("x".repeat(1024 * 1024 + 1));
        let server = server_that_answers(large).await;
        let error = request("list", &client(&server)).await;
        assert!(
            matches!(error, SignalingError::Malformed { .. }),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_slow_server_is_given_up() {
    let slow = refused(500, "").set_delay(Duration::from_secs(3600));
    let server = server_that_answers(slow).await;
    let limit = Duration::from_millis(50);
    let signaling = HttpSignaling::builder(&server.uri()).request_timeout(limit);
    let error = request("find", &signaling.build().unwrap()).await;
    assert!(matches!(error, SignalingError::Timeout { after } if after == limit));
    assert!(error.is_outage());
}

/// Answers each connection with these bytes and closes it.
async fn server_that_writes(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(bytes).await;
        }
    });
    url
}

/// Answers the first request of each connection, keeps it open and never says anything again.
async fn server_that_falls_silent(body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
            kept.push(stream);
        }
    });
    url
}

#[tokio::test]
async fn in_another_network_new_connections_are_used() {
    let url = server_that_falls_silent(r#"{"username":"alice","services":[]}"#).await;
    let limit = Duration::from_secs(1);
    let signaling = HttpSignaling::builder(&url).request_timeout(limit);
    let signaling = signaling.build().unwrap();
    let alice = "alice".parse().unwrap();
    assert_eq!(signaling.list_services(&alice).await.unwrap(), []);
    // A connection that has hung since the network changed.
    let error = signaling.list_services(&alice).await.unwrap_err();
    assert!(matches!(error, SignalingError::Timeout { .. }), "{error:?}");

    assert_eq!(signaling.list_services(&alice).await.unwrap(), []);
    // Another peer shares the connections.
    let other = signaling.another_peer().unwrap();
    other.handle_network_change();
    assert_eq!(signaling.list_services(&alice).await.unwrap(), []);
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_outage() {
    for bytes in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"uuid\":",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"uu",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ] {
        let url = server_that_writes(bytes).await;
        let error = request("find", &HttpSignaling::new(&url).unwrap()).await;
        assert!(
            matches!(error, SignalingError::Unreachable { .. }),
            "{error:?}"
        );
        assert!(std::error::Error::source(&error).is_some());
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_outage() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = request("find", &HttpSignaling::new(&url).unwrap()).await;
    assert!(
        matches!(error, SignalingError::Unreachable { .. }),
        "{error:?}"
    );
    assert_eq!(error.retry(), Retry::Backoff);
}

#[tokio::test]
async fn a_redirect_to_another_origin_is_not_followed() {
    let elsewhere = MockServer::start().await;
    Mock::given(any())
        .respond_with(ok(json!({ "peerId": "p1", "secret": "s1" })))
        .expect(0)
        .mount(&elsewhere)
        .await;
    for status in [301, 302, 303, 307, 308] {
        let away = ResponseTemplate::new(status).insert_header("location", elsewhere.uri());
        let server = server_that_answers(away).await;
        for kind in ALL_KINDS {
            let error = request(kind, &client(&server)).await;
            assert!(
                matches!(error, SignalingError::NotRondevu { .. }),
                "{kind}: {error:?}"
            );
            assert!(error.to_string().contains(&elsewhere.uri()), "{error}");
        }
    }
}

#[tokio::test]
async fn a_redirect_within_the_origin_is_followed_but_not_in_circles() {
    let server = MockServer::start().await;
    let moved = ResponseTemplate::new(308).insert_header("location", "/v2/index/alice/query");
    Mock::given(path("/index/alice/query"))
        .respond_with(moved)
        .mount(&server)
        .await;
    let found = json!({ "uuid": "u1", "allowed": true });
    Mock::given(path("/v2/index/alice/query"))
        .respond_with(ok(found))
        .mount(&server)
        .await;
    let service = "com.example.chat@1.0.0".parse().unwrap();
    let uuid = client(&server).find_service(&alice(), &service).await;
    assert_eq!(uuid.unwrap().as_str(), "u1");

    let circle = ResponseTemplate::new(307).insert_header("location", "/usernames/alice");
    let server = server_that_answers(circle).await;
    let error = request("look up", &client(&server)).await;
    assert!(
        matches!(error, SignalingError::NotRondevu { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_answer_that_never_ends_is_given_up_after_a_mebibyte() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut written = stream.write_all(head).await;
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
        // Ends when the client closes the connection, and only then.
        while written.is_ok() {
            written = stream.write_all(chunk.as_bytes()).await;
        }
    });
    let error = request("find", &HttpSignaling::new(&url).unwrap()).await;
    assert!(
        matches!(error, SignalingError::Malformed { .. }),
        "{error:?}"
    );
    server.await.unwrap();
}

#[tokio::test]
async fn an_answer_that_stops_in_the_middle_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        let begun = b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{\"uuid\":";
        stream.write_all(begun).await.unwrap();
        // Ends when the client hangs up.
        while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
    });
    let signaling = HttpSignaling::builder(&url).request_timeout(Duration::from_millis(50));
    let error = request("find", &signaling.build().unwrap()).await;
    assert!(matches!(error, SignalingError::Timeout { .. }), "{error:?}");
    server.await.unwrap();
}

#[tokio::test]
async fn credentials_follow_a_redirect_within_the_origin_and_go_nowhere_else() {
    let elsewhere = MockServer::start().await;
    Mock::given(any())
        .respond_with(ok(json!({ "offers": [] })))
        .expect(0)
        .mount(&elsewhere)
        .await;
    let server = MockServer::start().await;
    mount_registration(&server, 1).await;
    let within = ResponseTemplate::new(307).insert_header("location", "/v2/offers/mine");
    Mock::given(path("/offers/mine"))
        .respond_with(within)
        .mount(&server)
        .await;
    let away = format!("{}/offers/mine", elsewhere.uri());
    let away = ResponseTemplate::new(307).insert_header("location", away);
    Mock::given(path("/v2/offers/mine"))
        .and(header("authorization", "Bearer p1:s1/+"))
        .respond_with(away)
        .expect(1)
        .mount(&server)
        .await;
    let error = request("mine", &client(&server)).await;
    assert!(
        matches!(error, SignalingError::NotRondevu { .. }),
        "{error:?}"
    );
}
