//! A cable that can be pulled: takes the network away from one client, for tests and demos.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Drops every datagram of the client that was built with it while it is [`cut`](Self::cut).
///
/// Signaling is not affected. Clones pull the same cable.
#[derive(Clone, Debug, Default)]
pub struct Cable(Arc<AtomicBool>);

impl Cable {
    /// A cable that is plugged in.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on no datagram comes in or goes out.
    pub fn cut(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Datagrams pass again.
    pub fn heal(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether the cable is cut.
    pub fn is_cut(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
