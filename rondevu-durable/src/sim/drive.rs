//! What the driver of a connection does between two waits, and the laws that hold after it.

use bytes::Bytes;
use core::time::Duration;
use rondevu_core::{DeadlineReason, LinkId, StreamId};

use super::conn::{Blocked, Link};
use super::coverage::{Situation, Table};
use super::fabric::{Description, Fabric, Write};
use super::signaling::{Asker, Refusal, Request, Response};
use super::world::{Broken, Owner, Uid, World, broken, note};
use crate::{Action, DialFailure, DialRetry, Transmit};

impl<F: Fabric> World<F> {
    /// Does all that needs no waiting, then looks whether the laws hold.
    pub(super) fn turn(&mut self, uid: Uid) -> Result<(), Broken> {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(());
        };
        if self.asleep.contains_key(&conn.node) {
            return Ok(());
        }
        if let Some(deadline) = conn.machine.poll_timeout().filter(|d| d.at <= now) {
            let row = deadline_row(deadline.reason);
            self.coverage.count(Table::Deadlines, row, 0);
            conn.machine.handle_timeout(now);
            note!(self, "c{uid} was woken for {:?}", deadline.reason);
            let Some(conn) = self.conns.get_mut(&uid) else {
                return Ok(());
            };
            if let Some(deadline) = conn.machine.poll_timeout().filter(|d| d.at <= now) {
                return broken("no deadline in the past", format!("c{uid}: {deadline:?}"));
            }
        }
        self.close_finished(uid);
        self.do_actions(uid)?;
        self.write(uid)?;
        self.do_actions(uid)?;
        self.hear(uid)?;
        self.read(uid)?;
        self.write(uid)?;
        self.do_actions(uid)?;
        self.hear(uid)?;
        self.check_laws(uid)?;
        if let Some(conn) = self.conns.get_mut(&uid) {
            conn.due = conn.next_due();
        }
        self.note_presence(uid)?;
        self.bury(uid);
        Ok(())
    }

    fn close_finished(&mut self, uid: Uid) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&uid) else {
            return;
        };
        for link in &mut conn.links {
            if link.finish_by.is_some_and(|at| at <= now) {
                link.finish_by = None;
                self.fabric.close(link.end, now);
            }
        }
    }

    // ---- actions ----

    fn do_actions(&mut self, uid: Uid) -> Result<(), Broken> {
        while let Some(action) = self
            .conns
            .get_mut(&uid)
            .and_then(|c| c.machine.poll_action())
        {
            note!(self, "c{uid} wants {action:?}");
            self.act(uid, action)?;
        }
        Ok(())
    }

    fn act(&mut self, uid: Uid, action: Action) -> Result<(), Broken> {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(());
        };
        match action {
            Action::Dial { link } => {
                if conn.dialing.is_some() {
                    return broken("one attempt at a time", format!("c{uid} dials twice"));
                }
                conn.dialing = Some(link);
                conn.past.insert(link);
                let attempt = Asker::Attempt { conn: uid, link };
                self.signaling.ask(attempt, Request::Take, now);
            }
            Action::OpenStream { link, options } => {
                if let Some(end) = conn.link(link).map(|link| link.end)
                    && !self.fabric.open_stream(end, options, now)
                {
                    self.fabric.close(end, now);
                }
            }
            Action::CloseStream { link, stream } => {
                if let Some(link) = conn.link(link) {
                    link.blocked.push_back(Blocked::Close(stream));
                    unblock(link, &mut self.fabric, now);
                }
            }
            Action::AbandonLink { link } => {
                if conn.dialing == Some(link) {
                    if let Some(end) = conn.link(link).map(|link| link.end) {
                        // Nobody has looked at it, so nobody hears of its end.
                        conn.links.retain(|link| link.end != end);
                        self.fabric.close(end, now);
                    }
                    conn.dialing = None;
                    let attempt = Asker::Attempt { conn: uid, link };
                    self.signaling.withdraw(attempt);
                }
                if let Some(end) = conn.link(link).map(|link| link.end) {
                    self.fabric.close(end, now);
                }
            }
            Action::FinishLink { link } => {
                if let Some(link) = conn.link(link) {
                    link.finish_by = Some(now + FINISH_TIME);
                }
            }
        }
        Ok(())
    }

    /// Signaling has answered an attempt.
    pub(super) fn on_attempt_response(
        &mut self,
        uid: Uid,
        link: LinkId,
        response: Response,
    ) -> Result<(), Broken> {
        let now = self.now;
        let asker = Asker::Attempt { conn: uid, link };
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(());
        };
        if conn.dialing != Some(link) {
            return Ok(());
        }
        let (reason, retry) = match response {
            Response::Taken { offer, description } => match self.answer(uid, link, description) {
                Some(answer) => {
                    let request = Request::Answer { offer, answer };
                    self.signaling.ask(asker, request, now);
                    return Ok(());
                }
                None => {
                    self.coverage.situation(Situation::AnswerDoesNotFit);
                    ("the offer cannot be used", DialRetry::Later)
                }
            },
            Response::Failed { why, .. } => match why {
                Refusal::Down => ("the server is down", DialRetry::Later),
                Refusal::NotFound => ("no such service", DialRetry::Never),
                Refusal::NoOffers => ("no offers", DialRetry::After(Duration::from_millis(100))),
                Refusal::NextOffer => ("too late", DialRetry::After(Duration::from_millis(25))),
            },
            Response::Answered => {
                conn.dialing = None;
                // As the offer says.
                conn.machine.handle_announcement(link);
                let Some(link) = conn.link(link) else {
                    return Ok(());
                };
                let (end, early) = (link.end, core::mem::take(&mut link.early));
                for event in early {
                    self.on_link_event(uid, end, event)?;
                }
                return Ok(());
            }
            Response::Published { .. }
            | Response::OffersCreated { .. }
            | Response::OffersDeleted
            | Response::Checked { .. }
            | Response::Answers { .. } => {
                return Ok(());
            }
        };
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(());
        };
        conn.dialing = None;
        if let Some(end) = conn.link(link).map(|link| link.end) {
            self.fabric.vanish(end, now);
            conn.links.retain(|link| link.end != end);
        }
        let failure = DialFailure {
            reason: reason.into(),
            retry,
        };
        conn.machine.handle_dial_failed(link, failure, now);
        self.turn(uid)
    }

    /// Makes the answering end of a link.
    fn answer(&mut self, uid: Uid, link: LinkId, offer: Description) -> Option<super::EndId> {
        let conn = self.conns.get_mut(&uid)?;
        let end = self.fabric.answer(conn.dialer, offer, self.now)?;
        conn.links.push(Link::new(link, end));
        if conn.links.len() > 1 {
            self.coverage.situation(Situation::TwoLinks);
        }
        self.note_end(end, Owner::Conn(uid));
        Some(end)
    }

    // ---- messages ----

    fn write(&mut self, uid: Uid) -> Result<(), Broken> {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&uid) else {
            return Ok(());
        };
        for link in &mut conn.links {
            unblock(link, &mut self.fabric, now);
        }
        let mut budget = WRITES_MAX;
        while let Some(conn) = self.conns.get_mut(&uid) {
            let blocked = conn.is_blocked();
            let transmit = if blocked {
                conn.machine.poll_control()
            } else {
                conn.machine.poll_transmit(now)
            };
            let Some(transmit) = transmit else { break };
            budget -= 1;
            if budget == 0 {
                return broken("comes to rest", format!("c{uid} never stops to write"));
            }
            if blocked {
                self.coverage.situation(Situation::ControlWhileBlocked);
            }
            self.transmit(uid, transmit);
        }
        Ok(())
    }

    fn transmit(&mut self, uid: Uid, transmit: Transmit) {
        let now = self.now;
        self.note_replays(uid, transmit.stream, &transmit.payload);
        note!(
            self,
            "c{uid} writes {} bytes on {:?}",
            transmit.payload.len(),
            transmit.link
        );
        let Some(conn) = self.conns.get_mut(&uid) else {
            return;
        };
        let Some(link) = conn.links.iter_mut().find(|link| link.id == transmit.link) else {
            return;
        };
        if link.blocked.len() >= BLOCKED_MAX {
            return self.fabric.close(link.end, now);
        }
        let Transmit {
            stream,
            kind,
            payload,
            ..
        } = transmit;
        link.blocked
            .push_back(Blocked::Message(stream, kind, payload));
        unblock(link, &mut self.fabric, now);
        if !link.blocked.is_empty() {
            self.coverage.situation(Situation::Blocked);
        }
    }

    fn note_replays(&mut self, uid: Uid, stream: StreamId, payload: &Bytes) {
        let Some(conn) = self.conns.get_mut(&uid) else {
            return;
        };
        let mut channels = conn.machine.channels();
        let Some(id) = channels
            .find(|c| c.stream() == Some(stream))
            .map(|c| c.id())
        else {
            return;
        };
        drop(channels);
        if let Some(seq) = super::frames::first_seq(payload) {
            let numbered = conn.numbered.entry(id).or_default();
            if seq < *numbered {
                let row = super::frames::row_of(payload);
                self.coverage.count(Table::Frames, row, 2);
            }
            *numbered = (*numbered).max(seq.advance(1));
        }
    }

    /// Lets go of a connection that has ended and whose links are closed.
    fn bury(&mut self, uid: Uid) {
        let Some(conn) = self.conns.get(&uid) else {
            return;
        };
        let is_over = conn.machine.state().is_final() && conn.links.is_empty();
        if is_over && let Some(host) = &mut self.host {
            let session = conn.machine.session();
            if host.sessions.get(&session) == Some(&uid) {
                host.sessions.remove(&session);
                host.table.handle_ended(session);
            }
        }
    }
}

fn unblock<F: Fabric>(link: &mut Link, fabric: &mut F, now: rondevu_core::Instant) {
    while let Some(blocked) = link.blocked.front() {
        match blocked {
            Blocked::Message(stream, kind, payload) => {
                match fabric.write(link.end, *stream, *kind, payload, now) {
                    Write::Full => return,
                    Write::Accepted | Write::Gone => {}
                }
            }
            Blocked::Close(stream) => fabric.close_stream(link.end, *stream, now),
        }
        link.blocked.pop_front();
    }
}

pub(super) fn deadline_row(reason: DeadlineReason) -> usize {
    match reason {
        DeadlineReason::Ack => 0,
        DeadlineReason::Expiry => 1,
        DeadlineReason::Heartbeat => 2,
        DeadlineReason::Silence => 3,
        DeadlineReason::AttemptTimeout => 4,
        DeadlineReason::Reconnect => 5,
        DeadlineReason::Stable => 6,
        DeadlineReason::ResumeWindow => 7,
        DeadlineReason::CloseTimeout => 8,
        DeadlineReason::Renewal => 9,
        DeadlineReason::Refill => 10,
        DeadlineReason::Poll => 11,
        DeadlineReason::Retry => 12,
        _ => 13,
    }
}

/// How long the last message of a connection may take to reach the peer.
const FINISH_TIME: Duration = Duration::from_secs(1);
/// Messages that wait for room on one link.
const BLOCKED_MAX: usize = 64;
/// A machine that writes more than that in one turn will never stop.
const WRITES_MAX: u32 = 100_000;
