//! Which attempt comes next, after what delay, and when the count starts anew.

use core::time::Duration;

use crate::{BackoffPolicy, Deadline, DeadlineReason, Instant};

/// Counts the attempts to establish a link and spaces them by a [`BackoffPolicy`].
///
/// Attempts fail in a row until a link that carried an acknowledgement is lost; only such attempts
/// are limited.
/// The delays return to the first only after a link has proved stable: it was up for `stable_after`
/// and carried an acknowledgement. A link that comes and goes therefore backs off like one that
/// never came, but is not given up: each time something may have got through.
#[derive(Clone, Debug)]
pub struct Reconnector {
    policy: BackoffPolicy,
    stable_after: Duration,
    /// Since the last stable link.
    attempts: u32,
    /// Since the last link of use.
    in_a_row: u32,
    link: Link,
    rng: fastrand::Rng,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Down,
    Up { since: Instant, acked: bool },
    Stable,
}

/// An attempt that may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The number of the attempt, counted from 1 since the last link of use.
    pub number: u32,
    /// How long to wait before it.
    pub delay: Duration,
}

impl Reconnector {
    /// A reconnector that has made no attempt yet.
    pub fn new(policy: BackoffPolicy, stable_after: Duration, seed: u64) -> Self {
        Self {
            policy,
            stable_after,
            attempts: 0,
            in_a_row: 0,
            link: Link::Down,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// A link carries the session.
    pub fn on_link_up(&mut self, now: Instant) {
        self.link = Link::Up {
            since: now,
            acked: false,
        };
    }

    /// The link carried an acknowledgement from the peer.
    pub fn on_ack(&mut self) {
        if let Link::Up { acked, .. } = &mut self.link {
            *acked = true;
        }
    }

    /// The link is lost or suspect.
    pub fn on_link_lost(&mut self, now: Instant) {
        if let Link::Up { acked: true, .. } = self.link {
            self.in_a_row = 0;
        }
        self.on_useless_link_lost(now);
    }

    /// The same, and what the link carried does not show that the next one will be of use.
    pub fn on_useless_link_lost(&mut self, now: Instant) {
        self.handle_timeout(now);
        self.link = Link::Down;
    }

    /// Counts one more attempt; `None` if all that the policy allows were made.
    pub fn next_attempt(&mut self) -> Option<Attempt> {
        let number = self.in_a_row.saturating_add(1);
        if !self.policy.allows(number) {
            return None;
        }
        self.in_a_row = number;
        self.attempts = self.attempts.saturating_add(1);
        Some(Attempt {
            number,
            delay: self.policy.delay(self.attempts, &mut self.rng),
        })
    }

    /// How many attempts were made since the last stable link.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// How many attempts were made since the last link of use.
    pub fn attempts_in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// How many attempts the policy allows; `None` for no limit.
    pub fn attempts_max(&self) -> Option<u32> {
        self.policy.attempts_max
    }

    /// Whether the present link has proved stable.
    pub fn is_stable(&self) -> bool {
        self.link == Link::Stable
    }

    /// Starts the count anew, because somebody knows that the network is back.
    pub fn reset(&mut self) {
        (self.attempts, self.in_a_row) = (0, 0);
    }

    /// Notices that the link has become stable.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Link::Up { since, acked: true } = self.link
            && now.saturating_since(since) >= self.stable_after
        {
            self.link = Link::Stable;
            self.reset();
        }
    }

    /// When the link will have been up for long enough.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        match self.link {
            Link::Up { since, acked: true } => Some(Deadline::new(
                since + self.stable_after,
                DeadlineReason::Stable,
            )),
            Link::Up { acked: false, .. } | Link::Down | Link::Stable => None,
        }
    }
}

#[cfg(test)]
mod tests;
