//! Channels and incoming ones as `Stream` and `Sink`.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_sink::Sink;
use rondevu_core::{Delivery, Message};
use rondevu_durable::SendError;

use crate::channel::DurableChannel;
use crate::connection::DurableConnection;
use crate::waiting::Waiting;

/// The messages of a channel, as [`DurableChannel::recv`] gives them. Gaps are skipped.
#[derive(Debug)]
pub struct Messages {
    channel: DurableChannel,
    waiting: Waiting,
}

/// A channel as a sink of messages.
///
/// It is ready when there is room in the channel's queue. It takes one message of any size then,
/// and keeps it until the queue has room for it. Flushing waits until the queue has taken that
/// message, closing until the peer has confirmed everything or the channel has ended; which of both,
/// [`DurableChannel::flushed`] says.
#[derive(Debug)]
pub struct MessageSink {
    channel: DurableChannel,
    waiting: Waiting,
    /// Taken from the caller, and not yet by the queue.
    kept: Option<Message>,
}

/// The channels that the peer of a connection creates, as
/// [`DurableConnection::incoming_channel`] gives them.
#[derive(Debug)]
pub struct IncomingChannels {
    connection: DurableConnection,
    waiting: Waiting,
}

impl DurableChannel {
    /// The messages that come in, as a `Stream`. Several streams and `recv` share them.
    pub fn messages(&self) -> Messages {
        Messages {
            waiting: Waiting::on(self.changed()),
            channel: self.clone(),
        }
    }

    /// A `Sink` for messages.
    pub fn sink(&self) -> MessageSink {
        MessageSink {
            waiting: Waiting::on(self.changed()),
            channel: self.clone(),
            kept: None,
        }
    }

    /// A sink and a stream, for code that wants the two halves apart.
    pub fn split(&self) -> (MessageSink, Messages) {
        (self.sink(), self.messages())
    }
}

impl DurableConnection {
    /// The channels that the peer creates, as a `Stream`; it ends with the connection.
    pub fn incoming(&self) -> IncomingChannels {
        IncomingChannels {
            waiting: Waiting::on(self.incoming_notify()),
            connection: self.clone(),
        }
    }
}

impl Stream for Messages {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let Self { channel, waiting } = &mut *self;
        loop {
            match ready!(waiting.poll(cx, || channel.take_delivery())) {
                Some(Delivery::Message(message)) => return Poll::Ready(Some(message)),
                Some(Delivery::Lost { messages }) => {
                    tracing::warn!(messages, "the peer dropped messages before sending them");
                }
                None => return Poll::Ready(None),
            }
        }
    }
}

impl MessageSink {
    /// Ready when the queue has taken what is kept.
    fn poll_hand_over(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let Self {
            channel,
            waiting,
            kept,
        } = self;
        waiting.poll(cx, || {
            let Some(message) = kept.take() else {
                return Some(Ok(()));
            };
            match channel.try_send(message) {
                Ok(()) => Some(Ok(())),
                Err(SendError::Full(message)) => {
                    *kept = Some(message);
                    None
                }
                Err(error) => Some(Err(error)),
            }
        })
    }
}

impl Sink<Message> for MessageSink {
    type Error = SendError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        ready!(self.poll_hand_over(cx))?;
        let Self {
            channel, waiting, ..
        } = &mut *self;
        // Room for an empty message is room for one at all; its size is not known yet.
        waiting.poll(cx, || channel.has_room_or_ended().then_some(Ok(())))
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), SendError> {
        match self.channel.try_send(message) {
            Err(SendError::Full(message)) if self.kept.is_none() => {
                self.kept = Some(message);
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.poll_hand_over(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        ready!(self.poll_hand_over(cx))?;
        self.channel.finish();
        let Self {
            channel, waiting, ..
        } = &mut *self;
        waiting.poll(cx, || channel.is_flushed_or_ended().then_some(Ok(())))
    }
}

impl Stream for IncomingChannels {
    type Item = DurableChannel;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<DurableChannel>> {
        let Self {
            connection,
            waiting,
        } = &mut *self;
        waiting.poll(cx, || connection.take_incoming())
    }
}
