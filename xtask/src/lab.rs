//! `cargo xtask lab`: real peers behind real NATs, with a real TURN server, in networks of their own.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::outcome::Outcome;
use crate::process::Invocation;
use crate::workspace::build_programs;

mod changes;
mod long_line;
mod matrix;
mod nat;
mod network;
mod peers;
mod servers;

pub(crate) use long_line::{Slowness, carry};

/// What of the lab is run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The stories whose name contains this; without it all of them, and before them the pairs of NATs.
    pub(crate) only: Option<String>,
    /// How often each story is run.
    pub(crate) times: u16,
}

/// All of it once.
pub(crate) fn run() -> Result<Outcome> {
    run_chosen(&Choice {
        only: None,
        times: 1,
    })
}

/// Builds the program, then runs the lab where no packet leaves the machine.
///
/// All networks, processes and mounts belong to namespaces that end with the command, whatever
/// happens: there is nothing to clean up.
pub(crate) fn run_chosen(choice: &Choice) -> Result<Outcome> {
    if let Some(obstacle) = obstacle() {
        return Ok(Outcome::Skipped(obstacle));
    }
    build_programs()?;
    let program = std::env::current_exe().context("cannot find this program")?;
    isolated()
        .args([&program])
        .args(["lab", "--inside"])
        .args(choice.words())
        .run_within(LIMIT * u32::from(choice.times))?;
    Ok(Outcome::Done)
}

/// Runs the lab in the namespaces that [`run_chosen`] has made.
pub(crate) fn run_inside(choice: &Choice) -> Result<Outcome> {
    // A place for the names of networks that nobody else sees.
    Invocation::new("mount")
        .args(["-t", "tmpfs", "lab", "/run"])
        .read()?;
    let folder = std::path::PathBuf::from("/run/lab");
    std::fs::create_dir(&folder)?;
    let internet = network::Internet::build()?;
    let servers = servers::Servers::start(&folder)?;
    if choice.only.is_none() {
        matrix::run(&internet, &servers)?;
    }
    changes::run(&internet, &servers, choice)?;
    Ok(Outcome::Done)
}

impl Choice {
    /// The same choice on a command line.
    fn words(&self) -> Vec<String> {
        let only = self.only.iter().map(|part| format!("--only={part}"));
        only.chain([format!("--times={}", self.times)]).collect()
    }

    fn stories<'a, S>(&self, all: &'a [(&'static str, S)]) -> Vec<&'a (&'static str, S)> {
        let is_chosen = |name: &str| self.only.as_ref().is_none_or(|part| name.contains(part));
        let chosen: Vec<_> = all.iter().filter(|(name, _)| is_chosen(name)).collect();
        chosen.repeat(self.times.into())
    }
}

/// Why there can be no lab here.
fn obstacle() -> Option<String> {
    let missing: Vec<_> = PROGRAMS
        .iter()
        .filter(|(program, arguments, _)| !Invocation::new(program).args(*arguments).succeeds())
        .map(|(_, _, package)| *package)
        .collect();
    if !missing.is_empty() {
        return Some(format!(
            "the lab of networks: install {}",
            missing.join(", ")
        ));
    }
    let probe = "mount -t tmpfs lab /run && ip netns add probe \
        && echo 'table ip nat { chain post { type nat hook postrouting priority 100; masquerade; }; }' \
        | ip netns exec probe nft -f -";
    match isolated().args(["sh", "-c", probe]).succeeds() {
        true => None,
        false => Some(
            "the lab of networks: this needs the right to make namespaces (as root, or by \
             unprivileged user namespaces) and a kernel with nftables and NAT"
                .into(),
        ),
    }
}

/// Network, mounts and processes of its own.
fn isolated() -> Invocation {
    Invocation::new("unshare").args([
        "--user",
        "--map-root-user",
        "--net",
        "--mount",
        "--pid",
        "--mount-proc",
        "--fork",
        "--kill-child",
    ])
}

/// Programs, how to see that they are there, and the Debian packages that have them.
const PROGRAMS: [(&str, &[&str], &str); 7] = [
    ("unshare", &["--version"], "util-linux"),
    ("ip", &["-V"], "iproute2"),
    ("nft", &["--version"], "nftables"),
    ("conntrack", &["--version"], "conntrack"),
    ("ethtool", &["--version"], "ethtool"),
    ("turnserver", &["--version"], "coturn"),
    ("openssl", &["version"], "openssl"),
];
/// It takes a minute on an idle machine.
const LIMIT: Duration = Duration::from_secs(600);
