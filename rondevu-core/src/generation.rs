//! The number of a link within its session.

use core::fmt;

use serde::{Deserialize, Serialize};

/// Counts the links of a session: 1 for the first, one more for each later attach.
///
/// A newer generation supersedes an older one at once; what still arrives from an older link is
/// ignored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation(pub u32);

impl Generation {
    /// No link has carried the session yet.
    pub const NONE: Self = Self(0);

    /// The generation after this one, `None` after `u32::MAX`.
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(n) => Some(Self(n)),
            None => None,
        }
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "g{}", self.0)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
