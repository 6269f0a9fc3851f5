//! Repeats what was sent last while a link is new and the peer keeps silent.

use std::time::Duration;

use rondevu_core::Instant;

use crate::Datagram;

/// The datagrams sent since the peer was last heard, DTLS only.
///
/// The engine waits a second before it repeats a handshake message and three before it repeats
/// the first message of SCTP, and cannot be told otherwise: one lost datagram makes of 0.4 s to
/// connect 3.5. The path's round trip is known by then, so what is not answered within a few of
/// them is sent again, the same bytes. The peer takes what it has missed and discards the rest.
///
/// The first words on the first stream are cared for in the same way: a greeting that is lost alone
/// would wait for the engine for as long.
#[derive(Debug)]
pub(crate) struct Flight {
    datagrams: Vec<Datagram>,
    heard: Vec<RecordNumber>,
    resend_at: Option<Instant>,
    wait: Duration,
    resends: u32,
    stage: Stage,
}

/// Epoch and sequence number of a record; a repeated datagram begins with the same.
type RecordNumber = [u8; 8];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The link is being established.
    Establishing,
    /// It is, on this side, and so many datagrams were received since.
    Landing { heard: u32 },
    /// The engine does it better from here.
    Over,
}

impl Flight {
    pub(crate) const fn new() -> Self {
        Self {
            datagrams: Vec::new(),
            heard: Vec::new(),
            resend_at: None,
            wait: WAIT_MIN,
            resends: 0,
            stage: Stage::Establishing,
        }
    }

    /// A check took `round_trip` to be answered.
    pub(crate) fn on_round_trip(&mut self, round_trip: Duration) {
        self.wait = (round_trip * ROUND_TRIPS).max(WAIT_MIN);
    }

    /// A DTLS datagram was sent.
    pub(crate) fn on_sent(&mut self, datagram: &Datagram, now: Instant) {
        if self.stage != Stage::Over && self.datagrams.len() < DATAGRAMS_MAX {
            self.datagrams.push(datagram.clone());
            self.resend_at.get_or_insert(now + self.first_wait());
        }
    }

    fn first_wait(&self) -> Duration {
        match self.stage {
            Stage::Establishing | Stage::Over => self.wait,
            Stage::Landing { .. } => self.wait.max(LANDING_WAIT_MIN),
        }
    }

    /// A DTLS datagram was received: what was sent before it has served its purpose, unless the
    /// peer only repeats itself, because it has missed that.
    pub(crate) fn on_received(&mut self, payload: &[u8]) {
        if self.stage == Stage::Over || self.is_repetition(payload) {
            return;
        }
        self.datagrams.clear();
        self.resend_at = None;
        self.resends = 0;
        if let Stage::Landing { heard } = &mut self.stage {
            *heard += 1;
            if *heard == LANDING_HEARD {
                self.stage = Stage::Over;
                self.heard = Vec::new();
            }
        }
    }

    fn is_repetition(&mut self, payload: &[u8]) -> bool {
        let Some(&number) = payload.get(3..).and_then(<[u8]>::first_chunk) else {
            return false;
        };
        let repetition = self.heard.contains(&number);
        if !repetition && self.heard.len() < HEARD_MAX {
            self.heard.push(number);
        }
        repetition
    }

    /// The first stream is open on this side.
    pub(crate) fn on_opened(&mut self) {
        if self.stage == Stage::Establishing {
            self.stage = Stage::Landing { heard: 0 };
        }
    }

    /// What has to be sent again by `now`.
    pub(crate) fn take_due(&mut self, now: Instant) -> &[Datagram] {
        if self.resend_at.is_none_or(|at| now < at) {
            return &[];
        }
        self.resends += 1;
        let wait = self.first_wait() * 2_u32.pow(self.resends);
        self.resend_at = (self.resends < RESENDS_MAX).then(|| now + wait);
        &self.datagrams
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.resend_at
    }
}

/// The peer needs one round trip, and some time to compute.
const ROUND_TRIPS: u32 = 3;
/// Longer than a slow machine takes for the cryptography of one message.
const WAIT_MIN: Duration = Duration::from_millis(100);
/// Longer than SCTP waits with an acknowledgement, which is 200 ms (RFC 9260, section 16).
const LANDING_WAIT_MIN: Duration = Duration::from_millis(250);
/// A greeting, what opens the channels of a session, and what was waiting.
const LANDING_HEARD: u32 = 8;
/// Each time the wait doubles, so four times of it at 100 ms are 1.5 s: then the engine is on.
const RESENDS_MAX: u32 = 4;
/// A flight of a handshake with a certificate has three or four.
const DATAGRAMS_MAX: usize = 8;

/// A handshake and the opening of a stream take some twenty datagrams, repetitions included.
const HEARD_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_origin(Duration::from_millis(millis))
    }

    fn datagram(n: u8) -> Datagram {
        Datagram {
            source: ([192, 0, 2, 1], 1).into(),
            destination: ([192, 0, 2, 2], 2).into(),
            payload: vec![22, n],
        }
    }

    #[test]
    fn silence_is_answered_by_repetition_ever_more_slowly() {
        let mut flight = Flight::new();
        flight.on_round_trip(Duration::from_millis(50));
        flight.on_sent(&datagram(1), at(0));
        flight.on_sent(&datagram(2), at(1));
        let mut resent = Vec::new();
        for millis in 0..100_000 {
            let due = flight.take_due(at(millis));
            if !due.is_empty() {
                assert_eq!(due, [datagram(1), datagram(2)]);
                resent.push(millis);
            }
        }
        assert_eq!(resent, [150, 450, 1_050, 2_250]);
        assert_eq!(flight.poll_timeout(), None);
    }

    fn record(number: u8) -> [u8; 13] {
        [22, 254, 253, 0, 0, 0, 0, 0, 0, 0, number, 0, 0]
    }

    #[test]
    fn what_was_heard_is_not_repeated() {
        let mut flight = Flight::new();
        flight.on_sent(&datagram(1), at(0));
        flight.on_received(&record(1));
        assert_eq!(flight.poll_timeout(), None);
        flight.on_sent(&datagram(2), at(10));
        flight.on_opened();
        flight.on_sent(&datagram(3), at(20));
        // The peer repeats itself: it has not heard the second.
        flight.on_received(&record(1));
        assert_eq!(flight.take_due(at(110)), [datagram(2), datagram(3)]);
        flight.on_received(&record(2));
        assert_eq!(flight.poll_timeout(), None);
    }

    #[test]
    fn first_words_are_repeated_until_some_were_answered() {
        let mut flight = Flight::new();
        flight.on_opened();
        flight.on_sent(&datagram(1), at(0));
        assert_eq!(flight.take_due(at(249)), []);
        assert_eq!(flight.take_due(at(250)), [datagram(1)]);
        assert_eq!(flight.poll_timeout(), Some(at(750)));
        for number in 1..=8 {
            assert!(flight.poll_timeout().is_some());
            flight.on_received(&record(number));
            flight.on_sent(&datagram(number), at(300));
        }
        assert_eq!(
            flight.poll_timeout(),
            None,
            "the engine does it better from here"
        );
    }
}
