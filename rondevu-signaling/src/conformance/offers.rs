//! Checks of offers and answers.

use std::time::Duration;

use super::Outcome;
use super::stage::{
    LONG_WAIT, NO_WAIT, OrProblem, Stage, candidate, expect, expect_eq, expect_error,
};
use crate::{OwnOfferAnswer, SignalingError, UnixMillis};
use rondevu_core::SessionDescription;

pub(super) async fn offers_are_created_in_order_and_listed(stage: &Stage) -> Outcome {
    let nothing = stage.service.create_offers(&[]).await;
    let nothing = nothing.or_problem("creating no offers")?;
    expect_eq("their number", nothing.len(), 0)?;
    let new: Vec<_> = (0..10).map(|n| stage.new_offer(&n.to_string())).collect();
    let created = stage.service.create_offers(&new).await;
    let created = created.or_problem("creating offers")?;
    expect_eq("their number", created.len(), new.len())?;
    let listed = stage.service.list_offers().await.or_problem("listing")?;
    expect_eq("their number in the list", listed.len(), new.len())?;
    for (new, created) in new.iter().zip(&created) {
        let own = listed.iter().find(|own| own.id == created.id);
        let own = own.ok_or("an offer is missing from the list")?;
        expect("it has the same description", own.sdp == new.sdp)?;
        expect_eq("its answer", &own.answered, &OwnOfferAnswer::Open)?;
        expect_eq("its end", own.expires_at, created.expires_at)?;
    }
    let others = stage.stranger().list_offers().await;
    let others = others.or_problem("listing as another peer")?;
    expect_eq("the offers of another peer", others.len(), 0)
}

pub(super) async fn lifetimes_are_kept_between_a_minute_and_a_day(stage: &Stage) -> Outcome {
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    for (number, (asked, given)) in [
        (None, minutes(1)),
        (Some(Duration::from_secs(1)), minutes(1)),
        (Some(minutes(10)), minutes(10)),
        (Some(minutes(60 * 24 * 2)), minutes(60 * 24)),
    ]
    .into_iter()
    .enumerate()
    {
        let mut offer = stage.new_offer(&number.to_string());
        offer.ttl = asked;
        let created = stage.create(offer).await?;
        let lifetime = created.expires_at.saturating_since(created.created_at);
        expect_eq("the lifetime", lifetime, given)?;
    }
    Ok(())
}

pub(super) async fn requests_beyond_the_limits_are_not_sent(stage: &Stage) -> Outcome {
    let is_invalid = |error: &SignalingError| matches!(error, SignalingError::Invalid { .. });
    let large = SessionDescription::offer("x".repeat(64 * 1024 + 1));
    let mut offer = stage.new_offer("offer");
    let many = vec![offer.clone(); 101];
    let created = stage.service.create_offers(&many).await;
    expect_error("creating 101 offers", created, is_invalid)?;
    offer.sdp = large.clone();
    let created = stage.service.create_offers(&[offer]).await;
    expect_error(
        "creating an offer of 64 KiB and a byte",
        created,
        is_invalid,
    )?;
    let open = stage.create(stage.new_offer("open")).await?;
    let large = SessionDescription::answer(large.sdp);
    let answered = stage.dialer().answer_offer(&open.id, &large, None).await;
    expect_error("answering with as much", answered, is_invalid)?;
    let many: Vec<_> = (0..65).map(candidate).collect();
    let added = stage.service.add_candidates(&open.id, &many).await;
    expect_error("adding 65 candidates", added, is_invalid)
}

pub(super) async fn a_deleted_offer_cannot_be_answered(stage: &Stage) -> Outcome {
    let offer = stage.create(stage.new_offer("offer")).await?;
    let deleted = stage.service.delete_offer(&offer.id).await;
    deleted.or_problem("deleting an offer")?;
    let again = stage.service.delete_offer(&offer.id).await;
    expect_error("deleting it again", again, is_gone)?;
    let answer = stage.answer("answer");
    let answered = stage.dialer().answer_offer(&offer.id, &answer, None).await;
    expect_error("answering a deleted offer", answered, is_gone)?;
    let listed = stage.service.list_offers().await.or_problem("listing")?;
    expect_eq("the offers left", listed.len(), 0)
}

pub(super) async fn an_answer_reaches_the_owner(stage: &Stage) -> Outcome {
    let offer = stage.create(stage.new_offer("offer")).await?;
    stage.create(stage.new_offer("unanswered")).await?;
    let answers = stage.service.answers(None, NO_WAIT).await;
    let answers = answers.or_problem("asking for answers")?;
    expect_eq("answers before the answer", answers.len(), 0)?;
    let answer = stage.answer("answer");
    let answered = stage.dialer().answer_offer(&offer.id, &answer, None).await;
    answered.or_problem("answering")?;
    for _ in 0..2 {
        let answers = stage.service.answers(None, NO_WAIT).await;
        let answers = answers.or_problem("asking for answers")?;
        expect_eq("answers after the answer", answers.len(), 1)?;
        expect_eq("the answered offer", &answers[0].offer_id, &offer.id)?;
        expect("it is the answer", answers[0].answer == answer)?;
        expect("it has a time", answers[0].answered_at > UnixMillis(0))?;
        let listed = stage.service.list_offers().await.or_problem("listing")?;
        let own = listed.iter().find(|own| own.id == offer.id);
        let own = own.ok_or("an answered offer is missing from the list")?;
        let by = OwnOfferAnswer::By(answers[0].answerer.clone());
        expect_eq("who answered", &own.answered, &by)?;
    }
    let others = stage.dialer().answers(None, NO_WAIT).await;
    let others = others.or_problem("asking for answers as another peer")?;
    expect_eq("answers to another peer", others.len(), 0)
}

pub(super) async fn of_many_answers_one_is_taken(stage: &Stage) -> Outcome {
    let offer = stage.create(stage.new_offer("offer")).await?;
    let [a, b, c, d] = &stage.dialers;
    let sdps = ["a", "b", "c", "d"].map(|text| stage.answer(text));
    let results = tokio::join!(
        a.answer_offer(&offer.id, &sdps[0], None),
        b.answer_offer(&offer.id, &sdps[1], None),
        c.answer_offer(&offer.id, &sdps[2], None),
        d.answer_offer(&offer.id, &sdps[3], None),
    );
    let mut winners = Vec::new();
    for (number, result) in [results.0, results.1, results.2, results.3]
        .into_iter()
        .enumerate()
    {
        match result {
            Ok(()) => winners.push(number),
            Err(SignalingError::OfferAlreadyAnswered) => {}
            Err(error) => return Err(format!("answering failed in another way: {error:?}")),
        }
    }
    expect_eq("the number of answers that were taken", winners.len(), 1)?;
    let answers = stage.service.answers(None, NO_WAIT).await;
    let answers = answers.or_problem("asking for answers")?;
    expect_eq("the number of answers", answers.len(), 1)?;
    expect("it is the winner's", answers[0].answer == sdps[winners[0]])
}

pub(super) async fn a_secret_protects_an_offer(stage: &Stage) -> Outcome {
    let mut offer = stage.new_offer("offer");
    offer.secret = Some("open sesame".into());
    let offer = stage.create(offer).await?;
    let answer = stage.answer("answer");
    for wrong in [None, Some("open"), Some("open sesame!")] {
        let answered = stage.dialer().answer_offer(&offer.id, &answer, wrong).await;
        expect_error("answering without the secret", answered, |error| {
            matches!(error, SignalingError::SecretRefused)
        })?;
    }
    let right = Some("open sesame");
    let answered = stage.dialer().answer_offer(&offer.id, &answer, right).await;
    answered.or_problem("answering with the secret")
}

pub(super) async fn only_the_owner_deletes(stage: &Stage) -> Outcome {
    let offer = stage.create(stage.new_offer("offer")).await?;
    let deleted = stage.stranger().delete_offer(&offer.id).await;
    expect_error("deleting as another peer", deleted, is_gone)?;
    let answer = stage.answer("answer");
    let answered = stage.dialer().answer_offer(&offer.id, &answer, None).await;
    answered.or_problem("answering afterwards")
}

pub(super) async fn a_waiting_owner_hears_of_an_answer(stage: &Stage) -> Outcome {
    let waits = stage.service.supports_wait().await;
    expect_eq("waiting is supported", waits.or_problem("asking")?, true)?;
    let offer = stage.create(stage.new_offer("offer")).await?;
    // Registered before, so that the answer comes while the owner waits, not before.
    stage.dialer().list_offers().await.or_problem("listing")?;
    let answer = stage.answer("answer");
    let (answers, answered) = tokio::join!(
        stage.service.answers(None, LONG_WAIT),
        stage.dialer().answer_offer(&offer.id, &answer, None),
    );
    answered.or_problem("answering")?;
    let answers = answers.or_problem("waiting for an answer")?;
    expect_eq("the number of answers", answers.len(), 1)
}

pub(super) async fn a_cursor_leaves_out_what_was_seen(stage: &Stage) -> Outcome {
    let mut cursor = None;
    for number in 0..3 {
        let offer = stage
            .create(stage.new_offer(&format!("offer {number}")))
            .await?;
        let answer = stage.answer(&format!("answer {number}"));
        let answered = stage.dialer().answer_offer(&offer.id, &answer, None).await;
        answered.or_problem("answering")?;
        let answers = stage.service.answers(cursor, NO_WAIT).await;
        let answers = answers.or_problem("asking for new answers")?;
        expect_eq("the number of new answers", answers.len(), 1)?;
        expect("it is the new one", answers[0].answer == answer)?;
        cursor = Some(answers[0].answered_at);
    }
    let none = stage.service.answers(cursor, NO_WAIT).await;
    let none = none.or_problem("asking for new answers")?;
    expect_eq("the number of new answers", none.len(), 0)
}

fn is_gone(error: &SignalingError) -> bool {
    matches!(error, SignalingError::OfferGone)
}
