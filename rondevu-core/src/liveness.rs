//! Whether the peer can still be heard, and how long a round trip takes.

use core::time::Duration;

use crate::{Deadline, DeadlineReason, Instant};

/// When a silent link becomes suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LivenessConfig {
    /// After this much silence a ping is sent. Default 5 s.
    pub heartbeat: Duration,
    /// A peer that owes an answer is given at least this long. Default 500 ms.
    pub silence_min: Duration,
    /// A peer that owes an answer is given this many round trips. Default 4.
    pub silence_round_trips: u32,
}

impl Default for LivenessConfig {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(5),
            silence_min: Duration::from_millis(500),
            silence_round_trips: 4,
        }
    }
}

/// Watches one link for silence.
///
/// ```text
///            nothing heard for `heartbeat`: ping
///   Quiet ───────────────────────────────────────► Expecting
///     ▲                                              │    │
///     └──────────────── anything heard ──────────────┘    │ nothing heard for
///     └────────── anything heard (healed) ─────┐          ▼ max(silence_min, n round trips)
///                                              └─────── Suspect
/// ```
///
/// A message that the peer has to acknowledge makes it owe an answer just as a ping does, so a
/// busy link notices a cut sooner than an idle one.
#[derive(Clone, Debug)]
pub struct Liveness {
    config: LivenessConfig,
    heard_at: Instant,
    state: State,
    ping: Option<(u32, Instant)>,
    next_ping: u32,
    round_trip: Option<RoundTrip>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Quiet,
    Expecting { since: Instant },
    Suspect,
}

#[derive(Clone, Copy, Debug)]
struct RoundTrip {
    smoothed: Duration,
    variation: Duration,
}

/// What [`Liveness::handle_timeout`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LivenessTimeout {
    /// Send a ping with this number.
    SendPing(u32),
    /// The link has become suspect.
    Suspect,
}

impl Liveness {
    /// Watches a link that was heard just now.
    pub fn new(config: LivenessConfig, now: Instant) -> Self {
        Self {
            config,
            heard_at: now,
            state: State::Quiet,
            ping: None,
            next_ping: 0,
            round_trip: None,
        }
    }

    /// Something came from the peer. Says whether that healed a suspect link.
    ///
    /// `owes_more` tells whether the peer still has to answer something that was sent to it.
    pub fn on_heard(&mut self, owes_more: bool, now: Instant) -> bool {
        let healed = self.state == State::Suspect;
        self.heard_at = now;
        self.state = if owes_more || self.ping.is_some() {
            State::Expecting { since: now }
        } else {
            State::Quiet
        };
        healed
    }

    /// Something was sent that the peer has to answer.
    pub fn on_expecting(&mut self, now: Instant) {
        if self.state == State::Quiet {
            self.state = State::Expecting { since: now };
        }
    }

    /// Begins a ping of its own accord, for instance to measure the round trip.
    pub fn start_ping(&mut self, now: Instant) -> u32 {
        let id = self.next_ping;
        self.next_ping = id.wrapping_add(1);
        self.ping = Some((id, now));
        self.on_expecting(now);
        id
    }

    /// Something was sent that the peer does not answer by itself: a ping to find out whether it
    /// arrives, if the peer has been silent for long enough to wonder.
    pub fn on_sent_unanswered(&mut self, now: Instant) -> Option<u32> {
        let wonder = self.state == State::Quiet
            && now.saturating_since(self.heard_at) >= self.config.silence_min;
        wonder.then(|| self.start_ping(now))
    }

    /// The peer answered ping `id`. One that was not the last sent is ignored.
    pub fn on_pong(&mut self, id: u32, now: Instant) {
        if let Some((sent, at)) = self.ping
            && sent == id
        {
            self.ping = None;
            self.measure(now.saturating_since(at));
        }
    }

    /// Updates the estimate as RFC 6298, section 2, does.
    fn measure(&mut self, sample: Duration) {
        self.round_trip = Some(match self.round_trip {
            None => RoundTrip {
                smoothed: sample,
                variation: sample / 2,
            },
            Some(RoundTrip {
                smoothed,
                variation,
            }) => RoundTrip {
                variation: variation * 3 / 4 + smoothed.abs_diff(sample) / 4,
                smoothed: smoothed * 7 / 8 + sample / 8,
            },
        });
    }

    /// The smoothed round-trip time, once it was measured.
    pub fn round_trip_time(&self) -> Option<Duration> {
        self.round_trip.map(|rtt| rtt.smoothed)
    }

    /// Whether the link is suspect.
    pub fn is_suspect(&self) -> bool {
        self.state == State::Suspect
    }

    /// Declares the link suspect for a reason that lies outside.
    pub fn suspect(&mut self) {
        self.state = State::Suspect;
        // An answer that an outage delayed says nothing about the path.
        self.ping = None;
    }

    fn patience(&self) -> Duration {
        let measured = match self.round_trip {
            Some(r) => (r.smoothed + r.variation) * self.config.silence_round_trips,
            None => UNMEASURED_PATIENCE,
        };
        self.config.silence_min.max(measured)
    }

    /// Says what is due, if anything is.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<LivenessTimeout> {
        let due = self.poll_timeout().filter(|deadline| deadline.at <= now)?;
        if due.reason == DeadlineReason::Heartbeat {
            return Some(LivenessTimeout::SendPing(self.start_ping(now)));
        }
        self.suspect();
        Some(LivenessTimeout::Suspect)
    }

    /// When to ping, or when to lose patience. A suspect link has no deadline here.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        match self.state {
            State::Quiet => {
                let at = self.heard_at + self.config.heartbeat;
                Some(Deadline::new(at, DeadlineReason::Heartbeat))
            }
            State::Expecting { since } => Some(Deadline::new(
                since + self.patience(),
                DeadlineReason::Silence,
            )),
            State::Suspect => None,
        }
    }
}

/// Before the first round trip was measured the path may be a slow one.
const UNMEASURED_PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
