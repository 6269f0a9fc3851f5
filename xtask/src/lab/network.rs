//! An internet of network namespaces: a switch, a place for servers, and sides with their routers.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::nat::Nat;

/// ```text
/// peer a ── router a ── (carrier a) ──┐            ┌── (carrier b) ── router b ── peer b
///                       203.0.113.1   └── switch ──┘   203.0.113.2
///                                            └── servers 203.0.113.10
/// ```
///
/// All addresses are for documentation (RFC 5737) or private.
#[derive(Debug)]
pub(super) struct Internet;

/// One of the two peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    A,
    B,
}

impl Side {
    /// The namespace of the peer.
    pub(super) const fn peer(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// The namespace of its router.
    pub(super) const fn router(self) -> &'static str {
        match self {
            Self::A => "ra",
            Self::B => "rb",
        }
    }

    /// The namespace of the router behind the router, with two NATs.
    const fn carrier(self) -> &'static str {
        match self {
            Self::A => "ca",
            Self::B => "cb",
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::A => 1,
            Self::B => 2,
        }
    }

    /// The address of a host in the side's network. Behind no NAT it is public.
    pub(super) fn host(self, nat: Nat, host: u8) -> String {
        match nat {
            Nat::None => format!("192.0.2.{}", (self.number() - 1) * 8 + host),
            _ => format!("10.{}.0.{host}", self.number()),
        }
    }
}

impl Internet {
    /// The switch and the place for servers.
    pub(super) fn build() -> Result<Self> {
        sh("ip netns add sw && ip netns add servers \
            && ip -n sw link add pub type bridge && ip -n sw link set pub up \
            && ip -n servers link set lo up")?;
        wire("servers", "eth0", "pub")?;
        // What goes to private addresses leaves and is lost, as in the world.
        sh("ip -n servers addr add 203.0.113.10/24 dev eth0 \
            && ip -n servers neigh add 203.0.113.254 lladdr 02:00:00:00:00:fe dev eth0 nud permanent \
            && ip -n servers route add default via 203.0.113.254")?;
        know_public_networks("servers")?;
        Ok(Self)
    }

    /// Builds a side anew behind `nat`.
    pub(super) fn side(&self, side: Side, nat: Nat) -> Result<()> {
        let (peer, router, carrier) = (side.peer(), side.router(), side.carrier());
        let (lan, middle) = (format!("lan{peer}"), format!("mid{peer}"));
        let public = format!("203.0.113.{}", side.number());
        let (own, gateway) = (side.host(nat, 2), side.host(nat, 1));
        let bits = nat.prefix();
        // What was there before may not be.
        sh(&format!(
            "for l in {peer}-eth0 {router}-lan {router}-wan {carrier}-lan {carrier}-wan; do \
               ip -n sw link del $l 2>/dev/null; done; \
             for n in {peer} {router} {carrier}; do ip netns del $n 2>/dev/null; done; \
             for l in {lan} {middle}; do ip -n sw link del $l 2>/dev/null; done; \
             for l in {lan} {middle}; do \
               ip -n sw link add $l type bridge && ip -n sw link set $l up || exit 1; done; \
             for n in {peer} {router}; do \
               ip netns add $n && ip -n $n link set lo up || exit 1; done"
        ))?;
        wire(peer, "eth0", &lan)?;
        wire(router, "lan", &lan)?;
        sh(&format!(
            "ip -n {router} addr add {gateway}/{bits} dev lan \
             && ip -n {peer} addr add {own}/{bits} dev eth0 \
             && ip -n {peer} route add default via {gateway}"
        ))?;
        if nat != Nat::Double {
            return attach(router, &public, "pub", nat.rules(&public, &own));
        }
        let (inner, outer) = (
            format!("100.64.{}.2", side.number()),
            format!("100.64.{}.1", side.number()),
        );
        attach(router, &inner, &middle, nat.rules(&inner, &own))?;
        sh(&format!(
            "ip netns add {carrier} && ip -n {carrier} link set lo up"
        ))?;
        wire(carrier, "lan", &middle)?;
        sh(&format!(
            "ip -n {carrier} addr add {outer}/24 dev lan \
             && ip -n {router} route add default via {outer}"
        ))?;
        attach(carrier, &public, "pub", nat.rules(&public, &inner))
    }

    /// Sets the rules of a namespace's own table, in place of those that it had; without rules none.
    pub(super) fn rules(&self, namespace: &str, family: &str, rules: &str) -> Result<()> {
        // So the table is there to be deleted.
        let table = format!("table {family} lab {{ }}; delete table {family} lab;");
        let new = match rules.is_empty() {
            true => String::new(),
            false => format!("table {family} lab {{ {rules} }};"),
        };
        nft(namespace, &format!("{table} {new}"))
    }
}

/// Connects a router to the world.
fn attach(router: &str, address: &str, bridge: &str, rules: String) -> Result<()> {
    wire(router, "wan", bridge)?;
    sh(&format!(
        "ip -n {router} addr add {address}/24 dev wan \
         && ip netns exec {router} sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'"
    ))?;
    if bridge == "pub" {
        know_public_networks(router)?;
    }
    nft(router, &rules)
}

/// The networks behind routers without NAT.
fn know_public_networks(namespace: &str) -> Result<()> {
    // A router knows its own network already.
    sh(&format!(
        "ip -n {namespace} route add 192.0.2.0/29 via 203.0.113.1 2>/dev/null; \
         ip -n {namespace} route add 192.0.2.8/29 via 203.0.113.2 2>/dev/null; true"
    ))
}

/// Plugs `interface` of a namespace into a bridge of the switch.
fn wire(namespace: &str, interface: &str, bridge: &str) -> Result<()> {
    sh(&format!(
        "ip link add {interface} netns {namespace} type veth peer name {namespace}-{interface} netns sw \
         && ip -n sw link set {namespace}-{interface} master {bridge} up \
         && ip -n {namespace} link set {interface} up"
    ))
}

/// Runs a line of shell; what it prints is shown if it fails.
pub(super) fn sh(line: &str) -> Result<()> {
    let output = Command::new("sh").args(["-c", line]).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{line}` failed: {said}");
    }
    Ok(())
}

fn nft(namespace: &str, rules: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(["netns", "exec", namespace, "nft", "-f", "-"])
        .stdin(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().context("nft has no input")?;
    input.write_all(rules.as_bytes())?;
    drop(input);
    if !child.wait()?.success() {
        bail!("nft refuses these rules in {namespace}: {rules}");
    }
    Ok(())
}
