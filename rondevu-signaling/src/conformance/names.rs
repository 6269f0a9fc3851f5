//! Checks of usernames.

use super::Outcome;
use super::stage::{OrProblem, Stage, expect, expect_eq, expect_error};
use crate::{KeyPair, SignalingError, Signature, UnixMillis, UsernameStatus};

pub(super) async fn a_free_name_is_available(stage: &Stage) -> Outcome {
    let status = stage.dialer().look_up_username(&stage.name).await;
    let status = status.or_problem("looking up a free name")?;
    expect_eq("its status", status, UsernameStatus::Available)?;
    let services = stage.dialer().list_services(&stage.name).await;
    let services = services.or_problem("listing the services of nobody")?;
    expect_eq("their number", services.len(), 0)
}

pub(super) async fn a_claimed_name_shows_its_key(stage: &Stage) -> Outcome {
    let claimed = stage.service.claim_username(&stage.claim()).await;
    let claimed = claimed.or_problem("claiming a free name")?;
    expect_eq("the claimed name", &claimed.username, &stage.name)?;
    expect(
        "a claim ends after it begins",
        claimed.expires_at > claimed.claimed_at,
    )?;
    let status = stage.dialer().look_up_username(&stage.name).await;
    let taken = UsernameStatus::Taken {
        public_key: stage.keys.public_key(),
        claimed_at: claimed.claimed_at,
        expires_at: claimed.expires_at,
    };
    let status = status.or_problem("looking up a claimed name")?;
    expect_eq("its status", status, taken)
}

pub(super) async fn claiming_again_renews(stage: &Stage) -> Outcome {
    let first = stage.service.claim_username(&stage.claim()).await;
    let first = first.or_problem("claiming a free name")?;
    let again = stage.dialer().claim_username(&stage.claim()).await;
    let again = again.or_problem("claiming it again with the same key")?;
    expect(
        "the renewed claim ends no earlier",
        again.expires_at >= first.expires_at,
    )
}

pub(super) async fn a_name_is_refused_to_another_key(stage: &Stage) -> Outcome {
    stage.claim_name().await?;
    let other = KeyPair::generate().map_err(|error| error.to_string())?;
    let claim = other.sign_claim(&stage.name, UnixMillis::now());
    let refused = stage.dialer().claim_username(&claim).await;
    expect_error("claiming with another key", refused, |error| {
        matches!(error, SignalingError::UsernameTaken)
    })
}

pub(super) async fn a_forged_claim_is_refused(stage: &Stage) -> Outcome {
    let mut claim = stage.claim();
    claim.signature = Signature::from_bytes([7; 64]);
    let refused = stage.service.claim_username(&claim).await;
    expect_error("claiming with a forged signature", refused, |error| {
        matches!(error, SignalingError::SignatureRefused { .. })
    })?;
    let old = UnixMillis(UnixMillis::now().0 - 3_600_000);
    let claim = stage.keys.sign_claim(&stage.name, old);
    let refused = stage.service.claim_username(&claim).await;
    expect_error("claiming with an old signature", refused, |error| {
        matches!(error, SignalingError::SignatureRefused { .. })
    })
}

pub(super) async fn a_claim_is_good_once(stage: &Stage) -> Outcome {
    let claim = stage.claim();
    let first = stage.service.claim_username(&claim).await;
    first.or_problem("claiming a free name")?;
    let again = stage.dialer().claim_username(&claim).await;
    expect_error("claiming with the same signature", again, |error| {
        matches!(error, SignalingError::SignatureRefused { .. })
    })
}
