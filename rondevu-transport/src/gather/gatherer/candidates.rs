//! The addresses that are known at the moment, and what has changed of them.

use super::{GatherEvent, Gatherer, is_present};
use crate::LocalCandidate;
use crate::gather::ice_server::IceTransportPolicy;

impl Gatherer {
    /// Tells of what was found or lost since the last time.
    pub(super) fn compare(&mut self) {
        let found = self.find();
        if found == self.candidates {
            return;
        }
        let before = std::mem::replace(&mut self.candidates, found);
        let lost = before.iter().filter(|one| !self.candidates.contains(one));
        self.events.extend(lost.copied().map(GatherEvent::Lost));
        let new = self.candidates.iter().filter(|one| !before.contains(one));
        self.events.extend(new.copied().map(GatherEvent::Found));
    }

    /// All addresses as the small machines know them, the better kinds first.
    fn find(&self) -> Vec<LocalCandidate> {
        let mut found = Vec::new();
        if self.policy == IceTransportPolicy::All {
            found.extend(self.bases.iter().copied().map(LocalCandidate::Host));
            let reflexive = self.reflexives.iter().filter_map(|one| {
                let (address, base) = (one.mapped()?, one.base());
                (address != base).then_some(LocalCandidate::ServerReflexive { address, base })
            });
            for candidate in reflexive {
                if !found.contains(&candidate) {
                    found.push(candidate);
                }
            }
        }
        let relays = self.relays.iter();
        let present = relays.filter(|(_, relay)| is_present(relay, &self.bases));
        let relayed = present.filter_map(|(_, relay)| {
            let (address, base) = relay.address()?;
            Some(LocalCandidate::Relayed { address, base })
        });
        found.extend(relayed);
        found
    }
}
