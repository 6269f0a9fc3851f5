//! The sessions of a service: how many there may be, and which must go when too many wait.

use std::collections::{BTreeMap, BTreeSet};

use rondevu_core::{Instant, SessionId};

/// How many sessions a service keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// The most sessions, connected or not. One whose dialer is away makes room for another, that which
    /// waits for longest first; where none is, more dialers are told to come later. Default 10,000.
    pub sessions_max: usize,
    /// The most sessions whose dialer is away. Default 10,000, so that all of them outlive a cut of
    /// the service's own network.
    pub detached_max: usize,
    /// The most bytes of messages that sessions without a link hold in all. Default 256 MiB.
    pub detached_bytes_max: u64,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            sessions_max: 10_000,
            detached_max: 10_000,
            detached_bytes_max: 256 * 1024 * 1024,
        }
    }
}

/// Counts the sessions of a service.
///
/// ```text
///   handle_begun ─► attached ◄─► detached ─► poll_eviction ─► leaving
///                      └────────────┴─── handle_ended ───────────┘
/// ```
#[derive(Debug)]
pub struct SessionTable {
    limits: SessionLimits,
    sessions: BTreeMap<SessionId, Presence>,
    /// Those without a link, longest first.
    waiting: BTreeSet<(Instant, SessionId)>,
    waiting_bytes: u64,
    /// How many have been told to end.
    leaving: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Attached,
    Detached { since: Instant, bytes: u64 },
    Leaving,
}

impl SessionTable {
    /// A service without sessions.
    pub fn new(limits: SessionLimits) -> Self {
        Self {
            limits,
            sessions: BTreeMap::new(),
            waiting: BTreeSet::new(),
            waiting_bytes: 0,
            leaving: 0,
        }
    }

    /// Whether one more session may begin.
    pub fn has_room(&self) -> bool {
        self.sessions.len() < self.limits.sessions_max || !self.waiting.is_empty()
    }

    /// A session has begun on a link. Another may have to end for it: poll
    /// [`poll_eviction`](Self::poll_eviction).
    pub fn handle_begun(&mut self, session: SessionId) {
        self.sessions.entry(session).or_insert(Presence::Attached);
    }

    /// A link carries the session again.
    pub fn handle_attached(&mut self, session: SessionId) {
        self.set(session, Presence::Attached);
    }

    /// No link carries the session, which holds so many bytes. May be called again when it holds
    /// more or fewer.
    pub fn handle_detached(&mut self, session: SessionId, bytes: u64, now: Instant) {
        let since = match self.sessions.get(&session) {
            Some(Presence::Detached { since, .. }) => *since,
            Some(Presence::Attached) => now,
            Some(Presence::Leaving) | None => return,
        };
        self.set(session, Presence::Detached { since, bytes });
    }

    /// The session has ended.
    pub fn handle_ended(&mut self, session: SessionId) {
        if self.sessions.contains_key(&session) {
            self.set(session, Presence::Leaving);
            self.sessions.remove(&session);
            self.leaving -= 1;
        }
    }

    fn set(&mut self, session: SessionId, presence: Presence) {
        let Some(known) = self.sessions.get_mut(&session) else {
            return;
        };
        if let Presence::Detached { since, bytes } = *known {
            self.waiting.remove(&(since, session));
            self.waiting_bytes -= bytes;
        }
        // One that was told to end does so, whatever its link does meanwhile.
        if *known == Presence::Leaving {
            return;
        }
        self.leaving += usize::from(presence == Presence::Leaving);
        *known = presence;
        if let Presence::Detached { since, bytes } = presence {
            self.waiting.insert((since, session));
            self.waiting_bytes += bytes;
        }
    }

    /// A session that must end because too many wait, hold too much or keep others out; poll until
    /// `None`.
    pub fn poll_eviction(&mut self) -> Option<SessionId> {
        let too_many = self.waiting.len() > self.limits.detached_max;
        let too_much = self.waiting_bytes > self.limits.detached_bytes_max;
        let staying = self.sessions.len() - self.leaving;
        let is_due = too_many || too_much || staying > self.limits.sessions_max;
        let (_, longest) = *self.waiting.first().filter(|_| is_due)?;
        self.set(longest, Presence::Leaving);
        Some(longest)
    }

    /// How many sessions there are, connected or not.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// How many wait for their dialer.
    pub fn detached_len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn at(secs: u64) -> Instant {
        Instant::from_origin(Duration::from_secs(secs))
    }

    fn table() -> SessionTable {
        let mut table = SessionTable::new(SessionLimits {
            sessions_max: 4,
            detached_max: 2,
            detached_bytes_max: 100,
        });
        (0..4).for_each(|n| table.handle_begun(SessionId(n)));
        table
    }

    #[test]
    fn a_full_service_has_no_room_until_a_session_ends() {
        let mut table = table();
        assert!(!table.has_room());
        table.handle_ended(SessionId(0));
        assert!(table.has_room());
    }

    #[test]
    fn a_session_whose_dialer_is_away_makes_room_for_another() {
        let mut table = table();
        table.handle_detached(SessionId(1), 1, at(5));
        table.handle_detached(SessionId(2), 1, at(4));
        assert_eq!(table.poll_eviction(), None);
        for (new, evicted) in [(4, 2), (5, 1)] {
            assert!(table.has_room());
            table.handle_begun(SessionId(new));
            assert_eq!(table.poll_eviction(), Some(SessionId(evicted)));
            assert_eq!(table.poll_eviction(), None);
        }
        assert!(!table.has_room());
        table.handle_ended(SessionId(2));
        table.handle_ended(SessionId(1));
        assert!(!table.has_room());
        table.handle_ended(SessionId(5));
        assert!(table.has_room());
    }

    #[test]
    fn the_session_that_waits_for_longest_goes_first() {
        let mut table = table();
        for (n, since) in [(2, 5), (0, 6), (1, 7)] {
            table.handle_detached(SessionId(n), 1, at(since));
        }
        assert_eq!(table.poll_eviction(), Some(SessionId(2)));
        assert_eq!(table.poll_eviction(), None);
    }

    #[test]
    fn too_many_bytes_evict_even_a_single_session() {
        let mut table = table();
        table.handle_detached(SessionId(3), 100, at(1));
        assert_eq!(table.poll_eviction(), None);
        table.handle_detached(SessionId(3), 101, at(2));
        assert_eq!(table.poll_eviction(), Some(SessionId(3)));
        table.handle_detached(SessionId(3), 999, at(3));
        assert_eq!(table.poll_eviction(), None, "told once");
    }

    #[test]
    fn one_that_comes_back_is_not_evicted() {
        let mut table = table();
        for n in 0..3 {
            table.handle_detached(SessionId(n), 1, at(n as u64));
        }
        table.handle_attached(SessionId(0));
        assert_eq!(table.poll_eviction(), None);
        assert_eq!(table.detached_len(), 2);
    }

    proptest! {
        /// Whatever happens in whatever order, the sums stay true and the limits hold.
        #[test]
        fn the_limits_hold_after_any_facts(
            facts in prop::collection::vec((0u8..4, 0u128..6, 0u64..120), 0..200),
        ) {
            let mut table = SessionTable::new(SessionLimits {
                sessions_max: 5, detached_max: 3, detached_bytes_max: 200,
            });
            for (n, (fact, id, bytes)) in facts.into_iter().enumerate() {
                let (session, now) = (SessionId(id), at(n as u64));
                match fact {
                    0 if table.has_room() => table.handle_begun(session),
                    0 | 1 => table.handle_attached(session),
                    2 => table.handle_detached(session, bytes, now),
                    _ => table.handle_ended(session),
                }
                while let Some(evicted) = table.poll_eviction() {
                    prop_assert!(table.sessions.contains_key(&evicted));
                }
                let detached: Vec<u64> = table.sessions.values().filter_map(|p| match p {
                    Presence::Detached { bytes, .. } => Some(*bytes),
                    Presence::Attached | Presence::Leaving => None,
                }).collect();
                prop_assert_eq!(table.waiting_bytes, detached.iter().sum::<u64>());
                prop_assert_eq!(table.detached_len(), detached.len());
                prop_assert!(detached.len() <= 3 && table.waiting_bytes <= 200);
                let leaving = table.sessions.values().filter(|p| **p == Presence::Leaving);
                prop_assert_eq!(table.leaving, leaving.count());
                prop_assert!(table.len() - table.leaving <= 5);
            }
        }
    }
}
