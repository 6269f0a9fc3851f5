//! Servers over TLS, trusted and not.

use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use super::*;

/// A server over TLS that finds each service; returns its URL and its certificate in PEM.
async fn server_over_tls() -> (String, String) {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key.into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Whoever does not trust the certificate ends the handshake.
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let _ = stream.read(&mut [0; 4096]).await;
            let body = r#"{"uuid":"u1","allowed":true}"#;
            let head = format!("Content-Length: {}\r\nConnection: close", body.len());
            let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (url, issued.cert.pem())
}

#[tokio::test]
async fn a_server_with_a_certificate_of_its_own_is_reached_by_those_who_trust_it() {
    let (url, certificate) = server_over_tls().await;
    let trusting = HttpSignaling::builder(&url).root_certificates(certificate.as_bytes());
    let service = "com.example.chat@1.0.0".parse().unwrap();
    let trusting = trusting.build().unwrap();
    let found = trusting.find_service(&alice(), &service).await;
    assert_eq!(found.unwrap().as_str(), "u1");
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_told_nothing() {
    let (url, _) = server_over_tls().await;
    let error = request("find", &HttpSignaling::new(&url).unwrap()).await;
    assert!(
        matches!(error, SignalingError::Unreachable { .. }),
        "{error:?}"
    );
    // A certificate for another name is no better than none.
    let (other, certificate) = server_over_tls().await;
    let other = other.replace("localhost", "127.0.0.1");
    let wrong = HttpSignaling::builder(&other).root_certificates(certificate.as_bytes());
    let error = request("find", &wrong.build().unwrap()).await;
    assert!(
        matches!(error, SignalingError::Unreachable { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn what_is_no_certificate_is_refused() {
    for text in [
        "",
        "hello",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
    ] {
        let builder = HttpSignaling::builder("https://localhost:1");
        let error = builder.root_certificates(text.as_bytes()).build();
        let error = error.unwrap_err();
        assert!(matches!(error, SignalingError::Invalid { .. }), "{error:?}");
    }
}
