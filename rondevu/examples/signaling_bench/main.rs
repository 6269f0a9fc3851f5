//! Loads a signaling server, a process of its own, with dialers and services while 2,000 peers
//! wait: requests a second, how long they take, memory of a waiting peer, and how soon a service
//! hears of an answer. On both stores. The figures compare within one run.
//!
//! The first argument is the `rondevu` program, built in release mode.

mod load;
mod plain_http;
mod server;
mod tally;
mod waiters;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use load::{Pace, mixed_load};
use server::ServerProcess;
use tally::{median, print_kinds};
use waiters::{Waiters, answers_heard};

const WAITING: usize = 2000;
const WARM_UP: Duration = Duration::from_secs(2);
const MEASURED: Duration = Duration::from_secs(10);
const HEARD: usize = 300;

/// One thread: the other core, where there are but two, is the server's.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let program = std::env::args_os().nth(1).context("name the program")?;
    let program = PathBuf::from(program);
    let folder = std::env::temp_dir().join(format!("rondevu-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let file = format!("sqlite:{}", folder.join("store.db").display());
    println!("{}", surroundings(&folder)?);
    let mut result = Ok(());
    for (store, requests_wanted) in [("memory", 10_000.0), (&*file, 3_000.0)] {
        result = measure(&program, store, requests_wanted).await;
        if result.is_err() {
            break;
        }
    }
    std::fs::remove_dir_all(&folder)?;
    result
}

async fn measure(program: &Path, store: &str, requests_wanted: f64) -> Result<()> {
    let name = store.split(':').next().unwrap_or(store);
    println!("store: {name}");
    let server = ServerProcess::start(program, store).await?;
    // What a server has in any case: threads, pools, caches.
    mixed_load(server.address, "warm", Pace::AsFastAsAnswered, WARM_UP).await?;

    let before = server.resident_bytes()?;
    let waiters = Waiters::start(server.address, WAITING).await?;
    let each = server.resident_bytes()?.saturating_sub(before) / WAITING;
    let kib = each as f64 / 1024.0;
    verdict("memory of a waiting peer", kib, "KiB", Wanted::Below(20.0));

    let mut idle = answers_heard(server.address, &waiters, HEARD).await?;
    let idle = median(&mut idle).as_secs_f64() * 1000.0;
    verdict(
        "answer until heard, median",
        idle,
        "ms",
        Wanted::Below(10.0),
    );

    let (kinds, heard) = tokio::join!(
        mixed_load(server.address, "load", Pace::AsFastAsAnswered, MEASURED),
        answers_heard(server.address, &waiters, HEARD),
    );
    let (mut kinds, mut heard) = (kinds?, heard?);
    let loaded = median(&mut heard).as_secs_f64() * 1000.0;
    verdict("  the same under load", loaded, "ms", Wanted::Below(10.0));
    let count: usize = kinds.values().map(Vec::len).sum();
    let rate = count as f64 / MEASURED.as_secs_f64();
    verdict("mixed requests", rate, "/s", Wanted::Above(requests_wanted));
    print_kinds(&mut kinds, MEASURED);

    // How long a request takes of a server that is asked for all it can do says how many ask.
    let pace = Pace::PerSecond(requests_wanted);
    let mut kinds = mixed_load(server.address, "pace", pace, MEASURED).await?;
    let count: usize = kinds.values().map(Vec::len).sum();
    let rate = count as f64 / MEASURED.as_secs_f64();
    println!("at {rate:.0} requests a second, {requests_wanted} wanted:");
    let p99 = print_kinds(&mut kinds, MEASURED);
    let p99 = p99.as_secs_f64() * 1000.0;
    verdict("p99 of the slowest kind", p99, "ms", Wanted::Below(20.0));
    println!("server: {}", server.cpu_seconds()?);
    println!("this generator so far: {}\n", server::cpu_seconds("self")?);
    drop(waiters);
    Ok(())
}

/// What the figures depend on beside the server: other programs, and the disk, whose confirmation
/// claims and publications wait for.
fn surroundings(folder: &Path) -> Result<String> {
    use std::io::Write;

    let load = std::fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    let mut file = std::fs::File::create(folder.join("probe"))?;
    let mut times = Vec::new();
    for _ in 0..200 {
        let start = std::time::Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    let (p50, p99) = (median(&mut times), tally::percentile(&mut times, 99));
    Ok(format!(
        "load average {load}; the disk confirms 4 KiB in {p50:.1?} at the median, p99 {p99:.1?}\n"
    ))
}

enum Wanted {
    Above(f64),
    Below(f64),
}

fn verdict(what: &str, figure: f64, unit: &str, wanted: Wanted) {
    let (reached, text) = match wanted {
        Wanted::Above(limit) => (figure >= limit, format!("at least {limit}")),
        Wanted::Below(limit) => (figure < limit, format!("below {limit}")),
    };
    let reached = if reached { "reached" } else { "MISSED" };
    println!("{what:<28}{figure:>10.2} {unit:<4} wanted {text}: {reached}");
}
