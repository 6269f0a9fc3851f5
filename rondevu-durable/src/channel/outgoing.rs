//! What a channel says on its stream.

use std::vec::Vec;

use bytes::Bytes;
use rondevu_core::frame::ChannelFrame;
use rondevu_core::{Instant, MessageKind, Seq, StreamId};

use super::{ChannelEvent, ChannelMachine, FinAck, Sending, Speech, Stream};

/// A transport message of a channel.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) stream: StreamId,
    pub(crate) kind: MessageKind,
    pub(crate) payload: Bytes,
}

impl ChannelMachine {
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

    /// What the peer has not been told, of what it sent and of where this side's direction ends; the session
    /// ends.
    pub(crate) fn last_words(&mut self) -> Option<Outgoing> {
        let (Stream::Open(stream), Speech::Frames) = (self.stream, self.speech) else {
            return None;
        };
        let mut out = Vec::new();
        let ack = self.receiving.last_ack();
        self.answer(ack, &mut out);
        self.announce_end(&mut out);
        (!out.is_empty()).then(|| Outgoing {
            stream,
            kind: MessageKind::Binary,
            payload: out.into(),
        })
    }

    /// Whether messages that wait may travel together in large batches. They share their fate then: what a lossy
    /// or an unordered channel has lost of one would take the others with it.
    pub(crate) fn is_batching(&self) -> bool {
        self.pace.is_fast() && self.options.ordered && !self.is_lossy()
    }

    fn poll_frames(&mut self, room: usize, now: Instant) -> Option<Bytes> {
        let mut out = Vec::new();
        let ack = self.receiving.poll_ack(now);
        self.answer(ack, &mut out);
        let before = self.outbox.buffered_bytes();
        while let Some(frame) = self.outbox.next_frame(room.saturating_sub(out.len())) {
            frame.encode(&mut out);
        }
        self.after_sending(before);
        self.announce_end(&mut out);
        self.close_if_done();
        (!out.is_empty()).then(|| out.into())
    }

    /// Tells the peer what has become of what it sent. The end of a lossy channel is answered elsewhere.
    fn answer(&mut self, ack: Option<(Seq, u64)>, out: &mut Vec<u8>) {
        if !self.is_lossy() && self.take_fin_ack() {
            ChannelFrame::FinAck.encode(out);
        }
        if let Some((next, credit)) = ack {
            ChannelFrame::Ack { next, credit }.encode(out);
        }
    }

    /// Tells the peer where this side's direction ends. The end of a lossy channel is told elsewhere.
    fn announce_end(&mut self, out: &mut Vec<u8>) {
        if !self.is_lossy()
            && let Some(at) = self.take_fin()
        {
            ChannelFrame::Fin { at }.encode(out);
        }
    }

    fn poll_plain(&mut self, room: usize) -> Option<(MessageKind, Bytes)> {
        let before = self.outbox.buffered_bytes();
        let message = self.outbox.next_message(room);
        self.after_sending(before);
        message
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
}
