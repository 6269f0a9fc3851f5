//! Explores every interleaving of two real connection machines in a small configuration.
//!
//! Two messages each way on one channel, and a number of cuts at any point. After each step all
//! that a machine asks for is done; what is on its way is delivered in any order that the streams of a
//! link allow, the sends come at any time, and so do time-outs. Two claims are checked in each
//! state: what was received so far is once and in order, and a network that behaves from here on
//! delivers the rest.
//!
//! A state is known by the whole of both machines, as their `Debug` shows it, and by all that is on its
//! way. Left out are random numbers (nonces and the generator; without jitter they decide nothing) and
//! the count of late facts; instants count from now.
//!
//! `cargo xtask model` runs it: `--cuts N`, `--seconds N` to stop earlier.

mod digest;
mod world;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use stateright::{Checker, Model, Property};
use world::World;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (pairs, rest) = arguments.as_chunks::<2>();
    assert!(rest.is_empty(), "each option has a value");
    let options: BTreeMap<&str, u64> = pairs
        .iter()
        .map(|[name, value]| (name.as_str(), value.parse().expect("a number")))
        .collect();
    let option = |name: &str, default| options.get(name).copied().unwrap_or(default);
    let limits = world::Limits {
        cuts: option("--cuts", 2) as u8,
        timeouts: option("--timeouts", 1) as u8,
    };
    let seconds = option("--seconds", 0);
    let begin = Instant::now();
    let mut builder = Conversation { limits }.checker().threads(1);
    if seconds > 0 {
        builder = builder.timeout(Duration::from_secs(seconds));
    }
    let checker = builder.spawn_bfs().join();
    let complete = checker.is_done() && (seconds == 0 || begin.elapsed().as_secs() < seconds);
    println!(
        "{limits:?}: {} states, {} of them distinct, {} steps deep, {:.1} s, {}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        begin.elapsed().as_secs_f64(),
        match complete {
            true => "all of them",
            false => "stopped by the clock",
        }
    );
    let discoveries: BTreeMap<_, _> = checker.discoveries().into_iter().collect();
    for (name, path) in discoveries {
        println!("{name}: {:?}", path.last_state().path);
    }
    for name in [ONCE_AND_IN_ORDER, DELIVERED_IN_THE_END] {
        checker.assert_no_discovery(name);
    }
    checker.assert_any_discovery(ALL_DELIVERED);
    if complete && limits.cuts > 0 {
        checker.assert_any_discovery(ALL_CUT_AND_DELIVERED);
    }
}

struct Conversation {
    limits: world::Limits,
}

/// A state by the steps that lead to it; equal when everything that matters is.
#[derive(Clone, Debug)]
struct State {
    path: Vec<u8>,
    digest: u128,
    choices: u8,
    sound: bool,
    completes: bool,
    delivered: bool,
    cuts: u8,
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for State {}

impl std::hash::Hash for State {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl Conversation {
    fn state(&self, path: Vec<u8>) -> State {
        let mut world = World::replay(self.limits, &path);
        State {
            path,
            digest: world.digest(),
            choices: world.choices().len() as u8,
            sound: world.is_sound(),
            delivered: world.has_delivered_all(),
            cuts: world.cuts(),
            completes: world.completes(),
        }
    }
}

impl Model for Conversation {
    type State = State;
    type Action = u8;

    fn init_states(&self) -> Vec<State> {
        vec![self.state(Vec::new())]
    }

    fn actions(&self, state: &State, actions: &mut Vec<u8>) {
        actions.extend(0..state.choices);
    }

    fn next_state(&self, last: &State, choice: u8) -> Option<State> {
        let mut path = last.path.clone();
        path.push(choice);
        Some(self.state(path))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONCE_AND_IN_ORDER, |_, state: &State| state.sound),
            Property::always(DELIVERED_IN_THE_END, |_, state: &State| state.completes),
            Property::sometimes(ALL_DELIVERED, |_, state: &State| state.delivered),
            Property::sometimes(ALL_CUT_AND_DELIVERED, |model: &Self, state: &State| {
                state.delivered && state.cuts == model.limits.cuts
            }),
        ]
    }
}

const ONCE_AND_IN_ORDER: &str = "each message arrives at most once and in order";
const DELIVERED_IN_THE_END: &str = "a network that behaves delivers everything";
const ALL_DELIVERED: &str = "everything can be delivered";
const ALL_CUT_AND_DELIVERED: &str = "everything can be delivered across all the cuts";
