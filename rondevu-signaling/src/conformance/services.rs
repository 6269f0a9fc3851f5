//! Checks of services.

use rondevu_core::{ServiceId, ServiceUuid};
use serde_json::json;

use super::Outcome;
use super::stage::{OrProblem, Stage, expect, expect_eq, expect_error};
use crate::{ListedService, PublishedService, SignalingError, Signature, Visibility};

pub(super) async fn publishing_needs_a_claimed_name(stage: &Stage) -> Outcome {
    let publication = stage.publication("chat", "offer")?;
    let refused = stage.service.publish_service(&publication).await;
    expect_error("publishing under a free name", refused, |error| {
        matches!(error, SignalingError::UsernameNotClaimed)
    })
}

pub(super) async fn a_forged_publication_is_refused(stage: &Stage) -> Outcome {
    stage.claim_name().await?;
    let mut publication = stage.publication("chat", "offer")?;
    publication.signed.signature = Signature::from_bytes([7; 64]);
    let refused = stage.service.publish_service(&publication).await;
    expect_error("publishing with a forged signature", refused, |error| {
        matches!(error, SignalingError::SignatureRefused { .. })
    })?;
    let mut publication = stage.publication("chat", "offer")?;
    publication.service = stage.service_name("other")?;
    let refused = stage.service.publish_service(&publication).await;
    expect_error("publishing another service", refused, |error| {
        matches!(error, SignalingError::SignatureRefused { .. })
    })
}

pub(super) async fn a_published_service_is_found_and_its_offer_taken(stage: &Stage) -> Outcome {
    stage.claim_name().await?;
    let mut publication = stage.publication("chat", "offer")?;
    publication.metadata = Some(json!({ "colour": "grün", "n": [1, null] }));
    let published = stage.service.publish_service(&publication).await;
    let published = published.or_problem("publishing")?;
    let uuid = stage
        .dialer()
        .find_service(&stage.name, &publication.service)
        .await
        .or_problem("finding the service")?;
    expect_eq("its uuid", &uuid, &published.uuid)?;
    let offer = stage.dialer().take_offer(&uuid).await;
    let offer = offer.or_problem("taking its offer")?;
    expect_eq("the owner", &offer.username, &stage.name)?;
    expect_eq("the service", &offer.service, &publication.service)?;
    expect_eq("the service's id", &offer.service_id, &published.service_id)?;
    expect_eq("the offer's id", &offer.offer_id, &published.offer_id)?;
    expect("the description is the same", offer.sdp == publication.sdp)?;
    expect_eq("the metadata", offer.metadata, publication.metadata)?;
    expect_eq("the end", offer.expires_at, published.expires_at)
}

pub(super) async fn a_public_service_is_listed_with_its_name_and_a_private_one_without(
    stage: &Stage,
) -> Outcome {
    stage.claim_name().await?;
    let hidden = stage.publish("hidden", "hidden").await?;
    let mut publication = stage.publication("chat", "offer")?;
    publication.visibility = Visibility::Public;
    publication.metadata = Some(json!({ "colour": "green" }));
    let shown = stage.service.publish_service(&publication).await;
    let shown = shown.or_problem("publishing")?;
    let mut list = stage
        .dialer()
        .list_services(&stage.name)
        .await
        .or_problem("listing")?;
    // Both may have been published in the same millisecond.
    list.sort_by_key(|entry| entry.visibility == Visibility::Private);
    let expected = vec![
        ListedService {
            uuid: shown.uuid,
            visibility: Visibility::Public,
            service: Some(publication.service),
            metadata: publication.metadata,
        },
        ListedService {
            uuid: hidden.uuid,
            visibility: Visibility::Private,
            service: None,
            metadata: None,
        },
    ];
    expect_eq("the list", list, expected)
}

pub(super) async fn what_was_never_published_is_not_found(stage: &Stage) -> Outcome {
    let name = stage.service_name("chat")?;
    let found = stage.dialer().find_service(&stage.name, &name).await;
    expect_error("finding a service of nobody", found, is_not_found)?;
    let uuid = ServiceUuid::new("00000000-0000-4000-8000-00000000ffff");
    let uuid = uuid.map_err(|error| error.to_string())?;
    let taken = stage.dialer().take_offer(&uuid).await;
    expect_error("taking an offer of nobody", taken, is_moved)?;
    let id = ServiceId::new("00000000-0000-4000-8000-00000000ffff");
    let id = id.map_err(|error| error.to_string())?;
    let withdrawn = stage.service.unpublish_service(&id, &stage.name).await;
    expect_error("withdrawing a service of nobody", withdrawn, is_not_found)
}

pub(super) async fn what_was_withdrawn_is_not_found(stage: &Stage) -> Outcome {
    stage.claim_name().await?;
    let published = stage.publish("chat", "offer").await?;
    stage
        .service
        .unpublish_service(&published.service_id, &stage.name)
        .await
        .or_problem("withdrawing")?;
    let name = stage.service_name("chat")?;
    let found = stage.dialer().find_service(&stage.name, &name).await;
    expect_error("finding a withdrawn service", found, is_not_found)?;
    let taken = stage.dialer().take_offer(&published.uuid).await;
    expect_error("taking an offer of it", taken, is_moved)
}

pub(super) async fn a_service_without_open_offers_says_so(stage: &Stage) -> Outcome {
    stage.claim_name().await?;
    let published = stage.publish("chat", "offer").await?;
    let answer = stage.answer("answer");
    let answered = stage
        .dialer()
        .answer_offer(&published.offer_id, &answer, None);
    answered.await.or_problem("answering")?;
    let taken = stage.stranger().take_offer(&published.uuid).await;
    expect_error("taking an offer when all are answered", taken, |error| {
        matches!(error, SignalingError::NoOffers)
    })
}

pub(super) async fn a_publication_is_good_once(stage: &Stage) -> Outcome {
    stage.claim_name().await?;
    let publication = stage.publication("chat", "offer")?;
    let first = stage.service.publish_service(&publication).await;
    first.or_problem("publishing")?;
    for peer in [&*stage.service, stage.stranger()] {
        let again = peer.publish_service(&publication).await;
        expect_error("publishing with the same signature", again, |error| {
            matches!(error, SignalingError::SignatureRefused { .. })
        })?;
    }
    Ok(())
}

pub(super) async fn publishing_again_keeps_the_ids(stage: &Stage) -> Outcome {
    stage.claim_name().await?;
    let ids = |published: PublishedService| (published.service_id, published.uuid);
    let first = stage.publish("chat", "first").await?;
    let same_offer = stage.publish("chat", "first").await?;
    expect_eq("the offer", &same_offer.offer_id, &first.offer_id)?;
    let other_offer = stage.publish("chat", "second").await?;
    expect(
        "another description is another offer",
        other_offer.offer_id != first.offer_id,
    )?;
    let first = ids(first);
    expect_eq("the ids", &ids(same_offer), &first)?;
    expect_eq("the ids", &ids(other_offer), &first)
}

pub(super) async fn only_the_publisher_withdraws(stage: &Stage) -> Outcome {
    stage.claim_name().await?;
    let published = stage.publish("chat", "offer").await?;
    let stranger = stage.stranger();
    let withdrawn = stranger.unpublish_service(&published.service_id, &stage.name);
    expect_error("withdrawing as another peer", withdrawn.await, is_not_found)?;
    let taken = stage.dialer().take_offer(&published.uuid).await;
    taken.or_problem("taking an offer afterwards").map(drop)
}

pub(super) async fn dialers_that_come_together_get_different_offers(stage: &Stage) -> Outcome {
    stage.claim_name().await?;
    let published = stage.publish("chat", "offer 0").await?;
    let more: Vec<_> = (1..stage.dialers.len())
        .map(|n| stage.new_offer(&format!("offer {n}")))
        .collect();
    let created = stage.service.create_offers(&more).await;
    created.or_problem("creating more offers")?;
    let [a, b, c, d] = &stage.dialers;
    let taken = tokio::join!(
        a.take_offer(&published.uuid),
        b.take_offer(&published.uuid),
        c.take_offer(&published.uuid),
        d.take_offer(&published.uuid),
    );
    let mut offers = Vec::new();
    for taken in [taken.0, taken.1, taken.2, taken.3] {
        offers.push(taken.or_problem("taking an offer")?.offer_id);
    }
    offers.sort();
    offers.dedup();
    expect_eq("the number of different offers", offers.len(), 4)
}

pub(super) async fn offers_of_two_services_are_kept_apart(stage: &Stage) -> Outcome {
    stage.claim_name().await?;
    let chat = stage.publish("chat", "chat").await?;
    let files = stage.publish("files", "files").await?;
    let mut more_chat = stage.new_offer("more chat");
    more_chat.service = Some(chat.service_id);
    stage.create(more_chat).await?;
    for (uuid, texts) in [
        (&chat.uuid, ["chat", "more chat"]),
        (&files.uuid, ["files"; 2]),
    ] {
        for _ in 0..4 {
            let taken = stage.dialer().take_offer(uuid).await;
            let sdp = taken.or_problem("taking an offer")?.sdp;
            let own = texts.iter().any(|text| sdp == stage.offer(text));
            expect("a service hands out its own offers", own)?;
        }
    }
    Ok(())
}

fn is_not_found(error: &SignalingError) -> bool {
    matches!(error, SignalingError::ServiceNotFound)
}

fn is_moved(error: &SignalingError) -> bool {
    matches!(error, SignalingError::ServiceMoved)
}
