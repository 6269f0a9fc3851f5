//! Asks one STUN server how the datagrams of one socket look from outside, and keeps asking.

use std::net::SocketAddr;
use std::time::Duration;

use rondevu_core::Instant;

use crate::stun::{Class, Stun, Transaction, question};

/// The question of one bound address to one STUN server (RFC 8489).
///
/// ```text
///        answer                    keep-alive due
/// Asking ──────► Known ───────────────────────────► Asking (the address stays known)
///    └─ five unanswered ─► Silent ── retry due ──► Asking
/// ```
///
/// A NAT forgets an address that nothing is sent from. So the question is repeated while somebody
/// may want to use the address; an answer that names another one tells that the NAT has forgotten.
#[derive(Debug)]
pub(super) struct Reflexive {
    base: SocketAddr,
    server: SocketAddr,
    rng: fastrand::Rng,
    state: State,
    mapped: Option<SocketAddr>,
    /// Whether the latest round of questions found no answer.
    silent: bool,
}

#[derive(Debug)]
enum State {
    /// A question is out, or due at once.
    Asking {
        transaction: Transaction,
        asked: u32,
        next_at: Instant,
    },
    /// The address is known; asked again later.
    Known { ask_at: Instant },
    /// The server does not answer; asked again later.
    Silent { ask_at: Instant },
    /// Nobody wants to know any more.
    Idle,
}

impl Reflexive {
    pub(super) fn new(base: SocketAddr, server: SocketAddr, seed: u64, now: Instant) -> Self {
        let mut reflexive = Self {
            base,
            server,
            rng: fastrand::Rng::with_seed(seed),
            state: State::Idle,
            mapped: None,
            silent: false,
        };
        reflexive.ask(now);
        reflexive
    }

    pub(super) const fn base(&self) -> SocketAddr {
        self.base
    }

    pub(super) const fn server(&self) -> SocketAddr {
        self.server
    }

    /// The address that the server saw, as far as it is known.
    pub(super) const fn mapped(&self) -> Option<SocketAddr> {
        self.mapped
    }

    /// Whether the first question was answered or given up.
    pub(super) fn is_settled(&self) -> bool {
        self.mapped.is_some() || self.silent || matches!(self.state, State::Idle)
    }

    /// Whether the server does not answer.
    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }

    /// Asks no more; the address may be forgotten.
    pub(super) fn rest(&mut self) {
        self.state = State::Idle;
    }

    /// A STUN message from the server to the base; whether it was the answer.
    pub(super) fn handle_response(&mut self, stun: &Stun<'_>, now: Instant) -> bool {
        let State::Asking { transaction, .. } = self.state else {
            return false;
        };
        if stun.class() != Class::Success || stun.transaction() != transaction {
            return false;
        }
        let Some(mapped) = stun.mapped_address() else {
            return false;
        };
        self.mapped = Some(mapped);
        self.silent = false;
        self.state = State::Known {
            ask_at: now + KEEP_ALIVE,
        };
        true
    }

    /// The next question to send to the server, if one is due.
    pub(super) fn poll_question(&mut self, now: Instant) -> Option<Vec<u8>> {
        match &mut self.state {
            State::Known { ask_at } | State::Silent { ask_at } if *ask_at <= now => self.ask(now),
            State::Asking { asked, next_at, .. } if *next_at <= now && *asked >= ASKED_MAX => {
                self.mapped = None;
                self.silent = true;
                self.state = State::Silent {
                    ask_at: now + RETRY,
                };
            }
            State::Asking { .. } | State::Known { .. } | State::Silent { .. } | State::Idle => {}
        }
        let State::Asking {
            transaction,
            asked,
            next_at,
        } = &mut self.state
        else {
            return None;
        };
        if *next_at > now {
            return None;
        }
        *next_at = now + FIRST_WAIT * 2_u32.pow(*asked);
        *asked += 1;
        Some(question(*transaction))
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Asking { next_at, .. } => Some(next_at),
            State::Known { ask_at } | State::Silent { ask_at } => Some(ask_at),
            State::Idle => None,
        }
    }

    fn ask(&mut self, now: Instant) {
        let mut transaction = [0; 12];
        self.rng.fill(&mut transaction);
        self.state = State::Asking {
            transaction,
            asked: 0,
            next_at: now,
        };
    }
}

/// RFC 8489 asks for 500 ms where nothing is known of the path. A handful of questions does no harm
/// at half of that, and an address that is lost for a second would come too late.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// After 250 ms · (2⁵ - 1), about 8 s, there is nobody.
const ASKED_MAX: u32 = 5;
/// RFC 8445, section 11. NATs forget after 30 s at the earliest.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Networks come back.
const RETRY: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stun::mapped;

    fn at(millis: u64) -> Instant {
        Instant::from_origin(Duration::from_millis(millis))
    }

    fn asked() -> Reflexive {
        let base = SocketAddr::from(([10, 0, 0, 2], 5000));
        let server = SocketAddr::from(([203, 0, 113, 9], 3478));
        Reflexive::new(base, server, 7, at(0))
    }

    fn answer(reflexive: &mut Reflexive, question: &[u8], port: u16, millis: u64) -> bool {
        let asked = Stun::parse(question).unwrap();
        let answer = mapped(
            asked.transaction(),
            SocketAddr::from(([203, 0, 113, 1], port)),
        );
        reflexive.handle_response(&Stun::parse(&answer).unwrap(), at(millis))
    }

    #[test]
    fn the_address_is_kept_open_and_a_new_one_noticed() {
        let mut reflexive = asked();
        let question = reflexive.poll_question(at(0)).unwrap();
        assert!(!reflexive.is_settled());
        assert!(answer(&mut reflexive, &question, 7000, 30));
        assert_eq!(reflexive.mapped().map(|a| a.port()), Some(7000));
        assert_eq!(reflexive.poll_timeout(), Some(at(15_030)));
        assert!(!answer(&mut reflexive, &question, 7001, 40), "twice");

        let again = reflexive.poll_question(at(15_030)).unwrap();
        assert_ne!(again, question);
        assert_eq!(reflexive.mapped().map(|a| a.port()), Some(7000));
        assert!(!answer(&mut reflexive, &question, 7001, 15_040), "stale");
        assert!(answer(&mut reflexive, &again, 7001, 15_050));
        assert_eq!(reflexive.mapped().map(|a| a.port()), Some(7001));
    }

    #[test]
    fn a_server_that_does_not_answer_is_given_up_for_a_while() {
        let mut reflexive = asked();
        let mut sent = Vec::new();
        let mut now = at(0);
        while !reflexive.is_silent() {
            if reflexive.poll_question(now).is_some() {
                sent.push((now - at(0)).as_millis());
            }
            now = reflexive.poll_timeout().unwrap();
        }
        assert_eq!(sent, [0, 250, 750, 1_750, 3_750]);
        assert!(reflexive.is_settled());
        assert_eq!(now, at(7_750 + 15_000));
        assert!(reflexive.poll_question(now).is_some());
    }

    #[test]
    fn at_rest_nothing_is_asked() {
        let mut reflexive = asked();
        reflexive.rest();
        assert_eq!(reflexive.poll_timeout(), None);
        assert_eq!(reflexive.poll_question(at(100_000)), None);
    }
}
