//! Which datagrams a WebRTC link believes.

use super::*;

impl RtcLink {
    pub(super) fn on_stun(&mut self, datagram: Received<'_>) {
        let Some(stun) = Stun::parse(datagram.payload) else {
            return trace!(?datagram, "malformed STUN ignored");
        };
        let Some(input) = self.parse(datagram) else {
            return trace!(?datagram, "malformed STUN ignored");
        };
        // An answer tells of a path, and a proven address may be forged.
        let is_answer = stun.class() == Class::Success;
        let is_known = self.sources.is_proven(datagram.source) && !is_answer;
        let accepted = is_known || self.rtc().is_some_and(|rtc| rtc.accepts(&input));
        if !accepted || !self.sources.admit(datagram.source) {
            return debug!(?datagram, "STUN of a stranger ignored");
        }
        if self.succession.doubts(datagram.source)
            && self.rtc().is_some_and(|rtc| rtc.accepts(&input))
        {
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
        if let Phase::Offering { early_checks, .. } = &mut self.phase {
            *early_checks = (*early_checks + 1).min(EARLY_CHECKS_MAX);
        }
        // This costs the path in use.
        let forgotten = self
            .negotiated()
            .is_some_and(|n| n.remotes.is_forgotten(datagram.source));
        let is_telling = stun.class() == Class::Request && (stun.chooses() || forgotten);
        let is_peer = is_telling && self.rtc().is_some_and(|rtc| rtc.accepts(&input));
        if is_peer && let Phase::Negotiated(negotiated) = &mut self.phase {
            negotiated.revive(datagram.source);
        }
        self.feed(input);
        if is_peer
            && stun.chooses()
            && let Some(dead) = self.succession.on_chosen(datagram.source, self.now)
            && let Phase::Negotiated(negotiated) = &mut self.phase
        {
            debug!(%dead, "the peer has moved");
            negotiated.forget(dead);
            self.turn(self.now);
        }
    }

    pub(super) fn on_dtls(&mut self, datagram: Received<'_>) {
        if !self.sources.is_proven(datagram.source) || self.negotiated().is_none() {
            return debug!(?datagram, "DTLS of a stranger ignored");
        }
        if self.path == Path::Searched {
            let held = self.sources.hold(datagram);
            return debug!(?datagram, held, "DTLS before there is a path");
        }
        self.idleness.on_data(self.now);
        self.flight.on_received(datagram.payload);
        let Some(input) = self.parse(datagram) else {
            return;
        };
        let is_data = datagram.payload.first() == Some(&APPLICATION_DATA);
        match is_data && self.path == Path::Connected {
            true => self.feed_together(input),
            false => self.feed(input),
        }
    }

    fn parse<'a>(&self, datagram: Received<'a>) -> Option<Input<'a>> {
        let Received {
            source,
            destination,
            payload,
        } = datagram;
        let receive = Receive::new(Protocol::Udp, source, destination, payload).ok()?;
        Some(Input::Receive(self.epoch.to_std(self.now), receive))
    }

    /// Feeds what came before there was a path, now that there may be one.
    pub(super) fn feed_early(&mut self) {
        while self.path != Path::Searched
            && let Some(early) = self.sources.take_early()
        {
            if let Some(input) = self.parse(early.as_received()) {
                self.feed(input);
            }
        }
    }
}

/// The type of a record that carries messages (RFC 5246, section 6.2.1).
const APPLICATION_DATA: u8 = 23;
