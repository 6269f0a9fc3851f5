//! The open offers of one service, and which of them to hand out next.

use std::collections::BTreeMap;
use std::time::Duration;

use rondevu_core::OfferId;

use crate::UnixMillis;

/// Open offers by the order of their creation; those handed out lately come last.
///
/// ```text
///        add                  take, hold
/// (new) ─────► free ────────────────────────► held
///               ▲                               │
///               └────────── hold is over ───────┘      answered, deleted, expired: remove
/// ```
#[derive(Debug, Default)]
pub(super) struct Pool {
    free: BTreeMap<u64, OfferId>,
    held: BTreeMap<Hold, (u64, OfferId)>,
    holds: BTreeMap<u64, Hold>,
    turns: u64,
}

/// Holds in the order in which they end; those of one millisecond in the order of their beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Hold {
    until: UnixMillis,
    turn: u64,
}

impl Pool {
    /// Adds an offer; no effect if it is there.
    pub(super) fn add(&mut self, number: u64, offer: &OfferId) {
        if !self.holds.contains_key(&number) {
            self.free.insert(number, offer.clone());
        }
    }

    /// Removes an offer; no effect if it is not there.
    pub(super) fn remove(&mut self, number: u64) {
        self.free.remove(&number);
        if let Some(hold) = self.holds.remove(&number) {
            self.held.remove(&hold);
        }
    }

    /// The newest free offer, else the one whose hold ends first; it is held from now on.
    pub(super) fn take(&mut self, hold: Duration, now: UnixMillis) -> Option<OfferId> {
        self.release(now);
        let (number, offer) = match self.free.pop_last() {
            Some(free) => free,
            None => self.held.pop_first()?.1,
        };
        self.turns += 1;
        let hold = Hold {
            until: now.saturating_add(hold),
            turn: self.turns,
        };
        self.holds.insert(number, hold);
        self.held.insert(hold, (number, offer.clone()));
        Some(offer)
    }

    fn release(&mut self, now: UnixMillis) {
        while let Some(first) = self.held.first_entry() {
            if first.key().until > now {
                return;
            }
            let (number, offer) = first.remove();
            self.free.insert(number, offer);
            self.holds.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_millis(100);

    fn pool_of(count: u64) -> Pool {
        let mut pool = Pool::default();
        for number in 1..=count {
            pool.add(number, &OfferId::new(number.to_string()).unwrap());
        }
        pool
    }

    fn take(pool: &mut Pool, now: u64) -> String {
        let taken = pool.take(HOLD, UnixMillis(now));
        taken.map_or("none".into(), |id| id.as_str().into())
    }

    #[test]
    fn dialers_that_come_together_get_different_offers_newest_first() {
        let mut pool = pool_of(3);
        assert_eq!([0, 0, 0].map(|now| take(&mut pool, now)), ["3", "2", "1"]);
    }

    #[test]
    fn when_all_are_held_the_one_handed_out_first_comes_again() {
        let mut pool = pool_of(2);
        assert_eq!(
            [0, 0, 0, 1].map(|now| take(&mut pool, now)),
            ["2", "1", "2", "1"]
        );
    }

    #[test]
    fn a_hold_ends_by_itself() {
        let mut pool = pool_of(2);
        assert_eq!([0, 99].map(|now| take(&mut pool, now)), ["2", "1"]);
        assert_eq!(take(&mut pool, 100), "2");
        assert_eq!(take(&mut pool, 150), "1");
    }

    #[test]
    fn what_was_removed_is_never_handed_out_and_adding_twice_is_adding_once() {
        let mut pool = pool_of(2);
        assert_eq!(take(&mut pool, 0), "2");
        pool.add(2, &OfferId::new("2").unwrap());
        pool.remove(2);
        pool.remove(2);
        assert_eq!([1, 2].map(|now| take(&mut pool, now)), ["1", "1"]);
        pool.remove(1);
        assert_eq!(take(&mut pool, 500), "none");
    }
}
