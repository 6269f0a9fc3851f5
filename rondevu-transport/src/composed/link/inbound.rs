//! Which datagrams a link believes.

use super::*;
use crate::stun::{Class, Stun};

impl ComposedLink {
    pub(super) fn on_stun(&mut self, datagram: Received<'_>) {
        let Some(stun) = Stun::parse(datagram.payload) else {
            return trace!(?datagram, "malformed STUN ignored");
        };
        if stun.class() == Class::Success
            && self.path_mtu.awaits(stun.transaction())
            && self.route.is_some_and(|it| it.remote == datagram.source)
            && self.ice.is_answer_of_peer(datagram.payload)
        {
            return self.path_mtu.on_answer(stun.transaction());
        }
        // An answer tells of a path, and a proven address may be forged.
        let is_answer = stun.class() == Class::Success;
        let is_known = self.sources.is_proven(datagram.source) && !is_answer;
        let accepted = is_known || self.ice.accepts(datagram);
        if !accepted || !self.sources.admit(datagram.source) {
            return debug!(?datagram, "STUN of a stranger ignored");
        }
        if self.succession.doubts(datagram.source) && self.ice.accepts(datagram) {
            self.succession.on_heard();
        }
        if let (true, Some(mapped)) = (is_answer, stun.mapped_address()) {
            if !self.sources.admit_mapped(mapped) {
                return debug!(
                    ?datagram,
                    "peer claims too many addresses, response ignored"
                );
            }
            self.locals
                .on_mapped(datagram, mapped, stun.transaction(), self.now);
        }
        if is_answer
            && self.idleness.awaits_answer()
            && let Some(round_trip) = self.idleness.on_answer(self.now)
        {
            self.flight.on_round_trip(round_trip);
        }
        if let Phase::Offering { early_checks } = &mut self.phase {
            *early_checks = (*early_checks + 1).min(EARLY_CHECKS_MAX);
        }
        if matches!(self.phase, Phase::Ended) {
            return;
        }
        // This costs the path in use.
        let forgotten = self.ice.remotes.is_forgotten(datagram.source);
        let is_telling = stun.class() == Class::Request && (stun.chooses() || forgotten);
        let is_peer = is_telling && self.ice.accepts(datagram);
        if is_peer {
            self.ice.revive_remote(datagram.source);
        }
        self.ice.handle(datagram, self.std_now());
        if is_peer
            && stun.chooses()
            && let Some(dead) = self.succession.on_chosen(datagram.source, self.now)
        {
            debug!(%dead, "the peer has moved");
            self.ice.forget_remote(dead);
            self.ice.handle_timeout(self.std_now());
        }
    }

    pub(super) fn on_dtls(&mut self, datagram: Received<'_>) {
        if !self.sources.is_proven(datagram.source) || self.negotiated().is_none() {
            return debug!(?datagram, "DTLS of a stranger ignored");
        }
        if self.route.is_none() {
            let held = self.sources.hold(datagram);
            return debug!(?datagram, held, "DTLS before there is a path");
        }
        self.feed_dtls(datagram.payload);
    }
}
