//! Requests that wait, where the server announces that it lets them.

use super::*;

#[tokio::test]
async fn a_request_that_waits_has_as_much_longer() {
    let server = MockServer::start().await;
    mount_registration(&server, 1).await;
    mount_info(&server, &["wait"]).await;
    let nothing = ok(json!({ "answers": [] })).set_delay(Duration::from_millis(1200));
    Mock::given(path("/offers/answers"))
        .respond_with(nothing)
        .mount(&server)
        .await;
    let signaling = HttpSignaling::builder(&server.uri());
    let signaling = signaling.request_timeout(Duration::from_millis(1000));
    let signaling = signaling.build().unwrap();
    signaling.supports_wait().await.unwrap();
    let waiting = signaling.answers(None, Duration::from_secs(20)).await;
    assert!(waiting.unwrap().is_empty());
    let impatient = signaling.answers(None, NO_WAIT).await;
    assert!(matches!(impatient, Err(SignalingError::Timeout { .. })));
}

#[tokio::test]
async fn only_a_server_that_announces_it_is_asked_to_wait() {
    let server = MockServer::start().await;
    mount_registration(&server, 1).await;
    mount_info(&server, &["something else"]).await;
    Mock::given(path("/offers/answers"))
        .and(query_param_is_missing("wait"))
        .and(query_param_is_missing("since"))
        .respond_with(ok(json!({ "answers": [] })))
        .expect(1)
        .mount(&server)
        .await;
    let signaling = client(&server);
    assert!(!signaling.supports_wait().await.unwrap());
    let answers = signaling
        .answers(Some(UnixMillis(5)), Duration::from_secs(9))
        .await;
    assert!(answers.unwrap().is_empty());

    let server = MockServer::start().await;
    mount_registration(&server, 1).await;
    mount_info(&server, &["wait"]).await;
    Mock::given(path("/offers/o1/ice-candidates"))
        .and(query_param("wait", "30000"))
        .and(query_param("since", "5"))
        .respond_with(ok(json!({ "candidates": [] })))
        .expect(1)
        .mount(&server)
        .await;
    let signaling = client(&server);
    let since = Some(UnixMillis(5));
    let found = signaling
        .candidates(&offer_id(), since, Duration::MAX)
        .await;
    assert!(found.unwrap().is_empty());
    assert!(signaling.supports_wait().await.unwrap());
}

#[tokio::test]
async fn the_features_are_asked_for_once_and_again_after_the_connection_broke() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        // One answer, and then there is no server any more.
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        let body = r#"{"name":"Rondevu","features":["wait"]}"#;
        let head = format!("Content-Length: {}\r\nConnection: close", body.len());
        let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}");
        drop(listener);
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let signaling = HttpSignaling::new(&url).unwrap();
    for _ in 0..3 {
        assert!(signaling.supports_wait().await.unwrap());
    }
    let error = request("find", &signaling).await;
    assert!(
        matches!(error, SignalingError::Unreachable { .. }),
        "{error:?}"
    );
    let error = signaling.supports_wait().await.unwrap_err();
    assert!(
        matches!(error, SignalingError::Unreachable { .. }),
        "{error:?}"
    );
}
