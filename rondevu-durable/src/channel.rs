//! A durable channel: one message stream that outlives any number of links.

mod receiving;

use std::collections::VecDeque;
use std::string::String;
use std::vec::Vec;

use bytes::Bytes;
use rondevu_core::frame::{ChannelFrame, ChannelOptions, Cursor};
use rondevu_core::{
    ChannelId, Deadline, DeadlineReason, Delivery, DurableChannelState, Instant, Keeping, Message,
    MessageKind, Outbox, Outcome, QueueFull, QueueLimits, Reliability, Seq, StreamId, Unconfirmed,
};

use self::receiving::{Receiving, age_max, order};
use crate::config::{ChannelConfig, ConnectionConfig, HalfOpen};
use crate::error::{ProtocolViolation, SendError};

/// The machine of one channel.
///
/// Each direction ends by itself: `Fin` says where, `FinAck` confirms that everything before it was
/// received. The channel is closed when both directions have ended.
#[derive(Debug)]
pub struct ChannelMachine {
    id: ChannelId,
    label: String,
    options: ChannelOptions,
    half_open: HalfOpen,
    state: DurableChannelState,
    speech: Speech,
    outbox: Outbox,
    receiving: Receiving,
    sending: Sending,
    fin_ack: FinAck,
    stream: Stream,
    fame: Fame,
    message_bytes_max: u64,
    low_threshold: usize,
    /// What was unconfirmed when the channel closed.
    left_over: Unconfirmed,
    events: VecDeque<ChannelEvent>,
}

/// What travels on the channel's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    /// Frames of the session protocol.
    Frames,
    /// The application's messages as they are.
    Plain,
}

/// How far this side's direction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    Open,
    /// The application is done; `Fin` follows what is queued.
    Finishing {
        announced: bool,
    },
    /// The peer confirmed everything.
    Finished,
}

/// Whether the peer is owed the answer to its `Fin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FinAck {
    NotOwed,
    /// As soon as everything before the end has come.
    Owed,
    /// The link was lost before the answer left: the peer will tell its end again.
    AskedAgain,
}

/// Whether the peer has shown that it knows the channel: by creating it, by naming it in a greeting or
/// by sending something on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fame {
    Doubtful,
    KnownToPeer,
}

/// The channel's stream on the present link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    /// No link, or a link whose greeting is not over.
    Detached,
    /// The link carries the session; the stream is not open yet.
    Attached,
    Open(StreamId),
}

/// What happened on a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelEvent {
    /// The peer knows the channel.
    Opened,
    /// The send queue was full and the oldest messages made room.
    QueueOverflow {
        /// How many were dropped. The peer is told the same number.
        dropped: u64,
    },
    /// Messages waited for longer than `age_max`.
    Expired {
        /// How many were dropped. The peer is told the same number.
        dropped: u64,
    },
    /// Messages are larger than the peer takes, which was not known when they were accepted.
    Refused {
        /// How many were dropped. The peer is told the same number.
        dropped: u64,
    },
    /// The peer dropped messages before they were sent.
    Lost {
        /// How many.
        messages: u64,
    },
    /// On a lossy channel the application did not take messages fast enough, and the oldest made
    /// room.
    ReceiveOverflow {
        /// How many were dropped.
        dropped: u64,
    },
    /// The bytes that the peer has not confirmed fell to the threshold.
    BufferedAmountLow,
    /// Nothing will be sent or received any more.
    Closed {
        /// Messages that this side accepted and that the peer did not confirm.
        unconfirmed: Unconfirmed,
        /// Messages that came in and that this side's application did not take before it closed.
        unread: u64,
    },
}

/// A transport message of a channel.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) stream: StreamId,
    pub(crate) kind: MessageKind,
    pub(crate) payload: Bytes,
}

impl ChannelMachine {
    pub(crate) fn new(
        id: ChannelId,
        label: String,
        channel: &ChannelConfig,
        options: ChannelOptions,
        connection: &ConnectionConfig,
    ) -> Self {
        let keeping = match options.reliability {
            Reliability::Reliable => Keeping::UntilAcked(order(&options)),
            Reliability::MaxRetransmits(_) | Reliability::MaxPacketLifetime(_) => Keeping::NotAtAll,
        };
        let queue = QueueLimits {
            age_max: age_max(&options, channel.queue.age_max),
            ..channel.queue
        };
        let fragment_bytes = connection.fragment_bytes_max() as usize;
        let window = connection.window();
        Self {
            id,
            label,
            options,
            half_open: channel.half_open,
            state: DurableChannelState::Connecting,
            speech: Speech::Frames,
            outbox: Outbox::new(keeping, queue, fragment_bytes, window),
            receiving: Receiving::new(&options, window, connection.message_bytes_max),
            sending: Sending::Open,
            fin_ack: FinAck::NotOwed,
            stream: Stream::Detached,
            fame: Fame::Doubtful,
            message_bytes_max: connection.message_bytes_max,
            low_threshold: 0,
            left_over: Unconfirmed::default(),
            events: VecDeque::new(),
        }
    }

    // ---- commands ----

    /// Accepts a message for delivery.
    ///
    /// # Errors
    ///
    /// [`SendError`] gives the message back.
    pub fn send(&mut self, message: Message, now: Instant) -> Result<(), SendError> {
        if self.sending != Sending::Open {
            return Err(SendError::Closed(message));
        }
        if message.len() as u64 > self.message_bytes_max {
            return Err(SendError::TooLarge {
                message,
                max: self.message_bytes_max,
            });
        }
        self.expire(now);
        match self.outbox.push(message, now) {
            Ok(0) => Ok(()),
            Ok(dropped) => {
                self.events
                    .push_back(ChannelEvent::QueueOverflow { dropped });
                Ok(())
            }
            Err(QueueFull(message)) => Err(SendError::Full(message)),
        }
    }

    /// Accepts a message like [`send`](Self::send) and remembers what becomes of it. Returns the
    /// number to ask with; ask until there is an outcome, or say that nobody waits any more.
    ///
    /// # Errors
    ///
    /// [`SendError`] gives the message back.
    pub fn send_watched(&mut self, message: Message, now: Instant) -> Result<u64, SendError> {
        let number = self.outbox.accepted();
        self.send(message, now)?;
        self.outbox.watch(number);
        Ok(number)
    }

    /// What became of message `number`, once there is an outcome. It is told once.
    pub fn take_outcome(&mut self, number: u64) -> Option<Outcome> {
        self.outbox.take_outcome(number)
    }

    /// Nobody waits for the outcome of message `number` any more.
    pub fn forget_outcome(&mut self, number: u64) {
        self.outbox.unwatch(number);
    }

    /// Takes the next message, or the report that some are missing at this place.
    pub fn recv(&mut self) -> Option<Delivery> {
        self.receiving.pop()
    }

    /// Ends this side's direction after what was sent before.
    pub fn finish(&mut self) {
        if self.sending == Sending::Open {
            self.sending = Sending::Finishing { announced: false };
            self.transition_to(DurableChannelState::Closing);
        }
    }

    /// From now on throws away what comes in, because nobody will take it.
    pub fn discard_incoming(&mut self) {
        self.receiving.discard();
    }

    /// Sets how few unconfirmed bytes raise [`ChannelEvent::BufferedAmountLow`]. Default 0.
    pub fn set_buffered_amount_low_threshold(&mut self, bytes: usize) {
        self.low_threshold = bytes;
    }

    // ---- what the connection tells ----

    /// The peer has named the channel.
    pub(crate) fn on_known_to_peer(&mut self) {
        self.fame = Fame::KnownToPeer;
    }

    /// What this link and this peer take.
    pub(crate) fn limit(&mut self, fragment_bytes: usize, message_bytes_max: u64) {
        self.outbox.limit(fragment_bytes, message_bytes_max);
        self.message_bytes_max = self.message_bytes_max.min(message_bytes_max);
    }

    /// The greeting of a new link is over: the peer has everything below `recv_next`.
    pub(crate) fn on_attach(
        &mut self,
        recv_next: Seq,
        credit: u64,
    ) -> Result<(), ProtocolViolation> {
        self.watching_buffered_bytes(|outbox| outbox.on_attach(recv_next, credit))?;
        self.receiving.on_attach();
        self.attach();
        Ok(())
    }

    /// A link to a peer without the session protocol carries the channel.
    pub(crate) fn on_plain_attach(&mut self) {
        self.speech = Speech::Plain;
        // Whatever the stream underneath does, nothing is numbered.
        if let Receiving::Reliable(_) = self.receiving {
            let lossy = ChannelOptions {
                reliability: Reliability::MaxRetransmits(0),
                ..self.options
            };
            let window = self.outbox.outstanding_max();
            self.receiving = Receiving::new(&lossy, window, self.message_bytes_max);
        }
        self.attach();
    }

    fn attach(&mut self) {
        self.stream = Stream::Attached;
        if let Sending::Finishing { announced } = &mut self.sending {
            *announced = false;
        }
        if self.state == DurableChannelState::Connecting {
            self.transition_to(DurableChannelState::Open);
            self.events.push_back(ChannelEvent::Opened);
        }
    }

    /// The link is gone.
    pub(crate) fn on_detach(&mut self) {
        self.stream = Stream::Detached;
        // Who has nothing else to wait for would close now and leave the peer without an answer.
        if self.fin_ack == FinAck::Owed {
            self.fin_ack = FinAck::AskedAgain;
        }
    }

    /// The stream is open on the present link.
    pub(crate) fn on_stream_opened(&mut self, stream: StreamId) {
        if self.stream != Stream::Detached {
            self.stream = Stream::Open(stream);
        }
    }

    /// A transport message came in on the channel's stream.
    pub(crate) fn on_message(
        &mut self,
        kind: MessageKind,
        mut payload: Bytes,
        now: Instant,
    ) -> Result<(), ProtocolViolation> {
        // Even if the message turns out to be broken: what stood before the fault counts.
        self.fame = Fame::KnownToPeer;
        match self.speech {
            Speech::Plain => {
                let message = Message::from_parts(kind, payload)
                    .map_err(|_| rondevu_core::InboxViolation::NotUtf8)?;
                self.receiving.on_plain_message(message);
            }
            Speech::Frames => {
                let whole = payload.len();
                while !payload.is_empty() {
                    let frame = ChannelFrame::decode(&mut payload)?;
                    self.on_frame(frame, whole, now)?;
                }
            }
        }
        let dropped = self.receiving.take_overflowed();
        if dropped > 0 {
            self.events
                .push_back(ChannelEvent::ReceiveOverflow { dropped });
        }
        self.close_if_done();
        Ok(())
    }

    /// Takes a frame of a transport message of `whole` bytes.
    fn on_frame(
        &mut self,
        frame: ChannelFrame,
        whole: usize,
        now: Instant,
    ) -> Result<(), ProtocolViolation> {
        match frame {
            ChannelFrame::Data {
                seq,
                part,
                kind,
                payload,
            } => {
                let payload = unshare(payload, whole);
                self.receiving.on_data(seq, part, kind, payload, now)?;
            }
            ChannelFrame::Skip { from, to, messages } => {
                // Also if nobody takes what comes in: the messages did not come in.
                if self.receiving.on_skip(from, to, messages, now)? {
                    self.events.push_back(ChannelEvent::Lost { messages });
                }
            }
            ChannelFrame::Ack { next, credit } => {
                self.watching_buffered_bytes(|outbox| outbox.on_ack(next, credit))?;
            }
            ChannelFrame::Fin { at } => self.on_fin(at)?,
            ChannelFrame::FinAck => self.on_fin_ack()?,
        }
        Ok(())
    }

    /// The peer is done, here or, for a lossy channel, on the control stream.
    pub(crate) fn on_fin(&mut self, at: Seq) -> Result<(), ProtocolViolation> {
        self.receiving.on_end(at)?;
        self.fin_ack = FinAck::Owed;
        self.transition_to(DurableChannelState::Closing);
        if self.half_open == HalfOpen::Close {
            self.finish();
        }
        Ok(())
    }

    /// The peer confirms this side's end.
    pub(crate) fn on_fin_ack(&mut self) -> Result<(), ProtocolViolation> {
        if self.sending != (Sending::Finishing { announced: true }) {
            return Err(ProtocolViolation::Unexpected);
        }
        let end = self.outbox.end().ok_or(ProtocolViolation::Unexpected)?;
        if !self.is_lossy() {
            self.watching_buffered_bytes(|outbox| outbox.on_ack(end, 0))?;
        }
        self.sending = Sending::Finished;
        Ok(())
    }

    fn watching_buffered_bytes<T>(&mut self, change: impl FnOnce(&mut Outbox) -> T) -> T {
        let before = self.outbox.buffered_bytes();
        let result = change(&mut self.outbox);
        if before > self.low_threshold && self.outbox.buffered_bytes() <= self.low_threshold {
            self.events.push_back(ChannelEvent::BufferedAmountLow);
        }
        result
    }

    /// The peer has forgotten the channel, which it only does once both directions have ended.
    pub(crate) fn on_forgotten_by_peer(&mut self) {
        self.outbox.confirm_all();
        self.close();
    }

    /// The peer has lost its memory: the channel begins anew in a new session.
    pub(crate) fn on_session_reset(&mut self) -> Unconfirmed {
        self.on_detach();
        self.fin_ack = FinAck::NotOwed;
        self.fame = Fame::Doubtful;
        self.receiving.reset();
        if self.sending == Sending::Finished {
            self.sending = Sending::Finishing { announced: false };
        }
        self.outbox.reset()
    }

    /// Drops what is unconfirmed.
    pub(crate) fn drop_unconfirmed(&mut self) -> Unconfirmed {
        self.outbox.clear()
    }

    /// The channel ends at once, whatever is unconfirmed.
    pub(crate) fn close(&mut self) {
        if self.state == DurableChannelState::Closed {
            return;
        }
        self.on_detach();
        self.sending = Sending::Finished;
        self.transition_to(DurableChannelState::Closed);
        let unconfirmed = self.outbox.clear();
        self.left_over = unconfirmed;
        let unread = self.receiving.discarded();
        self.events.push_back(ChannelEvent::Closed {
            unconfirmed,
            unread,
        });
    }

    pub(crate) fn close_if_done(&mut self) {
        let received = self.receiving.has_ended() && self.fin_ack == FinAck::NotOwed;
        if self.sending == Sending::Finished && received {
            self.close();
        }
    }

    fn transition_to(&mut self, next: DurableChannelState) {
        if self.state.can_become(next) {
            self.state = next;
        }
    }

    // ---- duties ----

    /// What may be sent now in one transport message of at most `room` bytes.
    pub(crate) fn poll_transmit(&mut self, room: usize, now: Instant) -> Option<Outgoing> {
        let Stream::Open(stream) = self.stream else {
            return None;
        };
        let (kind, payload) = match self.speech {
            Speech::Frames => (MessageKind::Binary, self.poll_frames(room, now)?),
            Speech::Plain => self.poll_plain(room)?,
        };
        Some(Outgoing {
            stream,
            kind,
            payload,
        })
    }

    fn poll_frames(&mut self, room: usize, now: Instant) -> Option<Bytes> {
        let mut out = Vec::new();
        let on_stream = !self.is_lossy();
        if on_stream && self.take_fin_ack() {
            ChannelFrame::FinAck.encode(&mut out);
        }
        if let Some((next, credit)) = self.receiving.poll_ack(now) {
            ChannelFrame::Ack { next, credit }.encode(&mut out);
        }
        let before = self.outbox.buffered_bytes();
        while let Some(frame) = self.outbox.next_frame(room.saturating_sub(out.len())) {
            frame.encode(&mut out);
        }
        self.after_sending(before);
        if on_stream && let Some(at) = self.take_fin() {
            ChannelFrame::Fin { at }.encode(&mut out);
        }
        self.close_if_done();
        (!out.is_empty()).then(|| out.into())
    }

    fn poll_plain(&mut self, room: usize) -> Option<(MessageKind, Bytes)> {
        loop {
            let before = self.outbox.buffered_bytes();
            let message = self.outbox.next_message();
            self.after_sending(before);
            let (kind, payload) = message?;
            if !payload.is_empty() && payload.len() <= room {
                return Some((kind, payload));
            }
            // No link carries an empty message, and none one that is larger than itself.
            self.events.push_back(ChannelEvent::Refused { dropped: 1 });
        }
    }

    /// Reports what sending has shown; what is not kept is no longer buffered.
    fn after_sending(&mut self, buffered_before: usize) {
        let dropped = self.outbox.take_refused();
        if dropped > 0 {
            self.events.push_back(ChannelEvent::Refused { dropped });
        }
        let low = self.outbox.buffered_bytes() <= self.low_threshold;
        if buffered_before > self.low_threshold && low {
            self.events.push_back(ChannelEvent::BufferedAmountLow);
        }
    }

    /// Whether the answer to the peer's end must be sent now.
    pub(crate) fn take_fin_ack(&mut self) -> bool {
        let due = self.fin_ack == FinAck::Owed && self.receiving.has_ended();
        if due {
            self.fin_ack = FinAck::NotOwed;
        }
        due
    }

    /// Where this side's direction ends, if that must be announced now.
    pub(crate) fn take_fin(&mut self) -> Option<Seq> {
        if self.sending != (Sending::Finishing { announced: false }) {
            return None;
        }
        let at = self.outbox.end()?;
        self.sending = Sending::Finishing { announced: true };
        Some(at)
    }

    /// Whether the stream of a channel without the session protocol has served: everything was
    /// handed over and the application is done.
    pub(crate) fn is_plainly_done(&self) -> bool {
        let done = matches!(self.sending, Sending::Finishing { .. });
        self.speech == Speech::Plain && done && self.outbox.is_settled()
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<ChannelEvent> {
        self.events.pop_front()
    }

    /// Drops messages that have waited too long, and notices acknowledgements that are due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.receiving.handle_timeout(now);
        self.expire(now);
    }

    fn expire(&mut self, now: Instant) {
        let dropped = self.outbox.expire(now);
        if dropped > 0 {
            self.events.push_back(ChannelEvent::Expired { dropped });
        }
    }

    /// When to acknowledge or to drop what waited too long.
    pub(crate) fn poll_timeout(&self) -> Option<Deadline> {
        let expiry = self.outbox.next_expiry();
        let expiry = expiry.map(|at| Deadline::new(at, DeadlineReason::Expiry));
        match self.stream {
            Stream::Open(_) => Deadline::earlier(expiry, self.receiving.poll_timeout()),
            Stream::Detached | Stream::Attached => expiry,
        }
    }

    // ---- looks ----

    /// What was received, for a greeting in which the channel has the id `wire`.
    pub(crate) fn cursor(&mut self, wire: ChannelId) -> Cursor {
        let (recv_next, credit) = self.receiving.cursor();
        self.cursor_at(wire, recv_next, credit)
    }

    /// The cursor of this channel in a session that has not begun.
    pub(crate) fn cursor_at(&self, wire: ChannelId, recv_next: Seq, credit: u64) -> Cursor {
        Cursor {
            channel: wire,
            label: self.label.clone(),
            options: self.options,
            recv_next,
            credit,
        }
    }

    /// Whether the peer has shown that it knows the channel.
    pub(crate) fn is_known_to_peer(&self) -> bool {
        self.fame == Fame::KnownToPeer
    }

    /// Whether the first `messages` messages are all confirmed or dropped with an event. What a
    /// channel had not confirmed when it closed is neither.
    pub fn is_flushed(&self, messages: u64) -> bool {
        self.outbox.settled() >= messages && self.left_over == Unconfirmed::default()
    }

    /// Whether this side can still send.
    pub fn is_sending(&self) -> bool {
        self.sending == Sending::Open
    }

    /// Whether the peer owes an answer on the present link.
    pub(crate) fn is_expecting(&self) -> bool {
        let announced = self.sending == (Sending::Finishing { announced: true });
        matches!(self.stream, Stream::Open(_))
            && self.speech == Speech::Frames
            && (self.outbox.is_expecting_ack() || announced)
    }

    /// Whether taking a message made an acknowledgement due, so that the driver must run.
    pub fn wants_transmit(&self) -> bool {
        self.receiving.wants_ack_now()
    }

    /// The stream on the present link, if it is open.
    pub(crate) fn stream(&self) -> Option<StreamId> {
        match self.stream {
            Stream::Open(stream) => Some(stream),
            Stream::Detached | Stream::Attached => None,
        }
    }

    /// The id.
    pub fn id(&self) -> ChannelId {
        self.id
    }

    /// The label.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// How it delivers.
    pub fn options(&self) -> ChannelOptions {
        self.options
    }

    /// Whether it may lose messages by choice.
    pub fn is_lossy(&self) -> bool {
        self.options.reliability != Reliability::Reliable
    }

    /// The state.
    pub fn state(&self) -> DurableChannelState {
        self.state
    }

    /// Whether a message of `len` bytes would be accepted now.
    pub fn has_room(&self, len: usize) -> bool {
        self.outbox.has_room(len)
    }

    /// The sending half, for its figures.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// On a lossy channel, how many fragments below the highest that came are missing.
    pub fn missed_fragments(&self) -> u64 {
        self.receiving.missed()
    }

    /// The memory that messages take, in bytes: what waits to be sent or confirmed, and what waits
    /// for the application.
    pub fn held_bytes(&self) -> u64 {
        self.outbox.buffered_bytes() as u64 + self.receiving.held_bytes()
    }

    /// Whether the peer closed its direction and everything that it sent was received.
    pub fn has_peer_finished(&self) -> bool {
        self.receiving.has_ended()
    }

    /// Whether nothing more will come in: the peer is done and everything was taken.
    pub fn is_drained(&self) -> bool {
        let over = self.receiving.has_ended() || self.state == DurableChannelState::Closed;
        over && self.receiving.len() == 0
    }
}

/// Copies a payload that is a small part of the transport message it came in, so that it does not
/// keep all of it in memory while it waits for the application.
fn unshare(payload: Bytes, whole: usize) -> Bytes {
    match payload.len() < whole / 4 {
        true => Bytes::copy_from_slice(&payload),
        false => payload,
    }
}

#[cfg(test)]
mod tests;
