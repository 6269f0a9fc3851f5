//! `cargo xtask browser`: the JavaScript module alone, then pages in a browser against the program.

use std::time::Duration;

use anyhow::Result;

use crate::outcome::Outcome;
use crate::process::Invocation;
use crate::workspace::build_program;

/// Runs all that this machine can run; what is missing is named.
///
/// The browser and the program run in a network and a process table of their own, which end with the
/// command: no packet leaves the machine and no process stays, whatever happens.
pub(crate) fn run() -> Result<Outcome> {
    let mut missing = Vec::new();
    if Invocation::new("node").args(["--version"]).succeeds() {
        Invocation::new("node")
            .args(["--test", "docs/browser/tests/"])
            .run_within(NODE_LIMIT)?;
    } else {
        missing.push("the module's own tests: install nodejs");
    }
    match obstacle() {
        Some(obstacle) if missing.is_empty() => missing.push(obstacle),
        Some(obstacle) => return Ok(Outcome::Skipped(format!("{}; {obstacle}", missing[0]))),
        None => {
            let walled = format!("{NETWORK} && {WALL}");
            let can_wall = can_make(&walled);
            if !can_wall {
                missing.push("browsers that hide their addresses: this needs `nft` (nftables)");
            }
            let peer = build_program("examples/browser_peer")?;
            for engine in ENGINES {
                let open = format!("--udp {ADDRESS} --engine {engine}");
                in_own_network(NETWORK, &peer, &open).run_within(BROWSER_LIMIT)?;
                if can_wall {
                    let hidden = format!("--udp {WALLED} --engine {engine} --hidden");
                    in_own_network(&walled, &peer, &hidden).run_within(BROWSER_LIMIT)?;
                }
            }
        }
    }
    Ok(match missing.is_empty() {
        true => Outcome::Done,
        false => Outcome::DoneExcept(missing.join("; ")),
    })
}

/// Why no browser can be run here.
fn obstacle() -> Option<&'static str> {
    if !Invocation::new(CHROMIUM).args(["--version"]).succeeds() {
        return Some("pages in a browser: install chromium");
    }
    match can_make(&format!("{NETWORK} && ip route get {GATEWAY}")) {
        true => None,
        false => Some(
            "pages in a browser: this needs `unshare` and `ip` (util-linux, iproute2) and the right \
             to make a network namespace, as root or by unprivileged user namespaces",
        ),
    }
}

/// Whether these commands succeed in a network of their own.
fn can_make(network: &str) -> bool {
    unshare().args(["sh", "-c", network]).succeeds()
}

fn in_own_network(network: &str, peer: &str, arguments: &str) -> Invocation {
    let check = format!("{network} && exec '{peer}' {arguments} --check {CHROMIUM}");
    unshare().args(["sh", "-c", &check])
}

/// A network with nothing in it, and a process table that ends with its first process.
fn unshare() -> Invocation {
    Invocation::new("unshare").args([
        "--user",
        "--map-root-user",
        "--net",
        "--pid",
        "--mount-proc",
        "--fork",
        "--kill-child",
    ])
}

const CHROMIUM: &str = "chromium";
/// As the program calls them.
const ENGINES: [&str; 2] = ["str0m", "composed"];
/// For documentation only (RFC 5737): it is nobody's.
const ADDRESS: &str = "198.51.100.1";
const GATEWAY: &str = "198.51.100.2";
/// Browsers use no loopback address for WebRTC and need a default route. Both ends of the pair are here, and
/// nothing answers at the gateway.
const NETWORK: &str = "ip link set lo up \
    && ip link add web0 type veth peer name web1 \
    && ip address add 198.51.100.1/24 dev web0 \
    && ip link set web0 up && ip link set web1 up \
    && ip route add default via 198.51.100.2 dev web0";
/// An address of the program whose firewall lets in only what answers it. A browser that tells names in
/// place of its addresses is then reached by those alone who find the addresses out.
const WALLED: &str = "198.51.100.3";
const WALL: &str = "ip address add 198.51.100.3/24 dev web0 \
    && nft 'table ip wall { chain in { type filter hook input priority 0; \
        ip daddr 198.51.100.3 ct state new meta l4proto udp drop; }; }'";
const NODE_LIMIT: Duration = Duration::from_secs(120);
/// The checks of an engine take a minute on an idle machine.
const BROWSER_LIMIT: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_has_the_address_that_the_program_is_told() {
        assert!(NETWORK.contains(&format!("add {ADDRESS}/24 ")));
        assert!(NETWORK.contains(&format!("via {GATEWAY} ")));
        assert!(WALL.contains(&format!("add {WALLED}/24 ")));
        assert!(WALL.contains(&format!("daddr {WALLED} ")));
    }
}
