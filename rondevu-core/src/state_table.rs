//! Tables of what each fact does in each state, for tests.
//!
//! A machine's table is a text beside its test. The test does each fact in each state, writes down what
//! came of it and compares, so nobody can add a state or change a step without showing it there.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

/// Writes a table: for each state the facts that do something, each with its effect, and below them
/// those that do nothing.
///
/// `effect` does a fact in a state. It gives back nothing if the fact cannot happen there, and an empty
/// text if nothing comes of it.
pub(crate) fn write<S: Copy, F: Copy>(
    states: &[(&str, S)],
    facts: &[(&str, F)],
    effect: impl Fn(S, F) -> Option<String>,
) -> String {
    let mut table = String::new();
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (state, made) in states {
        let _ = writeln!(table, "{state}");
        let mut ignored = Vec::new();
        for (fact, done) in facts {
            match effect(*made, *done).as_deref() {
                None => {}
                Some("") => ignored.push(*fact),
                Some(effect) => {
                    let _ = writeln!(table, "    {fact:width$}  {effect}");
                }
            }
        }
        if !ignored.is_empty() {
            let _ = writeln!(table, "    nothing: {}", ignored.join(", "));
        }
    }
    table
}

/// Panics unless `written` is what stands in the table.
pub(crate) fn check(written: &str, expected: &str) {
    let mut pairs = written.lines().zip(expected.lines());
    let shorter = written.lines().count().min(expected.lines().count());
    let line = pairs.position(|(a, b)| a != b).unwrap_or(shorter) + 1;
    assert!(
        written == expected,
        "the table differs from line {line} on; it should be\n{written}"
    );
}

/// The names of the functions in a machine's source that anybody may change it with.
pub(crate) fn commands_in(source: &str) -> Vec<&str> {
    changing(source, "pub fn ")
}

/// The same for those that are for its own crate.
#[allow(
    dead_code,
    reason = "not every crate that includes this file has such a machine"
)]
pub(crate) fn commands_for_crate_in(source: &str) -> Vec<&str> {
    changing(source, "pub(crate) fn ")
}

fn changing<'a>(source: &'a str, begin: &str) -> Vec<&'a str> {
    let takes_self = |rest: &str| rest.trim_start().starts_with("&mut self");
    let mut names: Vec<&str> = source
        .split(begin)
        .skip(1)
        .filter_map(|rest| rest.split_once('('))
        .filter(|(_, rest)| takes_self(rest))
        .map(|(name, _)| name)
        .collect();
    names.sort_unstable();
    names
}
