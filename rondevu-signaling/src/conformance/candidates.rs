//! Checks of candidates.

use rondevu_core::{IceCandidate, OfferId};

use super::Outcome;
use super::stage::{LONG_WAIT, NO_WAIT, OrProblem, Stage, candidate, expect_eq, expect_error};
use crate::{Signaling, SignalingError, UnixMillis};

async fn answered_offer(stage: &Stage) -> Result<OfferId, String> {
    let offer = stage.create(stage.new_offer("offer")).await?;
    let answer = stage.answer("answer");
    let answered = stage.dialer().answer_offer(&offer.id, &answer, None).await;
    answered.or_problem("answering")?;
    Ok(offer.id)
}

async fn read(
    peer: &dyn Signaling,
    offer: &OfferId,
    since: Option<UnixMillis>,
) -> Result<(Vec<IceCandidate>, Option<UnixMillis>), String> {
    let found = peer.candidates(offer, since, NO_WAIT).await;
    let found = found.or_problem("asking for candidates")?;
    let cursor = found.last().map(|last| last.created_at).or(since);
    Ok((found.into_iter().map(|one| one.candidate).collect(), cursor))
}

/// Only within a batch: servers that stamp batches ahead of the clock mix those of two.
pub(super) async fn candidates_reach_the_other_peer_in_the_order_of_their_batch(
    stage: &Stage,
) -> Outcome {
    let offer = answered_offer(stage).await?;
    let none = stage.service.add_candidates(&offer, &[]).await;
    none.or_problem("adding no candidates")?;
    let (service, dialer) = (&*stage.service, stage.dialer());
    for (from, to, numbers) in [(service, dialer, 0..5), (dialer, service, 5..9)] {
        let sent: Vec<_> = numbers.map(candidate).collect();
        let (first, rest) = sent.split_at(2);
        for batch in [first, rest] {
            let added = from.add_candidates(&offer, batch).await;
            added.or_problem("adding candidates")?;
        }
        let (received, _) = read(to, &offer, None).await?;
        expect_eq("the number of candidates", received.len(), sent.len())?;
        for batch in [first, rest] {
            let of_batch = received.iter().filter(|one| batch.contains(one)).cloned();
            expect_eq("the batch", of_batch.collect(), batch.to_vec())?;
        }
    }
    Ok(())
}

pub(super) async fn candidates_of_an_unknown_offer_are_refused(stage: &Stage) -> Outcome {
    let offer = stage.create(stage.new_offer("offer")).await?;
    let deleted = stage.service.delete_offer(&offer.id).await;
    deleted.or_problem("deleting")?;
    let added = stage
        .dialer()
        .add_candidates(&offer.id, &[candidate(0)])
        .await;
    expect_error("adding candidates to no offer", added, is_gone)?;
    let read = stage.dialer().candidates(&offer.id, None, NO_WAIT).await;
    expect_error("asking for candidates of no offer", read, is_gone)
}

pub(super) async fn a_waiting_peer_hears_of_candidates(stage: &Stage) -> Outcome {
    let offer = answered_offer(stage).await?;
    let (service, dialer) = (&*stage.service, stage.dialer());
    for (from, to, number) in [(service, dialer, 0), (dialer, service, 1)] {
        let sent = [candidate(number)];
        let (received, added) = tokio::join!(
            to.candidates(&offer, None, LONG_WAIT),
            from.add_candidates(&offer, &sent),
        );
        added.or_problem("adding candidates")?;
        let received = received.or_problem("waiting for candidates")?;
        expect_eq("their number", received.len(), 1)?;
    }
    Ok(())
}

pub(super) async fn a_cursor_loses_no_candidate(stage: &Stage) -> Outcome {
    let offer = answered_offer(stage).await?;
    let sent: Vec<_> = (0..40).map(candidate).collect();
    let mut received = Vec::new();
    let mut cursor = None;
    for batch in sent.chunks(3) {
        let added = stage.service.add_candidates(&offer, batch).await;
        added.or_problem("adding candidates")?;
        let (new, next) = read(stage.dialer(), &offer, cursor).await?;
        received.extend(new);
        cursor = next;
    }
    expect_eq("the candidates", received, sent)
}

pub(super) async fn strangers_read_no_candidates(stage: &Stage) -> Outcome {
    let offer = stage.create(stage.new_offer("offer")).await?.id;
    let added = stage.service.add_candidates(&offer, &[candidate(0)]).await;
    added.or_problem("adding candidates")?;
    let (early, _) = read(stage.dialer(), &offer, None).await?;
    expect_eq("candidates before the answer", early.len(), 0)?;
    let answer = stage.answer("answer");
    let answered = stage.dialer().answer_offer(&offer, &answer, None).await;
    answered.or_problem("answering")?;
    let (own, _) = read(stage.dialer(), &offer, None).await?;
    expect_eq("candidates after the answer", own.len(), 1)?;
    let read = stage.stranger().candidates(&offer, None, NO_WAIT).await;
    expect_error("asking as another peer", read, is_gone)?;
    let added = stage
        .stranger()
        .add_candidates(&offer, &[candidate(1)])
        .await;
    expect_error("adding as another peer", added, is_gone)
}

fn is_gone(error: &SignalingError) -> bool {
    matches!(error, SignalingError::OfferGone)
}
