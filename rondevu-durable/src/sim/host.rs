//! The process of the service: its machine, its offers, and links that wait for a hello.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use core::time::Duration;
use rondevu_core::frame::{CONTROL_LABEL, CONTROL_PROTOCOL, Hello};
use rondevu_core::{
    DurableConnectionState, Instant, LinkEvent, LinkId, LinkInfo, MessageKind, RejectReason,
    SessionId, StreamId, StreamOptions,
};

use super::conn::{Conn, Ended, Link};
use super::coverage::{Situation, Table};
use super::drive::deadline_row;
use super::fabric::{Description, EndId, Fabric, Node, Write};
use super::signaling::{Asker, Refusal, Request, Response};
use super::stranger::Acquaintance;
use super::world::{Broken, Owner, Uid, World, broken, note};
use crate::{
    Arrival, Caller, ConnectionMachine, Durability, OfferKey, PollEnd, Presence, Reception,
    RequiredProof, ServiceAction, ServiceEvent, ServiceMachine, ServiceRetry, SessionTable,
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
    greetings: BTreeMap<EndId, Greeting>,
    pub(super) sessions: BTreeMap<SessionId, Uid>,
    pub(super) table: SessionTable,
    seen: usize,
    next_link: u64,
}

#[derive(Debug)]
struct Greeting {
    reception: Reception,
    control: StreamId,
    blocked: VecDeque<Bytes>,
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

    fn end_greeting(&mut self, end: EndId) {
        if let Some(host) = &mut self.host {
            host.greetings.remove(&end);
        }
        self.note_end(end, Owner::Nobody);
        self.fabric.close(end, self.now);
    }

    pub(super) fn on_greeting_event(&mut self, end: EndId, event: LinkEvent) -> Result<(), Broken> {
        note!(self, "greeting on {end:?}: {}", self.summary(end, &event));
        if event == LinkEvent::Writable {
            self.unblock_greeting(end);
        }
        let host = self.host.as_mut();
        let Some(greeting) = host.and_then(|host| host.greetings.get_mut(&end)) else {
            return Ok(());
        };
        let control = greeting.control;
        match greeting.reception.handle_link_event(event) {
            Some(Caller::Session { info, hello }) => return self.admit(end, control, info, hello),
            Some(Caller::Plain { info, event }) => match self.callers.get(&end).copied() {
                Some(stranger) => return self.admit_plain(stranger, end, control, info, event),
                None => {
                    let how = format!("no greeting: {event:?}");
                    return broken("correct peers break no rule", how);
                }
            },
            None if greeting.reception.is_over() => self.end_greeting(end),
            None => {}
        }
        Ok(())
    }

    fn unblock_greeting(&mut self, end: EndId) {
        let now = self.now;
        let host = self.host.as_mut();
        let Some(greeting) = host.and_then(|host| host.greetings.get_mut(&end)) else {
            return;
        };
        while let Some(payload) = greeting.blocked.front() {
            let kind = MessageKind::Binary;
            match self.fabric.write(end, greeting.control, kind, payload, now) {
                Write::Full => return,
                Write::Accepted | Write::Gone => greeting.blocked.pop_front(),
            };
        }
    }

    fn admit(
        &mut self,
        end: EndId,
        control: StreamId,
        info: LinkInfo,
        hello: Hello,
    ) -> Result<(), Broken> {
        let Some(host) = &mut self.host else {
            return Ok(());
        };
        let link = LinkId(host.next_link);
        host.next_link += 1;
        let (session, generation) = (hello.session, hello.generation);
        let arrival = Arrival {
            link,
            control,
            info,
        };
        let has_room = host.table.has_room();
        let known = host.sessions.get(&session).copied();
        let stranger = self.callers.get(&end).copied();
        if let (Some(stranger), Some(uid)) = (stranger, known) {
            let owner = self.conns.get(&uid).and_then(|conn| conn.stranger);
            let is_own = owner.is_some_and(|owner| owner.stranger == stranger);
            if !is_own {
                return self.refuse_thief(uid, end, arrival, hello);
            }
        }
        // It has learnt the id of a session that has ended meanwhile.
        let is_stolen = stranger.is_some() && self.is_of_dialer(session);
        let outcome = match known.and_then(|uid| Some((uid, self.conns.get_mut(&uid)?))) {
            Some((uid, conn)) => {
                let before = conn.machine.generation();
                let outcome = conn.machine.handle_hello(arrival, hello.clone(), self.now);
                if outcome.is_ok() && generation <= before {
                    let how = format!("c{uid} had {before:?} and takes {generation:?}");
                    return broken("older generations", how);
                }
                outcome.map(|()| uid)
            }
            None if self.busy || !has_room => Err(RejectReason::Busy {
                retry_after_ms: 1000,
            }),
            None if is_stolen => Err(RejectReason::NotAuthorised),
            None => self.begin_session(arrival, hello.clone(), stranger),
        };
        match outcome {
            Ok(uid) => {
                self.hellos.insert(session, hello);
                if let Some(host) = &mut self.host {
                    host.greetings.remove(&end);
                }
                self.note_end(end, Owner::Conn(uid));
                if let Some(conn) = self.conns.get_mut(&uid) {
                    conn.past.insert(link);
                    conn.links.push(Link::new(link, end));
                }
                self.turn(uid)
            }
            Err(reason) => {
                self.refuse(end, reason);
                Ok(())
            }
        }
    }

    fn begin_session(
        &mut self,
        arrival: Arrival,
        hello: Hello,
        stranger: Option<usize>,
    ) -> Result<Uid, RejectReason> {
        let session = hello.session;
        let seeds = self.seeds();
        let (config, trust) = (self.setup.acceptor.clone(), self.setup.trust_of_service());
        let machine = ConnectionMachine::acceptor(config, trust, arrival, hello, seeds, self.now)?;
        let dialer = match stranger {
            Some(stranger) => self.path_of_stranger(stranger),
            None => self.dialer_of(session),
        };
        let mut conn = Conn::new(Node::Service, dialer, machine);
        conn.stranger = stranger.map(Acquaintance::of);
        let uid = self.add_conn(conn);
        self.ledger.begin_acceptor(uid, session);
        if let Some(host) = &mut self.host {
            host.sessions.insert(session, uid);
            host.table.handle_begun(session);
        }
        note!(self, "c{uid} begins {session:?} of dialer {dialer}");
        Ok(uid)
    }

    /// A peer without the session protocol is there.
    fn admit_plain(
        &mut self,
        stranger: usize,
        end: EndId,
        control: StreamId,
        info: LinkInfo,
        event: LinkEvent,
    ) -> Result<(), Broken> {
        let seeds = self.seeds();
        let Some(host) = &mut self.host else {
            return Ok(());
        };
        let link = LinkId(host.next_link);
        host.next_link += 1;
        let (config, trust) = (self.setup.acceptor.clone(), self.setup.trust_of_service());
        let wants_key = trust.peer != RequiredProof::Nothing;
        let machine =
            ConnectionMachine::plain_acceptor(config, trust, link, control, info, seeds, self.now);
        let Some(machine) = machine else {
            self.coverage.situation(Situation::PlainRefused);
            self.end_greeting(end);
            return Ok(());
        };
        if wants_key {
            let how = "a peer that proved nothing is let in where keys are required";
            return broken("plain peers", how);
        }
        host.greetings.remove(&end);
        let path = self.path_of_stranger(stranger);
        let mut conn = Conn::new(Node::Service, path, machine);
        conn.stranger = Some(Acquaintance::of(stranger));
        conn.past.insert(link);
        conn.links.push(Link::new(link, end));
        let uid = self.add_conn(conn);
        note!(self, "c{uid} begins for stranger {stranger}");
        self.note_end(end, Owner::Conn(uid));
        self.turn(uid)?;
        self.on_link_event(uid, end, event)
    }

    /// A stranger says hello for a session that is not its own: that must be refused and change nothing.
    fn refuse_thief(
        &mut self,
        uid: Uid,
        end: EndId,
        arrival: Arrival,
        hello: Hello,
    ) -> Result<(), Broken> {
        let now = self.now;
        let before = self.portrait(uid);
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(());
        };
        let outcome = conn.machine.handle_hello(arrival, hello, now);
        if outcome.is_ok() || before != self.portrait(uid) {
            let how = format!("a stranger takes the session of c{uid}: {outcome:?}");
            return broken("nobody takes a session over", how);
        }
        self.refuse(end, RejectReason::NotAuthorised);
        Ok(())
    }

    fn is_of_dialer(&self, session: SessionId) -> bool {
        let conns = self.conns.values().chain(self.graves.values());
        let mut dialers = conns.filter(|conn| conn.is_dialer());
        dialers.any(|conn| conn.machine.session() == session || conn.session == session)
    }

    fn dialer_of(&self, session: SessionId) -> u8 {
        let is_it = |conn: &&Conn| conn.is_dialer() && conn.machine.session() == session;
        self.conns
            .values()
            .find(is_it)
            .map_or(0, |conn| conn.dialer)
    }

    fn refuse(&mut self, end: EndId, reason: RejectReason) {
        let row = match reason {
            RejectReason::UnknownSession => 0,
            RejectReason::IncarnationMismatch => 1,
            RejectReason::Superseded => 2,
            RejectReason::Version | RejectReason::NotAuthorised => 3,
            RejectReason::Busy { .. } => 4,
            _ => 3,
        };
        self.coverage.count(Table::Refusals, row, 0);
        note!(self, "hello on {end:?} is refused: {reason}");
        let Some(greeting) = self.host.as_mut().and_then(|h| h.greetings.get_mut(&end)) else {
            return;
        };
        let refusal = greeting.reception.refuse(reason);
        greeting.blocked.push_back(refusal);
        let is_over = greeting.reception.is_over();
        self.unblock_greeting(end);
        if is_over {
            self.end_greeting(end);
        }
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
