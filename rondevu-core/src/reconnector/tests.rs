//! Counting of attempts: by hand, each state against each fact, and against a model.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::state_table;

const STABLE: Duration = Duration::from_secs(10);

fn at(secs: u64) -> Instant {
    Instant::from_origin(Duration::from_secs(secs))
}

fn reconnector() -> Reconnector {
    Reconnector::new(BackoffPolicy::default(), STABLE, 7)
}

#[test]
fn attempts_are_counted_up_to_the_maximum() {
    let mut r = reconnector();
    for n in 1..=10 {
        assert_eq!(r.next_attempt().map(|a| a.number), Some(n));
    }
    assert_eq!(r.next_attempt(), None);
}

#[test]
fn a_link_that_comes_and_goes_is_not_given_up_and_does_not_reset_the_delay() {
    let mut r = reconnector();
    for n in 1..=100 {
        let attempt = r.next_attempt().unwrap();
        assert_eq!((attempt.number, r.attempts()), (1, n));
        let nominal = r.policy.nominal_delay(n);
        assert!((nominal / 2..nominal * 2).contains(&attempt.delay));
        r.on_link_up(at(0));
        r.on_ack();
        r.on_link_lost(at(9));
        assert_eq!(r.attempts_in_a_row(), 0);
    }
}

#[test]
fn links_of_no_use_are_given_up_although_they_carried_an_acknowledgement() {
    let mut r = reconnector();
    for n in 1..=10 {
        assert_eq!(r.next_attempt().map(|a| a.number), Some(n));
        r.on_link_up(at(0));
        r.on_ack();
        r.on_useless_link_lost(at(9));
    }
    assert_eq!(r.next_attempt(), None);
}

#[test]
fn links_without_an_acknowledgement_are_given_up() {
    let mut r = reconnector();
    for n in 1..=10 {
        assert_eq!(r.next_attempt().map(|a| a.number), Some(n));
        r.on_link_up(at(0));
        r.on_link_lost(at(60));
    }
    assert_eq!(r.next_attempt(), None);
}

#[test]
fn a_link_that_was_up_long_enough_without_an_ack_is_not_stable() {
    let mut r = reconnector();
    r.next_attempt();
    r.on_link_up(at(0));
    assert_eq!(r.poll_timeout(), None);
    r.on_link_lost(at(60));
    assert_eq!(r.attempts(), 1);
}

#[test]
fn a_stable_link_resets_the_count() {
    let mut r = reconnector();
    r.next_attempt();
    r.on_link_up(at(0));
    r.on_ack();
    assert_eq!(
        r.poll_timeout(),
        Some(Deadline::new(at(10), DeadlineReason::Stable))
    );
    r.handle_timeout(at(10));
    assert!(r.is_stable());
    assert_eq!((r.attempts(), r.poll_timeout()), (0, None));
}

/// Something that happens to a reconnector.
#[derive(Clone, Copy, Debug)]
enum Fact {
    LinkUp,
    Ack,
    LinkLost { secs: u64 },
    UselessLinkLost { secs: u64 },
    NextAttempt,
    Reset,
    Timeout { secs: u64 },
}

impl Fact {
    const fn method(self) -> &'static str {
        match self {
            Self::LinkUp => "on_link_up",
            Self::Ack => "on_ack",
            Self::LinkLost { .. } => "on_link_lost",
            Self::UselessLinkLost { .. } => "on_useless_link_lost",
            Self::NextAttempt => "next_attempt",
            Self::Reset => "reset",
            Self::Timeout { .. } => "handle_timeout",
        }
    }

    /// Does it at `base` plus the seconds that it names; the number of the attempt that may be made.
    fn happen(self, r: &mut Reconnector, base: u64) -> Option<Option<u32>> {
        match self {
            Self::LinkUp => r.on_link_up(at(base)),
            Self::Ack => r.on_ack(),
            Self::LinkLost { secs } => r.on_link_lost(at(base + secs)),
            Self::UselessLinkLost { secs } => r.on_useless_link_lost(at(base + secs)),
            Self::NextAttempt => return Some(r.next_attempt().map(|attempt| attempt.number)),
            Self::Reset => r.reset(),
            Self::Timeout { secs } => r.handle_timeout(at(base + secs)),
        }
        None
    }
}

fn name_of(link: Link) -> &'static str {
    match link {
        Link::Down => "down",
        Link::Up { acked: false, .. } => "up",
        Link::Up { acked: true, .. } => "acked",
        Link::Stable => "stable",
    }
}

/// Each state against each fact. Two attempts were made before; a link that is up has been so since
/// 0 s, and is stable after 10 s.
const TABLE: &str = "\
down
    link up                   up
    next attempt              attempt 3
    reset                     0 attempts
    nothing: ack, link lost at 5 s, link lost at 10 s, useless link lost at 5 s, time-out at 5 s, time-out at 10 s
up
    ack                       acked
    link lost at 5 s          down
    link lost at 10 s         down
    useless link lost at 5 s  down
    next attempt              attempt 3
    reset                     0 attempts
    nothing: link up, time-out at 5 s, time-out at 10 s
acked
    link up                   up
    link lost at 5 s          down, 0 in a row
    link lost at 10 s         down, 0 attempts
    useless link lost at 5 s  down
    next attempt              attempt 3
    reset                     0 attempts
    time-out at 10 s          stable, 0 attempts
    nothing: ack, time-out at 5 s
stable
    link up                   up
    link lost at 5 s          down
    link lost at 10 s         down
    useless link lost at 5 s  down
    next attempt              attempt 3
    reset                     0 attempts
    nothing: ack, time-out at 5 s, time-out at 10 s
";

#[test]
fn each_state_against_each_fact() {
    let up = |acked| Link::Up {
        since: at(0),
        acked,
    };
    let states = [Link::Down, up(false), up(true), Link::Stable].map(|link| (name_of(link), link));
    let facts = [
        ("link up", Fact::LinkUp),
        ("ack", Fact::Ack),
        ("link lost at 5 s", Fact::LinkLost { secs: 5 }),
        ("link lost at 10 s", Fact::LinkLost { secs: 10 }),
        (
            "useless link lost at 5 s",
            Fact::UselessLinkLost { secs: 5 },
        ),
        ("next attempt", Fact::NextAttempt),
        ("reset", Fact::Reset),
        ("time-out at 5 s", Fact::Timeout { secs: 5 }),
        ("time-out at 10 s", Fact::Timeout { secs: 10 }),
    ];
    let mut methods: Vec<_> = facts.iter().map(|(_, fact)| fact.method()).collect();
    methods.sort_unstable();
    methods.dedup();
    assert_eq!(
        methods,
        state_table::commands_in(include_str!("../reconnector.rs"))
    );

    let written = state_table::write(&states, &facts, |link, fact| {
        let mut r = reconnector();
        (r.link, r.attempts, r.in_a_row) = (link, 2, 2);
        let attempt = fact.happen(&mut r, 0).flatten();
        let mut effects: Vec<String> = Vec::new();
        if name_of(r.link) != name_of(link) {
            effects.push(name_of(r.link).into());
        }
        match attempt {
            Some(number) => effects.push(format!("attempt {number}")),
            None if r.attempts != 2 => effects.push(format!("{} attempts", r.attempts)),
            None if r.in_a_row != 2 => effects.push(format!("{} in a row", r.in_a_row)),
            None => {}
        }
        Some(effects.join(", "))
    });
    state_table::check(&written, TABLE);
}

/// What a plain list of everything that happened says: how many attempts were made since the last
/// stable link, and since the last link that carried an acknowledgement.
#[derive(Debug, Default)]
struct Model {
    history: Vec<(u64, Fact)>,
}

impl Model {
    fn attempts(&self, attempts_max: u32) -> (u32, u32) {
        let (mut attempts, mut in_a_row) = (0, 0);
        // Since when the link is up, and whether it carried an acknowledgement.
        let mut up: Option<(u64, bool)> = None;
        for (secs, fact) in &self.history {
            let is_stable = |up: Option<(u64, bool)>| {
                up.is_some_and(|(since, acked)| acked && secs - since >= STABLE.as_secs())
            };
            match fact {
                Fact::LinkUp => up = Some((*secs, false)),
                Fact::Ack => up = up.map(|(since, _)| (since, true)),
                Fact::NextAttempt if in_a_row < attempts_max => {
                    (attempts, in_a_row) = (attempts + 1, in_a_row + 1);
                }
                Fact::NextAttempt => {}
                Fact::Reset => (attempts, in_a_row) = (0, 0),
                Fact::Timeout { .. } | Fact::LinkLost { .. } | Fact::UselessLinkLost { .. } => {
                    if is_stable(up) {
                        // It is counted once.
                        (attempts, in_a_row, up) = (0, 0, None);
                    }
                    if matches!(fact, Fact::LinkLost { .. }) && up.is_some_and(|(_, acked)| acked) {
                        in_a_row = 0;
                    }
                    if !matches!(fact, Fact::Timeout { .. }) {
                        up = None;
                    }
                }
            }
        }
        (attempts, in_a_row)
    }
}

fn fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        Just(Fact::LinkUp),
        Just(Fact::Ack),
        Just(Fact::LinkLost { secs: 0 }),
        Just(Fact::UselessLinkLost { secs: 0 }),
        Just(Fact::NextAttempt),
        Just(Fact::Reset),
        Just(Fact::Timeout { secs: 0 }),
    ]
}

proptest! {
    #[test]
    fn counts_like_a_list_of_all_that_happened(
        steps in prop::collection::vec((0u64..8, fact()), 0..60),
        attempts_max in 1u32..6,
    ) {
        let policy = BackoffPolicy {
            attempts_max: Some(attempts_max),
            ..BackoffPolicy::default()
        };
        let mut r = Reconnector::new(policy, STABLE, 7);
        let mut model = Model::default();
        let mut now = 0;
        for (pause, fact) in steps {
            now += pause;
            let may_go_on = model.attempts(attempts_max).1 < attempts_max;
            model.history.push((now, fact));
            let attempt = fact.happen(&mut r, now);
            let counted = (r.attempts(), r.attempts_in_a_row());
            prop_assert_eq!(counted, model.attempts(attempts_max));
            if let Some(attempt) = attempt {
                prop_assert_eq!(attempt, may_go_on.then(|| r.attempts_in_a_row()));
            }
        }
    }
}
