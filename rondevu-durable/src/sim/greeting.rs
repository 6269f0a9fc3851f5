//! Links to the service whose dialer has not shown yet who it is, and what becomes of them.

use std::collections::VecDeque;

use bytes::Bytes;
use rondevu_core::frame::Hello;
use rondevu_core::{LinkEvent, LinkId, LinkInfo, MessageKind, RejectReason, SessionId, StreamId};

use super::conn::{Conn, Link};
use super::coverage::{Situation, Table};
use super::fabric::{EndId, Fabric, Node, Write};
use super::stranger::Acquaintance;
use super::world::{Broken, Owner, Uid, World, broken, note};
use crate::{Arrival, Caller, ConnectionMachine, Reception, RequiredProof};

#[derive(Debug)]
pub(super) struct Greeting {
    pub(super) reception: Reception,
    pub(super) control: StreamId,
    pub(super) blocked: VecDeque<Bytes>,
}

impl<F: Fabric> World<F> {
    pub(super) fn end_greeting(&mut self, end: EndId) {
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
}
