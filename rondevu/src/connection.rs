//! The handle of a durable connection.

use std::sync::Arc;
use std::time::Duration;

use rondevu_core::{ChannelId, DurableChannelState, DurableConnectionState, Username};
use rondevu_durable::{ChannelConfig, ConnectionEvent, Durability, Role};
use rondevu_signaling::PublicKey;
use rondevu_transport::LinkPath;
use tokio::sync::{Notify, watch};

use crate::channel::DurableChannel;
use crate::dial::Target;
use crate::error::Error;
use crate::events::Events;
use crate::shared::{ChannelShared, Shared, lock};

/// A conversation with a peer that survives the loss of its network links.
///
/// Clones are handles of the same connection. When the last handle of a connection and of its
/// channels is dropped, the connection is closed after what was sent is delivered.
///
/// ```no_run
/// use rondevu::{ChannelConfig, ConnectionEvent, Rondevu, Target};
///
/// # async fn call() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Rondevu::new("http://127.0.0.1:3000")?;
/// let connection = client.connection(Target::parse("alice", "com.example.chat@1.0.0")?)?;
/// // Before `connect`, so that it tells of the first link too.
/// let mut events = connection.events();
/// tokio::spawn(async move {
///     while let Some(event) = events.recv().await {
///         match event {
///             Ok(ConnectionEvent::StateChanged { from, to }) => println!("{from} -> {to}"),
///             Ok(_) => {}
///             Err(missed) => println!("{missed}"),
///         }
///     }
/// });
/// connection.connect().await?;
/// let channel = connection.create_channel("chat", &ChannelConfig::default())?;
/// channel.send("hello").await?;
/// // Without this, the end of the program may come before that of the message's way.
/// connection.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct DurableConnection(pub(crate) Arc<ConnectionHandle>);

#[derive(Debug)]
pub(crate) struct ConnectionHandle {
    pub(crate) shared: Arc<Shared>,
    target: Option<Target>,
}

/// Who the peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// The username under which this side called it; `None` for a dialer, and after
    /// [`connect_by_uuid`](crate::Rondevu::connect_by_uuid).
    pub username: Option<Username>,
    /// The key that it has proved on this connection; `None` if it has proved none.
    pub public_key: Option<PublicKey>,
}

impl PeerInfo {
    /// Whether the peer has proved a key.
    pub fn is_proved(&self) -> bool {
        self.public_key.is_some()
    }
}

impl Drop for ConnectionHandle {
    fn drop(&mut self) {
        let now = self.shared.clock.now();
        lock(&self.shared.core).machine.close(now);
        self.shared.wake.notify_one();
    }
}

impl DurableConnection {
    pub(crate) fn new(shared: Arc<Shared>, target: Option<Target>) -> Self {
        Self(Arc::new(ConnectionHandle { shared, target }))
    }

    fn shared(&self) -> &Shared {
        &self.0.shared
    }

    /// Connects, and returns when the first link carries the session.
    ///
    /// Returns at once if that is so already. Calls at the same time wait for one and the same
    /// attempt. While the connection is paused or reconnecting this waits for its next link.
    ///
    /// Cancellation: when nobody waits any more the attempt ends, and a later call begins anew. A
    /// connection that was up once, or that connects [in the
    /// background](Self::connect_in_background), is not affected.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] or [`Error::Closed`] if it came to an end instead; the connection cannot
    /// be used any more then.
    pub async fn connect(&self) -> Result<(), Error> {
        let _caller = Caller::begin(self.shared());
        let mut states = self.shared().state.subscribe();
        let settled =
            |s: &DurableConnectionState| *s == DurableConnectionState::Connected || s.is_final();
        // The sender lives as long as this handle.
        let state = states.wait_for(settled).await.map(|state| *state);
        match state {
            Ok(DurableConnectionState::Connected) => Ok(()),
            _ => Err(self.ending()),
        }
    }

    /// Connects without anybody waiting for it, and keeps trying with backoff as after a lost link.
    ///
    /// Ends with [`ConnectionFailure`](crate::ConnectionFailure)`::AttemptsExhausted` when
    /// [`attempts_max`](crate::BackoffPolicy::attempts_max) attempts were made.
    pub fn connect_in_background(&self) {
        let now = self.shared().clock.now();
        let mut core = lock(&self.shared().core);
        core.in_background = true;
        core.machine.connect_in_background(now);
        drop(core);
        self.shared().wake.notify_one();
    }

    /// Who the peer is.
    pub fn peer(&self) -> PeerInfo {
        let key = lock(&self.shared().core).machine.peer_key();
        PeerInfo {
            username: match &self.0.target {
                Some(Target::Service { username, .. }) => Some(username.clone()),
                Some(Target::Uuid(_)) | None => None,
            },
            public_key: key.map(PublicKey::from_bytes),
        }
    }

    /// How the conversation survives the loss of a link, which depends on what the peer speaks;
    /// `None` before the first link.
    pub fn durability(&self) -> Option<Durability> {
        lock(&self.shared().core).machine.durability()
    }

    /// Gives the link up and looks for none until [`resume`](Self::resume). Messages wait; the peer
    /// keeps the session for its resume window. Does nothing on the side of the service.
    pub fn pause(&self) {
        let now = self.shared().clock.now();
        lock(&self.shared().core).machine.pause(now);
        self.shared().wake.notify_one();
    }

    /// Looks for a link again after [`pause`](Self::pause).
    pub fn resume(&self) {
        let now = self.shared().clock.now();
        lock(&self.shared().core).machine.resume(now);
        self.shared().wake.notify_one();
    }

    /// Why the connection ended.
    fn ending(&self) -> Error {
        match &lock(&self.shared().core).ending {
            Some(ConnectionEvent::Failed { failure, .. }) => Error::Failed(failure.clone()),
            Some(ConnectionEvent::Closed { reason, .. }) => Error::Closed(*reason),
            _ => Error::Closed(rondevu_durable::ConnectionClosed::Local),
        }
    }

    /// Creates a channel. Messages may be sent at once; they wait for the link.
    ///
    /// # Errors
    ///
    /// [`Error::Channel`] says why there is no channel.
    pub fn create_channel(
        &self,
        label: &str,
        config: &ChannelConfig,
    ) -> Result<DurableChannel, Error> {
        let shared = self.shared();
        let mut core = lock(&shared.core);
        let id = core.machine.open_channel(label, config)?;
        let state = DurableChannelState::Connecting;
        core.channels.insert(id, ChannelShared::new(state));
        drop(core);
        shared.wake.notify_one();
        Ok(self.handle(id))
    }

    /// The open channel with this label, whoever created it.
    ///
    /// One that the peer created and that is taken here does not come from
    /// [`incoming_channel`](Self::incoming_channel) any more.
    pub fn channel(&self, label: &str) -> Option<DurableChannel> {
        let mut core = lock(&self.shared().core);
        let open = |c: &&rondevu_durable::ChannelMachine| {
            c.label() == label && c.state() != DurableChannelState::Closed
        };
        let id = core
            .machine
            .channels()
            .find(open)
            .map(|channel| channel.id())?;
        core.incoming.retain(|incoming| *incoming != id);
        drop(core);
        Some(self.handle(id))
    }

    /// Waits for a channel that the peer creates; `None` when the connection has ended.
    ///
    /// Cancellation: no channel is lost.
    pub async fn incoming_channel(&self) -> Option<DurableChannel> {
        loop {
            let changed = self.shared().incoming.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(channel) = self.take_incoming() {
                return channel;
            }
            changed.await;
        }
    }

    /// The next channel that the peer created; the outer `None` while there is none, the inner one
    /// when the connection has ended.
    pub(crate) fn take_incoming(&self) -> Option<Option<DurableChannel>> {
        let mut core = lock(&self.shared().core);
        let (next, is_over) = (core.incoming.pop_front(), core.machine.state().is_final());
        drop(core);
        match next {
            Some(id) => Some(Some(self.handle(id))),
            None => is_over.then_some(None),
        }
    }

    /// What is notified when a channel comes in.
    pub(crate) fn incoming_notify(&self) -> &Arc<Notify> {
        &self.shared().incoming
    }

    fn handle(&self, id: ChannelId) -> DurableChannel {
        DurableChannel::new(self.clone(), id)
    }

    /// Closes the connection after what was sent is delivered, and waits for that.
    ///
    /// Takes the close time-out at most (default 5 s). Cancellation: closing goes on.
    pub async fn close(&self) {
        let now = self.shared().clock.now();
        lock(&self.shared().core).machine.close(now);
        self.shared().wake.notify_one();
        self.closed().await;
    }

    /// Waits until the connection has ended, for whatever reason, and says why.
    ///
    /// Cancellation: no effect.
    pub async fn closed(&self) -> Error {
        let mut states = self.shared().state.subscribe();
        let _ = states.wait_for(|state| state.is_final()).await;
        self.ending()
    }

    /// Starts the next attempt now instead of after the backoff.
    pub fn retry_now(&self) {
        let now = self.shared().clock.now();
        lock(&self.shared().core).machine.retry_now(now);
        self.shared().wake.notify_one();
    }

    /// Replaces the link by one over fresh sockets, as after a change of network.
    ///
    /// Does nothing on the side of the service.
    pub fn rebind(&self) {
        let now = self.shared().clock.now();
        lock(&self.shared().core).machine.handle_network_change(now);
        self.shared().wake.notify_one();
    }

    /// The state.
    pub fn state(&self) -> DurableConnectionState {
        *self.shared().state.borrow()
    }

    /// Watches the state; a slow watcher sees only the latest.
    pub fn watch_state(&self) -> watch::Receiver<DurableConnectionState> {
        self.shared().state.subscribe()
    }

    /// Everything that happens from now on. A listener that is more than 256 events behind is told
    /// how many it missed; the last event is `Failed` or `Closed`.
    pub fn events(&self) -> Events<ConnectionEvent> {
        self.shared().events.listen()
    }

    /// The smoothed round-trip time of the present link.
    pub fn round_trip_time(&self) -> Option<Duration> {
        lock(&self.shared().core).machine.round_trip_time()
    }

    /// The path that messages take at the moment: the kinds of both addresses, the addresses, and
    /// how long a check of the path took; `None` while there is no link. A service learns here who
    /// its peer is on the network.
    pub fn path(&self) -> Option<LinkPath> {
        lock(&self.shared().core).path
    }

    /// Whether this side dialed or is the service.
    pub fn role(&self) -> Role {
        lock(&self.shared().core).machine.role()
    }

    /// Whom this side dialed; `None` on the side of the service.
    pub fn info(&self) -> Option<&Target> {
        self.0.target.as_ref()
    }

    /// Distinguishes the connections of one process.
    pub fn id(&self) -> u64 {
        self.shared().id
    }
}

/// One call that waits for the first link. With the last of them the attempt ends.
struct Caller<'a>(&'a Shared);

impl<'a> Caller<'a> {
    fn begin(shared: &'a Shared) -> Self {
        let now = shared.clock.now();
        let mut core = lock(&shared.core);
        core.connecting += 1;
        core.machine.connect(now);
        drop(core);
        shared.wake.notify_one();
        Self(shared)
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        let mut core = lock(&self.0.core);
        core.connecting -= 1;
        if core.connecting == 0 && !core.in_background {
            core.machine.cancel_connect();
        }
        drop(core);
        self.0.wake.notify_one();
    }
}
