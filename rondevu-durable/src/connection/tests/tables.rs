//! Each state of a connection against each command and each fact.
//!
//! The tables stand in [`dialer.txt`](tables/dialer.txt) and [`acceptor.txt`](tables/acceptor.txt). An
//! arrow leads to the next state; behind it stands what the machine asks for, sends and tells.

mod facts;
mod phase;
mod states;

use std::collections::BTreeSet;

use super::*;
use crate::state_table;
use facts::{all_facts, effect};
use states::Make;

#[test]
fn each_state_of_a_dialer_against_each_fact() {
    let states = states::of_dialer();
    let written = state_table::write(&named(&states), &all_facts(), |make, fact| {
        effect(make(), fact)
    });
    state_table::check(&written, include_str!("tables/dialer.txt"));
}

#[test]
fn each_state_of_an_acceptor_against_each_fact() {
    let states = states::of_acceptor();
    let written = state_table::write(&named(&states), &all_facts(), |make, fact| {
        effect(make(), fact)
    });
    state_table::check(&written, include_str!("tables/acceptor.txt"));
}

/// The states by the names that the machines themselves suggest, each of which is there once.
fn named(states: &[Make]) -> Vec<(&'static str, Make)> {
    let mut names = BTreeSet::new();
    let named = states.iter().map(|make| {
        let name = phase::of(&make().machine);
        assert!(names.insert(name.clone()), "{name} stands there twice");
        (&*String::leak(name), *make)
    });
    named.collect()
}

#[test]
fn every_command_and_fact_of_the_sources_is_in_the_tables() {
    let sources = [
        include_str!("../../connection.rs"),
        include_str!("../acceptor.rs"),
        include_str!("../closing.rs"),
        include_str!("../dialer.rs"),
        include_str!("../duties.rs"),
        include_str!("../ladder.rs"),
        include_str!("../peer.rs"),
        include_str!("../plain.rs"),
    ];
    let public = |source: &&'static str| state_table::commands_in(source);
    let mut expected: Vec<&str> = sources.iter().flat_map(public).collect();
    // Duties, what hands out a channel and what calls others to it change nothing by themselves.
    expected.retain(|name| !name.starts_with("poll_") && !["channel_mut", "touch"].contains(name));
    expected.sort_unstable();
    let mut covered: Vec<&str> = all_facts().iter().map(|(_, fact)| fact.method()).collect();
    covered.sort_unstable();
    covered.dedup();
    assert_eq!(covered, expected);
}
