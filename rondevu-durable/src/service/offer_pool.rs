//! The offers of a service that wait for dialers: how many are missing, which are too old.

use std::collections::BTreeMap;
use std::vec::Vec;

use core::time::Duration;
use rondevu_core::Instant;

use super::lease::elapsed_share;

/// Names an offer that this side made, whatever the server calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OfferKey(pub u64);

/// The offers that dialers may still answer.
///
/// ```text
///             a newer one      nobody takes
///              stands ready      it any more
///  Open ───────────────► Retired ──────────► deleted
///   │                        │
///   └────────────┬───────────┘
///                ▼
///     answered, or its time is over
/// ```
#[derive(Debug)]
pub(super) struct OfferPool {
    offers: BTreeMap<OfferKey, Offer>,
    size: usize,
    margin: f64,
}

#[derive(Clone, Copy, Debug)]
struct Offer {
    standing: Standing,
    /// From when on it does not count as one that stands ready.
    stale_at: Instant,
    ends_at: Instant,
}

#[derive(Clone, Copy, Debug)]
enum Standing {
    /// Dialers get it.
    Open,
    /// Dialers that have it may answer; the server is to forget it after that.
    Retired { delete_at: Instant },
    /// Perhaps the server does not have it any more.
    Doubtful,
}

/// Offers that are no longer in the pool.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Gone {
    /// Their time is over: nobody can answer them.
    pub(super) expired: Vec<OfferKey>,
    /// They are not needed: the server should forget them.
    pub(super) surplus: Vec<OfferKey>,
}

impl OfferPool {
    /// A pool in which `size` offers are to stand ready, each replaced when the share `margin` of
    /// its time to live is left.
    pub(super) fn new(size: usize, margin: f64) -> Self {
        Self {
            offers: BTreeMap::new(),
            size: size.clamp(1, SIZE_MAX),
            margin,
        }
    }

    /// Adds an offer that may be answered for `granted`.
    pub(super) fn add(&mut self, key: OfferKey, granted: Duration, now: Instant) {
        let offer = Offer {
            standing: Standing::Open,
            stale_at: now + granted.mul_f64(elapsed_share(self.margin)),
            ends_at: now + granted,
        };
        self.offers.insert(key, offer);
    }

    /// Removes an answered offer.
    pub(super) fn take(&mut self, key: OfferKey) {
        self.offers.remove(&key);
    }

    /// Stops to count on all offers, and goes on listening for their answers.
    pub(super) fn doubt(&mut self) {
        for offer in self.offers.values_mut() {
            offer.standing = Standing::Doubtful;
        }
    }

    /// Lets all offers be replaced, as if they were about to expire.
    pub(super) fn outdate(&mut self, now: Instant) {
        for offer in self.offers.values_mut() {
            offer.stale_at = offer.stale_at.min(now);
        }
    }

    /// Removes all offers.
    pub(super) fn clear(&mut self) -> Vec<OfferKey> {
        core::mem::take(&mut self.offers).into_keys().collect()
    }

    /// How many dialers could connect at this instant.
    pub(super) fn ready(&self, now: Instant) -> usize {
        self.fresh(now).count()
    }

    /// How many offers to create.
    pub(super) fn missing(&self, now: Instant) -> usize {
        if self.fresh(now).count() >= self.size {
            return 0;
        }
        // One request for all that would be due in a moment.
        self.size
            .saturating_sub(self.fresh(now + BATCH_TIME).count())
    }

    fn fresh(&self, at: Instant) -> impl Iterator<Item = OfferKey> + '_ {
        let is_fresh =
            move |offer: &Offer| matches!(offer.standing, Standing::Open) && offer.stale_at > at;
        self.offers
            .iter()
            .filter(move |(_, offer)| is_fresh(offer))
            .map(|(key, _)| *key)
    }

    /// Retires what is replaced, and removes what is over.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Gone {
        self.retire(now);
        let mut gone = Gone::default();
        self.offers.retain(|key, offer| {
            if offer.ends_at + ANSWER_DELAY <= now {
                gone.expired.push(*key);
                return false;
            }
            match offer.standing {
                Standing::Retired { delete_at } if delete_at <= now => {
                    gone.surplus.push(*key);
                    false
                }
                Standing::Retired { .. } | Standing::Open | Standing::Doubtful => true,
            }
        });
        gone
    }

    fn retire(&mut self, now: Instant) {
        let fresh: Vec<_> = self.fresh(now).collect();
        let Some(too_many) = fresh.len().checked_sub(self.size) else {
            return;
        };
        for (key, offer) in &mut self.offers {
            let is_open = matches!(offer.standing, Standing::Open);
            let is_stale = offer.stale_at <= now;
            if is_open && (is_stale || fresh[..too_many].contains(key)) {
                let delete_at = now + RETIREMENT;
                // What ends before needs no request.
                offer.standing = match delete_at < offer.ends_at {
                    true => Standing::Retired { delete_at },
                    false => Standing::Doubtful,
                };
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) or [`missing`](Self::missing) change next.
    pub(super) fn poll_timeout(&self, now_at_latest: Instant) -> Option<Instant> {
        let next = |offer: &Offer| match offer.standing {
            Standing::Open if offer.stale_at > now_at_latest => offer.stale_at,
            Standing::Retired { delete_at } => delete_at,
            Standing::Open | Standing::Doubtful => offer.ends_at + ANSWER_DELAY,
        };
        self.offers.values().map(next).min()
    }
}

/// What a server creates with one request.
const SIZE_MAX: usize = 100;
/// Offers that become stale within this time are replaced together.
const BATCH_TIME: Duration = Duration::from_secs(2);
/// A dialer that was given an offer answers it within this time; servers hand out newer ones first.
const RETIREMENT: Duration = Duration::from_secs(5);
/// An answer that came at the last moment is heard of within this time.
const ANSWER_DELAY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    const TTL: Duration = Duration::from_secs(60);

    fn at(secs: u64) -> Instant {
        Instant::from_origin(Duration::from_secs(secs))
    }

    fn keys(keys: impl IntoIterator<Item = u64>) -> Vec<OfferKey> {
        keys.into_iter().map(OfferKey).collect()
    }

    fn pool(size: usize, offers: u64) -> OfferPool {
        let mut pool = OfferPool::new(size, 0.2);
        for key in keys(0..offers) {
            pool.add(key, TTL, at(0));
        }
        pool
    }

    #[test]
    fn answered_offers_are_missing() {
        let mut pool = pool(4, 4);
        assert_eq!(pool.missing(at(0)), 0);
        pool.take(OfferKey(1));
        pool.take(OfferKey(2));
        assert_eq!((pool.missing(at(0)), pool.ready(at(0))), (2, 2));
    }

    #[test]
    fn offers_are_replaced_together_before_they_expire_and_then_deleted() {
        let mut pool = pool(3, 2);
        pool.add(OfferKey(2), TTL, at(1));
        assert_eq!(pool.poll_timeout(at(0)), Some(at(48)));
        assert_eq!(pool.missing(at(47)), 0);
        assert_eq!(pool.missing(at(48)), 3, "the third in the same request");
        assert_eq!(pool.handle_timeout(at(48)), Gone::default());
        for key in keys(3..6) {
            pool.add(key, TTL, at(48));
        }
        assert_eq!(pool.missing(at(48)), 0);
        assert_eq!(pool.handle_timeout(at(49)), Gone::default());
        assert_eq!(pool.poll_timeout(at(49)), Some(at(54)));
        let gone = pool.handle_timeout(at(54));
        assert_eq!((gone.expired, gone.surplus), (vec![], keys(0..3)));
        assert_eq!(pool.ready(at(54)), 3);
    }

    #[test]
    fn outdated_offers_are_replaced_and_then_deleted() {
        let mut pool = pool(2, 2);
        pool.outdate(at(10));
        assert_eq!((pool.missing(at(10)), pool.ready(at(10))), (2, 0));
        for key in keys(2..4) {
            pool.add(key, TTL, at(11));
        }
        assert_eq!(pool.handle_timeout(at(11)), Gone::default());
        assert_eq!(pool.handle_timeout(at(16)).surplus, keys(0..2));
        assert_eq!(pool.ready(at(16)), 2);
    }

    #[test]
    fn of_more_offers_than_needed_the_oldest_go() {
        let mut pool = pool(2, 3);
        assert_eq!(pool.handle_timeout(at(1)), Gone::default());
        assert_eq!(pool.ready(at(1)), 2);
        assert_eq!(pool.handle_timeout(at(6)).surplus, keys([0]));
    }

    #[test]
    fn an_offer_that_nothing_replaces_is_listened_to_until_a_little_after_its_end() {
        let mut pool = pool(1, 1);
        assert_eq!(pool.handle_timeout(at(64)), Gone::default());
        assert_eq!(pool.poll_timeout(at(64)), Some(at(65)));
        assert_eq!(pool.handle_timeout(at(65)).expired, keys([0]));
        assert_eq!(pool.poll_timeout(at(65)), None);
    }

    #[test]
    fn doubtful_offers_are_replaced_and_listened_to() {
        let mut pool = pool(2, 2);
        pool.doubt();
        assert_eq!(pool.missing(at(1)), 2);
        assert_eq!(pool.handle_timeout(at(64)), Gone::default());
        assert_eq!(pool.handle_timeout(at(65)).expired, keys(0..2));
    }
}
