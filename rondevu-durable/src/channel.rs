//! A durable channel: one message stream that outlives any number of links.

use std::collections::VecDeque;
use std::string::String;
use std::vec::Vec;

use bytes::Bytes;
use rondevu_core::frame::{ChannelFrame, ChannelOptions, Cursor};
use rondevu_core::{
    ChannelId, Deadline, DeadlineReason, Delivery, DurableChannelState, Inbox, Instant, Message,
    Outbox, QueueFull, Seq, StreamId, Unconfirmed,
};

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
    outbox: Outbox,
    inbox: Inbox,
    sending: Sending,
    fin_ack_due: bool,
    stream: Stream,
    /// Whether the peer has shown that it knows the channel.
    is_known_to_peer: bool,
    message_bytes_max: u64,
    low_threshold: usize,
    events: VecDeque<ChannelEvent>,
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
    /// The peer dropped messages before they were sent.
    Lost {
        /// How many.
        messages: u64,
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

impl ChannelMachine {
    pub(crate) fn new(
        id: ChannelId,
        label: String,
        channel: &ChannelConfig,
        options: ChannelOptions,
        connection: &ConnectionConfig,
    ) -> Self {
        Self {
            id,
            label,
            options,
            half_open: channel.half_open,
            state: DurableChannelState::Connecting,
            outbox: Outbox::new(
                channel.queue,
                connection.fragment_bytes as usize,
                connection.window_bytes,
            ),
            inbox: Inbox::new(connection.window_bytes, connection.message_bytes_max),
            sending: Sending::Open,
            fin_ack_due: false,
            stream: Stream::Detached,
            is_known_to_peer: false,
            message_bytes_max: connection.message_bytes_max,
            low_threshold: 0,
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

    /// Takes the next message, or the report that some are missing at this place.
    pub fn recv(&mut self) -> Option<Delivery> {
        let delivery = self.inbox.pop();
        self.close_if_done();
        delivery
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
        self.inbox.discard();
    }

    /// Sets how few unconfirmed bytes raise [`ChannelEvent::BufferedAmountLow`]. Default 0.
    pub fn set_buffered_amount_low_threshold(&mut self, bytes: usize) {
        self.low_threshold = bytes;
    }

    // ---- what the connection tells ----

    /// The greeting of a new link is over: the peer has everything below `recv_next`.
    pub(crate) fn on_attach(
        &mut self,
        recv_next: Seq,
        credit: u64,
        fragment_bytes: u32,
    ) -> Result<(), ProtocolViolation> {
        self.outbox.set_fragment_bytes(fragment_bytes as usize);
        self.watching_buffered_bytes(|outbox| outbox.on_attach(recv_next, credit))?;
        self.stream = Stream::Attached;
        if let Sending::Finishing { announced } = &mut self.sending {
            *announced = false;
        }
        if self.state == DurableChannelState::Connecting {
            self.transition_to(DurableChannelState::Open);
            self.events.push_back(ChannelEvent::Opened);
        }
        Ok(())
    }

    /// The peer has named the channel.
    pub(crate) fn on_known_to_peer(&mut self) {
        self.is_known_to_peer = true;
    }

    /// The peer takes no larger messages.
    pub(crate) fn limit_messages(&mut self, bytes_max: u64) {
        self.message_bytes_max = self.message_bytes_max.min(bytes_max);
    }

    /// The link is gone.
    pub(crate) fn on_detach(&mut self) {
        self.stream = Stream::Detached;
        self.fin_ack_due = false;
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
        mut payload: Bytes,
        now: Instant,
    ) -> Result<(), ProtocolViolation> {
        while !payload.is_empty() {
            let frame = ChannelFrame::decode(&mut payload)?;
            self.on_frame(frame, now)?;
        }
        self.is_known_to_peer = true;
        self.close_if_done();
        Ok(())
    }

    fn on_frame(&mut self, frame: ChannelFrame, now: Instant) -> Result<(), ProtocolViolation> {
        match frame {
            ChannelFrame::Data {
                seq,
                end,
                kind,
                payload,
            } => {
                self.inbox.on_data(seq, end, kind, payload, now)?;
            }
            ChannelFrame::Skip { from, to, messages } => {
                let known = self.inbox.next();
                self.inbox.on_skip(from, to, messages, now)?;
                if self.inbox.next() > known {
                    self.events.push_back(ChannelEvent::Lost { messages });
                }
            }
            ChannelFrame::Ack { next, credit } => {
                self.watching_buffered_bytes(|outbox| outbox.on_ack(next, credit))?;
            }
            ChannelFrame::Fin { at } => {
                self.inbox.on_end(at)?;
                self.fin_ack_due = true;
                self.transition_to(DurableChannelState::Closing);
                if self.half_open == HalfOpen::Close {
                    self.finish();
                }
            }
            ChannelFrame::FinAck => {
                if self.sending != (Sending::Finishing { announced: true }) {
                    return Err(ProtocolViolation::Unexpected);
                }
                let end = self.outbox.end().ok_or(ProtocolViolation::Unexpected)?;
                self.watching_buffered_bytes(|outbox| outbox.on_ack(end, 0))?;
                self.sending = Sending::Finished;
            }
        }
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
        // It has everything, so nothing is unconfirmed.
        self.outbox.clear();
        self.close();
    }

    /// The peer has lost its memory: the channel begins anew in a new session.
    pub(crate) fn on_session_reset(&mut self) -> Unconfirmed {
        self.on_detach();
        self.is_known_to_peer = false;
        self.inbox.reset();
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
        let unread = self.inbox.discarded();
        self.events.push_back(ChannelEvent::Closed {
            unconfirmed,
            unread,
        });
    }

    fn close_if_done(&mut self) {
        if self.sending == Sending::Finished && self.inbox.has_ended() && !self.fin_ack_due {
            self.close();
        }
    }

    fn transition_to(&mut self, next: DurableChannelState) {
        if self.state.can_become(next) {
            self.state = next;
        }
    }

    // ---- duties ----

    /// Appends the frames that may be sent now to `out`, at most `room` bytes, and returns the
    /// stream that they are for.
    pub(crate) fn poll_frames(
        &mut self,
        room: usize,
        out: &mut Vec<u8>,
        now: Instant,
    ) -> Option<StreamId> {
        let Stream::Open(stream) = self.stream else {
            return None;
        };
        if self.fin_ack_due {
            self.fin_ack_due = false;
            ChannelFrame::FinAck.encode(out);
        }
        if let Some((next, credit)) = self.inbox.poll_ack(now) {
            ChannelFrame::Ack { next, credit }.encode(out);
        }
        while let Some(frame) = self.outbox.next_frame(room.saturating_sub(out.len())) {
            frame.encode(out);
        }
        if self.sending == (Sending::Finishing { announced: false })
            && let Some(at) = self.outbox.end()
        {
            self.sending = Sending::Finishing { announced: true };
            ChannelFrame::Fin { at }.encode(out);
        }
        self.close_if_done();
        (!out.is_empty()).then_some(stream)
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<ChannelEvent> {
        self.events.pop_front()
    }

    /// Drops messages that have waited too long, and notices acknowledgements that are due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.inbox.handle_timeout(now);
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
            Stream::Open(_) => Deadline::earlier(expiry, self.inbox.poll_timeout()),
            Stream::Detached | Stream::Attached => expiry,
        }
    }

    // ---- looks ----

    /// What was received, for a greeting.
    pub(crate) fn cursor(&mut self) -> Cursor {
        let (recv_next, credit) = self.inbox.cursor();
        Cursor {
            channel: self.id,
            label: self.label.clone(),
            options: self.options,
            recv_next,
            credit,
        }
    }

    /// Whether the peer has shown that it knows the channel: it created it, named it in a greeting
    /// or sent something on it.
    pub(crate) fn is_known_to_peer(&self) -> bool {
        self.is_known_to_peer
    }

    /// Whether the peer owes an answer on the present link.
    pub(crate) fn is_expecting(&self) -> bool {
        matches!(self.stream, Stream::Open(_))
            && (self.outbox.is_expecting_ack()
                || self.sending == (Sending::Finishing { announced: true }))
    }

    /// Whether taking a message made an acknowledgement due, so that the driver must run.
    pub fn wants_transmit(&self) -> bool {
        self.inbox.wants_ack_now()
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

    /// Whether this side can still send.
    pub fn is_sending(&self) -> bool {
        self.sending == Sending::Open
    }

    /// Whether the peer closed its direction and everything that it sent was received.
    pub fn has_peer_finished(&self) -> bool {
        self.inbox.has_ended()
    }

    /// Whether nothing more will come in: the peer is done and everything was taken.
    pub fn is_drained(&self) -> bool {
        let over = self.inbox.has_ended() || self.state == DurableChannelState::Closed;
        over && self.inbox.is_empty()
    }
}
