//! `cargo xtask lab`: real peers behind real NATs, with a real TURN server, in networks of their own.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::outcome::Outcome;
use crate::process::Invocation;
use crate::workspace::built;

mod changes;
mod matrix;
mod nat;
mod network;
mod peers;
mod servers;

/// Builds the program, then runs the lab where no packet leaves the machine.
///
/// All networks, processes and mounts belong to namespaces that end with the command, whatever
/// happens: there is nothing to clean up.
pub(crate) fn run() -> Result<Outcome> {
    if let Some(obstacle) = obstacle() {
        return Ok(Outcome::Skipped(obstacle));
    }
    Invocation::cargo("build --package rondevu --features cli --bin rondevu").run()?;
    let program = std::env::current_exe().context("cannot find this program")?;
    let weaknesses = built(WEAKNESSES)?;
    std::fs::write(&weaknesses, "")?;
    isolated()
        .args([&program])
        .args(["lab", "--inside"])
        .run_within(LIMIT)?;
    Ok(outcome(std::fs::read_to_string(&weaknesses)?))
}

/// Runs the lab in the namespaces that [`run`] has made.
pub(crate) fn run_inside() -> Result<Outcome> {
    // A place for the names of networks that nobody else sees.
    Invocation::new("mount")
        .args(["-t", "tmpfs", "lab", "/run"])
        .read()?;
    let folder = std::path::PathBuf::from("/run/lab");
    std::fs::create_dir(&folder)?;
    let internet = network::Internet::build()?;
    let servers = servers::Servers::start(&folder)?;
    matrix::run(&internet, &servers)?;
    let weak = changes::run(&internet, &servers)?.join(", ");
    // The process outside learns no more than the exit code.
    std::fs::write(built(WEAKNESSES)?, &weak)?;
    Ok(outcome(weak))
}

/// What did not end well, and need not yet, is never called checked.
fn outcome(weak: String) -> Outcome {
    match weak.is_empty() {
        true => Outcome::Done,
        false => Outcome::DoneExcept(format!("{weak} did not end well: a known weakness")),
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
const PROGRAMS: [(&str, &[&str], &str); 6] = [
    ("unshare", &["--version"], "util-linux"),
    ("ip", &["-V"], "iproute2"),
    ("nft", &["--version"], "nftables"),
    ("conntrack", &["--version"], "conntrack"),
    ("turnserver", &["--version"], "coturn"),
    ("openssl", &["version"], "openssl"),
];
/// Where the lab leaves the names of the stories that showed a known weakness, in the target folder.
const WEAKNESSES: &str = "lab-weaknesses.txt";
/// It takes a minute on an idle machine.
const LIMIT: Duration = Duration::from_secs(600);
