//! `cargo xtask bench`: figures of one run that compare with each other.

use anyhow::Result;
use clap::ValueEnum;

use crate::outcome::Outcome;
use crate::process::Invocation;
use crate::workspace::built;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subject {
    /// A durable channel on loopback beside raw UDP.
    Channel,
    /// The signaling server with 2,000 waiting peers, on both stores.
    Signaling,
    /// Links and channels of both engines beside raw UDP, QUIC, str0m and webrtc-rs.
    Transport,
    /// Thousands of live connections on one socket: memory of each, time of a message.
    Scale,
    /// Our own machines beside the WebRTC engine: time of a message, memory of a session.
    Core,
}

/// Runs a benchmark in release mode. It asserts nothing about speed.
pub(crate) fn run(subject: Subject) -> Result<Outcome> {
    match subject {
        Subject::Channel => run_example("loopback_bench")?,
        Subject::Core => run_example("core_bench")?,
        Subject::Transport => {
            // A workspace of its own: nobody else pays for the other stacks.
            Invocation::cargo("run --release --locked --manifest-path")
                .args(["xtask/transport-bench/Cargo.toml"])
                .args(["--target-dir", &built("transport-bench")?])
                .run()?;
        }
        Subject::Scale => {
            let build = "build --release --package rondevu --features engine-composed --example";
            Invocation::cargo(build).args(["scale_bench"]).run()?;
            for engine in ["str0m", "composed"] {
                Invocation::new(&built("release/examples/scale_bench")?)
                    .args(["2000", engine])
                    .run()?;
            }
        }
        Subject::Signaling => {
            // The server is a process of its own, so that its memory can be told apart.
            let build = "build --release --package rondevu --features cli --bin rondevu";
            Invocation::cargo(build)
                .args(["--example", "signaling_bench"])
                .run()?;
            Invocation::new(&built("release/examples/signaling_bench")?)
                .args([built("release/rondevu")?])
                .run()?;
        }
    }
    Ok(Outcome::Done)
}

fn run_example(name: &str) -> Result<()> {
    Invocation::cargo("run --release --package rondevu --example")
        .args([name])
        .run()
}
