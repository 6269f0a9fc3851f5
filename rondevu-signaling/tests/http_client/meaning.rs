//! What the client makes of each status, text and body.

use super::*;

#[tokio::test]
async fn each_row_of_the_error_table_has_its_meaning() {
    for (kind, status, text, meaning, retry) in [
        (
            "claim",
            400,
            "Missing required parameters",
            "Rejected",
            Retry::Never,
        ),
        (
            "claim",
            400,
            "Invalid signature",
            "SignatureRefused",
            Retry::Never,
        ),
        (
            "claim",
            403,
            "Signature already used",
            "SignatureRefused",
            Retry::Never,
        ),
        (
            "claim",
            409,
            "Username already claimed by different public key",
            "UsernameTaken",
            Retry::Never,
        ),
        ("publish", 400, "Invalid SDP", "Rejected", Retry::Never),
        (
            "publish",
            403,
            "Invalid signature for username",
            "SignatureRefused",
            Retry::Never,
        ),
        (
            "publish",
            404,
            "Username not claimed",
            "UsernameNotClaimed",
            Retry::AfterClaim,
        ),
        (
            "publish",
            500,
            "UNIQUE constraint failed: offers.id",
            "DescriptionKnown",
            Retry::NewDescription,
        ),
        (
            "create",
            500,
            "SqliteError: UNIQUE constraint failed: offers.id",
            "DescriptionKnown",
            Retry::NewDescription,
        ),
        (
            "find",
            500,
            "UNIQUE constraint failed",
            "ServerFailed",
            Retry::Backoff,
        ),
        (
            "take",
            404,
            "Service not found",
            "ServiceMoved",
            Retry::LookUp,
        ),
        (
            "take",
            503,
            "No available offers",
            "NoOffers",
            Retry::NextOffer,
        ),
        (
            "unpublish",
            404,
            "Service not found or not owned by this username",
            "ServiceNotFound",
            Retry::Backoff,
        ),
        (
            "find",
            404,
            "Service not found",
            "ServiceNotFound",
            Retry::Backoff,
        ),
        ("create", 400, "Too many offers", "Rejected", Retry::Never),
        (
            "create",
            404,
            "Service not found",
            "ServiceNotFound",
            Retry::Backoff,
        ),
        (
            "delete",
            404,
            "Offer not found or not owned by this peer",
            "OfferGone",
            Retry::NextOffer,
        ),
        (
            "answer",
            400,
            "Offer not found or expired",
            "OfferGone",
            Retry::NextOffer,
        ),
        (
            "answer",
            400,
            "Invalid or missing secret",
            "SecretRefused",
            Retry::Never,
        ),
        (
            "answer",
            400,
            "Offer already answered",
            "OfferAlreadyAnswered",
            Retry::NextOffer,
        ),
        (
            "answer",
            400,
            "Offer already answered (race condition)",
            "OfferAlreadyAnswered",
            Retry::NextOffer,
        ),
        (
            "answer",
            400,
            "SDP too large (max 64KB)",
            "Rejected",
            Retry::Never,
        ),
        (
            "answer",
            404,
            "Offer not found",
            "OfferGone",
            Retry::NextOffer,
        ),
        ("add", 404, "Offer not found", "OfferGone", Retry::NextOffer),
        (
            "candidates",
            404,
            "Offer not found",
            "OfferGone",
            Retry::NextOffer,
        ),
    ] {
        let server = server_that_answers(refused(status, text)).await;
        let error = request(kind, &client(&server)).await;
        let found = format!("{error:?}");
        assert!(
            found.starts_with(meaning),
            "{kind} {status} {text}: {found}"
        );
        assert_eq!(error.retry(), retry, "{kind} {status} {text}");
    }
}

#[tokio::test]
async fn what_any_request_can_meet_means_the_same_for_each() {
    let page = |status| ResponseTemplate::new(status).set_body_raw("<h1>hello</h1>", "text/html");
    for (response, meaning, retry) in [
        (refused(418, "no"), "Rejected", Retry::Never),
        (
            refused(401, "Invalid credentials"),
            "Unauthorized",
            Retry::Backoff,
        ),
        (refused(429, "slow down"), "RateLimited", Retry::Backoff),
        (
            refused(429, "slow down").insert_header("retry-after", "7"),
            "RateLimited",
            Retry::After(Duration::from_secs(7)),
        ),
        (
            refused(429, "slow down").insert_header("retry-after", "999999"),
            "RateLimited",
            Retry::After(Duration::from_secs(3600)),
        ),
        (
            refused(500, "Internal server error"),
            "ServerFailed",
            Retry::Backoff,
        ),
        (
            refused(500, "busy").insert_header("retry-after", "7"),
            "ServerFailed",
            Retry::After(Duration::from_secs(7)),
        ),
        (
            refused(429, "slow down").insert_header("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"),
            "RateLimited",
            Retry::After(Duration::ZERO),
        ),
        (page(502), "ServerFailed", Retry::Backoff),
        (page(503), "ServerFailed", Retry::Backoff),
        (page(404), "NotRondevu", Retry::Never),
        (page(501), "NotRondevu", Retry::Never),
    ] {
        let server = server_that_answers(response).await;
        for kind in ALL_KINDS {
            let error = request(kind, &client(&server)).await;
            assert!(
                format!("{error:?}").starts_with(meaning),
                "{kind}: {error:?}"
            );
            assert_eq!(error.retry(), retry, "{kind}: {error:?}");
        }
    }
}

#[tokio::test]
async fn answers_that_break_the_protocol_are_told_apart_from_pages() {
    let long_id = json!({ "uuid": "x".repeat(300), "allowed": true });
    for (response, meaning) in [
        (ok(json!({})), "Malformed"),
        (ok(json!([1, 2])), "Malformed"),
        (ok(long_id), "Malformed"),
        (
            ResponseTemplate::new(200).set_body_raw("{\"uuid\":", "application/json"),
            "Malformed",
        ),
        (
            ResponseTemplate::new(200).set_body_raw(vec![0xff; 9], "application/json"),
            "Malformed",
        ),
        (
            ResponseTemplate::new(200).set_body_raw("<html>", "text/html"),
            "NotRondevu",
        ),
    ] {
        let server = server_that_answers(response).await;
        let error = request("find", &client(&server)).await;
        assert!(format!("{error:?}").starts_with(meaning), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_of_another_kind_is_recognised() {
    for info in [
        json!({ "name": "Other" }),
        json!({ "name": "Other\u{1b}[31m" }),
    ] {
        let server = MockServer::start().await;
        Mock::given(path("/"))
            .respond_with(ok(info))
            .mount(&server)
            .await;
        let error = client(&server).supports_wait().await.unwrap_err();
        assert!(
            matches!(error, SignalingError::NotRondevu { .. }),
            "{error:?}"
        );
        assert!(!error.to_string().contains('\u{1b}'));
    }
}

#[tokio::test]
async fn texts_of_the_server_are_cut_and_cleaned() {
    let text = format!("\u{1b}[31mred\r\nalert{}", "x".repeat(100_000));
    let server = server_that_answers(refused(418, &text)).await;
    let error = request("find", &client(&server)).await;
    let shown = error.to_string();
    assert!(
        shown.len() < 400 && !shown.chars().any(char::is_control),
        "{shown}"
    );
}

#[tokio::test]
async fn one_odd_entry_does_not_hide_the_others() {
    let candidates = json!([
        { "candidate": { "candidate": "candidate:1", "extra": 1 }, "createdAt": 1 },
        { "candidate": "what is this", "createdAt": 2 },
        { "candidate": { "candidate": "candidate:3", "sdpMid": null }, "createdAt": 3 },
    ]);
    let server = server_that_answers(ok(json!({ "candidates": candidates }))).await;
    let found = client(&server).candidates(&offer_id(), None, NO_WAIT).await;
    let found = found.unwrap();
    let times: Vec<_> = found.iter().map(|one| one.created_at.0).collect();
    assert_eq!(times, [1, 3]);

    let services = json!([
        { "uuid": "u1", "isPublic": true, "serviceFqn": "NOT A NAME", "metadata": "{\"a\":1}" },
        { "uuid": "u2", "isPublic": false },
    ]);
    let list = json!({ "username": "alice", "services": services });
    let server = server_that_answers(ok(list)).await;
    let services = client(&server).list_services(&alice()).await.unwrap();
    assert_eq!(services.len(), 2);
    assert_eq!(services[0].service, None);
    assert_eq!(services[0].metadata, Some(json!({ "a": 1 })));
}
