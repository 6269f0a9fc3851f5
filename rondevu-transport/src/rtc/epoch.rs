//! Between the embedder's clock and that of the engines.

use rondevu_core::Instant;

/// The engine's clock: ours, counted from a point that the embedder read once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch(pub(crate) std::time::Instant);

impl Epoch {
    pub(crate) fn to_std(self, at: Instant) -> std::time::Instant {
        // Centuries after the epoch a clock may end; staying put is as good as anything there.
        self.0.checked_add(at.since_origin()).unwrap_or(self.0)
    }

    pub(crate) fn at_std(self, at: std::time::Instant) -> Instant {
        Instant::from_origin(at.saturating_duration_since(self.0))
    }
}
