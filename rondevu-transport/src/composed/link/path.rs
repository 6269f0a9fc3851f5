//! Finding the path of a composed link, and watching it.

use super::*;
use crate::composed::ice::News;
use crate::stun::{Class, Stun};

impl ComposedLink {
    /// Takes over what the agent has to say.
    pub(super) fn hear_ice(&mut self) {
        if self.negotiated().is_none() {
            return;
        }
        while let Some(news) = self.ice.poll_news() {
            match news {
                News::Chosen(route) => {
                    debug!(?route, "path chosen");
                    if self.route != Some(route) {
                        self.path_mtu.on_route(self.now);
                    }
                    let first = self.route.replace(route).is_none();
                    match first {
                        true => self.on_path(),
                        false => self.idleness.on_other_path(self.now),
                    }
                }
                News::Lost => return self.end(LinkClosed::NoPath),
            }
        }
        while let Some(datagram) = self.ice.poll_transmit() {
            self.transmit_check(datagram);
        }
        let Some(at) = self.ice.poll_timeout() else {
            self.ice_at = None;
            return;
        };
        let wanted = self.shared.epoch.at_std(at);
        // While an answer is owed, checks show that the peer is there.
        self.ice_at = Some(match self.channels.are_expecting() {
            true => wanted,
            false => self.idleness.postpone_check(wanted, self.now),
        });
    }

    /// Lets the agent look at its candidates, of which some have changed.
    pub(super) fn search_anew(&mut self) {
        if self.negotiated().is_some() {
            self.idleness.on_other_path(self.now);
            self.ice.handle_timeout(self.std_now());
            self.work();
        }
    }

    /// There is a path: the handshake can begin.
    fn on_path(&mut self) {
        let now = self.std_now();
        if let Some(negotiated) = self.negotiated_mut()
            && let Err(error) = negotiated.dtls.handle_timeout(now)
        {
            return self.end(LinkClosed::Failed(error.to_string()));
        }
        while let Some(early) = self.sources.take_early() {
            self.feed_dtls(early.as_received().payload);
        }
    }

    fn transmit_check(&mut self, datagram: Datagram) {
        if let Some(stun) = Stun::parse(&datagram.payload)
            && stun.class() == Class::Request
        {
            self.idleness.on_check(self.now);
            self.locals.on_check(stun.transaction(), self.now);
        }
        self.transmits.push_back(datagram);
    }

    /// Asks whether the path carries large datagrams.
    pub(super) fn probe_path(&mut self) {
        let (Some(route), Some(_)) = (self.route, self.negotiated()) else {
            return;
        };
        if self.path_mtu.is_lost() {
            self.shared.on_narrow_path(self.now);
            // The peer cannot see it, but the farewell is small.
            self.say_farewell();
            let why = "the path does not carry datagrams as large as before";
            return self.end(LinkClosed::Failed(why.into()));
        }
        let probes = self.path_mtu.poll_probes(self.now);
        let requests = probes.into_iter().flatten();
        self.transmits
            .extend(requests.filter_map(|probe| self.ice.request(probe, route)));
    }
}
