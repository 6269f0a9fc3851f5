//! Wakes peers that wait for something to happen to their offers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rondevu_core::PeerId;
use tokio::sync::Notify;

/// Rings the bells of waiting peers.
///
/// Knows only who waits in this process. Servers that share a store pass [`ring`](Self::ring) on
/// to each other.
#[derive(Debug, Default)]
pub(crate) struct Bus {
    bells: Mutex<BTreeMap<PeerId, Arc<Notify>>>,
}

impl Bus {
    /// A bell for `peer`, which hears every ring from the moment that it is [armed](Notify::notified).
    pub(crate) fn listen<'a>(&'a self, peer: &'a PeerId) -> Bell<'a> {
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        let notify = bells.entry(peer.clone()).or_default().clone();
        Bell {
            bus: self,
            peer,
            notify,
        }
    }

    /// Wakes everybody who listens for `peer`.
    pub(crate) fn ring(&self, peer: &PeerId) {
        let bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(notify) = bells.get(peer) {
            notify.notify_waiters();
        }
    }
}

/// Listens for one peer until dropped.
#[derive(Debug)]
pub(crate) struct Bell<'a> {
    bus: &'a Bus,
    peer: &'a PeerId,
    pub(crate) notify: Arc<Notify>,
}

impl Drop for Bell<'_> {
    fn drop(&mut self) {
        let mut bells = self
            .bus
            .bells
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Two holders are the map and this bell: nobody else listens.
        if Arc::strong_count(&self.notify) == 2 {
            bells.remove(self.peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bell_that_nobody_holds_is_forgotten() {
        let bus = Bus::default();
        let peer = PeerId::new("a").unwrap();
        let (one, two) = (bus.listen(&peer), bus.listen(&peer));
        drop(one);
        assert_eq!(bus.bells.lock().unwrap().len(), 1);
        drop(two);
        assert!(bus.bells.lock().unwrap().is_empty());
    }
}
