//! The task runner of this workspace: `cargo xtask help` lists what it can do.
//!
//! It knows the crates only by their manifests and sources and depends on none of them, so it builds in
//! seconds and still runs when they do not compile. Each command is one file with one `run` function.

#![forbid(unsafe_code)]

mod api;
mod bench;
mod browser;
mod ci;
mod demo;
mod deny;
mod doc;
mod features;
mod fuzz;
mod lab;
mod lint;
mod miri;
mod model;
mod openapi;
mod outcome;
mod package;
mod process;
mod sim;
mod soak;
mod test;
mod tidy;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::outcome::Outcome;

/// Build and check Rondevu.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run every test of the workspace with all features, then the doctests.
    Test {
        /// Passed on to the test runner, for instance the name of a test; leaves out the doctests.
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// Check the rules that no compiler knows: who may depend on whom, no clocks in the machines, file names.
    Tidy,
    /// Check the formatting, then run clippy with the default features and with all, warnings being errors.
    Lint,
    /// Build the documentation of all crates, warnings being errors.
    Doc,
    /// Check licences, banned crates and sources of all dependencies with cargo-deny.
    Deny,
    /// Measure a durable channel beside raw UDP, the signaling server under load, or our own machines beside the engine.
    Bench {
        /// What to measure.
        #[arg(value_enum, default_value = "channel")]
        subject: bench::Subject,
    },
    /// Hunt for lost messages in simulated worlds, or for bugs planted to be found.
    Sim(sim::Simulation),
    /// Look for inputs that break a law of the machines or a parser, with cargo-fuzz.
    Fuzz {
        /// One of the targets; all in turn without it.
        target: Option<String>,
        /// How many seconds each target runs.
        #[arg(long, conflicts_with = "minutes")]
        seconds: Option<u64>,
        /// How many minutes each target runs.
        #[arg(long, default_value_t = 10)]
        minutes: u64,
    },
    /// Explore every interleaving of two connection machines: two messages each way, cuts at any point.
    Model {
        /// How many links are cut.
        #[arg(long, default_value_t = 2)]
        cuts: u8,
        /// How many time-outs come while something is on its way.
        #[arg(long, default_value_t = 0)]
        timeouts: u8,
    },
    /// Connect peers behind each kind of NAT with the help of a real TURN server, in networks of their own,
    /// then change these networks.
    Lab {
        /// Only the stories whose name contains this; leaves out the pairs of NATs.
        #[arg(long)]
        only: Option<String>,
        /// How often each story is run.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
        times: u16,
        /// The networks are made already; not for people.
        #[arg(long, hide = true)]
        inside: bool,
    },
    /// Carry the frames of a long line in the lab; not for people.
    #[command(hide = true)]
    LongLine(lab::Slowness),
    /// Run the tests of the core in Miri.
    Miri,
    /// Compare the public items of each crate with the lists in `docs/api`.
    Api {
        /// Write the lists anew instead.
        #[arg(long)]
        update: bool,
    },
    /// Run clippy with every set of features of every crate, by cargo-hack.
    Features,
    /// Package each crate, and build each package alone.
    Package,
    /// Run a service for long while dialers come, go, crash and roam: memory, tasks and files must be flat.
    Soak {
        /// For how many minutes.
        #[arg(long, default_value_t = 30.0)]
        minutes: f64,
    },
    /// Build the program in release mode and run its demo, which must succeed.
    Demo,
    /// Hold the signaling server to its OpenAPI description with schemathesis, which is installed below `target`.
    Openapi,
    /// Test the JavaScript module with node, then pages in Chromium against the program, in a network of their own.
    Browser,
    /// Run all the checks a change must pass, the quick ones first, and print how long each took.
    Ci {
        /// Go on after a failed step, to see all that is wrong in one run.
        #[arg(long)]
        keep_going: bool,
    },
}

fn main() -> ExitCode {
    let Arguments { task } = Arguments::parse();
    match process::enter_workspace_root().and_then(|()| run(task)) {
        Ok(outcome) => {
            outcome.print_note();
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<Outcome> {
    match task {
        Task::Test { arguments } => test::run_with(&arguments),
        Task::Tidy => tidy::run(),
        Task::Lint => lint::run(),
        Task::Doc => doc::run(),
        Task::Deny => deny::run(),
        Task::Bench { subject } => bench::run(subject),
        Task::Sim(simulation) => sim::run(&simulation),
        Task::Fuzz {
            target,
            seconds,
            minutes,
        } => {
            let seconds = seconds.unwrap_or(minutes * 60);
            let effort = fuzz::Effort(Duration::from_secs(seconds));
            fuzz::run(target.as_deref(), effort)
        }
        Task::Model { cuts, timeouts } => model::run(model::Size { cuts, timeouts }),
        Task::Miri => miri::run(),
        Task::Api { update: true } => api::run(api::Mode::Update),
        Task::Api { update: false } => api::check(),
        Task::Features => features::run(),
        Task::Package => package::run(),
        Task::Soak { minutes } => soak::run(minutes),
        Task::Demo => demo::run(),
        Task::Openapi => openapi::run(),
        Task::Browser => browser::run(),
        Task::Lab {
            only,
            times,
            inside,
        } => {
            let choice = lab::Choice { only, times };
            match inside {
                false => lab::run_chosen(&choice),
                true => lab::run_inside(&choice),
            }
        }
        Task::LongLine(slowness) => lab::carry(slowness),
        Task::Ci { keep_going: true } => ci::run(ci::OnFailure::GoOn),
        Task::Ci { keep_going: false } => ci::run(ci::OnFailure::Stop),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_says_what_it_does() {
        for command in Arguments::command().get_subcommands() {
            assert!(
                command.get_about().is_some(),
                "{} has no description",
                command.get_name()
            );
        }
    }
}
