//! What every implementation of [`Signaling`] must do, as checks that can be run against it.
//!
//! ```
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use std::sync::Arc;
//! use rondevu_signaling::MemorySignaling;
//! use rondevu_signaling::conformance::{self, Expect};
//!
//! let signaling = MemorySignaling::new();
//! let report = conformance::run(|| Arc::new(signaling.peer()), Expect::Everything).await;
//! report.assert_passed();
//! # });
//! ```

mod candidates;
mod names;
mod offers;
mod services;
mod stage;

use core::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::Signaling;
use stage::Stage;

/// How much to expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expect {
    /// What the protocol promises, and every server keeps.
    Protocol,
    /// That, and what the server of this crate does beyond it: waiting requests, cursors that lose
    /// nothing, ids that survive a renewal, ownership, signatures that are good once.
    Everything,
}

/// Runs all checks against peers that `make_peer` makes; each must be another peer of the same
/// server.
///
/// Takes a second or two, and needs tokio with its timer. Leaves names and offers behind, under
/// random names, which end by themselves: do not run it against a server of others without asking.
pub async fn run(make_peer: impl Fn() -> Arc<dyn Signaling>, expect: Expect) -> Report {
    let mut report = Report {
        passed: Vec::new(),
        failed: Vec::new(),
    };
    for (name, beyond, check) in CHECKS {
        if *beyond == Expect::Everything && expect == Expect::Protocol {
            continue;
        }
        let stage = match Stage::new(&make_peer) {
            Ok(stage) => stage,
            Err(problem) => {
                report.failed.push(Failure::new(name, problem));
                continue;
            }
        };
        match timeout(CHECK_TIMEOUT, check(&stage)).await {
            Ok(Ok(())) => report.passed.push(name),
            Ok(Err(problem)) => report.failed.push(Failure::new(name, problem)),
            Err(_) => report.failed.push(Failure::new(name, "it hangs".into())),
        }
    }
    report
}

/// What [`run`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Report {
    /// The checks that passed.
    pub passed: Vec<&'static str>,
    /// The checks that failed.
    pub failed: Vec<Failure>,
}

impl Report {
    /// Panics with a list of the checks that failed, if there are any.
    ///
    /// # Panics
    ///
    /// If a check failed.
    pub fn assert_passed(&self) {
        assert!(self.failed.is_empty(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (passed, failed) = (self.passed.len(), self.failed.len());
        write!(f, "{passed} checks passed, {failed} failed")?;
        for Failure { check, problem } in &self.failed {
            write!(f, "\n{check}: {problem}")?;
        }
        Ok(())
    }
}

/// A check that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its name.
    pub check: &'static str,
    /// What was expected and what happened.
    pub problem: String,
}

impl Failure {
    fn new(check: &'static str, problem: String) -> Self {
        Self { check, problem }
    }
}

/// `Err` says what is wrong.
type Outcome = Result<(), String>;

type Check = for<'a> fn(&'a Stage) -> Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

macro_rules! checks {
    ($($expect:ident: $($module:ident::$check:ident),* $(,)?);* $(;)?) => {
        &[$($((stringify!($check), Expect::$expect, |stage| Box::pin($module::$check(stage)))),*),*]
    };
}

const CHECKS: &[(&str, Expect, Check)] = checks! {
    Protocol:
        names::a_free_name_is_available,
        names::a_claimed_name_shows_its_key,
        names::claiming_again_renews,
        names::a_name_is_refused_to_another_key,
        names::a_forged_claim_is_refused,
        services::publishing_needs_a_claimed_name,
        services::a_forged_publication_is_refused,
        services::a_published_service_is_found_and_its_offer_taken,
        services::a_public_service_is_listed_with_its_name_and_a_private_one_without,
        services::what_was_never_published_is_not_found,
        services::what_was_withdrawn_is_not_found,
        services::a_service_without_open_offers_says_so,
        offers::offers_are_created_in_order_and_listed,
        offers::lifetimes_are_kept_between_a_minute_and_a_day,
        offers::requests_beyond_the_limits_are_not_sent,
        offers::a_deleted_offer_cannot_be_answered,
        offers::an_answer_reaches_the_owner,
        offers::of_many_answers_one_is_taken,
        offers::a_secret_protects_an_offer,
        candidates::candidates_reach_the_other_peer_in_the_order_of_their_batch,
        candidates::candidates_of_an_unknown_offer_are_refused;
    Everything:
        names::a_claim_is_good_once,
        services::a_publication_is_good_once,
        services::publishing_again_keeps_the_ids,
        services::only_the_publisher_withdraws,
        services::dialers_that_come_together_get_different_offers,
        services::offers_of_two_services_are_kept_apart,
        offers::only_the_owner_deletes,
        offers::a_waiting_owner_hears_of_an_answer,
        offers::a_cursor_leaves_out_what_was_seen,
        candidates::a_waiting_peer_hears_of_candidates,
        candidates::a_cursor_loses_no_candidate,
        candidates::strangers_read_no_candidates;
};

/// Longer than any request takes by itself, shorter than the longest wait.
const CHECK_TIMEOUT: Duration = Duration::from_secs(25);
