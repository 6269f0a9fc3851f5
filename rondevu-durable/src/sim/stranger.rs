//! Strangers: a peer without the session protocol, and one that means harm.
//!
//! They call the service like any dialer, over links of their own, and leave before each calm: then only
//! those count of whom something is promised.

use std::vec::Vec;

use bytes::Bytes;
use core::time::Duration;
use rondevu_core::frame::{
    CONTROL_LABEL, CONTROL_PROTOCOL, ChannelFrame, ControlFrame, Hello, Limits, PROTOCOL_VERSION,
    Part, Proof, channel_protocol,
};
use rondevu_core::{
    ByeReason, ChannelId, Generation, Incarnation, Instant, LinkEvent, MessageKind, OpenedBy,
    RejectReason, Reliability, Seq, SessionId, StreamId, StreamOptions,
};

use super::coverage::Situation;
use super::fabric::{Description, EndId, Fabric, Write};
use super::setup::Proofs;
use super::signaling::{Asker, Request, Response};
use super::world::{Broken, Owner, World, broken, note};

/// How a stranger behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// It speaks no session protocol and does no harm.
    Plain,
    /// It sends whatever might do harm.
    Hostile,
}

/// A stranger.
#[derive(Debug)]
pub(super) struct Stranger {
    pub(super) manners: Manners,
    /// The fabric's number for it, behind those of the dialers.
    number: u8,
    stage: Stage,
    due: Option<Instant>,
    rng: fastrand::Rng,
    /// The number of its next message.
    next: u32,
    /// The last message that came back.
    echoed: Option<u32>,
    /// The session of its own that it began last, with the latest generation.
    session: (SessionId, u32),
}

#[derive(Debug)]
enum Stage {
    Away,
    Asking,
    Linked(Link),
}

/// Its link.
#[derive(Debug)]
struct Link {
    end: EndId,
    control: Option<StreamId>,
    streams: Vec<StreamId>,
    /// Where a plain stranger talks: on a stream of its own or on the offer's, but never on both, as
    /// one stream overtakes the other.
    page: Option<StreamId>,
    opens_page: bool,
}

/// What a stranger has to do with a connection of the service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acquaintance {
    pub(super) stranger: usize,
    /// The last of its messages that came in.
    last: Option<u32>,
}

impl Acquaintance {
    pub(super) fn of(stranger: usize) -> Self {
        let last = None;
        Self { stranger, last }
    }
}

impl Stranger {
    pub(super) fn new(manners: Manners, number: u8, seed: u64) -> Self {
        Self {
            manners,
            number,
            stage: Stage::Away,
            due: Some(Instant::ORIGIN + Duration::from_millis(300)),
            rng: fastrand::Rng::with_seed(seed ^ (u64::from(number) << 40) ^ 0x57_4a6e),
            next: 0,
            echoed: None,
            session: (SessionId(0), 0),
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    fn wait(&mut self, ms: core::ops::Range<u64>, now: Instant) {
        self.due = Some(now + Duration::from_millis(self.rng.u64(ms)));
    }

    fn link(&mut self, end: EndId) -> Option<&mut Link> {
        match &mut self.stage {
            Stage::Linked(link) if link.end == end => Some(link),
            Stage::Linked(_) | Stage::Away | Stage::Asking => None,
        }
    }
}

/// What a plain stranger says: every third message is a text.
fn message(number: u32) -> (MessageKind, Bytes) {
    let kind = match number % 3 {
        0 => MessageKind::Text,
        _ => MessageKind::Binary,
    };
    (kind, format!("message {number}").into())
}

/// The number of such a message, if it is one, as it was sent.
fn number_of(kind: MessageKind, payload: &[u8]) -> Option<u32> {
    let text = core::str::from_utf8(payload).ok()?;
    let number = text.strip_prefix("message ")?.parse().ok()?;
    (message(number) == (kind, Bytes::copy_from_slice(payload))).then_some(number)
}

impl<F: Fabric> World<F> {
    /// Lets strangers do what is due.
    pub(super) fn run_strangers(&mut self) {
        for index in 0..self.strangers.len() {
            if self.strangers[index].due.is_some_and(|at| at <= self.now) {
                self.strangers[index].due = None;
                self.run_stranger(index);
            }
        }
    }

    fn run_stranger(&mut self, index: usize) {
        let now = self.now;
        let stranger = &mut self.strangers[index];
        let number = stranger.number;
        match &stranger.stage {
            Stage::Away => {
                stranger.stage = Stage::Asking;
                self.signaling
                    .ask(Asker::Stranger { number }, Request::Take, now);
            }
            Stage::Asking => {}
            Stage::Linked(link) => {
                let end = link.end;
                match (stranger.manners, stranger.rng.u8(..40)) {
                    // It goes and comes again.
                    (_, 0) => self.fabric.close(end, now),
                    (_, 1) => {
                        self.fabric.vanish(end, now);
                        self.strangers[index].stage = Stage::Away;
                    }
                    (Manners::Plain, _) => self.talk(index),
                    (Manners::Hostile, _) => self.do_harm(index),
                }
                self.strangers[index].wait(1..400, now);
            }
        }
    }

    /// Signaling has answered a stranger.
    pub(super) fn on_stranger_response(&mut self, number: u8, response: Response) {
        let now = self.now;
        let Some(index) = self.strangers.iter().position(|s| s.number == number) else {
            return;
        };
        match response {
            Response::Taken { offer, description } => {
                let Some(end) = self.fabric.answer(number, description, now) else {
                    return self.leave(index);
                };
                self.note_end(end, Owner::Stranger(index));
                let answer = Request::Answer { offer, answer: end };
                self.signaling.ask(Asker::Stranger { number }, answer, now);
                let stranger = &mut self.strangers[index];
                stranger.stage = Stage::Linked(Link {
                    end,
                    control: None,
                    streams: Vec::new(),
                    page: None,
                    opens_page: stranger.rng.bool(),
                });
            }
            Response::Answered => {}
            Response::Failed { .. }
            | Response::Published { .. }
            | Response::OffersCreated { .. }
            | Response::OffersDeleted
            | Response::Checked { .. }
            | Response::Answers { .. } => self.leave(index),
        }
    }

    /// A stranger gives its link up and comes again later.
    fn leave(&mut self, index: usize) {
        let now = self.now;
        let stranger = &mut self.strangers[index];
        if let Stage::Linked(link) = &stranger.stage {
            self.fabric.vanish(link.end, now);
        }
        stranger.stage = Stage::Away;
        stranger.wait(300..3000, now);
    }

    /// All strangers are gone until they are invited again.
    pub(super) fn send_strangers_away(&mut self) {
        for index in 0..self.strangers.len() {
            self.leave(index);
            let number = self.strangers[index].number;
            self.signaling.withdraw(Asker::Stranger { number });
            self.strangers[index].due = None;
        }
    }

    /// They may come again.
    pub(super) fn invite_strangers(&mut self) {
        let now = self.now;
        self.strangers.iter_mut().for_each(|s| s.wait(1..1000, now));
    }

    /// The link of a stranger says something.
    pub(super) fn on_stranger_event(
        &mut self,
        index: usize,
        end: EndId,
        event: LinkEvent,
    ) -> Result<(), Broken> {
        let now = self.now;
        let stranger = &mut self.strangers[index];
        let manners = stranger.manners;
        let Some(link) = stranger.link(end) else {
            return Ok(());
        };
        match event {
            LinkEvent::Connected(_) => {
                if manners == Manners::Plain && link.opens_page {
                    let page = StreamOptions::reliable("page", "");
                    self.fabric.open_stream(end, page, now);
                }
                self.strangers[index].wait(1..400, now);
            }
            LinkEvent::StreamOpened {
                stream,
                options,
                by,
            } => {
                link.streams.push(stream);
                match by {
                    // A plain stranger without a stream of its own talks on the offer's.
                    OpenedBy::Remote if options.label == CONTROL_LABEL => {
                        debug_assert_eq!(options.protocol, CONTROL_PROTOCOL);
                        link.control = Some(stream);
                        link.page = Some(stream).filter(|_| !link.opens_page).or(link.page);
                    }
                    OpenedBy::Local => link.page = Some(stream),
                    OpenedBy::Remote => {}
                }
            }
            LinkEvent::StreamMessage { kind, payload, .. } if manners == Manners::Plain => {
                return self.hear_echo(index, kind, &payload);
            }
            LinkEvent::StreamClosed { stream } => {
                link.streams.retain(|known| *known != stream);
                link.page = link.page.filter(|page| *page != stream);
            }
            LinkEvent::Closed { .. } => self.leave(index),
            LinkEvent::StreamMessage { .. } | LinkEvent::Writable => {}
        }
        Ok(())
    }

    // ---- the plain one ----

    fn talk(&mut self, index: usize) {
        let now = self.now;
        let stranger = &mut self.strangers[index];
        let (kind, payload) = message(stranger.next);
        let Stage::Linked(link) = &stranger.stage else {
            return;
        };
        let Some(page) = link.page else { return };
        if self.fabric.write(link.end, page, kind, &payload, now) == Write::Accepted {
            self.strangers[index].next += 1;
        }
    }

    /// The service's application sends everything back.
    fn hear_echo(&mut self, index: usize, kind: MessageKind, payload: &[u8]) -> Result<(), Broken> {
        self.coverage.situation(Situation::PlainEcho);
        let stranger = &mut self.strangers[index];
        let number = number_of(kind, payload);
        let Some(number) = number.filter(|n| *n < stranger.next && stranger.echoed < Some(*n))
        else {
            let how = format!("stranger {index} hears {kind:?} {payload:?} again or never sent it");
            return broken("plain peers", how);
        };
        stranger.echoed = Some(number);
        Ok(())
    }

    /// The application takes what a stranger sent, and sends a plain one's messages back.
    pub(super) fn take_from_stranger(
        &mut self,
        uid: super::world::Uid,
        channel: ChannelId,
    ) -> Result<(), Broken> {
        let now = self.now;
        while let Some(conn) = self.conns.get_mut(&uid) {
            let Some(known) = &mut conn.stranger else {
                return Ok(());
            };
            let stranger = &self.strangers[known.stranger];
            let Some(machine) = conn.machine.channel_mut(channel) else {
                return Ok(());
            };
            let Some(delivery) = machine.recv() else {
                return Ok(());
            };
            if stranger.manners == Manners::Hostile {
                continue;
            }
            note!(self, "c{uid} {channel:?} takes {delivery:?} of a stranger");
            self.coverage.situation(Situation::PlainMessage);
            let message = delivery.clone().into_message();
            let number = message.and_then(|m| number_of(m.kind(), m.as_bytes()));
            let number = number.filter(|n| *n < stranger.next && known.last < Some(*n));
            let Some(number) = number else {
                let how = format!("c{uid} takes {delivery:?} again or in the wrong order");
                return broken("plain peers", how);
            };
            known.last = Some(number);
            if let Some(message) = delivery.into_message() {
                // Without room it stays away, which such a peer must bear.
                let _ = machine.send(message, now);
            }
        }
        Ok(())
    }

    // ---- the hostile one ----

    fn do_harm(&mut self, index: usize) {
        let now = self.now;
        let choice = self.strangers[index].rng.u8(..14);
        let victim = self.victim(index);
        let stranger = &mut self.strangers[index];
        let rng = &mut stranger.rng;
        let Stage::Linked(link) = &mut stranger.stage else {
            return;
        };
        let end = link.end;
        let any = |rng: &mut fastrand::Rng, streams: &[StreamId]| {
            streams.get(rng.usize(..streams.len().max(1))).copied()
        };
        let (stream, payload) = match choice {
            0..=2 => {
                if rng.bool() || stranger.session.1 == 0 {
                    stranger.session = (SessionId(rng.u128(..)), 0);
                }
                stranger.session.1 += 1;
                let hello = hello(stranger.session.0, stranger.session.1, rng);
                (link.control, encoded(&ControlFrame::Hello(hello)))
            }
            3 => match victim {
                Some(session) => {
                    self.coverage.situation(Situation::StolenSession);
                    let hello = hello(session, 1_000_000, rng);
                    (link.control, encoded(&ControlFrame::Hello(hello)))
                }
                None => return,
            },
            4..=5 => (link.control, encoded(&control_frame(rng))),
            6 => {
                let garbage: Vec<u8> = (0..rng.usize(1..60)).map(|_| rng.u8(..)).collect();
                (any(rng, &link.streams), garbage.into())
            }
            7..=8 => {
                let options = stream_options(rng);
                self.fabric.open_stream(end, options, now);
                return;
            }
            9 => {
                if let Some(stream) = any(rng, &link.streams) {
                    self.fabric.close_stream(end, stream, now);
                }
                return;
            }
            _ => {
                let mut payload = Vec::new();
                for _ in 0..rng.u8(1..4) {
                    channel_frame(rng).encode(&mut payload);
                }
                (any(rng, &link.streams), payload.into())
            }
        };
        if let Some(stream) = stream {
            self.coverage.situation(Situation::HostileMessage);
            let kind = match self.strangers[index].rng.u8(..8) {
                0 => MessageKind::Text,
                _ => MessageKind::Binary,
            };
            // What finds no room is lost: it comes again in another form.
            let _ = self.fabric.write(end, stream, kind, &payload, now);
        }
    }

    /// A session of somebody else. Its id is a secret; where keys are proved that must not matter.
    fn victim(&mut self, index: usize) -> Option<SessionId> {
        if self.setup.proofs != Proofs::Everybody {
            return None;
        }
        let host = self.host.as_ref()?;
        let honest = |uid: &u32| self.conns.get(uid).is_some_and(|c| c.stranger.is_none());
        let sessions = host.sessions.iter().filter(|(_, uid)| honest(uid));
        let sessions: Vec<SessionId> = sessions.map(|(session, _)| *session).collect();
        let rng = &mut self.strangers[index].rng;
        sessions.get(rng.usize(..sessions.len().max(1))).copied()
    }

    /// The stranger that is at the other end of a link of the service.
    pub(super) fn stranger_at(&self, answer: Description) -> Option<usize> {
        match self.ends.get(&answer.0).map(|notes| notes.owner) {
            Some(Owner::Stranger(index)) => Some(index),
            Some(Owner::Nobody | Owner::Offer | Owner::Greeting | Owner::Conn(_)) | None => None,
        }
    }

    /// The number of a stranger's path.
    pub(super) fn path_of_stranger(&self, index: usize) -> u8 {
        self.strangers[index].number
    }
}

fn hello(session: SessionId, generation: u32, rng: &mut fastrand::Rng) -> Hello {
    let odd = |rng: &mut fastrand::Rng, usual: u64| match rng.u8(..6) {
        0 => rng.u64(..),
        1 => 0,
        _ => usual,
    };
    Hello {
        version: PROTOCOL_VERSION,
        session,
        generation: Generation(generation),
        incarnation: Incarnation(rng.u64(..3)),
        peer_incarnation: rng.bool().then(|| Incarnation(rng.u64(..3))),
        limits: Limits {
            fragment_bytes_max: odd(rng, 64) as u32,
            message_bytes_max: odd(rng, 2000),
            window_bytes: odd(rng, 1024),
            channels_max: odd(rng, 4) as u32,
        },
        channels: Vec::new(),
        nonce: [0; 16],
        // It knows no key, but how a proof looks.
        proof: rng.bool().then(|| Proof {
            public_key: [rng.u8(..20); 32],
            signature: (0..64).map(|_| rng.u8(..)).collect(),
        }),
        extensions: Vec::new(),
    }
}

fn control_frame(rng: &mut fastrand::Rng) -> ControlFrame {
    let channel = ChannelId(rng.u32(..8));
    match rng.u8(..8) {
        0 | 1 => ControlFrame::Ping { id: rng.u32(..) },
        2 => ControlFrame::Pong { id: rng.u32(..4) },
        3 => ControlFrame::Bye {
            reason: ByeReason::Closed,
        },
        4 => ControlFrame::Finish { channel },
        5 => ControlFrame::Finished { channel },
        _ => ControlFrame::Reject {
            reason: RejectReason::UnknownSession,
        },
    }
}

fn channel_frame(rng: &mut fastrand::Rng) -> ChannelFrame {
    let seq = |rng: &mut fastrand::Rng| match rng.u8(..12) {
        0 => Seq(u64::MAX - rng.u64(..3)),
        _ => Seq(rng.u64(..6)),
    };
    match rng.u8(..8) {
        0..=3 => ChannelFrame::Data {
            seq: seq(rng),
            part: Part::new(rng.u8(..4) > 0, rng.u8(..4) > 0),
            kind: match rng.bool() {
                true => MessageKind::Text,
                false => MessageKind::Binary,
            },
            payload: vec![b'!'; rng.usize(..200)].into(),
        },
        4 => ChannelFrame::Skip {
            from: seq(rng),
            to: seq(rng),
            messages: rng.u64(..),
        },
        5 => ChannelFrame::Ack {
            next: seq(rng),
            credit: rng.u64(..),
        },
        6 => ChannelFrame::Fin { at: seq(rng) },
        _ => ChannelFrame::FinAck,
    }
}

fn stream_options(rng: &mut fastrand::Rng) -> StreamOptions {
    let protocol = match rng.u8(..5) {
        0 => String::new(),
        1 => "rondevu.channel.v1;x".into(),
        _ => channel_protocol(ChannelId(rng.u32(..8))),
    };
    StreamOptions {
        label: "a".repeat(rng.usize(..300)),
        protocol,
        ordered: rng.u8(..4) > 0,
        reliability: match rng.u8(..4) {
            0 => Reliability::MaxRetransmits(0),
            _ => Reliability::Reliable,
        },
    }
}

fn encoded(frame: &ControlFrame) -> Bytes {
    let mut payload = Vec::new();
    frame.encode(&mut payload);
    payload.into()
}
