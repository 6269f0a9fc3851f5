//! The process of the service: its machine, its offers and its sessions.

use std::collections::{BTreeMap, VecDeque};

use core::time::Duration;
use rondevu_core::frame::{CONTROL_LABEL, CONTROL_PROTOCOL};
use rondevu_core::{DurableConnectionState, Instant, SessionId, StreamId, StreamOptions};

use super::conn::{Conn, Ended};
use super::coverage::{Situation, Table};
use super::drive::deadline_row;
use super::fabric::{Description, EndId, Fabric, Node};
use super::greeting::Greeting;
use super::signaling::{Asker, Refusal, Request, Response};
use super::world::{Broken, Owner, Uid, World, broken, note};
use crate::{
    Durability, OfferKey, PollEnd, Presence, Reception, ServiceAction, ServiceEvent,
    ServiceMachine, ServiceRetry, SessionTable,
};

/// The service in its present life.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) life: u32,
    machine: ServiceMachine,
    offers: BTreeMap<EndId, (OfferKey, StreamId)>,
    /// Offers that the server has not confirmed.
    making: BTreeMap<EndId, (OfferKey, StreamId)>,
    /// Answers to those: the server told of them before its word that it has the offer was here.
    early: BTreeMap<EndId, Description>,
    pub(super) greetings: BTreeMap<EndId, Greeting>,
    pub(super) sessions: BTreeMap<SessionId, Uid>,
    pub(super) table: SessionTable,
    seen: usize,
    pub(super) next_link: u64,
}

impl Host {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let machine = self.machine.poll_timeout().map(|deadline| deadline.at);
        let greetings = self.greetings.values();
        let greetings = greetings.filter_map(|greeting| greeting.reception.poll_timeout());
        let greetings = greetings.map(|deadline| deadline.at);
        greetings.chain(machine).min()
    }
}

impl<F: Fabric> World<F> {
    pub(super) fn start_service(&mut self) -> Result<(), Broken> {
        self.lives += 1;
        let seed = self.rng.u64(..);
        self.host = Some(Host {
            life: self.lives,
            machine: ServiceMachine::new(self.setup.service, seed),
            offers: BTreeMap::new(),
            making: BTreeMap::new(),
            early: BTreeMap::new(),
            greetings: BTreeMap::new(),
            sessions: BTreeMap::new(),
            table: SessionTable::new(self.setup.sessions),
            seen: 0,
            next_link: 0,
        });
        note!(self, "the service starts, life {}", self.lives);
        self.run_host()
    }

    pub(super) fn kill_service(&mut self) -> Result<(), Broken> {
        let Some(host) = self.host.take() else {
            return Ok(());
        };
        note!(self, "the service is killed");
        let ends = host.offers.keys().chain(host.making.keys());
        for end in ends.chain(host.greetings.keys()) {
            self.fabric.vanish(*end, self.now);
            self.note_end(*end, Owner::Nobody);
        }
        let mine = |conn: &Conn| conn.node == Node::Service;
        let uids: Vec<Uid> = self
            .conns
            .iter()
            .filter(|(_, conn)| mine(conn))
            .map(|(uid, _)| *uid)
            .collect();
        for uid in uids {
            self.kill_conn(uid)?;
        }
        Ok(())
    }

    /// A connection's process is gone; what had come in counts as arrived.
    pub(super) fn kill_conn(&mut self, uid: Uid) -> Result<(), Broken> {
        self.take_all(uid)?;
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(());
        };
        for link in conn.links.drain(..) {
            self.fabric.vanish(link.end, now);
            if let Some(notes) = self.ends.get_mut(&link.end) {
                notes.owner = Owner::Nobody;
            }
        }
        let was_final = conn.machine.state().is_final();
        if !was_final {
            conn.ended = Some(Ended::Killed);
        }
        if let Some(conn) = self.conns.remove(&uid) {
            self.graves.insert(uid, conn);
        }
        Ok(())
    }

    /// Does what the service's machine asks for.
    pub(super) fn run_host(&mut self) -> Result<(), Broken> {
        let now = self.now;
        if self.is_asleep(Node::Service) {
            return Ok(());
        }
        let Some(host) = &mut self.host else {
            return Ok(());
        };
        if let Some(deadline) = host.machine.poll_timeout().filter(|d| d.at <= now) {
            let row = deadline_row(deadline.reason);
            self.coverage.count(Table::Deadlines, row, 0);
        }
        host.machine.handle_timeout(now);
        while let Some(action) = self.host.as_mut().and_then(|h| h.machine.poll_action()) {
            self.act_for_host(action);
        }
        let Some(host) = &mut self.host else {
            return Ok(());
        };
        if let Some(deadline) = host.machine.poll_timeout().filter(|d| d.at <= now) {
            return broken("no deadline in the past", format!("service: {deadline:?}"));
        }
        while let Some(event) = host.machine.poll_event() {
            let row = match event {
                ServiceEvent::Published => 0,
                ServiceEvent::Refreshed => 1,
                ServiceEvent::SignalingLost => 2,
                ServiceEvent::SignalingBack => 3,
                ServiceEvent::Refused => return broken("no reason to fail", "service refused"),
            };
            self.coverage.count(Table::ServiceEvents, row, 0);
        }
        // One that stands too much for each publication, two while a renewal is under way.
        let offers_max = self.setup.service.pool_size + 8;
        let open = host.machine.open_offers(now);
        if open > offers_max {
            let how = format!("{open} offers stand open");
            return broken("bounds", how);
        }
        let mut over = Vec::new();
        for (end, greeting) in &mut host.greetings {
            greeting.reception.handle_timeout(now);
            if greeting.reception.is_over() {
                over.push(*end);
            }
        }
        for end in over {
            self.end_greeting(end);
        }
        Ok(())
    }

    fn act_for_host(&mut self, action: ServiceAction) {
        let now = self.now;
        note!(self, "the service wants {action:?}");
        let Some(host) = &mut self.host else { return };
        let asker = Asker::Service { life: host.life };
        match action {
            ServiceAction::Publish { offer } => match self.make_offer(offer) {
                Some(offer) => self.signaling.ask(asker, Request::Publish { offer }, now),
                None => self.fail_to_write(),
            },
            ServiceAction::CreateOffers { offers } => {
                let made = offers.into_iter().map_while(|offer| self.make_offer(offer));
                let offers: Vec<EndId> = made.collect();
                match offers.is_empty() {
                    true => self.fail_to_write(),
                    false => self
                        .signaling
                        .ask(asker, Request::CreateOffers { offers }, now),
                }
            }
            ServiceAction::DropOffers { offers } => {
                self.drop_offers(&offers);
            }
            ServiceAction::DeleteOffers { offers } => {
                let offers = self.drop_offers(&offers);
                self.signaling
                    .ask(asker, Request::DeleteOffers { offers }, now);
            }
            ServiceAction::Poll { .. } => {
                let since = host.seen;
                self.signaling.ask(asker, Request::Poll { since }, now);
            }
            ServiceAction::Check => self.signaling.ask(asker, Request::Check, now),
        }
    }

    /// Makes a link that waits for an answer.
    fn make_offer(&mut self, key: OfferKey) -> Option<EndId> {
        let control = StreamOptions::reliable(CONTROL_LABEL, CONTROL_PROTOCOL);
        let (end, stream) = self.fabric.offer(control, self.now)?;
        self.host.as_mut()?.making.insert(end, (key, stream));
        self.note_end(end, Owner::Offer);
        Some(end)
    }

    fn fail_to_write(&mut self) {
        if let Some(host) = &mut self.host {
            host.machine
                .handle_write_failed(ServiceRetry::Backoff, self.now);
        }
    }

    /// Gives up links that wait for an answer in vain, and returns which they were.
    fn drop_offers(&mut self, keys: &[OfferKey]) -> Vec<EndId> {
        let Some(host) = &mut self.host else {
            return Vec::new();
        };
        let named = host
            .offers
            .iter()
            .filter(|(_, (key, _))| keys.contains(key));
        let ends: Vec<EndId> = named.map(|(end, _)| *end).collect();
        for end in &ends {
            host.offers.remove(end);
            self.fabric.close(*end, self.now);
        }
        ends
    }

    pub(super) fn on_service_response(
        &mut self,
        life: u32,
        response: Response,
    ) -> Result<(), Broken> {
        let now = self.now;
        let Some(host) = self.host.as_mut().filter(|host| host.life == life) else {
            return Ok(());
        };
        match response {
            Response::Published { offer, granted } => {
                if let Some((key, stream)) = host.making.remove(&offer) {
                    host.offers.insert(offer, (key, stream));
                    host.machine.handle_published(key, granted, now);
                    self.take_early_answer(offer);
                }
            }
            Response::OffersCreated { offers, granted } => {
                let mut created = Vec::new();
                for offer in &offers {
                    if let Some((key, stream)) = host.making.remove(offer) {
                        host.offers.insert(*offer, (key, stream));
                        created.push((key, granted));
                    }
                }
                host.machine.handle_offers_created(&created, now);
                for offer in offers {
                    self.take_early_answer(offer);
                }
            }
            Response::Checked { found } => {
                let presence = match found {
                    true => Presence::Found,
                    false => Presence::Missing,
                };
                host.machine.handle_checked(presence, now);
            }
            Response::Answers { answers, seen } => {
                host.seen = host.seen.max(seen);
                self.take_answers(&answers);
            }
            Response::Failed { request, why } => {
                let retry = match why {
                    Refusal::NotFound => ServiceRetry::Publish,
                    Refusal::Down | Refusal::NoOffers | Refusal::NextOffer => ServiceRetry::Backoff,
                };
                match request {
                    Request::Publish { offer } => {
                        host.making.remove(&offer);
                        host.early.remove(&offer);
                        self.fabric.close(offer, now);
                        host.machine.handle_write_failed(retry, now);
                    }
                    Request::CreateOffers { offers } => {
                        for offer in offers {
                            host.making.remove(&offer);
                            host.early.remove(&offer);
                            self.fabric.close(offer, now);
                        }
                        host.machine.handle_write_failed(retry, now);
                    }
                    Request::Poll { .. } => host.machine.handle_poll_failed(retry, now),
                    Request::Check => host.machine.handle_check_failed(retry, now),
                    Request::DeleteOffers { .. } | Request::Take | Request::Answer { .. } => {}
                }
            }
            Response::OffersDeleted | Response::Taken { .. } | Response::Answered => {}
        }
        self.run_host()
    }

    fn take_answers(&mut self, answers: &[(EndId, Description)]) {
        let mut taken = Vec::new();
        for (end, answer) in answers {
            let Some(host) = &mut self.host else { return };
            if host.making.contains_key(end) {
                self.coverage.situation(Situation::EarlyAnswer);
                host.early.insert(*end, *answer);
                continue;
            }
            match self.meet(*end, *answer) {
                Some(key) => taken.push(key),
                None => self.coverage.situation(Situation::UnknownOffer),
            }
        }
        if let Some(host) = &mut self.host {
            host.machine
                .handle_polled(&taken, PollEnd::Waited, self.now);
        }
    }

    fn take_early_answer(&mut self, offer: EndId) {
        let host = self.host.as_mut();
        let Some(answer) = host.and_then(|host| host.early.remove(&offer)) else {
            return;
        };
        if let Some(key) = self.meet(offer, answer)
            && let Some(host) = &mut self.host
        {
            host.machine.handle_answered(key);
        }
    }

    /// Gives an answer to the link of its offer, which then waits for the dialer's greeting.
    fn meet(&mut self, end: EndId, answer: Description) -> Option<OfferKey> {
        let now = self.now;
        let host = self.host.as_mut()?;
        let (key, control) = host.offers.remove(&end)?;
        if !self.fabric.accept(end, answer, now) {
            self.coverage.situation(Situation::AnswerDoesNotFit);
            self.fabric.close(end, now);
            return Some(key);
        }
        if let Some(stranger) = self.stranger_at(answer) {
            self.callers.insert(end, stranger);
        }
        let host = self.host.as_mut()?;
        host.greetings.insert(
            end,
            Greeting {
                reception: Reception::new(control, GREETING_TIME, now),
                control,
                blocked: VecDeque::new(),
            },
        );
        self.note_end(end, Owner::Greeting);
        Some(key)
    }

    /// Notes whether a link carries a session, and ends the sessions that have to make room.
    pub(super) fn note_presence(&mut self, uid: Uid) -> Result<(), Broken> {
        let now = self.now;
        let (Some(conn), Some(host)) = (self.conns.get(&uid), &mut self.host) else {
            return Ok(());
        };
        let is_plain = conn.machine.durability() == Some(Durability::Plain);
        if conn.is_dialer() || is_plain {
            return Ok(());
        }
        let session = conn.machine.session();
        match conn.machine.state() {
            DurableConnectionState::Connected => host.table.handle_attached(session),
            DurableConnectionState::Disconnected => {
                let bytes = conn.machine.held_bytes();
                host.table.handle_detached(session, bytes, now);
            }
            DurableConnectionState::Connecting
            | DurableConnectionState::Reconnecting
            | DurableConnectionState::Failed
            | DurableConnectionState::Closed => {}
        }
        while let Some(host) = &mut self.host {
            let evicted = host.table.poll_eviction();
            let Some(uid) = evicted.and_then(|session| host.sessions.get(&session).copied()) else {
                break;
            };
            if let Some(conn) = self.conns.get_mut(&uid) {
                conn.machine.evict();
            }
            note!(self, "c{uid} has to make room");
            self.turn(uid)?;
        }
        let waiting = self
            .host
            .as_ref()
            .map_or(0, |host| host.table.detached_len());
        if waiting > self.setup.sessions.detached_max {
            return broken(
                "bounds",
                format!("{waiting} sessions wait for their dialers"),
            );
        }
        Ok(())
    }
}

/// A dialer that has answered says hello within this time or never.
const GREETING_TIME: Duration = Duration::from_secs(20);
