//! What must hold for each machine and parser whatever comes in, driven by bytes from anywhere.
//!
//! Each function of [`TARGETS`] reads its input as a [`Script`] and panics when a law is broken. The
//! fuzzer looks for such inputs (`cargo xtask fuzz`), property tests try random ones, and the
//! committed corpus is replayed by `cargo xtask test`.

pub mod connection;
mod frames;
mod inbox;
mod laws;
mod liveness;
mod lossy_inbox;
#[cfg(feature = "parsers")]
mod parsers;
mod reception;
mod script;
mod service;

pub use laws::{Machine, Trace, hold_for};
pub use script::Script;

/// A named input reader.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// As the fuzzer's binary and the folder of the corpus are called.
    pub name: &'static str,
    /// Panics when `input` breaks a law.
    pub run: fn(input: &[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "control_frames",
        run: frames::control_frames,
    },
    Target {
        name: "channel_frames",
        run: frames::channel_frames,
    },
    Target {
        name: "inbox",
        run: inbox::inbox,
    },
    Target {
        name: "lossy_inbox",
        run: lossy_inbox::lossy_inbox,
    },
    Target {
        name: "dialer",
        run: connection::dialer,
    },
    Target {
        name: "acceptor",
        run: connection::acceptor,
    },
    Target {
        name: "reception",
        run: reception::reception,
    },
    Target {
        name: "service",
        run: service::service,
    },
    Target {
        name: "liveness",
        run: liveness::liveness,
    },
    #[cfg(feature = "parsers")]
    Target {
        name: "transport_parsers",
        run: parsers::transport_parsers,
    },
    #[cfg(feature = "parsers")]
    Target {
        name: "dcep",
        run: parsers::dcep,
    },
    #[cfg(feature = "parsers")]
    Target {
        name: "mdns",
        run: parsers::mdns,
    },
    #[cfg(feature = "parsers")]
    Target {
        name: "signaling_parsers",
        run: parsers::signaling_parsers,
    },
];

/// Runs the target of this name.
///
/// # Panics
///
/// If there is none, or if the input breaks a law.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.expect("the fuzzer's binaries are named after the targets");
    (target.run)(input);
}

#[cfg(test)]
mod tests;
