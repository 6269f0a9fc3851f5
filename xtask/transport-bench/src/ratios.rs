//! The ratios that are aimed at, and whether this run has reached them.

use crate::measure::Subject;

const KIB: usize = 1024;

/// Prints all; one that lacks a figure says so.
pub(crate) fn print(subjects: &[Subject]) {
    let find = |name: &str| subjects.iter().find(|subject| subject.name == name);
    let ratio = |name, other, size| find(name)?.rate_ratio(find(other)?, size);
    let set_up = |name| Some(find(name)?.set_up()? * 1e3);
    let far = |name| find(name)?.far_set_up();
    let idle = |name| Some(find(name)?.idle_bytes()? / 1e3);
    let at_16 = |name, other| ratio(name, other, 16 * KIB);
    let round_trip = |name, other| find(name)?.round_trip_ratio(find(other)?);
    println!("\n| aim | ratio | target | |\n| --- | --- | --- | --- |");
    for (what, figure, target) in [
        (
            "durable str0m / str0m link, 16 KiB",
            at_16("durable str0m", "link str0m"),
            Target::AtLeast(0.95),
        ),
        (
            "durable str0m / plain str0m with GSO, 16 KiB",
            at_16("durable str0m", "str0m with GSO"),
            Target::AtLeast(0.95),
        ),
        (
            "durable composed / composed link, 16 KiB",
            at_16("durable composed", "link composed"),
            Target::AtLeast(0.95),
        ),
        (
            "durable str0m / plain str0m, 16 KiB",
            at_16("durable str0m", "str0m"),
            Target::AtLeast(1.5),
        ),
        (
            "durable composed / plain str0m with GSO, 16 KiB",
            at_16("durable composed", "str0m with GSO"),
            Target::AtLeast(4.0),
        ),
        (
            "durable composed / quinn, 16 KiB",
            at_16("durable composed", "quinn"),
            Target::AtLeast(0.5),
        ),
        (
            "durable str0m / plain str0m, messages of 64 B",
            ratio("durable str0m", "str0m", 64),
            Target::AtLeast(10.0),
        ),
        (
            "durable str0m / plain str0m, round trip p50",
            round_trip("durable str0m", "str0m"),
            Target::AtMost(1.3),
        ),
        (
            "durable str0m, set-up on loopback, ms",
            set_up("durable str0m"),
            Target::AtMost(60.0),
        ),
        (
            "durable composed, set-up on loopback, ms",
            set_up("durable composed"),
            Target::AtMost(60.0),
        ),
        (
            "link str0m, set-up at 50 ms, round trips",
            far("link str0m"),
            Target::AtMost(8.0),
        ),
        (
            "durable str0m, set-up at 50 ms, round trips",
            far("durable str0m"),
            Target::AtMost(8.0),
        ),
        (
            "durable composed, set-up at 50 ms, round trips",
            far("durable composed"),
            Target::AtMost(8.0),
        ),
        (
            "durable str0m, one idle end, kB",
            idle("durable str0m"),
            Target::AtMost(80.0),
        ),
    ] {
        let verdict = match figure {
            None => "not measured",
            Some(figure) if target.is_reached(figure) => "reached",
            Some(_) => "missed",
        };
        let figure = figure.map_or("-".into(), |figure| format!("{figure:.2}"));
        println!("| {what} | {figure} | {target} | {verdict} |");
    }
}

#[derive(Clone, Copy)]
enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    fn is_reached(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(target) => figure >= target,
            Self::AtMost(target) => figure <= target,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtLeast(target) => write!(f, "at least {target}"),
            Self::AtMost(target) => write!(f, "at most {target}"),
        }
    }
}
