//! What happens to a connection while its network changes or is bad.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use super::Choice;
use super::long_line::{LongLine, Slowness};
use super::nat::Nat;
use super::network::{Internet, Side, sh};
use super::peers::Pair;
use super::servers::Servers;
use crate::process::Invocation;

/// Runs each story, prints how long messages took, and fails if one did not end well.
pub(super) fn run(internet: &Internet, servers: &Servers, choice: &Choice) -> Result<()> {
    let stories = choice.stories(&STORIES);
    if stories.is_empty() {
        bail!(
            "no such story; there are {}",
            STORIES.map(|(name, _)| name).join(", ")
        );
    }
    println!("\n{:<34}{:>8}  what happened", "story", "ms");
    let mut wrong = Vec::new();
    for (number, &&(name, story)) in stories.iter().enumerate() {
        internet.side(Side::A, Nat::PortRestricted)?;
        internet.side(Side::B, Nat::PortRestricted)?;
        let stage = Stage {
            internet,
            program: &servers.program,
            number: 100 + number,
        };
        let ended = story(&stage);
        internet.rules("sw", "bridge", "")?;
        match ended {
            Ok((took, what)) => println!("{name:<34}{:>8}  {what}", took.as_millis()),
            Err(error) => {
                println!("{name:<34}{:>8}  {error:#}", "-");
                wrong.push(name);
            }
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => bail!("{} did not end well", wrong.join(", ")),
    }
}

struct Stage<'a> {
    internet: &'a Internet,
    program: &'a str,
    number: usize,
}

type Told = (Duration, String);
type Story = fn(&Stage<'_>) -> Result<Told>;

const STORIES: [(&str, Story); 15] = [
    ("TURN over TLS", over_tls),
    ("relays alone on both sides", relays_alone),
    ("wrong TURN credentials", wrong_credentials),
    ("the dialer's NAT rebinds", nat_rebinds),
    ("the dialer roams", dialer_roams),
    ("the service roams", service_roams),
    ("the service roams, no NAT, no server", service_roams_alone),
    ("1 % loss", |stage| stage.loss(1)),
    ("5 % loss", |stage| stage.loss(5)),
    ("20 % loss", |stage| stage.loss(20)),
    ("1 Mbit/s", slow_line),
    ("200 ms delay", far_away),
    ("10 % out of order", out_of_order),
    ("packets of 1,300 bytes at most", narrow),
    ("the same from the middle on", narrowed),
];

const STUN: [&str; 2] = ["--ice-server", "stun:203.0.113.10"];
const TURN: [&str; 2] = ["--ice-server", "turn:203.0.113.10"];
const TURN_ONLY: [&str; 3] = ["--ice-server", "turn:203.0.113.10", "--relay-only"];
/// Its datagrams are larger where the path carries them.
const COMPOSED: [&str; 4] = ["--ice-server", "stun:203.0.113.10", "--engine", "composed"];
const TLS_ONLY: [&str; 3] = ["--ice-server", "turns:203.0.113.10", "--relay-only"];

impl Stage<'_> {
    fn connect(&self, a: &[&str], b: &[&str]) -> Result<Pair> {
        Pair::connect(self.program, Path::new(FOLDER), self.number, a, b)
    }

    /// Lines back and forth while the switch loses every so many frames.
    fn loss(&self, percent: u8) -> Result<Told> {
        let mut pair = self.connect(&STUN, &STUN)?;
        let rule = format!(
            "chain forward {{ type filter hook forward priority 0; \
             iifname != {{ \"ra-wan\", \"rb-wan\" }} accept; meta l4proto != udp accept; \
             counter; numgen random mod 100 < {percent} counter drop; }};"
        );
        self.internet.rules("sw", "bridge", &rule)?;
        let mut slowest = Duration::ZERO;
        // Under heavy loss each may take seconds.
        let exchanges = if percent < 10 { 100 } else { 20 };
        for _ in 0..exchanges {
            slowest = slowest.max(pair.exchange(LIMIT)?);
        }
        let listed = Invocation::new("ip")
            .args([
                "netns", "exec", "sw", "nft", "list", "table", "bridge", "lab",
            ])
            .read()?;
        let counts: Vec<f64> = listed
            .split("counter packets ")
            .skip(1)
            .filter_map(|rest| rest.split_whitespace().next()?.parse().ok())
            .collect();
        let &[all, lost] = &counts[..] else {
            bail!("the counters are gone: {listed}");
        };
        let measured = 100.0 * lost / all;
        // A few hundred datagrams, so the share may be off by a few times its root.
        if measured < f64::from(percent) / 4.0 || measured > 3.0 * f64::from(percent) {
            bail!("{measured:.1} % of {all} datagrams were lost instead of {percent} %");
        }
        let what =
            format!("slowest of {exchanges} exchanges; {measured:.1} % of {all} datagrams lost");
        Ok((slowest, what))
    }
}

fn over_tls(stage: &Stage<'_>) -> Result<Told> {
    let pair = stage.connect(&TLS_ONLY, &TURN)?;
    relayed(pair)
}

fn relays_alone(stage: &Stage<'_>) -> Result<Told> {
    let pair = stage.connect(&TURN_ONLY, &TURN_ONLY)?;
    relayed(pair)
}

fn relayed(pair: Pair) -> Result<Told> {
    if !pair.path.contains("relay ") {
        bail!("not relayed: {}", pair.path);
    }
    Ok((pair.took, pair.path.clone()))
}

/// The error names the server and the reason.
fn wrong_credentials(stage: &Stage<'_>) -> Result<Told> {
    let mut words = TURN_ONLY.to_vec();
    words.extend(["--ice-username", "lab", "--ice-credential", "wrong"]);
    let Err(error) = stage.connect(&STUN, &words) else {
        bail!("connected");
    };
    let said = format!("{error:#}");
    let expected = "turn:203.0.113.10:3478: it refuses the credentials";
    match said.contains(expected) {
        true => Ok((Duration::ZERO, expected.into())),
        false => bail!("it said {said}"),
    }
}

/// The router has another public address, and has forgotten all that it knew.
fn nat_rebinds(stage: &Stage<'_>) -> Result<Told> {
    let mut pair = stage.connect(&STUN, &STUN)?;
    let router = Side::B.router();
    sh(&format!(
        "ip -n {router} addr del 203.0.113.2/24 dev wan && ip -n {router} addr add 203.0.113.102/24 dev wan \
         && ip netns exec {router} conntrack -F"
    ))?;
    healed(&mut pair)
}

/// The dialer's machine has another address.
fn dialer_roams(stage: &Stage<'_>) -> Result<Told> {
    let mut pair = stage.connect(&STUN, &STUN)?;
    move_to_another_address(Side::B, Nat::PortRestricted)?;
    healed(&mut pair)
}

/// The service's machine has another address, and is found there by others too.
fn service_roams(stage: &Stage<'_>) -> Result<Told> {
    let mut pair = stage.connect(&STUN, &STUN)?;
    move_to_another_address(Side::A, Nat::PortRestricted)?;
    healed(&mut pair)
}

/// The service's machine has another address, and nothing but the link itself can tell the dialer.
fn service_roams_alone(stage: &Stage<'_>) -> Result<Told> {
    for side in [Side::A, Side::B] {
        stage.internet.side(side, Nat::None)?;
    }
    let mut pair = stage.connect(&[], &[])?;
    sh("ip -n sw link set servers-eth0 down")?;
    let healed = move_to_another_address(Side::A, Nat::None).and_then(|()| pair.exchange(LIMIT));
    sh("ip -n sw link set servers-eth0 up")?;
    let path = pair.latest_path()?;
    Ok((healed?, format!("the link was kept: {path}")))
}

fn move_to_another_address(side: Side, nat: Nat) -> Result<()> {
    let peer = side.peer();
    let (old, new, gateway) = (side.host(nat, 2), side.host(nat, 3), side.host(nat, 1));
    let bits = nat.prefix();
    sh(&format!(
        "ip -n {peer} addr del {old}/{bits} dev eth0 && ip -n {peer} addr add {new}/{bits} dev eth0 \
         && ip -n {peer} route add default via {gateway}"
    ))
}

fn healed(pair: &mut Pair) -> Result<Told> {
    let took = pair.exchange(LIMIT)?;
    let what = match pair.repairs()? {
        0 => "the link was kept".to_owned(),
        _ => format!("a new link: {}", pair.latest_path()?),
    };
    Ok((took, what))
}

/// As much as an old telephone line carries.
fn slow_line(stage: &Stage<'_>) -> Result<Told> {
    let router = Side::B.router();
    sh(&format!(
        "tc -n {router} qdisc add dev wan root tbf rate 1mbit burst 5kb latency 200ms"
    ))?;
    let mut pair = stage.connect(&STUN, &STUN)?;
    let shaped = Invocation::new("tc")
        .args(["-n", router, "-s", "qdisc", "show", "dev", "wan"])
        .read()?;
    if !shaped.contains("rate 1Mbit") {
        bail!("the line is not slow: {shaped}");
    }
    one_exchange(&mut pair)
}

fn one_exchange(pair: &mut Pair) -> Result<Told> {
    let took = pair.exchange(LIMIT)?;
    let what = format!("one exchange; connected in {} ms", pair.took.as_millis());
    Ok((took, what))
}

/// As far away as a peer by satellite.
fn far_away(stage: &Stage<'_>) -> Result<Told> {
    let slowness = Slowness {
        delay_ms: 200,
        late_percent: 0,
    };
    let _line = LongLine::before(Side::B, slowness, Path::new(FOLDER))?;
    let mut pair = stage.connect(&STUN, &STUN)?;
    let told = one_exchange(&mut pair)?;
    if told.0 < Duration::from_millis(slowness.delay_ms) {
        bail!("the line is not long: an exchange took {:?}", told.0);
    }
    Ok(told)
}

/// Frames overtake each other, within messages of many.
fn out_of_order(stage: &Stage<'_>) -> Result<Told> {
    let slowness = Slowness {
        delay_ms: 20,
        late_percent: 10,
    };
    let line = LongLine::before(Side::B, slowness, Path::new(FOLDER))?;
    let mut pair = stage.connect(&STUN, &STUN)?;
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        slowest = slowest.max(pair.exchange_bytes(100_000, LIMIT)?);
    }
    let [carried, late] = line.report()?;
    if late < 100 {
        bail!("only {late} of {carried} frames were late");
    }
    let what = format!("slowest of 20 times 100 kB each way; {late} of {carried} frames late");
    Ok((slowest, what))
}

/// A tunnel is on the way, and nobody hears of what is too large for it.
fn narrow(stage: &Stage<'_>) -> Result<Told> {
    make_narrow()?;
    let mut pair = stage.connect(&COMPOSED, &COMPOSED)?;
    let took = pair.exchange_bytes(100_000, LIMIT)?;
    match pair.repairs()? {
        0 => Ok((took, "100 kB each way over one link".into())),
        links => bail!("{links} links were lost"),
    }
}

/// The way leads through a tunnel suddenly, with datagrams in use that are too large for it.
fn narrowed(stage: &Stage<'_>) -> Result<Told> {
    let mut pair = stage.connect(&COMPOSED, &COMPOSED)?;
    pair.exchange_bytes(100_000, LIMIT)?;
    make_narrow()?;
    let took = pair.exchange_bytes(100_000, LIMIT)?;
    match pair.repairs()? {
        0 => bail!("the link was kept, so its datagrams were small before"),
        _ => Ok((took, "100 kB each way, over a new link".into())),
    }
}

/// A virtual cable drops what is too large for either of its ends.
fn make_narrow() -> Result<()> {
    let router = Side::B.router();
    sh(&format!("ip -n {router} link set wan mtu 1300"))
}

/// Where servers and peers keep their files.
const FOLDER: &str = "/run/lab";
/// An outage is noticed within seconds, and an attempt takes some.
const LIMIT: Duration = Duration::from_secs(40);
