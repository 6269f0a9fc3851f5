//! The rules by which names, services and offers are given out, on top of any store.

mod bus;
mod capacity;
mod entropy;
mod limits;
mod offers;
mod refusal;
mod services;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use rondevu_core::PeerId;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::UnixMillis;
use crate::protocol_limits::WAIT_MAX;
use crate::store::{MemoryStore, Store};
use bus::{Bus, LocalBus};

pub(crate) use capacity::Capacity;
pub(crate) use entropy::Entropy;
pub use limits::Limits;
pub(crate) use refusal::Refusal;

/// A clock that says when "now" is.
pub(crate) type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// Gives out names, services and offers, and tells peers what happens to theirs.
///
/// Trusts the caller about which peer it is and about nothing else.
pub(crate) struct Registry {
    store: Box<dyn Store>,
    bus: Box<dyn Bus>,
    limits: Limits,
    clock: Clock,
    entropy: Entropy,
    /// True once nobody may wait any longer.
    closing: watch::Sender<bool>,
}

impl Registry {
    /// A registry that lives in this process's memory.
    pub(crate) fn in_memory(limits: Limits, clock: Clock, entropy: Entropy) -> Self {
        let store = Box::new(MemoryStore::new(limits.clone()));
        Self::new(store, limits, clock, entropy)
    }

    /// A registry on top of a store that no other process uses.
    pub(crate) fn new(
        store: Box<dyn Store>,
        limits: Limits,
        clock: Clock,
        entropy: Entropy,
    ) -> Self {
        Self {
            store,
            bus: Box::new(LocalBus::default()),
            limits,
            clock,
            entropy,
            closing: watch::Sender::new(false),
        }
    }

    /// A new peer, which nothing belongs to yet and nothing is kept about.
    pub(crate) fn new_peer(&self) -> Result<PeerId, Refusal> {
        self.entropy.peer_id()
    }

    /// Answers everybody who waits, now and in the future, at once.
    #[cfg(feature = "server")]
    pub(crate) fn stop_waiting(&self) {
        self.closing.send_replace(true);
    }

    /// How many requests wait.
    #[cfg(feature = "server")]
    pub(crate) fn waiting(&self) -> usize {
        self.bus.listeners()
    }

    /// The store, for housekeeping.
    #[cfg(feature = "server")]
    pub(crate) fn store(&self) -> &dyn Store {
        &*self.store
    }

    pub(crate) fn now(&self) -> UnixMillis {
        (self.clock)()
    }

    /// Asks until there is something, `wait` is over, or the registry closes.
    async fn ask_until_some<T, F>(
        &self,
        peer: &PeerId,
        wait: Duration,
        ask: impl Fn() -> F,
    ) -> Result<Vec<T>, Refusal>
    where
        F: Future<Output = Result<Vec<T>, Refusal>>,
    {
        if wait.is_zero() {
            return ask().await;
        }
        let deadline = Instant::now() + wait.min(WAIT_MAX);
        let bell = self.bus.listen(peer).await;
        let mut closing = self.closing.subscribe();
        loop {
            let mut rung = std::pin::pin!(bell.notify.notified());
            // Armed before asking: what happens in between rings already.
            rung.as_mut().enable();
            let found = ask().await?;
            if !found.is_empty() {
                return Ok(found);
            }
            let woken = async {
                tokio::select! {
                    () = rung => Woken::Again,
                    // An error says that the registry is gone, which it is not: `self` is borrowed.
                    _ = closing.wait_for(|closing| *closing) => Woken::Closing,
                }
            };
            match timeout_at(deadline, woken).await {
                Ok(Woken::Again) => {}
                Ok(Woken::Closing) | Err(_) => return Ok(found),
            }
        }
    }
}

enum Woken {
    Again,
    Closing,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
