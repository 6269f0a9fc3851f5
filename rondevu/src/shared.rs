//! What handles and driver of one connection share.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rondevu_core::{ChannelId, DurableChannelState, DurableConnectionState};
use rondevu_durable::{ChannelEvent, ConnectionEvent, ConnectionMachine};
use rondevu_transport::LinkPath;
use tokio::sync::{Notify, watch};

use crate::channel::ChannelHandle;
use crate::clock::Clock;
use crate::events::EventSource;
use crate::link::Link;
use crate::measure;

/// Locks; a panic of another holder leaves the data as it was, and the machines have no state in
/// between that a panic could expose.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The machine of a connection and everything that waits for it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: u64,
    pub(crate) clock: Clock,
    pub(crate) core: Mutex<Core>,
    /// Wakes the driver.
    pub(crate) wake: Notify,
    pub(crate) state: watch::Sender<DurableConnectionState>,
    pub(crate) events: EventSource<ConnectionEvent>,
    /// Wakes whoever waits for a channel that the peer opens.
    pub(crate) incoming: Arc<Notify>,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) machine: ConnectionMachine,
    pub(crate) channels: HashMap<ChannelId, Arc<ChannelShared>>,
    pub(crate) incoming: VecDeque<ChannelId>,
    /// Links that a greeting has moved to this connection and that the driver has not taken yet.
    pub(crate) handovers: Vec<Link>,
    /// The path of the live link.
    pub(crate) path: Option<LinkPath>,
    /// The event that ended the connection.
    pub(crate) ending: Option<ConnectionEvent>,
    /// How many calls wait for the first link.
    pub(crate) connecting: usize,
    /// Whether the first link is wanted even if nobody waits for it.
    pub(crate) in_background: bool,
}

/// What waits for one channel.
#[derive(Debug)]
pub(crate) struct ChannelShared {
    pub(crate) changed: Arc<Notify>,
    pub(crate) events: EventSource<ChannelEvent>,
    pub(crate) state: watch::Sender<DurableChannelState>,
    /// What all handles of the channel share, once there was one. Only changed under the lock of the core.
    pub(crate) handle: Mutex<Option<Weak<ChannelHandle>>>,
}

impl ChannelShared {
    pub(crate) fn new(state: DurableChannelState) -> Arc<Self> {
        Arc::new(Self {
            changed: Arc::default(),
            events: EventSource::new(),
            state: watch::channel(state).0,
            handle: Mutex::default(),
        })
    }

    /// Whether the application has given up the last handle.
    pub(crate) fn is_abandoned(&self) -> bool {
        let handle = lock(&self.handle);
        handle.as_ref().is_some_and(|it| it.strong_count() == 0)
    }
}

impl Shared {
    pub(crate) fn new(id: u64, machine: ConnectionMachine, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            id,
            clock,
            state: watch::channel(machine.state()).0,
            core: Mutex::new(Core {
                machine,
                channels: HashMap::new(),
                incoming: VecDeque::new(),
                handovers: Vec::new(),
                path: None,
                ending: None,
                connecting: 0,
                in_background: false,
            }),
            wake: Notify::new(),
            events: EventSource::new(),
            incoming: Arc::default(),
        })
    }

    /// Passes on what the machine reports; whether there is a message for the application.
    pub(crate) fn publish(&self, core: &mut Core) -> bool {
        while let Some(event) = core.machine.poll_event() {
            measure::connection_event(core.machine.role(), &event);
            match &event {
                ConnectionEvent::IncomingChannel { channel } => {
                    let shared = ChannelShared::new(DurableChannelState::Open);
                    core.channels.insert(*channel, shared);
                    core.incoming.push_back(*channel);
                    self.incoming.notify_waiters();
                }
                ConnectionEvent::Failed { .. } | ConnectionEvent::Closed { .. } => {
                    core.ending = Some(event.clone());
                    self.incoming.notify_waiters();
                    self.events.send_last(event);
                    continue;
                }
                _ => {}
            }
            self.events.send(event);
        }
        let mut has_message = false;
        while let Some(id) = core.machine.poll_touched() {
            let Some(shared) = core.channels.get(&id) else {
                // Its last handle is gone.
                core.machine.forget_channel(id);
                continue;
            };
            if let Some(channel) = core.machine.channel_mut(id) {
                while let Some(event) = channel.poll_event() {
                    measure::channel_event(&event);
                    match event {
                        ChannelEvent::Closed { .. } => shared.events.send_last(event),
                        event => shared.events.send(event),
                    }
                }
                has_message |= channel.has_incoming();
                let state = channel.state();
                shared
                    .state
                    .send_if_modified(|known| std::mem::replace(known, state) != state);
            }
            shared.changed.notify_waiters();
            let is_over = *shared.state.borrow() == DurableChannelState::Closed;
            if is_over && shared.is_abandoned() {
                core.channels.remove(&id);
                core.machine.forget_channel(id);
            }
        }
        let state = core.machine.state();
        self.state
            .send_if_modified(|known| std::mem::replace(known, state) != state);
        has_message
    }
}
