//! Until when the server lists the service, and when to publish it again.

use core::time::Duration;

use rondevu_core::Instant;

/// How a service stands with the server.
///
/// ```text
///            published                   not known, or ended
///  Wanted ─────────────► Held ──────────────────────────────► Wanted
///     │                   ▲ │ published again
///     │ refused           └─┘
///     └─────────► Refused
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lease {
    /// The service is not published, or the server has forgotten it.
    Wanted,
    /// The server lists the service until `ends_at`.
    Held {
        renew_at: Instant,
        ends_at: Instant,
        /// When to ask the server whether it still knows the service.
        check_at: Instant,
    },
    /// It cannot be published; final.
    Refused,
}

impl Lease {
    /// A lease of `granted` from `now`, to be renewed when the share `margin` of it is left.
    pub(super) fn grant(granted: Duration, margin: f64, check: Duration, now: Instant) -> Self {
        Self::Held {
            renew_at: now + granted.mul_f64(elapsed_share(margin)),
            ends_at: now + granted,
            check_at: now + check,
        }
    }

    /// Whether to publish at `now`.
    pub(super) fn is_due(self, now: Instant) -> bool {
        self.due_at().is_some_and(|at| at <= now)
    }

    /// When to publish next.
    pub(super) fn due_at(self) -> Option<Instant> {
        match self {
            Self::Wanted => Some(Instant::ORIGIN),
            Self::Held { renew_at, .. } => Some(renew_at),
            Self::Refused => None,
        }
    }

    /// When to check that the service is still known.
    pub(super) fn check_at(self) -> Option<Instant> {
        match self {
            Self::Held { check_at, .. } => Some(check_at),
            Self::Wanted | Self::Refused => None,
        }
    }

    /// When the server stops to list the service.
    pub(super) fn ends_at(self) -> Option<Instant> {
        match self {
            Self::Held { ends_at, .. } => Some(ends_at),
            Self::Wanted | Self::Refused => None,
        }
    }

    /// Plans the next check.
    pub(super) fn plan_check(&mut self, at: Instant) {
        match self {
            Self::Held { check_at, .. } => *check_at = at,
            Self::Wanted | Self::Refused => {}
        }
    }

    /// The server does not know the service any more.
    pub(super) fn lose(&mut self) {
        match self {
            Self::Held { .. } | Self::Wanted => *self = Self::Wanted,
            Self::Refused => {}
        }
    }

    /// Notices the end of a lease that was not renewed.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Held { ends_at, .. } if *ends_at <= now => *self = Self::Wanted,
            Self::Held { .. } | Self::Wanted | Self::Refused => {}
        }
    }

    pub(super) fn is_held(self) -> bool {
        match self {
            Self::Held { .. } => true,
            Self::Wanted | Self::Refused => false,
        }
    }
}

/// Which share of a time to live passes before something is renewed that has `margin` left then.
pub(super) fn elapsed_share(margin: f64) -> f64 {
    match margin.is_nan() {
        true => 0.8,
        false => 1.0 - margin.clamp(0.05, 0.95),
    }
}
