//! A channel as a stream of bytes, for protocols that want one.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use rondevu_core::Delivery;
use rondevu_durable::SendError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::channel::DurableChannel;
use crate::waiting::Waiting;

/// A channel as `AsyncRead + AsyncWrite`: any byte protocol can run over it and survives the loss of
/// links without noticing more than a pause.
///
/// Where messages begin and end is of no meaning: each write becomes one message of at most 16 KiB,
/// and a read gives what is there. Use it on both ends, on a reliable, ordered channel.
///
/// - A write waits while the channel's queue is full, whatever its overflow policy, and never drops
///   anything. Set [`QueueLimits::age_max`](crate::QueueLimits::age_max) to `None`: a byte that
///   expired would tear a hole. A hole ends reading with [`io::ErrorKind::InvalidData`].
/// - Flushing does not wait: what was written is on its way.
/// - Shutting down ends this direction and waits until the peer has confirmed everything. The other
///   direction stays open if the channel was created with
///   [`HalfOpen::Keep`](crate::HalfOpen::Keep) on both sides.
/// - Reading ends when the peer has shut down, or with [`io::ErrorKind::ConnectionAborted`] when the
///   channel ended without that.
#[derive(Debug)]
pub struct ChannelIo {
    channel: DurableChannel,
    reading: Waiting,
    writing: Waiting,
    /// What is left of the last message.
    rest: Bytes,
}

impl DurableChannel {
    /// This channel as a stream of bytes.
    pub fn into_io(self) -> ChannelIo {
        ChannelIo {
            reading: Waiting::on(self.changed()),
            writing: Waiting::on(self.changed()),
            channel: self,
            rest: Bytes::new(),
        }
    }
}

impl ChannelIo {
    /// The channel.
    pub fn channel(&self) -> &DurableChannel {
        &self.channel
    }
}

impl AsyncRead for ChannelIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self {
            channel,
            reading,
            rest,
            ..
        } = &mut *self;
        while rest.is_empty() {
            match ready!(reading.poll(cx, || channel.take_delivery())) {
                Some(Delivery::Message(message)) => *rest = message.into_bytes(),
                Some(Delivery::Lost { messages }) => {
                    let what = format!("{messages} pieces were dropped by the peer before sending");
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, what)));
                }
                None if channel.has_ended() => return Poll::Ready(Ok(())),
                None => {
                    let what = "the channel ended before the peer was done";
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::ConnectionAborted,
                        what,
                    )));
                }
            }
        }
        let len = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..len]);
        rest.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ChannelIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let piece = &buf[..buf.len().min(PIECE_BYTES_MAX)];
        if piece.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let Self {
            channel, writing, ..
        } = &mut *self;
        writing.poll(cx, || {
            // Looked at first, so that no policy gets to drop anything.
            if !channel.has_room_or_ended_for(piece.len()) {
                return None;
            }
            match channel.try_send(piece) {
                Ok(()) => Some(Ok(piece.len())),
                Err(SendError::Full(_)) => None,
                Err(error) => {
                    let kind = io::ErrorKind::BrokenPipe;
                    Some(Err(io::Error::new(kind, error.to_string())))
                }
            }
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.channel.finish();
        let Self {
            channel, writing, ..
        } = &mut *self;
        ready!(writing.poll(cx, || channel.is_flushed_or_ended().then_some(())));
        match channel.is_flushed() {
            true => Poll::Ready(Ok(())),
            false => {
                let what = "the channel ended before the peer confirmed everything";
                Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, what)))
            }
        }
    }
}

/// A fragment of the usual size, so that each write travels as it is.
const PIECE_BYTES_MAX: usize = 16 * 1024;
