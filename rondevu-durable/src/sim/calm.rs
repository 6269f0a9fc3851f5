//! Calm after the storm: everything is healed, and from now on nothing may go wrong any more.

use core::time::Duration;
use rondevu_core::{ChannelId, DurableChannelState, DurableConnectionState, Instant, Unconfirmed};

use super::conn::{Ended, Reading};
use super::coverage::Situation;
use super::fabric::Fabric;
use super::ledger::{Standing, name};
use super::world::{Broken, Uid, World, broken, note};
use crate::ConnectionClosed;

/// Both machines of a conversation.
#[derive(Clone, Copy, Debug)]
struct Pair {
    dialer: Uid,
    acceptor: Uid,
}

impl<F: Fabric> World<F> {
    /// Heals everything; then each connection and each message must be there in time, and stay.
    pub(super) fn calm(&mut self) -> Result<(), Broken> {
        self.coverage.situation(Situation::Calm);
        self.heal_all()?;
        let begin = self.now;
        let end = begin + self.recovery_time();
        // What is late already comes late.
        self.run(begin + STRAGGLERS, u64::MAX)?;
        while let Some(trouble) = self.trouble() {
            if self.now >= end {
                let after = self.now - begin;
                return broken("recovery", format!("after {after:?}: {trouble}"));
            }
            self.run(end, 8)?;
        }
        note!(self, "calm is complete after {:?}", self.now - begin);
        self.settle_attempts()?;
        self.stay_calm()?;
        self.invite_strangers();
        Ok(())
    }

    fn heal_all(&mut self) -> Result<(), Broken> {
        self.busy = false;
        self.send_strangers_away();
        self.fabric.heal(self.now);
        let nodes: Vec<_> = self.asleep.keys().copied().collect();
        for node in nodes {
            self.asleep.remove(&node);
            self.fabric.wake(node, self.now);
        }
        if self.host.is_none() {
            self.start_service()?;
        }
        let life = self.host.as_ref().map_or(0, |host| host.life);
        self.signaling.heal(life, self.now);
        let uids: Vec<Uid> = self.conns.keys().copied().collect();
        for uid in uids {
            if let Some(conn) = self.conns.get_mut(&uid) {
                conn.reading = Reading::Eager;
                conn.machine.resume(self.now);
            }
            self.turn(uid)?;
        }
        Ok(())
    }

    /// How long it may take until everything is well.
    fn recovery_time(&self) -> Duration {
        let (setup, millis) = (&self.setup, Duration::from_millis);
        let round_trip = millis(self.fabric.calm_round_trip_ms());
        let set_up = millis(self.fabric.calm_set_up_ms());
        let most = |a: Duration, b: Duration| a.max(b);
        let backoff = setup.dialer.backoff.max.mul_f64(1.2);
        // A dead link is noticed, an attempt that began too early ends, its successors wait.
        let patience = self
            .conns
            .values()
            .filter_map(|conn| conn.machine.round_trip_time());
        let patience = patience.max().unwrap_or_default() * 8 + millis(1000);
        let (dialer, acceptor) = (&setup.dialer.liveness, &setup.acceptor.liveness);
        let liveness = most(dialer.heartbeat, acceptor.heartbeat)
            + most(dialer.unanswered_max, acceptor.unanswered_max)
            + patience;
        let attempts = setup.dialer.attempt_timeout + backoff * 3 + set_up + round_trip * 12;
        let service = setup.service.backoff.max.mul_f64(1.2) * 2 + millis(1000);
        let closing = most(setup.dialer.close_timeout, setup.acceptor.close_timeout);
        let windows = u32::try_from(self.windows_waiting()).unwrap_or(u32::MAX);
        let transfer = (round_trip + millis(60)) * (windows + 4);
        liveness + attempts + service + closing + transfer + STRAGGLERS + millis(2000)
    }

    /// How many quarters of a window wait to be sent.
    fn windows_waiting(&self) -> u64 {
        let (dialer, acceptor) = (&self.setup.dialer, &self.setup.acceptor);
        let window = dialer.window_bytes.min(acceptor.window_bytes);
        let fragment = u64::from(dialer.fragment_bytes.min(acceptor.fragment_bytes));
        let channels = self.conns.values().flat_map(|conn| conn.machine.channels());
        let cost = |(bytes, messages): (u64, u64)| bytes + (bytes / fragment + messages) * 64;
        let waiting = channels.map(|channel| {
            let outbox = channel.outbox();
            let messages = outbox.accepted() - outbox.settled();
            cost((outbox.buffered_bytes() as u64, messages))
        });
        waiting.map(|cost| cost / (window / 4) + 1).sum()
    }

    /// The conversations that are to be well.
    fn pairs(&self) -> Vec<Result<Pair, Uid>> {
        let dialers = self.dialers.iter().flatten();
        let living = dialers.filter(|uid| {
            let conn = self.conns.get(uid);
            conn.is_some_and(|conn| !conn.machine.state().is_final())
        });
        living
            .map(|dialer| {
                let session = self.conns[dialer].machine.session();
                let acceptor = self
                    .host
                    .as_ref()
                    .and_then(|host| host.sessions.get(&session));
                acceptor
                    .map(|acceptor| Pair {
                        dialer: *dialer,
                        acceptor: *acceptor,
                    })
                    .ok_or(*dialer)
            })
            .collect()
    }

    /// What is not yet well.
    fn trouble(&self) -> Option<String> {
        self.pairs().into_iter().find_map(|pair| match pair {
            Ok(pair) => self.trouble_of(pair),
            Err(dialer) => {
                let state = self.conns[&dialer].machine.state();
                Some(format!("c{dialer} is {state} and has no peer"))
            }
        })
    }

    fn trouble_of(&self, pair: Pair) -> Option<String> {
        let dialer = &self.conns[&pair.dialer].machine;
        let Some(acceptor) = self.conns.get(&pair.acceptor).map(|conn| &conn.machine) else {
            return Some(format!("c{} has no peer", pair.dialer));
        };
        for (uid, machine) in [(pair.dialer, dialer), (pair.acceptor, acceptor)] {
            if machine.state() != DurableConnectionState::Connected {
                return Some(format!("c{uid} is {}", machine.state()));
            }
        }
        for uid in [pair.dialer, pair.acceptor] {
            let conn = &self.conns[&uid];
            if conn.dialing.is_some() || conn.links.len() > 1 {
                return Some(format!("c{uid} has an attempt under way"));
            }
            let live = conn.machine.live_link();
            let link = conn.links.iter().find(|link| Some(link.id) == live);
            if !link.is_some_and(|link| self.fabric.is_healthy(link.end)) {
                return Some(format!("c{uid} has a dead link and has not noticed"));
            }
        }
        if dialer.generation() != acceptor.generation() {
            return Some(format!(
                "c{} has another generation than its peer",
                pair.dialer
            ));
        }
        for (uid, their_uid, machine, other) in [
            (pair.dialer, pair.acceptor, dialer, acceptor),
            (pair.acceptor, pair.dialer, acceptor, dialer),
        ] {
            for channel in machine.channels() {
                if channel.state() == DurableChannelState::Closed {
                    continue;
                }
                let (id, outbox) = (channel.id(), channel.outbox());
                let theirs = self.conns[&their_uid].local(self.conns[&uid].wire(id));
                let open = outbox.accepted() - outbox.settled();
                if open > 0 {
                    return Some(format!("c{uid} {id:?} has {open} messages unconfirmed"));
                }
                let is_open = other
                    .channel(theirs)
                    .is_some_and(|other| other.state() != DurableChannelState::Closed);
                if channel.stream().is_none() || !is_open {
                    return Some(format!("c{uid} {id:?} is open on one side only"));
                }
                if !channel.is_sending()
                    && !other.channel(theirs).is_some_and(|o| o.has_peer_finished())
                {
                    return Some(format!("c{uid} {id:?} has finished, its peer was not told"));
                }
            }
        }
        None
    }

    /// An attempt that began before the old path healed may still replace it, once; and what nobody
    /// confirms may still be on its way.
    fn settle_attempts(&mut self) -> Result<(), Broken> {
        let (round_trip, drain) = (
            self.fabric.calm_round_trip_ms(),
            self.fabric.calm_drain_ms(),
        );
        let settled = Duration::from_millis(round_trip.max(drain) + 50);
        self.run(self.now + settled, u64::MAX)
    }

    /// Nothing may happen to a healthy connection, and messages are quick.
    fn stay_calm(&mut self) -> Result<(), Broken> {
        let pairs: Vec<Pair> = self.pairs().into_iter().flatten().collect();
        let attaches = |world: &Self| -> Vec<u64> {
            let count = |uid| world.conns.get(uid).map_or(0, |conn| conn.attaches);
            pairs.iter().map(|pair| count(&pair.dialer)).collect()
        };
        let before = attaches(self);
        for pair in &pairs {
            self.coverage.situation(Situation::CalmConnection);
            for uid in [pair.dialer, pair.acceptor] {
                self.probe(uid)?;
            }
        }
        let round_trip = self.fabric.calm_round_trip_ms();
        // One way, an acknowledgement that waits for company, and back.
        self.run(self.now + Duration::from_millis(round_trip + 60), u64::MAX)?;
        if let Some(trouble) = self.trouble_among(&pairs) {
            return broken("quick messages", trouble);
        }
        let heartbeat =
            (self.setup.dialer.liveness.heartbeat).max(self.setup.acceptor.liveness.heartbeat);
        self.run(self.now + heartbeat * 2, u64::MAX)?;
        if before != attaches(self) {
            return broken("healthy links stay", "a link was replaced without need");
        }
        if let Some(trouble) = self.trouble_among(&pairs) {
            return broken("healthy links stay", trouble);
        }
        self.audit()
    }

    fn trouble_among(&self, pairs: &[Pair]) -> Option<String> {
        // A connection may have been closed meanwhile, because that was begun before.
        let alive = |pair: &&Pair| {
            let machines = [pair.dialer, pair.acceptor].map(|uid| self.conns.get(&uid));
            machines
                .into_iter()
                .flatten()
                .all(|conn| !conn.machine.state().is_final())
        };
        pairs
            .iter()
            .filter(alive)
            .find_map(|pair| self.trouble_of(*pair))
    }

    fn probe(&mut self, uid: Uid) -> Result<(), Broken> {
        let Some(conn) = self.conns.get(&uid) else {
            return Ok(());
        };
        let open: Vec<ChannelId> = conn
            .machine
            .channels()
            .filter(|channel| channel.state() == DurableChannelState::Open)
            .map(|channel| channel.id())
            .collect();
        for channel in open {
            self.send_probe(uid, channel);
        }
        self.turn(uid)
    }

    // ---- the books ----

    /// Closes what is open, and compares the books of all who know.
    pub(super) fn finish(&mut self) -> Result<(), Broken> {
        self.calm()?;
        let end: Instant = self.now
            + (self.setup.dialer.close_timeout).max(self.setup.acceptor.close_timeout)
            + Duration::from_millis(2000 + self.fabric.calm_round_trip_ms());
        let pairs: Vec<Pair> = self.pairs().into_iter().flatten().collect();
        for (index, pair) in pairs.iter().enumerate() {
            let by_dialer = (self.setup.seed as usize + index).is_multiple_of(2);
            let uid = if by_dialer {
                pair.dialer
            } else {
                pair.acceptor
            };
            let now = self.now;
            if let Some(conn) = self.conns.get_mut(&uid) {
                conn.is_closing = true;
                conn.machine.close(now);
            }
            self.turn(uid)?;
        }
        self.run(end, u64::MAX)?;
        for pair in &pairs {
            for uid in [pair.dialer, pair.acceptor] {
                let state = self.conns[&uid].machine.state();
                if !state.is_final() {
                    return broken("closing ends", format!("c{uid} is still {state}"));
                }
            }
        }
        self.audit()
    }

    /// Compares the books of both ends of each direction.
    pub(super) fn audit(&mut self) -> Result<(), Broken> {
        let uids: Vec<Uid> = self.conns.keys().copied().collect();
        for uid in &uids {
            self.take_all(*uid)?;
        }
        for uid in uids {
            if self.conns[&uid].stranger.is_none() {
                self.audit_sender(uid)?;
            }
        }
        Ok(())
    }

    fn audit_sender(&self, uid: Uid) -> Result<(), Broken> {
        let conn = &self.conns[&uid];
        for (channel, session, closed) in self.ledger.sent_by(uid, conn.session) {
            let waits = |(id, _): &(ChannelId, u64)| {
                closed.is_some() && session == conn.session && conn.wire(*id) == channel
            };
            if conn.watched.iter().any(waits) {
                return broken(
                    "outcomes",
                    format!("c{uid} {channel:?} closed without some"),
                );
            }
            if !self.ledger.is_current(uid, session) {
                continue;
            }
            let unconfirmed = closed.or_else(|| {
                let channel = conn.machine.channel(conn.local(channel))?;
                Some(channel.outbox().unconfirmed())
            });
            let Some(unconfirmed) = unconfirmed else {
                continue;
            };
            let is_lossy = self.is_lossy(uid, session, channel);
            let standing = Standing {
                unconfirmed,
                gaps_are_told: !is_lossy && self.gaps_are_told(uid, session, channel, unconfirmed),
                is_discarding: self.is_discarding(uid, session, channel),
                is_lossy,
            };
            let fail = |how| broken("counts", format!("c{uid} {channel:?}: {how}"));
            let audit = self.ledger.audit(uid, channel, session, standing);
            audit.or_else(fail)?;
            if !conn.is_closing && !conn.discarding.contains(&name(channel, session)) {
                let gaps = self.ledger.audit_gaps(uid, channel, session);
                gaps.or_else(fail)?;
            }
        }
        Ok(())
    }

    fn is_lossy(&self, uid: Uid, session: rondevu_core::SessionId, channel: ChannelId) -> bool {
        let sides = [Some(uid), self.ledger.peer(uid, session)];
        sides.into_iter().flatten().any(|uid| {
            let conn = self.conns.get(&uid).or_else(|| self.graves.get(&uid));
            conn.is_some_and(|conn| conn.lossy.contains(&name(channel, session)))
        })
    }

    /// Whether the receiver throws away what comes in and has not yet told how much that was.
    fn is_discarding(
        &self,
        uid: Uid,
        session: rondevu_core::SessionId,
        channel: ChannelId,
    ) -> bool {
        let Some(peer) = self.ledger.peer(uid, session) else {
            return false;
        };
        let Some(conn) = self.conns.get(&peer).or_else(|| self.graves.get(&peer)) else {
            return false;
        };
        let discards = conn.is_closing || conn.discarding.contains(&name(channel, session));
        // The count of a channel that lives on covers all of its sessions.
        let is_told =
            self.ledger.is_closed(peer, channel, session) && self.ledger.sessions_of(peer) <= 1;
        discards && !is_told
    }

    /// Whether the receiver must have heard of everything that was dropped: both live and talk, or
    /// the sender ended in peace and said so.
    fn gaps_are_told(
        &self,
        uid: Uid,
        session: rondevu_core::SessionId,
        channel: ChannelId,
        unconfirmed: Unconfirmed,
    ) -> bool {
        let (conn, peer) = (&self.conns[&uid], self.ledger.peer(uid, session));
        let Some(peer) = peer.and_then(|peer| self.conns.get(&peer)) else {
            return false;
        };
        let is_current = conn.session == session && peer.session == session;
        let in_peace = match (conn.ended, peer.ended) {
            (None, None) => {
                conn.machine.state() == DurableConnectionState::Connected
                    && peer.machine.state() == DurableConnectionState::Connected
            }
            (
                Some(Ended::Closed(ConnectionClosed::Local)),
                Some(Ended::Closed(ConnectionClosed::Remote(_))),
            ) => true,
            _ => false,
        };
        // One that was refused never came to be there.
        let is_there = peer.channel_states.contains_key(&peer.local(channel));
        is_there && is_current && in_peace && unconfirmed == Unconfirmed::default()
    }
}

/// What was on its way when everything healed has arrived after this time.
const STRAGGLERS: Duration = Duration::from_secs(3);
