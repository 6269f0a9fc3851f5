//! What was accepted, what was delivered, and whether the two agree.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rondevu_core::frame::ChannelOptions;
use rondevu_core::{
    ChannelId, Delivery, Message, MessageKind, Outcome, Reliability, SessionId, Unconfirmed,
};

use super::world::Uid;

/// The books of all channels, by the machine that sends or receives.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    outgoing: BTreeMap<Key, Outgoing>,
    incoming: BTreeMap<(Uid, ChannelId, SessionId), Incoming>,
    dialers: BTreeMap<SessionId, Uid>,
    acceptors: BTreeMap<SessionId, Uid>,
}

/// Names a channel for good.
pub(super) type Name = (ChannelId, SessionId);

/// Channels of the acceptor belong to one session, those of the dialer live on.
pub(super) fn name(channel: ChannelId, session: SessionId) -> Name {
    let (_, channel, session) = key(0, channel, session);
    (channel, session)
}

/// A direction: channels of the acceptor belong to one session, those of the dialer live on.
type Key = (Uid, ChannelId, SessionId);

fn key(uid: Uid, channel: ChannelId, session: SessionId) -> Key {
    if channel.0.is_multiple_of(2) {
        (uid, channel, SessionId(0))
    } else {
        (uid, channel, session)
    }
}

/// One direction of a channel as its sender knows it.
#[derive(Debug, Default)]
struct Outgoing {
    sent: Vec<(MessageKind, Bytes)>,
    /// Messages that the sender was told were dropped.
    dropped: u64,
    /// What was unconfirmed when it closed, and the session in which it did.
    closed: Option<(Unconfirmed, SessionId)>,
    /// Where each session but the first began.
    bases: Vec<Base>,
    /// The messages that some receiver has taken.
    taken: BTreeSet<usize>,
    /// Of which the sender was told that the peer has them, or that it does not.
    outcomes: Vec<(usize, Outcome, SessionId)>,
}

/// Where a session began within one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Base {
    session: Option<SessionId>,
    /// Messages that waited from before.
    waiting: u64,
    accepted: usize,
    dropped: u64,
}

/// One direction of a channel in one session as its receiver knows it.
#[derive(Debug, Default)]
struct Incoming {
    started: bool,
    cursor: usize,
    /// Whether the place of each message is known, or only their order.
    exact: bool,
    messages: u64,
    /// Reported in their place.
    gaps: u64,
    /// Reported by events.
    lost: u64,
    discarded: u64,
    /// Whether some of what was discarded may have come in an earlier session.
    is_vague: bool,
    /// What was taken in this session.
    taken: BTreeSet<usize>,
}

/// How a sender stands at the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) unconfirmed: Unconfirmed,
    /// Whether the receiver must have been told of every gap.
    pub(super) gaps_are_told: bool,
    /// Whether the receiver throws away what comes in and has not yet said how much that was.
    pub(super) is_discarding: bool,
    /// Whether the channel may lose messages.
    pub(super) is_lossy: bool,
}

impl Ledger {
    pub(super) fn begin_dialer(&mut self, uid: Uid, session: SessionId) {
        self.dialers.insert(session, uid);
    }

    pub(super) fn begin_acceptor(&mut self, uid: Uid, session: SessionId) {
        self.acceptors.insert(session, uid);
    }

    /// The other machine of a session.
    pub(super) fn peer(&self, uid: Uid, session: SessionId) -> Option<Uid> {
        let (dialer, acceptor) = (self.dialers.get(&session), self.acceptors.get(&session));
        if dialer == Some(&uid) {
            acceptor.copied()
        } else {
            dialer.copied()
        }
    }

    /// Whether the machine is the one that its session's peer talks to: after a lost welcome a
    /// second acceptor may begin the same session.
    pub(super) fn is_current(&self, uid: Uid, session: SessionId) -> bool {
        [self.dialers.get(&session), self.acceptors.get(&session)].contains(&Some(&uid))
    }

    /// A lossy receiver has made room, also at the cost of gaps that it had told.
    pub(super) fn told_overflow(
        &mut self,
        uid: Uid,
        channel: ChannelId,
        session: SessionId,
        n: u64,
    ) {
        let incoming = self.incoming.entry((uid, channel, session)).or_default();
        incoming.discarded += n;
        incoming.is_vague = true;
    }

    /// How many sessions a dialer has begun.
    pub(super) fn sessions_of(&self, uid: Uid) -> usize {
        self.dialers
            .values()
            .filter(|dialer| **dialer == uid)
            .count()
    }

    /// The next message of a channel.
    pub(super) fn compose(
        &self,
        uid: Uid,
        channel: ChannelId,
        session: SessionId,
        len: usize,
    ) -> Message {
        let number = self
            .outgoing
            .get(&key(uid, channel, session))
            .map_or(0, |o| o.sent.len());
        let mut payload = format!("{uid:x}.{:x}.{number:x};", channel.0).into_bytes();
        let head = payload.len();
        payload.resize(len, b'-');
        for (place, byte) in payload.iter_mut().enumerate().skip(head) {
            *byte = b'a' + ((place * 7 + number) % 26) as u8;
        }
        match (number % 3, String::from_utf8(payload)) {
            (0, Ok(text)) => Message::Text(text),
            (_, Ok(text)) => Message::Binary(text.into_bytes().into()),
            (_, Err(error)) => Message::Binary(error.into_bytes().into()),
        }
    }

    pub(super) fn accepted(
        &mut self,
        uid: Uid,
        channel: ChannelId,
        session: SessionId,
        message: Message,
    ) {
        let (kind, bytes) = (message.kind(), message.into_bytes());
        let outgoing = self.outgoing.entry(key(uid, channel, session)).or_default();
        outgoing.sent.push((kind, bytes));
    }

    pub(super) fn count_accepted(&self, uid: Uid, channel: ChannelId, session: SessionId) -> u64 {
        let outgoing = self.outgoing.get(&key(uid, channel, session));
        outgoing.map_or(0, |outgoing| outgoing.sent.len() as u64)
    }

    pub(super) fn dropped(
        &mut self,
        uid: Uid,
        channel: ChannelId,
        session: SessionId,
        messages: u64,
    ) {
        self.outgoing
            .entry(key(uid, channel, session))
            .or_default()
            .dropped += messages;
    }

    pub(super) fn closed(
        &mut self,
        uid: Uid,
        channel: ChannelId,
        session: SessionId,
        unconfirmed: Unconfirmed,
    ) {
        let outgoing = self.outgoing.entry(key(uid, channel, session)).or_default();
        outgoing.closed = Some((unconfirmed, session));
    }

    pub(super) fn is_closed(&self, uid: Uid, channel: ChannelId, session: SessionId) -> bool {
        let outgoing = self.outgoing.get(&key(uid, channel, session));
        outgoing.is_some_and(|outgoing| outgoing.closed.is_some())
    }

    /// A dialer moves to a new session with `waiting` messages of a channel.
    pub(super) fn reset(&mut self, uid: Uid, channel: ChannelId, session: SessionId, waiting: u64) {
        let outgoing = self.outgoing.entry(key(uid, channel, session)).or_default();
        outgoing.bases.push(Base {
            session: Some(session),
            waiting,
            accepted: outgoing.sent.len(),
            dropped: outgoing.dropped,
        });
    }

    pub(super) fn told_lost(&mut self, uid: Uid, channel: ChannelId, session: SessionId, n: u64) {
        self.incoming
            .entry((uid, channel, session))
            .or_default()
            .lost += n;
    }

    pub(super) fn told_unread(&mut self, uid: Uid, channel: ChannelId, session: SessionId, n: u64) {
        let sessions = self.sessions_of(uid);
        let incoming = self.incoming.entry((uid, channel, session)).or_default();
        incoming.discarded += n;
        incoming.is_vague |= n > 0 && sessions > 1;
    }

    pub(super) fn told_outcome(
        &mut self,
        uid: Uid,
        channel: ChannelId,
        session: SessionId,
        place: usize,
        outcome: Outcome,
    ) {
        let outgoing = self.outgoing.entry(key(uid, channel, session)).or_default();
        // Shorter ones cannot be told apart.
        if outgoing
            .sent
            .get(place)
            .is_some_and(|(_, bytes)| bytes.len() >= UNIQUE_LEN)
        {
            outgoing.outcomes.push((place, outcome, session));
        }
    }

    /// The application has taken something.
    pub(super) fn delivered(
        &mut self,
        uid: Uid,
        channel: ChannelId,
        session: SessionId,
        options: ChannelOptions,
        delivery: &Delivery,
    ) -> Result<(), String> {
        let Some(peer) = self.peer(uid, session) else {
            return Err(format!("{delivery:?} from nobody"));
        };
        let Some(outgoing) = self.outgoing.get_mut(&key(peer, channel, session)) else {
            return Err(format!(
                "{delivery:?}, but nothing was sent on this channel"
            ));
        };
        let incoming = self.incoming.entry((uid, channel, session)).or_default();
        if !incoming.started {
            let base = outgoing.base_of(session);
            let before = base.waiting as usize + base.dropped as usize;
            incoming.started = true;
            let is_reliable = options.reliability == Reliability::Reliable;
            incoming.exact = is_reliable && (base.session.is_none() || base.dropped == 0);
            incoming.cursor = base.accepted.saturating_sub(before);
        }
        match delivery {
            Delivery::Lost { messages } => {
                incoming.gaps += messages;
                if incoming.exact && options.ordered {
                    incoming.cursor += *messages as usize;
                }
                Ok(())
            }
            Delivery::Message(message) => {
                incoming.messages += 1;
                let place = match options.ordered {
                    true => incoming.take(message, &outgoing.sent)?,
                    false => incoming.take_any(message, &outgoing.sent)?,
                };
                outgoing.taken.insert(place);
                Ok(())
            }
        }
    }

    /// Whether the two ends of each direction of `uid` agree, as far as they can know.
    pub(super) fn audit(
        &self,
        uid: Uid,
        channel: ChannelId,
        session: SessionId,
        standing: Standing,
    ) -> Result<(), String> {
        let Some(outgoing) = self.outgoing.get(&key(uid, channel, session)) else {
            return Ok(());
        };
        let base = outgoing.base_of(session);
        let Unconfirmed {
            undelivered,
            maybe_delivered,
        } = standing.unconfirmed;
        let fresh = (outgoing.sent.len() - base.accepted) as u64;
        let dropped = outgoing.dropped - base.dropped;
        let open = undelivered + maybe_delivered + dropped;
        let Some(confirmed) = (base.waiting + fresh).checked_sub(open) else {
            return Err(format!(
                "of {} messages {undelivered} are undelivered, {maybe_delivered} maybe delivered \
                 and {dropped} dropped",
                base.waiting + fresh
            ));
        };
        let nothing = Incoming::default();
        let incoming = self
            .peer(uid, session)
            .and_then(|peer| self.incoming.get(&(peer, channel, session)))
            .unwrap_or(&nothing);
        if !standing.is_discarding && !incoming.is_vague && incoming.discarded == 0 {
            outgoing.check_outcomes(session, standing.is_lossy)?;
        }
        let arrived = incoming.messages + incoming.discarded;
        let too_few = arrived < confirmed && !standing.is_discarding && !standing.is_lossy;
        let too_many = arrived > confirmed + maybe_delivered;
        if !incoming.is_vague && (too_few || too_many) {
            return Err(format!(
                "the sender counts {confirmed} confirmed, {maybe_delivered} maybe delivered and \
                 {undelivered} undelivered, but {arrived} arrived"
            ));
        }
        let told = incoming.lost;
        if told > outgoing.dropped || (standing.gaps_are_told && told < dropped) {
            return Err(format!(
                "{dropped} messages were dropped, but the receiver was told of {told}"
            ));
        }
        Ok(())
    }

    /// Whether gaps were told by event and in their place alike.
    pub(super) fn audit_gaps(
        &self,
        uid: Uid,
        channel: ChannelId,
        session: SessionId,
    ) -> Result<(), String> {
        match self.incoming.get(&(uid, channel, session)) {
            Some(Incoming {
                lost,
                gaps,
                discarded: 0,
                ..
            }) if lost != gaps => Err(format!(
                "{lost} messages are lost by events, {gaps} in their places"
            )),
            _ => Ok(()),
        }
    }

    /// The directions in which a machine has sent, each with the session to look at and what it
    /// left unconfirmed if it has closed.
    pub(super) fn sent_by(
        &self,
        uid: Uid,
        session: SessionId,
    ) -> Vec<(ChannelId, SessionId, Option<Unconfirmed>)> {
        let range =
            (uid, ChannelId(0), SessionId(0))..=(uid, ChannelId(u32::MAX), SessionId(u128::MAX));
        let mine = self.outgoing.range(range);
        mine.map(|((_, channel, of), outgoing)| match outgoing.closed {
            Some((unconfirmed, closed_in)) => (*channel, closed_in, Some(unconfirmed)),
            None if of.0 == 0 => (*channel, session, None),
            None => (*channel, *of, None),
        })
        .collect()
    }
}

impl Outgoing {
    /// Where a session began; the first one at the beginning of everything.
    fn base_of(&self, session: SessionId) -> Base {
        let bases = self.bases.iter().rev();
        let mut bases = bases.filter(|base| base.session == Some(session));
        bases.next().copied().unwrap_or_default()
    }

    /// Whether what the sender was told of single messages is true.
    fn check_outcomes(&self, session: SessionId, is_lossy: bool) -> Result<(), String> {
        for (place, outcome, told_in) in &self.outcomes {
            let is_there = self.taken.contains(place);
            let is_true = match outcome {
                Outcome::Delivered => !is_lossy && (is_there || *told_in != session),
                Outcome::Undelivered => !is_there,
                Outcome::Unknown => true,
            };
            if !is_true {
                return Err(format!(
                    "message {place} is said to be {outcome:?}, but it {}",
                    if is_there {
                        "arrived"
                    } else {
                        "did not arrive"
                    }
                ));
            }
        }
        Ok(())
    }
}

impl Incoming {
    /// The place of a message on a channel that keeps no order.
    fn take_any(
        &mut self,
        message: &Message,
        sent: &[(MessageKind, Bytes)],
    ) -> Result<usize, String> {
        let is_it = |(kind, bytes): &(MessageKind, Bytes)| {
            *kind == message.kind() && bytes == message.as_bytes()
        };
        let open = sent.iter().enumerate().skip(self.cursor);
        let mut open = open.filter(|(place, _)| !self.taken.contains(place));
        let place = open.find(|(_, sent)| is_it(sent)).map(|(place, _)| place);
        let place = place.ok_or_else(|| format!("{message:?} came again or was never sent"))?;
        self.taken.insert(place);
        Ok(place)
    }

    fn take(&mut self, message: &Message, sent: &[(MessageKind, Bytes)]) -> Result<usize, String> {
        let is_it = |(kind, bytes): &(MessageKind, Bytes)| {
            *kind == message.kind() && bytes == message.as_bytes()
        };
        let next = self.cursor;
        if sent.get(next).is_some_and(is_it) {
            self.cursor += 1;
            return Ok(next);
        }
        let later = sent.iter().skip(next).position(is_it).map(|n| n + next);
        match later {
            Some(place) if !self.exact => {
                self.cursor = place + 1;
                Ok(place)
            }
            Some(place) => Err(format!("message {place} came where {next} was due")),
            None => match sent.iter().position(is_it) {
                Some(place) => Err(format!(
                    "message {place} came again or too late, {next} was due"
                )),
                None => Err(format!(
                    "{message:?} was never sent, message {next} was due"
                )),
            },
        }
    }
}

/// A message of this length holds its number.
const UNIQUE_LEN: usize = 10;
