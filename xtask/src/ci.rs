//! `cargo xtask ci`: every check that a change must pass, the quick ones first.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::outcome::Outcome;
use crate::{
    api, browser, demo, deny, doc, features, fuzz, lab, lint, miri, model, openapi, package, sim,
    soak, test, tidy,
};

/// The checks in their order.
const STEPS: &[Step] = &[
    Step {
        name: "tidy",
        run: tidy::run,
    },
    Step {
        name: "api",
        run: api::check,
    },
    Step {
        name: "lint",
        run: lint::run,
    },
    Step {
        name: "test",
        run: test::run,
    },
    Step {
        name: "sim",
        run: sim::run_bounded,
    },
    Step {
        name: "model",
        run: model::run_small,
    },
    Step {
        name: "fuzz",
        run: fuzz::run_briefly,
    },
    Step {
        name: "miri",
        run: miri::run,
    },
    Step {
        name: "soak",
        run: soak::run_briefly,
    },
    Step {
        name: "features",
        run: features::run_single,
    },
    Step {
        name: "package",
        run: package::run,
    },
    Step {
        name: "doc",
        run: doc::run,
    },
    Step {
        name: "deny",
        run: deny::run_if_installed,
    },
    Step {
        name: "demo",
        run: demo::run,
    },
    Step {
        name: "openapi",
        run: openapi::run,
    },
    Step {
        name: "browser",
        run: browser::run,
    },
    Step {
        name: "lab",
        run: lab::run,
    },
];

/// What to do after a failed step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnFailure {
    /// Leave the later, slower steps out.
    Stop,
    /// Run the later steps nevertheless.
    GoOn,
}

/// Runs all steps and prints a table of their results and times. Fails when any step failed.
pub(crate) fn run(on_failure: OnFailure) -> Result<Outcome> {
    let rows = run_steps(STEPS, on_failure);
    print!("\n{}", table(&rows));
    verdict(&rows)
}

struct Step {
    name: &'static str,
    run: fn() -> Result<Outcome>,
}

#[derive(Debug)]
struct Row {
    name: &'static str,
    took: Duration,
    end: End,
}

#[derive(Debug)]
enum End {
    Passed(Outcome),
    Failed(String),
    NotRun,
}

fn run_steps(steps: &[Step], on_failure: OnFailure) -> Vec<Row> {
    let mut has_failed = false;
    let mut rows = Vec::new();
    for step in steps {
        let row = match has_failed && on_failure == OnFailure::Stop {
            true => Row {
                name: step.name,
                took: Duration::ZERO,
                end: End::NotRun,
            },
            false => run_step(step),
        };
        has_failed |= matches!(row.end, End::Failed(_));
        rows.push(row);
    }
    rows
}

fn run_step(step: &Step) -> Row {
    println!("\n=== {} ===", step.name);
    let start = Instant::now();
    let end = match (step.run)() {
        Ok(outcome) => End::Passed(outcome),
        Err(error) => End::Failed(format!("{error:#}")),
    };
    Row {
        name: step.name,
        took: start.elapsed(),
        end,
    }
}

fn table(rows: &[Row]) -> String {
    let total: Duration = rows.iter().map(|row| row.took).sum();
    let rows: String = rows.iter().map(table_row).collect();
    format!("{rows}{:<8}{:>8.1} s\n", "total", total.as_secs_f64())
}

fn table_row(row: &Row) -> String {
    let (state, note) = match &row.end {
        End::Passed(Outcome::Done) => ("passed", String::new()),
        End::Passed(Outcome::DoneExcept(what)) => ("passed", format!("  NOT CHECKED: {what}")),
        End::Passed(Outcome::Skipped(why)) => ("SKIPPED", format!("  {why}")),
        End::Failed(error) => ("FAILED", format!("  {error}")),
        End::NotRun => ("not run", String::new()),
    };
    let line = format!(
        "{:<8}{:>8.1} s  {state:<8}{note}",
        row.name,
        row.took.as_secs_f64()
    );
    format!("{}\n", line.trim_end())
}

fn verdict(rows: &[Row]) -> Result<Outcome> {
    let failed = rows.iter().filter(|row| matches!(row.end, End::Failed(_)));
    let names: Vec<&str> = failed.map(|row| row.name).collect();
    if !names.is_empty() {
        let again: Vec<String> = names
            .iter()
            .map(|name| format!("`cargo xtask {name}`"))
            .collect();
        bail!(
            "{} failed; repeat with {}",
            names.join(", "),
            again.join(", ")
        );
    }
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    const STORY: &[Step] = &[
        Step {
            name: "first",
            run: || Ok(Outcome::DoneExcept("the moon".to_owned())),
        },
        Step {
            name: "second",
            run: || Err(anyhow!("a tooth is missing")),
        },
        Step {
            name: "third",
            run: || Ok(Outcome::Done),
        },
    ];

    #[test]
    fn steps_after_a_failure_are_not_run() {
        let rows = run_steps(STORY, OnFailure::Stop);
        assert!(matches!(rows[2].end, End::NotRun));
        assert!(verdict(&rows).is_err());
    }

    #[test]
    fn steps_after_a_failure_run_when_asked_to_go_on() {
        let rows = run_steps(STORY, OnFailure::GoOn);
        assert!(matches!(rows[2].end, End::Passed(Outcome::Done)));
        assert!(verdict(&rows).is_err());
    }

    #[test]
    fn the_table_names_failures_and_what_was_not_checked() {
        let table = table(&run_steps(STORY, OnFailure::Stop));
        assert!(table.contains("NOT CHECKED: the moon"), "{table}");
        assert!(table.contains("FAILED    a tooth is missing"), "{table}");
        assert!(table.contains("not run"), "{table}");
    }

    #[test]
    fn success_needs_every_step_to_succeed() {
        assert!(verdict(&run_steps(&STORY[2..], OnFailure::Stop)).is_ok());
    }
}
