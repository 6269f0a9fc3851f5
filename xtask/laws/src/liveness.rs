//! The watch over one link's silence.

use rondevu_core::{Deadline, Instant, Liveness, LivenessConfig, LivenessTimeout};

use crate::{Machine, Script, Trace, hold_for};

/// The laws hold, and a link that is heard is never suspect.
pub(crate) fn liveness(input: &[u8]) {
    hold_for(|_| Subject::new(), input);
}

struct Subject {
    liveness: Liveness,
    now: Instant,
    pings: Vec<u32>,
    out: Vec<LivenessTimeout>,
}

impl Subject {
    fn new() -> Self {
        Self {
            liveness: Liveness::new(LivenessConfig::default(), Instant::ORIGIN),
            now: Instant::ORIGIN,
            pings: Vec::new(),
            out: Vec::new(),
        }
    }
}

impl Machine for Subject {
    fn step(&mut self, script: &mut Script<'_>) {
        match script.pick(9) {
            0 => {
                let suspect = self.liveness.is_suspect();
                let healed = self.liveness.on_heard(script.flag(), self.now);
                assert_eq!(healed, suspect, "only a suspect link heals");
                assert!(!self.liveness.is_suspect(), "it was just heard");
            }
            1 => self.liveness.on_expecting(self.now),
            2 => self.pings.push(self.liveness.start_ping(self.now)),
            3 => self
                .pings
                .extend(self.liveness.on_sent_unanswered(self.now)),
            4 => self.liveness.on_pong(script.byte().into(), self.now),
            5 => self
                .liveness
                .on_pong(self.pings.last().copied().unwrap_or(0), self.now),
            6 => self.liveness.on_datagram(self.now),
            7 if script.pick(10) == 0 => self.liveness.suspect(),
            _ => self.now += script.duration(),
        }
    }

    fn drain(&mut self, trace: &mut Trace) {
        for output in self.out.drain(..) {
            trace.push(&output);
        }
        for ping in &self.pings {
            trace.push(ping);
        }
        self.pings.clear();
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn handle_timeout(&mut self) {
        self.out.extend(self.liveness.handle_timeout(self.now));
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.liveness.poll_timeout()
    }

    fn is_over(&self) -> bool {
        false
    }

    fn check(&self) {
        assert_eq!(
            self.liveness.is_suspect(),
            self.liveness.poll_timeout().is_none(),
            "a link that is not suspect is watched"
        );
    }
}
