//! A durable channel: one message stream that outlives any number of links.

mod event;
mod incoming;
mod outgoing;
mod pace;
mod receiving;

use std::collections::VecDeque;
use std::string::String;

use rondevu_core::frame::{ChannelOptions, Cursor};
use rondevu_core::{
    ChannelId, Deadline, DeadlineReason, Delivery, DurableChannelState, Instant, Keeping, Message,
    Outbox, Outcome, QueueFull, QueueLimits, Reliability, Seq, StreamId, Unconfirmed,
};

pub use self::event::ChannelEvent;
pub(crate) use self::outgoing::Outgoing;
use self::pace::Pace;
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
    pace: Pace,
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
            pace: Pace::default(),
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
        self.pace = Pace::default();
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

    /// Drops messages that have waited too long, and notices acknowledgements that are due; whether there were
    /// such messages.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> bool {
        self.receiving.handle_timeout(now);
        self.expire(now)
    }

    fn expire(&mut self, now: Instant) -> bool {
        let dropped = self.outbox.expire(now);
        if dropped > 0 {
            self.events.push_back(ChannelEvent::Expired { dropped });
        }
        dropped > 0
    }

    /// Whether [`poll_event`](Self::poll_event) has something to tell.
    pub fn has_event(&self) -> bool {
        !self.events.is_empty()
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

    /// Whether there is something to [take](Self::recv).
    pub fn has_incoming(&self) -> bool {
        self.receiving.len() > 0
    }

    /// Whether the peer waits to hear that its end has been seen, and can be told.
    pub(crate) fn owes_answer(&self) -> bool {
        self.fin_ack == FinAck::Owed && self.stream != Stream::Detached
    }

    /// Whether nothing more will come in: the peer is done and everything was taken.
    pub fn is_drained(&self) -> bool {
        let over = self.receiving.has_ended() || self.state == DurableChannelState::Closed;
        over && self.receiving.len() == 0
    }
}

#[cfg(test)]
mod tests;
