//! The candidates that the two peers of one offer pass to each other.

use rondevu_core::PeerId;

use crate::UnixMillis;
use crate::protocol_limits::{BrokenLimit, CANDIDATES_MAX};
use crate::registry::{Capacity, Refusal};
use crate::store::cost::CANDIDATE_COST;
use crate::store::{CandidateRecord, POSTERS_MAX};

/// Candidates by who posted them.
///
/// A dialer may post before its answer has arrived, so several peers can be posting until one of
/// them has answered.
#[derive(Debug, Default)]
pub(super) struct Trickle {
    lists: Vec<(PeerId, Vec<(UnixMillis, String)>)>,
    last_stamp: UnixMillis,
}

impl Trickle {
    /// Adds candidates of `poster`, all or none.
    ///
    /// Each gets a stamp of its own, later than every earlier one, so that a cursor loses nothing.
    pub(super) fn add(
        &mut self,
        poster: &PeerId,
        candidates: Vec<String>,
        now: UnixMillis,
    ) -> Result<(), Refusal> {
        let index = self.list_of(poster)?;
        let list = &mut self.lists[index].1;
        if list.len() + candidates.len() > CANDIDATES_MAX {
            return Err(BrokenLimit::TooManyCandidates.into());
        }
        for candidate in candidates {
            self.last_stamp = now.max(UnixMillis(self.last_stamp.0.saturating_add(1)));
            list.push((self.last_stamp, candidate));
        }
        Ok(())
    }

    fn list_of(&mut self, poster: &PeerId) -> Result<usize, Refusal> {
        if let Some(index) = self.lists.iter().position(|(peer, _)| peer == poster) {
            return Ok(index);
        }
        if self.lists.len() >= POSTERS_MAX {
            return Err(Capacity::PostersPerOffer.into());
        }
        self.lists.push((poster.clone(), Vec::new()));
        Ok(self.lists.len() - 1)
    }

    /// What `poster` posted after `since`, oldest first.
    pub(super) fn posted_by(&self, poster: &PeerId, since: UnixMillis) -> Vec<CandidateRecord> {
        let list = self.lists.iter().find(|(peer, _)| peer == poster);
        let candidates = list.map_or(&[][..], |(_, list)| list);
        let first = candidates.partition_point(|(stamp, _)| *stamp <= since);
        candidates[first..]
            .iter()
            .map(|(stamp, candidate)| CandidateRecord {
                candidate: candidate.clone(),
                created_at: *stamp,
            })
            .collect()
    }

    /// Forgets what anybody but these two posted; returns what it had cost.
    pub(super) fn keep_only(&mut self, one: &PeerId, other: &PeerId) -> usize {
        let before = self.cost();
        self.lists.retain(|(peer, _)| peer == one || peer == other);
        before - self.cost()
    }

    fn cost(&self) -> usize {
        let candidates = self.lists.iter().flat_map(|(_, list)| list);
        candidates
            .map(|(_, json)| CANDIDATE_COST + json.len())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str) -> PeerId {
        PeerId::new(name).unwrap()
    }

    #[test]
    fn a_cursor_loses_nothing_within_a_millisecond() {
        let (mut trickle, alice) = (Trickle::default(), peer("alice"));
        let mut cursor = UnixMillis(0);
        let mut seen = Vec::new();
        for (now, batch) in [
            (5, vec!["a", "b"]),
            (5, vec!["c"]),
            (6, vec!["d"]),
            (1, vec!["e"]),
        ] {
            let batch = batch.into_iter().map(String::from).collect();
            trickle.add(&alice, batch, UnixMillis(now)).unwrap();
            for new in trickle.posted_by(&alice, cursor) {
                cursor = new.created_at;
                seen.push(new.candidate);
            }
        }
        assert_eq!(seen, ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn neither_posters_nor_candidates_grow_without_bound() {
        let (mut trickle, now) = (Trickle::default(), UnixMillis(1));
        let many = |n| vec![String::from("x"); n];
        let alice = peer("alice");
        trickle.add(&alice, many(60), now).unwrap();
        let refused = trickle.add(&alice, many(5), now).unwrap_err();
        assert_eq!(refused, BrokenLimit::TooManyCandidates.into());
        assert_eq!(trickle.posted_by(&alice, UnixMillis(0)).len(), 60);
        for n in 1..POSTERS_MAX {
            trickle.add(&peer(&n.to_string()), many(1), now).unwrap();
        }
        let refused = trickle.add(&peer("late"), many(1), now);
        assert!(matches!(refused, Err(Refusal::Full(_))));
        let freed = trickle.keep_only(&alice, &peer("1"));
        assert_eq!(trickle.lists.len(), 2);
        assert_eq!(freed, (POSTERS_MAX - 2) * (CANDIDATE_COST + 1));
    }
}
