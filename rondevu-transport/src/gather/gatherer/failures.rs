//! Which servers do not help, and why.

use super::Gatherer;
use crate::gather::failure::GatherFailure;
use crate::gather::ice_server::IceService;
use crate::gather::reflexive::Reflexive;
use crate::gather::server::Server;

impl Gatherer {
    /// The servers that do not help at the moment, by their URLs, and why.
    pub fn failures(&self) -> Vec<(String, GatherFailure)> {
        let servers = self.servers.iter().enumerate();
        let failures = servers.filter_map(|(index, server)| {
            let failure = self.failure_of(index, server)?;
            Some((server.url.to_string(), failure))
        });
        failures.collect()
    }

    /// Why a server helps with nothing, if so.
    pub(super) fn failure_of(&self, index: usize, server: &Server) -> Option<GatherFailure> {
        if let Some(failure) = server.failure() {
            return Some(failure.clone());
        }
        if !server.is_settled() {
            return None;
        }
        if server.url.service == IceService::Stun {
            let mut asked = self
                .reflexives
                .iter()
                .filter(|one| server.addresses().contains(&one.server()))
                .peekable();
            return match asked.peek() {
                None => Some(GatherFailure::NoBase),
                Some(_) => asked
                    .all(Reflexive::is_silent)
                    .then_some(GatherFailure::Unreachable),
            };
        }
        let mut relays = self.relays.iter().filter(|(of, _)| *of == index).peekable();
        match relays.peek() {
            None => Some(GatherFailure::NoBase),
            Some((_, first)) => {
                let failure = first.failure().cloned();
                relays
                    .all(|(_, relay)| relay.failure().is_some())
                    .then_some(failure)?
            }
        }
    }
}
