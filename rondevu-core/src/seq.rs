//! The number of a fragment within one direction of a channel.

use core::fmt;

use serde::{Deserialize, Serialize};

/// Counts the fragments of one channel and direction from 0, over all links of the session.
///
/// 64 bits do not wrap: a million fragments a second would take 584,000 years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Seq(pub u64);

impl Seq {
    /// The first fragment.
    pub const ZERO: Self = Self(0);

    /// The number `count` after this one.
    #[must_use]
    pub const fn advance(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }

    /// How many numbers lie in `[earlier, self)`, zero if there are none.
    pub const fn distance_from(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
