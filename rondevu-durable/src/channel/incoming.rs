//! What the peer says on a channel's stream.

use bytes::Bytes;
use rondevu_core::frame::ChannelFrame;
use rondevu_core::{DurableChannelState, InboxViolation, Instant, Message, MessageKind, Seq};

use super::{ChannelEvent, ChannelMachine, Fame, FinAck, Sending, Speech};
use crate::config::HalfOpen;
use crate::error::ProtocolViolation;

impl ChannelMachine {
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
                let message =
                    Message::from_parts(kind, payload).map_err(|_| InboxViolation::NotUtf8)?;
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
                let before = self.outbox.buffered_bytes();
                self.watching_buffered_bytes(|outbox| outbox.on_ack(next, credit))?;
                let confirmed = before.saturating_sub(self.outbox.buffered_bytes());
                self.pace.on_confirmed(confirmed, now);
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
}

/// Copies a payload that is a small part of the transport message it came in, so that it does not
/// keep all of it in memory while it waits for the application.
fn unshare(payload: Bytes, whole: usize) -> Bytes {
    match payload.len() < whole / 4 {
        true => Bytes::copy_from_slice(&payload),
        false => payload,
    }
}
