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
    /// A peer that owes an answer and gives none, although its datagrams come in, is given this
    /// long: they may be repetitions of what it could not deliver. Default 5 s.
    pub unanswered_max: Duration,
}

impl Default for LivenessConfig {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(5),
            silence_min: Duration::from_millis(500),
            silence_round_trips: 4,
            unanswered_max: Duration::from_secs(5),
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
/// While an answer is owed, a datagram of whatever kind gives the peer the whole time again, until
/// it has not answered for `unanswered_max`.
///
/// A message that the peer has to acknowledge makes it owe an answer just as a ping does, so a
/// busy link notices a cut sooner than an idle one.
///
/// One lost datagram is no cut, but SCTP waits for a second before it repeats a lone one (RFC 9260,
/// section 16). So a peer that owes an answer is pinged after each quarter of the patience. Pings
/// travel on a stream of their own; what comes back for them, be it an acknowledgement below the
/// messages, shows that the path lives and tells SCTP what to repeat. A link becomes suspect only
/// when all of it was lost.
#[derive(Clone, Debug)]
pub struct Liveness {
    config: LivenessConfig,
    heard_at: Instant,
    state: State,
    /// The oldest that was not answered. It is the one that is measured: answers come in the order
    /// of the pings, and one that is slower than the next ping must count most.
    ping: Option<(u32, Instant)>,
    next_ping: u32,
    round_trip: Option<RoundTrip>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Quiet,
    Expecting {
        /// When the peer gave a sign of life, or began to owe an answer.
        since: Instant,
        /// When it said something, or began to owe an answer.
        unanswered_since: Instant,
        /// How many quarters of the patience have passed since the sign of life.
        probes: u32,
    },
    Suspect,
}

#[derive(Clone, Copy, Debug)]
struct RoundTrip {
    smoothed: Duration,
    variation: Duration,
}

impl State {
    const fn expecting(since: Instant) -> Self {
        Self::Expecting {
            since,
            unanswered_since: since,
            probes: 0,
        }
    }
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
            State::expecting(now)
        } else {
            State::Quiet
        };
        healed
    }

    /// Something was sent that the peer has to answer.
    pub fn on_expecting(&mut self, now: Instant) {
        if self.state == State::Quiet {
            self.state = State::expecting(now);
        }
    }

    /// A datagram came from the peer, below the messages: the path lives, whatever became of the
    /// answer that it owes.
    pub fn on_datagram(&mut self, now: Instant) {
        if let State::Expecting { since, probes, .. } = &mut self.state {
            (*since, *probes) = (now, 0);
        }
    }

    /// Begins a ping of its own accord, for instance to measure the round trip.
    pub fn start_ping(&mut self, now: Instant) -> u32 {
        let id = self.next_ping;
        self.next_ping = id.wrapping_add(1);
        self.ping.get_or_insert((id, now));
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

    /// The peer answered ping `id`. The answers to pings that followed the one that is measured are
    /// ignored.
    pub fn on_pong(&mut self, id: u32, now: Instant) {
        if let Some((oldest, at)) = self.ping
            && oldest == id
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
        if self.loses_patience_at().is_some_and(|at| at <= now) {
            self.suspect();
            return Some(LivenessTimeout::Suspect);
        }
        let patience = self.patience();
        let ping = match &mut self.state {
            State::Quiet => self.heartbeat_at() <= now,
            State::Expecting { since, probes, .. } => {
                let before = *probes;
                while *probes < PROBES && probe_at(*since, patience, *probes) <= now {
                    *probes += 1;
                }
                *probes > before
            }
            State::Suspect => false,
        };
        ping.then(|| LivenessTimeout::SendPing(self.start_ping(now)))
    }

    fn heartbeat_at(&self) -> Instant {
        self.heard_at + self.config.heartbeat
    }

    fn loses_patience_at(&self) -> Option<Instant> {
        let State::Expecting {
            since,
            unanswered_since,
            ..
        } = self.state
        else {
            return None;
        };
        let patience = self.patience();
        let unanswered_max = self.config.unanswered_max.max(patience);
        Some((since + patience).min(unanswered_since + unanswered_max))
    }

    /// When to ping, or when to lose patience. A suspect link has no deadline here.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        match self.state {
            State::Quiet => Some(Deadline::new(
                self.heartbeat_at(),
                DeadlineReason::Heartbeat,
            )),
            State::Expecting { since, probes, .. } => {
                let probe = (probes < PROBES).then(|| {
                    let at = probe_at(since, self.patience(), probes);
                    Deadline::new(at, DeadlineReason::Heartbeat)
                });
                let end = self.loses_patience_at();
                let end = end.map(|at| Deadline::new(at, DeadlineReason::Silence));
                Deadline::earlier(end, probe)
            }
            State::Suspect => None,
        }
    }
}

/// When a peer that was heard `since` is pinged after so many times.
fn probe_at(since: Instant, patience: Duration, probes: u32) -> Instant {
    since + patience * (probes + 1) / (PROBES + 1)
}

/// How often a silent peer is pinged before it is suspect.
const PROBES: u32 = 3;

/// Before the first round trip was measured the path may be a slow one.
const UNMEASURED_PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
