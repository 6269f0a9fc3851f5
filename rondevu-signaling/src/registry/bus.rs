//! Wakes peers that wait for something to happen to their offers.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use rondevu_core::PeerId;
use tokio::sync::Notify;

/// Rings the bells of waiting peers, at whichever server they wait.
///
/// A ring carries nothing: whoever hears it asks the store. So one too many does no harm, and one
/// that is lost costs a wait until its end.
#[async_trait]
pub(crate) trait Bus: Send + Sync {
    /// A bell for `peer`, which hears every ring from the moment that it is
    /// [armed](Notify::notified).
    async fn listen(&self, peer: &PeerId) -> Bell;

    /// Wakes everybody who listens for `peer`.
    async fn ring(&self, peer: &PeerId);

    /// How many bells there are at this server.
    #[cfg(feature = "server")]
    fn listeners(&self) -> usize;
}

/// Listens for one peer until dropped.
pub(crate) struct Bell {
    pub(crate) notify: Arc<Notify>,
    /// Ends the listening when dropped.
    _listening: Box<dyn Any + Send + Sync>,
}

/// A bus within one process.
#[derive(Clone, Default)]
pub(crate) struct LocalBus {
    bells: Arc<Mutex<Bells>>,
}

#[derive(Default)]
struct Bells {
    by_peer: BTreeMap<PeerId, Heard>,
    count: usize,
}

/// What those who listen for one peer share.
#[derive(Default)]
struct Heard {
    notify: Arc<Notify>,
    listeners: usize,
}

impl LocalBus {
    fn bells(&self) -> MutexGuard<'_, Bells> {
        self.bells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Bus for LocalBus {
    async fn listen(&self, peer: &PeerId) -> Bell {
        let mut bells = self.bells();
        bells.count += 1;
        let heard = bells.by_peer.entry(peer.clone()).or_default();
        heard.listeners += 1;
        Bell {
            notify: Arc::clone(&heard.notify),
            _listening: Box::new(Listening {
                bus: self.clone(),
                peer: peer.clone(),
            }),
        }
    }

    async fn ring(&self, peer: &PeerId) {
        if let Some(heard) = self.bells().by_peer.get(peer) {
            heard.notify.notify_waiters();
        }
    }

    #[cfg(feature = "server")]
    fn listeners(&self) -> usize {
        self.bells().count
    }
}

struct Listening {
    bus: LocalBus,
    peer: PeerId,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut bells = self.bus.bells();
        bells.count -= 1;
        if let Some(heard) = bells.by_peer.get_mut(&self.peer) {
            heard.listeners -= 1;
            if heard.listeners == 0 {
                bells.by_peer.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bell_that_nobody_holds_is_forgotten() {
        let bus = LocalBus::default();
        let peer = PeerId::new("a").unwrap();
        let (one, two) = (bus.listen(&peer).await, bus.listen(&peer).await);
        drop(one);
        assert_eq!(bus.bells.lock().unwrap().by_peer.len(), 1);
        drop(two);
        assert!(bus.bells.lock().unwrap().by_peer.is_empty());
        assert_eq!(bus.bells.lock().unwrap().count, 0);
    }
}
