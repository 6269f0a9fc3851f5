//! The handle of a durable channel.

use std::sync::{Arc, Weak};

use rondevu_core::{ChannelId, Delivery, DurableChannelState, Instant, Message, Outcome, Overflow};
use rondevu_durable::{ChannelEvent, ChannelMachine, SendError};
use tokio::sync::{Notify, watch};

use crate::connection::DurableConnection;
use crate::events::Events;
use crate::shared::{ChannelShared, Shared, lock};

/// A message stream within a durable connection.
///
/// Clones are handles of the same channel. When the last is dropped the channel is closed after
/// what was sent is delivered; what comes in after that is discarded, and both sides are told.
///
/// ```
/// use rondevu::{Delivery, DurableChannel};
///
/// /// A chat: lines of this side out, lines of the other side in, until one of both is done.
/// async fn chat(channel: DurableChannel, mut lines: tokio::sync::mpsc::Receiver<String>) {
///     loop {
///         tokio::select! {
///             line = lines.recv() => match line {
///                 Some(line) => if channel.send(line).await.is_err() { return },
///                 None => return channel.close().await,
///             },
///             delivery = channel.recv_delivery() => match delivery {
///                 Some(Delivery::Message(message)) => println!("{}", message.as_text().unwrap_or("?")),
///                 Some(Delivery::Lost { messages }) => println!("({messages} lines are missing here)"),
///                 None => return,
///             },
///         }
///     }
/// }
/// # let _ = chat;
/// ```
#[derive(Clone, Debug)]
pub struct DurableChannel(Arc<ChannelHandle>);

#[derive(Debug)]
pub(crate) struct ChannelHandle {
    connection: DurableConnection,
    id: ChannelId,
    waiters: Arc<ChannelShared>,
}

impl Drop for ChannelHandle {
    fn drop(&mut self) {
        let shared = &self.connection.0.shared;
        let mut core = lock(&shared.core);
        let latest = lock(&self.waiters.handle).as_ref().map(Weak::as_ptr);
        if latest != Some(std::ptr::from_ref(self)) {
            // Somebody has asked for another handle after the last of these was given up.
            return;
        }
        if let Some(channel) = core.machine.channel_mut(self.id) {
            channel.finish();
            channel.discard_incoming();
        }
        match core.machine.state().is_final() {
            true => {
                core.machine.forget_channel(self.id);
                core.channels.remove(&self.id);
            }
            // Listeners still hear how it ends.
            false => core.machine.touch(self.id),
        }
        drop(core);
        shared.wake.notify_one();
    }
}

impl DurableChannel {
    pub(crate) fn new(connection: DurableConnection, id: ChannelId) -> Self {
        let shared = Arc::clone(&connection.0.shared);
        let core = &mut *lock(&shared.core);
        let state = core.machine.channel(id).map(ChannelMachine::state);
        let new = || ChannelShared::new(state.unwrap_or(DurableChannelState::Closed));
        let waiters = Arc::clone(core.channels.entry(id).or_insert_with(new));
        let mut known = lock(&waiters.handle);
        if let Some(handle) = known.as_ref().and_then(Weak::upgrade) {
            return Self(handle);
        }
        let handle = Arc::new(ChannelHandle {
            connection,
            id,
            waiters: Arc::clone(&waiters),
        });
        *known = Some(Arc::downgrade(&handle));
        Self(handle)
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

    /// What is notified at each change.
    pub(crate) fn changed(&self) -> &Arc<Notify> {
        &self.0.waiters.changed
    }

    /// The next message or gap; the outer `None` while there is none, the inner one at the end.
    pub(crate) fn take_delivery(&self) -> Option<Option<Delivery>> {
        let taken = self.with(|c| (c.recv(), c.is_drained(), c.wants_transmit()));
        let Some((delivery, drained, wake)) = taken else {
            return Some(None);
        };
        if wake {
            self.shared().wake.notify_one();
        }
        match (delivery, drained) {
            (Some(delivery), _) => Some(Some(delivery)),
            (None, true) => Some(None),
            (None, false) => None,
        }
    }

    /// Whether a message would be taken, or none ever will.
    pub(crate) fn has_room_or_ended(&self) -> bool {
        self.has_room_or_ended_for(0)
    }

    pub(crate) fn has_room_or_ended_for(&self, len: usize) -> bool {
        self.with(|channel| channel.has_room(len) || !channel.is_sending())
            .unwrap_or(true)
    }

    /// Whether everything that was sent is confirmed.
    pub(crate) fn is_flushed(&self) -> bool {
        self.with(|channel| channel.is_flushed(channel.outbox().accepted()))
            .unwrap_or(false)
    }

    /// The same, or the channel has ended.
    pub(crate) fn is_flushed_or_ended(&self) -> bool {
        self.is_flushed() || self.state() == DurableChannelState::Closed
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
        self.accept(message.into(), ChannelMachine::send).await
    }

    /// Hands a message to the machine, waiting for room if the policy says so.
    async fn accept<T>(
        &self,
        mut message: Message,
        send: impl Fn(&mut ChannelMachine, Message, Instant) -> Result<T, SendError>,
    ) -> Result<T, SendError> {
        loop {
            let changed = self.0.waiters.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let overflow = self.with(|c| c.outbox().queue_limits().overflow);
            match self.try_accept(message, &send) {
                Err(SendError::Full(back)) if overflow == Some(Overflow::Wait) => message = back,
                outcome => return outcome,
            }
            changed.await;
        }
    }

    fn try_accept<T>(
        &self,
        message: Message,
        send: impl Fn(&mut ChannelMachine, Message, Instant) -> Result<T, SendError>,
    ) -> Result<T, SendError> {
        let shared = self.shared();
        let now = shared.clock.now();
        let mut core = lock(&shared.core);
        let Some(channel) = core.machine.channel_mut(self.0.id) else {
            return Err(SendError::Closed(message));
        };
        let accepted = send(channel, message, now);
        let has_dropped = channel.has_event();
        if has_dropped {
            // Whoever waits for what became of the others is to hear of it, with or without a link.
            core.machine.touch(self.0.id);
        }
        drop(core);
        if has_dropped || accepted.is_ok() {
            shared.wake.notify_one();
        }
        accepted
    }

    /// Waits until `look` finds something; `None` if the channel is gone.
    async fn when<T>(&self, look: impl Fn(&mut ChannelMachine) -> Option<T>) -> Option<T> {
        loop {
            let changed = self.0.waiters.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(found) = self.with(&look)? {
                return Some(found);
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
        self.try_accept(message.into(), ChannelMachine::send)
    }

    /// Sends a message and waits until it is known what became of it.
    ///
    /// [`Outcome::Delivered`]: the peer's process has it. [`Outcome::Undelivered`]: it was dropped
    /// before it left whole, so the peer does not have it. [`Outcome::Unknown`]: it left, and no
    /// confirmation will come any more, or the channel is one that gives none (a lossy one, or one
    /// to a peer without the session protocol).
    ///
    /// If the peer loses its memory and messages are sent again ([`SessionLoss`]), this waits for
    /// the confirmation of the second life. Cancellation: while it waits for room nothing is sent;
    /// afterwards the message is on its way, and only the outcome is lost.
    ///
    /// [`SessionLoss`]: crate::SessionLoss
    ///
    /// # Errors
    ///
    /// Those of [`send`](Self::send).
    pub async fn send_confirmed(&self, message: impl Into<Message>) -> Result<Outcome, SendError> {
        let number = self
            .accept(message.into(), ChannelMachine::send_watched)
            .await?;
        let watched = Watched {
            channel: self,
            number,
        };
        let outcome = self.when(|channel| match channel.take_outcome(number) {
            None if channel.state() == DurableChannelState::Closed => Some(Outcome::Unknown),
            outcome => outcome,
        });
        let outcome = outcome.await.unwrap_or(Outcome::Unknown);
        drop(watched);
        Ok(outcome)
    }

    /// Receives the next message; `None` when everything was received and no more will come. Whether that is because
    /// the peer was done or because the channel ended otherwise, [`has_ended`](Self::has_ended) says. Gaps are
    /// skipped; see [`recv_delivery`](Self::recv_delivery).
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

    /// Receives the next message, or the report that some are missing at this place. After a peer has lost its
    /// memory, all that were dropped before stand before what is sent again.
    ///
    /// Cancellation: no message is lost.
    pub async fn recv_delivery(&self) -> Option<Delivery> {
        loop {
            let changed = self.0.waiters.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(delivery) = self.take_delivery() {
                return delivery;
            }
            changed.await;
        }
    }

    /// Waits until the peer has confirmed everything that was sent so far; a lossy channel and a peer without the
    /// session protocol confirm nothing, so there until all of it was handed to a link.
    ///
    /// Cancellation: no effect.
    ///
    /// # Errors
    ///
    /// `false` if the channel was closed before.
    pub async fn flushed(&self) -> bool {
        let Some(target) = self.with(|c| c.outbox().accepted()) else {
            return false;
        };
        let flushed = self.when(|channel| {
            let flushed = channel.is_flushed(target);
            (flushed || channel.state() == DurableChannelState::Closed).then_some(flushed)
        });
        flushed.await.unwrap_or(false)
    }

    /// Ends this side's direction after what was sent is delivered; the peer's `recv` then returns
    /// `None`. Does not wait.
    pub fn finish(&self) {
        let shared = self.shared();
        let mut core = lock(&shared.core);
        if let Some(channel) = core.machine.channel_mut(self.0.id) {
            channel.finish();
            // Others may wait for room that they will not get.
            core.machine.touch(self.0.id);
        }
        drop(core);
        shared.wake.notify_one();
    }

    /// Closes the channel and waits until both directions have ended or the connection has.
    ///
    /// Messages that come in meanwhile can still be received by another handle. Cancellation:
    /// closing goes on.
    pub async fn close(&self) {
        self.finish();
        let closed = |channel: &mut ChannelMachine| {
            (channel.state() == DurableChannelState::Closed).then_some(())
        };
        self.when(closed).await;
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

    /// On a lossy channel, how many fragments are missing below the highest one that came.
    pub fn missed_fragments(&self) -> u64 {
        self.with(|channel| channel.missed_fragments()).unwrap_or(0)
    }

    /// Sets how few unconfirmed bytes raise [`ChannelEvent::BufferedAmountLow`]. Default 0.
    pub fn set_buffered_amount_low_threshold(&self, bytes: usize) {
        self.with(|channel| channel.set_buffered_amount_low_threshold(bytes));
    }

    /// Watches the state; a slow watcher sees only the latest.
    pub fn watch_state(&self) -> watch::Receiver<DurableChannelState> {
        self.0.waiters.state.subscribe()
    }

    /// Everything that happens from now on, messages excepted.
    pub fn events(&self) -> Events<ChannelEvent> {
        self.0.waiters.events.listen()
    }

    /// The connection.
    pub fn connection(&self) -> &DurableConnection {
        &self.0.connection
    }
}

/// Stops watching a message when nobody waits for its outcome any more.
struct Watched<'a> {
    channel: &'a DurableChannel,
    number: u64,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.channel
            .with(|channel| channel.forget_outcome(self.number));
    }
}
