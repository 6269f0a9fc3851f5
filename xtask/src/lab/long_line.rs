//! A line that takes time: its frames go through a tunnel (VXLAN, RFC 7348) that a process of ours carries.
//!
//! Linux can hold frames up by itself (`tc netem`), but many kernels are built without that.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::network::{Side, sh};
use crate::outcome::Outcome;

/// What a line does to frames in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Slowness {
    /// How long each frame takes, in milliseconds.
    #[arg(long)]
    pub(crate) delay_ms: u64,
    /// How many of a hundred frames take 30 ms longer, so that those behind overtake them.
    #[arg(long)]
    pub(crate) late_percent: u64,
}

/// A long line between a router and the world. It is taken down with this value.
#[derive(Debug)]
pub(super) struct LongLine {
    carrier: Child,
    log: PathBuf,
}

impl LongLine {
    /// Puts it between the router of `side` and the switch.
    pub(super) fn before(side: Side, slowness: Slowness, folder: &Path) -> Result<Self> {
        let wan = format!("{}-wan", side.router());
        let tunnel = |name: &str, port: u16, bridge: &str| {
            format!(
                "ip -n sw link add {name} mtu 1500 type vxlan id 1 local {SWITCH} remote {CARRIER} \
                   dstport {port} dev line0 && ip -n sw link set {name} master {bridge} up"
            )
        };
        let (near, far) = (
            tunnel("near", PORTS[0], "pub"),
            tunnel("far", PORTS[1], "beyond"),
        );
        // A frame in the tunnel is larger than one on the line.
        sh(&format!(
            "ip netns add line \
             && ip link add line0 mtu 2000 netns sw type veth peer name line1 mtu 2000 netns line \
             && ip -n sw addr add {SWITCH}/30 dev line0 && ip -n sw link set line0 up \
             && ip -n line addr add {CARRIER}/30 dev line1 && ip -n line link set line1 up \
             && ip -n sw link add beyond type bridge && ip -n sw link set beyond up \
             && {near} && {far} && ip -n sw link set {wan} master beyond"
        ))?;
        // The tunnel takes what senders leave to their network card for done.
        sh(&offload("off"))?;
        let log = folder.join("line.out");
        let program = std::env::current_exe().context("cannot find this program")?;
        let carrier = Command::new("ip")
            .args(["netns", "exec", "line"])
            .arg(program)
            .arg("long-line")
            .args(["--delay-ms", &slowness.delay_ms.to_string()])
            .args(["--late-percent", &slowness.late_percent.to_string()])
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .spawn()
            .context("cannot start the carrier of the line")?;
        let line = Self { carrier, log };
        let end = Instant::now() + PATIENCE;
        while line.report().is_err() {
            if Instant::now() > end {
                bail!("the carrier of the line does not start");
            }
            thread::sleep(REPORT_INTERVAL);
        }
        Ok(line)
    }

    /// How many frames it has carried, and how many of them later than others.
    pub(super) fn report(&self) -> Result<[u64; 2]> {
        let said = std::fs::read_to_string(&self.log)?;
        let last = said.lines().last().context("no report yet")?;
        let (carried, late) = last.split_once(' ').context("half a report")?;
        Ok([carried.parse()?, late.parse()?])
    }
}

impl Drop for LongLine {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.carrier.kill();
        let _ = self.carrier.wait();
        let _ = sh(&offload("on"));
        // What is left is replaced with the side.
        let _ =
            sh("for l in near far beyond line0; do ip -n sw link del $l; done; ip netns del line");
    }
}

/// Lets network cards make checksums, or the senders themselves.
fn offload(switch: &str) -> String {
    format!(
        "for n in a b servers; do ip netns exec $n ethtool -K eth0 tx {switch} >/dev/null || exit 1; done"
    )
}

/// Carries frames until it is killed, and reports now and then.
pub(crate) fn carry(slowness: Slowness) -> Result<Outcome> {
    let bind = |port| UdpSocket::bind((CARRIER, port)).context("cannot bind an end of the line");
    let ends = [bind(PORTS[0])?, bind(PORTS[1])?];
    for (from, to) in [(0, 1), (1, 0)] {
        let (from, out) = (ends[from].try_clone()?, ends[to].try_clone()?);
        let to = SocketAddr::from((SWITCH, PORTS[to]));
        thread::spawn(move || {
            if let Err(error) = carry_one_way(&from, &out, to, slowness) {
                eprintln!("the line is broken: {error}");
            }
        });
    }
    loop {
        let [carried, late] = COUNTS.each_ref().map(|count| count.load(Ordering::Relaxed));
        println!("{carried} {late}");
        thread::sleep(REPORT_INTERVAL);
    }
}

fn carry_one_way(
    from: &UdpSocket,
    out: &UdpSocket,
    to: SocketAddr,
    slowness: Slowness,
) -> Result<()> {
    let mut on_the_way: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>> = BinaryHeap::new();
    let mut buffer = vec![0; 64 * 1024];
    for number in 1u64.. {
        let now = Instant::now();
        while let Some(Reverse((due, _, _))) = on_the_way.peek()
            && *due <= now
            && let Some(Reverse((_, _, frame))) = on_the_way.pop()
        {
            out.send_to(&frame, to)?;
        }
        let next = on_the_way.peek().map_or(REPORT_INTERVAL, |first| {
            first.0.0.saturating_duration_since(now)
        });
        // Zero would mean for ever.
        from.set_read_timeout(Some(next.max(Duration::from_micros(1))))?;
        let len = match from.recv(&mut buffer) {
            Ok(len) => len,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let carried = COUNTS[0].fetch_add(1, Ordering::Relaxed);
        let mut due = Instant::now() + Duration::from_millis(slowness.delay_ms);
        // Without chance, so that each run meets as many.
        if carried * slowness.late_percent % 100 < slowness.late_percent {
            COUNTS[1].fetch_add(1, Ordering::Relaxed);
            due += LATENESS;
        }
        on_the_way.push(Reverse((due, number, buffer[..len].to_vec())));
    }
    Ok(())
}

/// Frames carried, and those of them that were late.
static COUNTS: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Both ends of the tunnel are at the switch; they differ by their ports.
const SWITCH: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const CARRIER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const PORTS: [u16; 2] = [4789, 4790];
const LATENESS: Duration = Duration::from_millis(30);
const REPORT_INTERVAL: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(10);
