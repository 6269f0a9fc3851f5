//! The candidates of one link that travel after its descriptions: which to pass on, when to ask.

use std::collections::VecDeque;
use std::vec::Vec;

use core::time::Duration;
use rondevu_core::{BackoffPolicy, Deadline, DeadlineReason, IceCandidate, Instant};
use tracing::debug;

use crate::service::polling::{PollEnd, Polling, PollingConfig};
use crate::service::request::{Request, ServiceRetry};

/// What the embedder must do; each ends with one of the `handle_*` calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrickleAction {
    /// Pass these candidates on to the peer, with one request.
    Post {
        /// The candidates, in order.
        candidates: Vec<IceCandidate>,
    },
    /// Ask for the peer's candidates.
    Fetch,
}

/// The exchange of candidates for one link that has both descriptions and no path yet.
///
/// Most links find a path with what the descriptions say: nothing is asked for in the first
/// moments. Candidates of this side are collected for a moment and travel together. The peer's are
/// told once each, however often the server repeats them. Each side has 64 at most.
#[derive(Debug)]
pub struct TrickleMachine {
    rng: fastrand::Rng,
    posting: Request,
    fetching: Request,
    polling: Polling,
    fetch_at: Instant,
    own: Vec<IceCandidate>,
    /// How many of `own` the server has.
    posted: usize,
    /// How many of `own` the request under way brings to it.
    sent: usize,
    post_at: Instant,
    theirs: Vec<IceCandidate>,
    news: VecDeque<IceCandidate>,
    stopped: Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopped {
    No,
    /// The server does not have the offer any more.
    Yes,
}

impl TrickleMachine {
    /// An exchange that begins at `now`.
    pub fn new(seed: u64, now: Instant) -> Self {
        let mut polling = Polling::new(PollingConfig {
            eager_for: EAGER_TIME,
            ..PollingConfig::default()
        });
        polling.expect(now);
        Self {
            rng: fastrand::Rng::with_seed(seed),
            posting: Request::default(),
            fetching: Request::default(),
            polling,
            fetch_at: now + FETCH_DELAY,
            own: Vec::new(),
            posted: 0,
            sent: 0,
            post_at: now,
            theirs: Vec::new(),
            news: VecDeque::new(),
            stopped: Stopped::No,
        }
    }

    /// This side may be reached under one more address. Known ones and those beyond the limit are
    /// ignored.
    pub fn handle_local_candidate(&mut self, candidate: IceCandidate, now: Instant) {
        if self.own.contains(&candidate) {
            return;
        }
        if self.own.len() >= CANDIDATES_MAX {
            debug!("a candidate too many is not passed on");
            return;
        }
        if self.own.len() == self.posted + self.sent {
            self.post_at = now + BATCH_TIME;
        }
        self.own.push(candidate);
    }

    /// The candidates are passed on.
    pub fn handle_posted(&mut self, now: Instant) {
        self.posting.succeed(now);
        self.posted += core::mem::take(&mut self.sent);
    }

    /// The candidates could not be passed on.
    pub fn handle_post_failed(&mut self, retry: ServiceRetry, now: Instant) {
        self.sent = 0;
        let request = &mut self.posting;
        self.stopped = failed(request, retry, &mut self.rng, self.stopped, now);
    }

    /// The peer's candidates, those included that were told before.
    pub fn handle_fetched(
        &mut self,
        candidates: impl IntoIterator<Item = IceCandidate>,
        end: PollEnd,
        now: Instant,
    ) {
        let took = self.fetching.succeed(now);
        let before = self.theirs.len();
        for candidate in candidates {
            if self.theirs.len() < CANDIDATES_MAX && !self.theirs.contains(&candidate) {
                self.theirs.push(candidate.clone());
                self.news.push_back(candidate);
            }
        }
        self.polling
            .polled(self.theirs.len() - before, end, took, now);
        self.fetch_at = self.polling.next_at();
    }

    /// The peer's candidates could not be asked for.
    pub fn handle_fetch_failed(&mut self, retry: ServiceRetry, now: Instant) {
        let request = &mut self.fetching;
        self.stopped = failed(request, retry, &mut self.rng, self.stopped, now);
    }

    /// What is due.
    pub fn poll_action(&mut self, now: Instant) -> Option<TrickleAction> {
        if self.stopped == Stopped::Yes {
            return None;
        }
        if self.own.len() > self.posted && self.post_at <= now && self.posting.is_ready(now) {
            self.posting.start(now);
            let candidates = self.own[self.posted..].to_vec();
            self.sent = candidates.len();
            return Some(TrickleAction::Post { candidates });
        }
        if self.fetch_at <= now && self.fetching.is_ready(now) {
            self.fetching.start(now);
            return Some(TrickleAction::Fetch);
        }
        None
    }

    /// The next candidate of the peer that was not told before.
    pub fn poll_candidate(&mut self) -> Option<IceCandidate> {
        self.news.pop_front()
    }

    /// When to call [`poll_action`](Self::poll_action) again; `None` after the end.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        if self.stopped == Stopped::Yes {
            return None;
        }
        let with = |request: &Request, at: Instant, reason| {
            let at = at.max(request.ready_at()?);
            Some(Deadline::new(at, reason))
        };
        let waiting = self.own.len() > self.posted;
        let post = waiting.then(|| with(&self.posting, self.post_at, DeadlineReason::Retry));
        let fetch = with(&self.fetching, self.fetch_at, DeadlineReason::Poll);
        Deadline::earlier(post.flatten(), fetch)
    }

    /// Whether the offer is gone, so that there is nobody to exchange candidates with.
    pub fn is_over(&self) -> bool {
        self.stopped == Stopped::Yes
    }
}

fn failed(
    request: &mut Request,
    retry: ServiceRetry,
    rng: &mut fastrand::Rng,
    stopped: Stopped,
    now: Instant,
) -> Stopped {
    match retry {
        ServiceRetry::Never | ServiceRetry::Publish | ServiceRetry::StartOver => Stopped::Yes,
        ServiceRetry::After(pause) => {
            request.pause(pause, now);
            stopped
        }
        ServiceRetry::Backoff => {
            request.fail(&BACKOFF, rng, now);
            stopped
        }
    }
}

/// What servers keep for each side of an offer.
const CANDIDATES_MAX: usize = 64;
/// Addresses of several interfaces become known at about the same time.
const BATCH_TIME: Duration = Duration::from_millis(20);
/// On most networks, links have found their path by then.
const FETCH_DELAY: Duration = Duration::from_millis(200);
/// As long as attempts take.
const EAGER_TIME: Duration = Duration::from_secs(10);
/// Shorter than between attempts: a link that has no path has no time.
const BACKOFF: BackoffPolicy = BackoffPolicy {
    base: Duration::from_millis(250),
    max: Duration::from_secs(4),
    jitter: 0.2,
    attempts_max: None,
};

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::{format, vec};

    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_origin(Duration::from_millis(millis))
    }

    fn candidate(number: usize) -> IceCandidate {
        IceCandidate {
            candidate: format!("candidate:{number} 1 udp 1 192.0.2.1 {number} typ host"),
            sdp_mid: Some("0".to_string()),
            sdp_m_line_index: Some(0),
            username_fragment: None,
        }
    }

    fn actions(trickle: &mut TrickleMachine, now: Instant) -> Vec<TrickleAction> {
        core::iter::from_fn(|| trickle.poll_action(now)).collect()
    }

    fn news(trickle: &mut TrickleMachine) -> Vec<IceCandidate> {
        core::iter::from_fn(|| trickle.poll_candidate()).collect()
    }

    fn post(numbers: core::ops::Range<usize>) -> TrickleAction {
        TrickleAction::Post {
            candidates: numbers.map(candidate).collect(),
        }
    }

    #[test]
    fn a_link_that_finds_its_path_at_once_asks_for_nothing() {
        let mut trickle = TrickleMachine::new(1, at(0));
        assert_eq!(actions(&mut trickle, at(199)), []);
        assert_eq!(trickle.poll_timeout().map(|d| d.at), Some(at(200)));
        assert_eq!(actions(&mut trickle, at(200)), [TrickleAction::Fetch]);
    }

    #[test]
    fn candidates_are_passed_on_in_batches_and_none_twice() {
        let mut trickle = TrickleMachine::new(1, at(0));
        trickle.handle_local_candidate(candidate(0), at(10));
        trickle.handle_local_candidate(candidate(1), at(25));
        trickle.handle_local_candidate(candidate(0), at(25));
        assert_eq!(actions(&mut trickle, at(29)), []);
        assert_eq!(actions(&mut trickle, at(30)), [post(0..2)]);
        trickle.handle_local_candidate(candidate(2), at(35));
        assert_eq!(actions(&mut trickle, at(100)), []);
        trickle.handle_posted(at(100));
        assert_eq!(actions(&mut trickle, at(100)), [post(2..3)]);
        trickle.handle_posted(at(101));
        assert_eq!(actions(&mut trickle, at(199)), []);
    }

    #[test]
    fn candidates_that_could_not_be_passed_on_go_with_the_next_batch() {
        let mut trickle = TrickleMachine::new(1, at(0));
        trickle.handle_local_candidate(candidate(0), at(0));
        assert_eq!(actions(&mut trickle, at(20)), [post(0..1)]);
        trickle.handle_post_failed(ServiceRetry::After(Duration::from_millis(60)), at(30));
        trickle.handle_local_candidate(candidate(1), at(40));
        assert_eq!(actions(&mut trickle, at(89)), []);
        assert_eq!(actions(&mut trickle, at(90)), [post(0..2)]);
    }

    #[test]
    fn candidates_that_the_server_repeats_are_told_once() {
        let mut trickle = TrickleMachine::new(1, at(0));
        actions(&mut trickle, at(200));
        trickle.handle_fetched((0..2).map(candidate), PollEnd::AtOnce, at(200));
        assert_eq!(news(&mut trickle), [candidate(0), candidate(1)]);
        assert_eq!(actions(&mut trickle, at(449)), []);
        assert_eq!(actions(&mut trickle, at(450)), [TrickleAction::Fetch]);
        trickle.handle_fetched((0..3).map(candidate), PollEnd::AtOnce, at(450));
        assert_eq!(news(&mut trickle), [candidate(2)]);
    }

    #[test]
    fn neither_side_has_more_candidates_than_a_server_keeps() {
        let mut trickle = TrickleMachine::new(1, at(0));
        for number in 0..100 {
            trickle.handle_local_candidate(candidate(number), at(0));
        }
        assert_eq!(actions(&mut trickle, at(20)), [post(0..64)]);
        actions(&mut trickle, at(200));
        trickle.handle_fetched((0..100).map(candidate), PollEnd::Waited, at(200));
        assert_eq!(news(&mut trickle).len(), 64);
    }

    #[test]
    fn without_the_offer_there_is_nothing_more_to_do() {
        let mut trickle = TrickleMachine::new(1, at(0));
        trickle.handle_local_candidate(candidate(0), at(0));
        actions(&mut trickle, at(20));
        trickle.handle_post_failed(ServiceRetry::Never, at(20));
        assert!(trickle.is_over());
        assert_eq!(actions(&mut trickle, at(9000)), vec![]);
        assert_eq!(trickle.poll_timeout(), None);
    }

    #[test]
    fn a_server_that_fails_is_asked_again_with_pauses() {
        let mut trickle = TrickleMachine::new(1, at(0));
        let mut fetches = 0;
        while let Some(deadline) = trickle.poll_timeout().filter(|d| d.at < at(10_000)) {
            fetches += actions(&mut trickle, deadline.at).len();
            trickle.handle_fetch_failed(ServiceRetry::Backoff, deadline.at);
        }
        assert!((4..8).contains(&fetches), "{fetches}");
    }
}
