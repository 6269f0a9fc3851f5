//! The handle of a durable channel.

use std::sync::Arc;

use rondevu_core::{ChannelId, Delivery, DurableChannelState, Message, Overflow};
use rondevu_durable::{ChannelEvent, ChannelMachine, SendError};
use tokio::sync::broadcast;

use crate::connection::DurableConnection;
use crate::shared::{ChannelShared, Shared, lock};

/// A message stream within a durable connection.
///
/// Clones are handles of the same channel. When the last is dropped the channel is closed after
/// what was sent is delivered; what comes in after that is discarded, and both sides are told.
#[derive(Clone, Debug)]
pub struct DurableChannel(Arc<ChannelHandle>);

#[derive(Debug)]
struct ChannelHandle {
    connection: DurableConnection,
    id: ChannelId,
    waiters: Arc<ChannelShared>,
}

impl Drop for ChannelHandle {
    fn drop(&mut self) {
        let shared = &self.connection.0.shared;
        let mut core = lock(&shared.core);
        if let Some(channel) = core.machine.channel_mut(self.id) {
            channel.finish();
            channel.discard_incoming();
        }
        core.machine.forget_channel(self.id);
        core.channels.remove(&self.id);
        drop(core);
        shared.wake.notify_one();
    }
}

impl DurableChannel {
    pub(crate) fn new(connection: DurableConnection, id: ChannelId) -> Self {
        let waiters = {
            let mut core = lock(&connection.0.shared.core);
            Arc::clone(core.channels.entry(id).or_insert_with(ChannelShared::new))
        };
        Self(Arc::new(ChannelHandle {
            connection,
            id,
            waiters,
        }))
    }

    fn shared(&self) -> &Shared {
        &self.0.connection.0.shared
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut ChannelMachine) -> T) -> Option<T> {
        lock(&self.shared().core)
            .machine
            .channel_mut(self.0.id)
            .map(use_it)
    }

    /// Sends a message, waiting for room in the queue if there is none.
    ///
    /// When this returns the message is accepted, not yet delivered. Cancellation: the message is
    /// either accepted whole or not at all; in the second case it is lost with the future.
    ///
    /// # Errors
    ///
    /// [`SendError::Closed`] and [`SendError::TooLarge`]; [`SendError::Full`] only with
    /// [`Overflow::Reject`]. Each gives the message back.
    pub async fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let mut message = message.into();
        loop {
            let changed = self.0.waiters.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let overflow = self.with(|c| c.outbox().queue_limits().overflow);
            match self.try_send(message) {
                Err(SendError::Full(back)) if overflow == Some(Overflow::Wait) => message = back,
                outcome => return outcome,
            }
            changed.await;
        }
    }

    /// Sends a message if there is room for it.
    ///
    /// # Errors
    ///
    /// [`SendError`] gives the message back.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let shared = self.shared();
        let now = shared.clock.now();
        let message = message.into();
        let mut core = lock(&shared.core);
        let Some(channel) = core.machine.channel_mut(self.0.id) else {
            return Err(SendError::Closed(message));
        };
        channel.send(message, now)?;
        drop(core);
        shared.wake.notify_one();
        Ok(())
    }

    /// Receives the next message; `None` when the peer has closed the channel and everything was
    /// received. Gaps are skipped; see [`recv_delivery`](Self::recv_delivery).
    ///
    /// Cancellation: no message is lost.
    pub async fn recv(&self) -> Option<Message> {
        loop {
            match self.recv_delivery().await? {
                Delivery::Message(message) => return Some(message),
                Delivery::Lost { messages } => {
                    tracing::warn!(messages, "the peer dropped messages before sending them");
                }
            }
        }
    }

    /// Receives the next message, or the report that some are missing at this place.
    ///
    /// Cancellation: no message is lost.
    pub async fn recv_delivery(&self) -> Option<Delivery> {
        loop {
            let changed = self.0.waiters.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let (delivery, drained, wake) =
                self.with(|c| (c.recv(), c.is_drained(), c.wants_transmit()))?;
            if wake {
                self.shared().wake.notify_one();
            }
            if delivery.is_some() || drained {
                return delivery;
            }
            changed.await;
        }
    }

    /// Waits until the peer has confirmed everything that was sent so far.
    ///
    /// # Errors
    ///
    /// `false` if the channel was closed before.
    pub async fn flushed(&self) -> bool {
        let Some(target) = self.with(|c| c.outbox().accepted()) else {
            return false;
        };
        loop {
            let changed = self.0.waiters.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.with(|c| (c.outbox().settled() >= target, c.state())) {
                Some((true, _)) => return true,
                None | Some((_, DurableChannelState::Closed)) => return false,
                Some(_) => changed.await,
            }
        }
    }

    /// Ends this side's direction after what was sent is delivered; the peer's `recv` then returns
    /// `None`. Does not wait.
    pub fn finish(&self) {
        self.with(ChannelMachine::finish);
        self.shared().wake.notify_one();
    }

    /// Closes the channel and waits until both directions have ended or the connection has.
    ///
    /// Messages that come in meanwhile can still be received by another handle.
    pub async fn close(&self) {
        self.finish();
        loop {
            let changed = self.0.waiters.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.with(|channel| channel.state()) {
                None | Some(DurableChannelState::Closed) => return,
                Some(_) => changed.await,
            }
        }
    }

    /// The state.
    pub fn state(&self) -> DurableChannelState {
        self.with(|channel| channel.state())
            .unwrap_or(DurableChannelState::Closed)
    }

    /// Whether the peer closed its direction and everything that it sent was received.
    pub fn has_ended(&self) -> bool {
        self.with(|channel| channel.has_peer_finished())
            .unwrap_or(false)
    }

    /// The label.
    pub fn label(&self) -> String {
        self.with(|channel| channel.label().to_owned())
            .unwrap_or_default()
    }

    /// Bytes that were sent and not confirmed by the peer.
    pub fn buffered_amount(&self) -> usize {
        self.with(|channel| channel.outbox().buffered_bytes())
            .unwrap_or(0)
    }

    /// Messages that no link has carried yet.
    pub fn queue_len(&self) -> usize {
        self.with(|channel| channel.outbox().queue_len())
            .unwrap_or(0)
    }

    /// Sets how few unconfirmed bytes raise [`ChannelEvent::BufferedAmountLow`]. Default 0.
    pub fn set_buffered_amount_low_threshold(&self, bytes: usize) {
        self.with(|channel| channel.set_buffered_amount_low_threshold(bytes));
    }

    /// Everything that happens from now on, messages excepted.
    pub fn events(&self) -> broadcast::Receiver<ChannelEvent> {
        self.0.waiters.events.subscribe()
    }

    /// The connection.
    pub fn connection(&self) -> &DurableConnection {
        &self.0.connection
    }
}
