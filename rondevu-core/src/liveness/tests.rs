//! Silence and round trips: by hand, and each state against each fact.

use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};

use super::*;
use crate::state_table;

fn at(ms: u64) -> Instant {
    Instant::from_origin(Duration::from_millis(ms))
}

/// On a fast path.
fn liveness() -> Liveness {
    let mut liveness = unmeasured();
    liveness.round_trip = Some(RoundTrip {
        smoothed: Duration::from_millis(20),
        variation: Duration::ZERO,
    });
    liveness
}

fn unmeasured() -> Liveness {
    Liveness::new(LivenessConfig::default(), at(0))
}

#[test]
fn a_path_that_was_not_measured_yet_is_given_more_time() {
    let mut l = unmeasured();
    l.start_ping(at(0));
    assert_eq!(
        told_until(&mut l, 1999),
        ["500 ms: ping 1", "1000 ms: ping 2", "1500 ms: ping 3"]
    );
    assert_eq!(l.handle_timeout(at(2000)), Some(LivenessTimeout::Suspect));
}

/// What the watch asks for, woken when it wants to be.
fn told_until(l: &mut Liveness, end_ms: u64) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(deadline) = l
        .poll_timeout()
        .filter(|deadline| deadline.at <= at(end_ms))
    {
        let ms = deadline.at.saturating_since(at(0)).as_millis();
        told.push(match l.handle_timeout(deadline.at) {
            Some(LivenessTimeout::SendPing(id)) => format!("{ms} ms: ping {id}"),
            Some(LivenessTimeout::Suspect) => format!("{ms} ms: suspect"),
            None => format!("{ms} ms: woken for nothing"),
        });
    }
    told
}

#[test]
fn a_peer_that_owes_an_answer_is_pinged_before_it_is_suspect() {
    let mut l = liveness();
    l.on_expecting(at(100));
    let expected = [
        "225 ms: ping 0",
        "350 ms: ping 1",
        "475 ms: ping 2",
        "600 ms: suspect",
    ];
    assert_eq!(told_until(&mut l, 10_000), expected);
}

#[test]
fn a_datagram_below_the_messages_keeps_the_link_from_being_suspect() {
    let mut l = liveness();
    l.on_expecting(at(100));
    assert_eq!(told_until(&mut l, 300), ["225 ms: ping 0"]);
    l.on_datagram(at(300));
    let expected = [
        "425 ms: ping 1",
        "550 ms: ping 2",
        "675 ms: ping 3",
        "800 ms: suspect",
    ];
    assert_eq!(told_until(&mut l, 10_000), expected);
}

#[test]
fn datagrams_without_an_answer_do_so_for_a_while() {
    let mut l = liveness();
    l.on_expecting(at(100));
    for ms in (200..).step_by(100).take_while(|ms| *ms < 5100) {
        l.on_datagram(at(ms));
        assert_eq!(told_until(&mut l, ms), Vec::<String>::new());
    }
    assert_eq!(told_until(&mut l, 10_000), ["5100 ms: suspect"]);
}

#[test]
fn whoever_wakes_it_late_gets_one_ping() {
    let mut l = liveness();
    l.on_expecting(at(0));
    assert_eq!(
        l.handle_timeout(at(499)),
        Some(LivenessTimeout::SendPing(0))
    );
    assert_eq!(l.handle_timeout(at(499)), None);
}

#[test]
fn an_idle_link_is_pinged_and_stays_healthy_when_it_answers() {
    let mut l = liveness();
    assert_eq!(l.handle_timeout(at(4999)), None);
    assert_eq!(
        l.handle_timeout(at(5000)),
        Some(LivenessTimeout::SendPing(0))
    );
    l.on_pong(0, at(5020));
    assert!(!l.on_heard(false, at(5020)));
    assert_eq!(l.round_trip_time(), Some(Duration::from_millis(20)));
    assert_eq!(
        l.poll_timeout(),
        Some(Deadline::new(at(10020), DeadlineReason::Heartbeat))
    );
}

#[test]
fn an_unanswered_ping_makes_the_link_suspect_once() {
    let mut l = liveness();
    l.handle_timeout(at(5000));
    assert_eq!(told_until(&mut l, 5499).len(), 3);
    assert_eq!(l.handle_timeout(at(5500)), Some(LivenessTimeout::Suspect));
    assert_eq!((l.handle_timeout(at(9000)), l.poll_timeout()), (None, None));
    assert!(l.on_heard(false, at(9001)), "heals");
    assert!(!l.is_suspect());
}

#[test]
fn the_answer_that_was_owed_first_counts() {
    let mut l = liveness();
    l.on_expecting(at(100));
    l.on_expecting(at(400));
    assert_eq!(l.handle_timeout(at(600)), Some(LivenessTimeout::Suspect));
}

#[test]
fn a_peer_that_keeps_answering_is_given_time_for_the_rest() {
    let mut l = liveness();
    l.on_expecting(at(0));
    l.on_heard(true, at(400));
    assert_eq!(l.handle_timeout(at(524)), None);
    assert_eq!(l.handle_timeout(at(900)), Some(LivenessTimeout::Suspect));
}

#[test]
fn a_slow_path_is_given_several_round_trips() {
    let mut l = unmeasured();
    l.handle_timeout(at(5000));
    l.on_pong(0, at(5400));
    l.on_heard(false, at(5400));
    l.on_expecting(at(6000));
    // 4 × (400 ms + 200 ms of variation)
    let expected = [
        "6600 ms: ping 1",
        "7200 ms: ping 2",
        "7800 ms: ping 3",
        "8400 ms: suspect",
    ];
    assert_eq!(told_until(&mut l, 10_000), expected);
}

#[test]
fn what_needs_no_answer_is_followed_by_a_ping_after_a_silence() {
    let mut l = liveness();
    assert_eq!(l.on_sent_unanswered(at(499)), None);
    assert_eq!(l.on_sent_unanswered(at(500)), Some(0));
    assert_eq!(l.on_sent_unanswered(at(501)), None, "one is on its way");
}

#[test]
fn an_answer_that_an_outage_delayed_measures_nothing() {
    let mut l = liveness();
    let before = l.round_trip_time();
    assert_eq!(told_until(&mut l, 5500).last().unwrap(), "5500 ms: suspect");
    l.on_pong(0, at(60_000));
    assert!(l.on_heard(false, at(60_000)), "heals");
    assert_eq!(l.round_trip_time(), before);
}

#[test]
fn a_pong_that_nobody_asked_for_measures_nothing() {
    let mut l = unmeasured();
    l.on_pong(7, at(10));
    assert_eq!(l.round_trip_time(), None);
}

/// Something that happens to the watch over a link.
#[derive(Clone, Copy, Debug)]
enum Fact {
    Heard { owes_more: bool },
    Expecting,
    Datagram,
    StartPing,
    SentUnanswered { ms: u64 },
    Pong(u32),
    Suspect,
    Timeout { ms: u64 },
}

impl Fact {
    const fn method(self) -> &'static str {
        match self {
            Self::Heard { .. } => "on_heard",
            Self::Expecting => "on_expecting",
            Self::Datagram => "on_datagram",
            Self::StartPing => "start_ping",
            Self::SentUnanswered { .. } => "on_sent_unanswered",
            Self::Pong(_) => "on_pong",
            Self::Suspect => "suspect",
            Self::Timeout { .. } => "handle_timeout",
        }
    }

    /// What it makes the watch say.
    fn happen(self, l: &mut Liveness) -> Option<String> {
        let ping = |id: u32| format!("ping {id}");
        match self {
            Self::Heard { owes_more } => {
                return l.on_heard(owes_more, at(100)).then(|| "healed".into());
            }
            Self::Expecting => l.on_expecting(at(100)),
            Self::Datagram => l.on_datagram(at(100)),
            Self::StartPing => return Some(ping(l.start_ping(at(100)))),
            Self::SentUnanswered { ms } => return l.on_sent_unanswered(at(ms)).map(ping),
            Self::Pong(id) => l.on_pong(id, at(100)),
            Self::Suspect => l.suspect(),
            Self::Timeout { ms } => {
                return l.handle_timeout(at(ms)).map(|due| match due {
                    LivenessTimeout::SendPing(id) => ping(id),
                    LivenessTimeout::Suspect => "tells".into(),
                });
            }
        }
        None
    }
}

fn name_of(l: &Liveness) -> &'static str {
    match (l.state, l.ping) {
        (State::Quiet, None) => "quiet",
        (State::Quiet, Some(_)) => "quiet with a ping",
        (State::Expecting { .. }, None) => "expecting",
        (State::Expecting { .. }, Some(_)) => "expecting a pong",
        (State::Suspect, None) => "suspect",
        (State::Suspect, Some(_)) => "suspect with a ping",
    }
}

fn expecting() -> Liveness {
    let mut l = liveness();
    l.on_expecting(at(0));
    l
}

fn pinged() -> Liveness {
    let mut l = liveness();
    l.start_ping(at(0));
    l
}

fn suspect() -> Liveness {
    let mut l = pinged();
    l.suspect();
    l
}

/// Each state against each fact, on a path of 20 ms that was heard at 0 ms. Whoever expects something
/// has done so since 0 ms, and a ping that is out has the number 0.
const TABLE: &str = "\
quiet
    heard                                is heard
    heard, more is owed                  expecting
    sent what is answered                expecting
    ping                                 expecting a pong, ping 0
    sent what is not answered at 500 ms  expecting a pong, ping 0
    suspect                              suspect
    time-out at 5 s                      expecting a pong, ping 0
    nothing: a datagram, sent what is not answered at 499 ms, pong 0, pong 7, time-out at 124 ms, time-out at 125 ms, time-out at 500 ms
expecting
    heard                                quiet
    heard, more is owed                  is heard
    a datagram                           has more time
    ping                                 expecting a pong, ping 0
    suspect                              suspect
    time-out at 125 ms                   expecting a pong, ping 0
    time-out at 500 ms                   suspect, tells
    time-out at 5 s                      suspect, tells
    nothing: sent what is answered, sent what is not answered at 499 ms, sent what is not answered at 500 ms, pong 0, pong 7, time-out at 124 ms
expecting a pong
    heard                                is heard
    heard, more is owed                  is heard
    a datagram                           has more time
    ping                                 ping 1
    pong 0                               expecting, measures
    suspect                              suspect
    time-out at 125 ms                   ping 1
    time-out at 500 ms                   suspect, tells
    time-out at 5 s                      suspect, tells
    nothing: sent what is answered, sent what is not answered at 499 ms, sent what is not answered at 500 ms, pong 7, time-out at 124 ms
suspect
    heard                                quiet, healed
    heard, more is owed                  expecting, healed
    ping                                 suspect with a ping, ping 1
    nothing: sent what is answered, a datagram, sent what is not answered at 499 ms, sent what is not answered at 500 ms, pong 0, pong 7, suspect, time-out at 124 ms, time-out at 125 ms, time-out at 500 ms, time-out at 5 s
";

#[test]
fn each_state_against_each_fact() {
    // Nobody pings on a suspect link, so there is no state for that.
    let makers: Vec<fn() -> Liveness> = vec![liveness, expecting, pinged, suspect];
    let states: Vec<_> = makers
        .iter()
        .map(|make| (name_of(&make()), *make))
        .collect();
    let facts = [
        ("heard", Fact::Heard { owes_more: false }),
        ("heard, more is owed", Fact::Heard { owes_more: true }),
        ("sent what is answered", Fact::Expecting),
        ("a datagram", Fact::Datagram),
        ("ping", Fact::StartPing),
        (
            "sent what is not answered at 499 ms",
            Fact::SentUnanswered { ms: 499 },
        ),
        (
            "sent what is not answered at 500 ms",
            Fact::SentUnanswered { ms: 500 },
        ),
        ("pong 0", Fact::Pong(0)),
        ("pong 7", Fact::Pong(7)),
        ("suspect", Fact::Suspect),
        ("time-out at 124 ms", Fact::Timeout { ms: 124 }),
        ("time-out at 125 ms", Fact::Timeout { ms: 125 }),
        ("time-out at 500 ms", Fact::Timeout { ms: 500 }),
        ("time-out at 5 s", Fact::Timeout { ms: 5000 }),
    ];
    let mut methods: Vec<_> = facts.iter().map(|(_, fact)| fact.method()).collect();
    methods.sort_unstable();
    methods.dedup();
    assert_eq!(
        methods,
        state_table::commands_in(include_str!("../liveness.rs"))
    );

    let written = state_table::write(&states, &facts, |make, fact| {
        let mut l = make();
        let (before, measured) = (name_of(&l), l.round_trip_time());
        let said = fact.happen(&mut l);
        let changed = name_of(&l) != before;
        let mut effects: Vec<String> = changed.then(|| name_of(&l).into()).into_iter().collect();
        effects.extend(said);
        if l.round_trip_time() != measured {
            effects.push("measures".into());
        }
        if effects.is_empty() && l.heard_at == at(100) {
            effects.push("is heard".into());
        }
        if let State::Expecting { since, .. } = l.state
            && since == at(100)
            && effects.is_empty()
        {
            effects.push("has more time".into());
        }
        Some(effects.join(", "))
    });
    state_table::check(&written, TABLE);
}
