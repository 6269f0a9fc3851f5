//! Starts a browser without a window, lets it run the checks, and ends it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::process::Command;

use crate::site::Reports;

/// Which addresses the browser tells its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addresses {
    /// All that it has.
    Shown,
    /// Names in place of them, as browsers do for pages that may not use the camera. Only the checks
    /// that depend on it are run.
    Hidden,
}

impl Addresses {
    fn flag(self) -> &'static str {
        match self {
            Self::Shown => "--disable-features=WebRtcHideLocalIpsWithMdns",
            Self::Hidden => "--enable-features=WebRtcHideLocalIpsWithMdns",
        }
    }

    fn page(self) -> &'static str {
        match self {
            Self::Shown => "check/index.html",
            Self::Hidden => {
                "check/index.html?hidden&only=a_plain_page_dials_our_service,\
                 our_dialer_finds_a_plain_page,messages_wait_while_the_connection_is_paused"
            }
        }
    }
}

/// Opens the page of the checks and prints what it reports.
///
/// # Errors
///
/// If a check fails, or the browser does not start, ends early or falls silent for
/// [`SILENCE_MAX`]. One that says nothing at all is started a second time.
pub(crate) async fn check(
    browser: &Path,
    addresses: Addresses,
    url: &str,
    mut reports: Reports,
) -> Result<()> {
    let page = format!("{url}/{}", addresses.page());
    let profile = std::env::temp_dir().join(format!("rondevu-browser-{}", std::process::id()));
    std::fs::create_dir_all(&profile).context("cannot create a profile for the browser")?;
    let mut outcome = run(browser, addresses, &profile, &page, &mut reports).await;
    if matches!(outcome, Ok(Ended::Silently)) {
        println!("  the browser did not open the page; it is started once more");
        outcome = run(browser, addresses, &profile, &page, &mut reports).await;
    }
    let removed = remove(&profile).await;
    if let Ended::Silently = outcome? {
        bail!("the browser did not open {page}: open it by hand to see why");
    }
    removed.context("cannot remove the browser's profile")
}

/// Removes the profile, into which the browser's other processes write as long as they live: a moment
/// longer than the first.
async fn remove(profile: &Path) -> std::io::Result<()> {
    let mut tries = 0;
    loop {
        match std::fs::remove_dir_all(profile) {
            Err(_) if tries < REMOVALS_MAX => tries += 1,
            result => return result,
        }
        tokio::time::sleep(REMOVAL_PAUSE).await;
    }
}

/// How a run of the browser ended in which no check failed.
enum Ended {
    WithAllChecks,
    /// Nothing was heard from it.
    Silently,
}

async fn run(
    browser: &Path,
    addresses: Addresses,
    profile: &Path,
    page: &str,
    reports: &mut Reports,
) -> Result<Ended> {
    let mut chromium = Command::new(browser)
        .args(FLAGS)
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(addresses.flag())
        .arg(page)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}; is it installed?", browser.display()))?;
    let outcome = tokio::select! {
        ended = chromium.wait() => bail!("the browser ended early ({})", ended?),
        outcome = listen(reports) => outcome,
    };
    // Its other processes end with the first.
    chromium.kill().await.context("cannot end the browser")?;
    outcome
}

/// Prints reports until the page says that it is done.
async fn listen(reports: &mut Reports) -> Result<Ended> {
    let mut patience = START_MAX;
    loop {
        let report = tokio::time::timeout(patience, reports.recv()).await;
        let Ok(Some(report)) = report else {
            if patience == START_MAX {
                return Ok(Ended::Silently);
            }
            bail!("the browser reported nothing for {} s", patience.as_secs());
        };
        patience = SILENCE_MAX;
        let text = |key: &str| report[key].as_str().unwrap_or_default();
        match (&report["check"], &report["failed"]) {
            (Value::String(check), Value::Null) => {
                println!("  passed  {check}  {}", text("note"));
            }
            (Value::String(check), _) => println!("  FAILED  {check}: {}", text("failed")),
            (_, Value::Number(failed)) if failed.as_u64() == Some(0) => {
                println!("  {}", text("note"));
                return Ok(Ended::WithAllChecks);
            }
            (_, Value::Number(failed)) => bail!("{failed} check(s) failed in the browser"),
            _ => println!("  {}", text("note")),
        }
    }
}

/// Nothing that talks to anybody but the page's own server: no updates, no reports.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
];
const REMOVALS_MAX: u32 = 100;
const REMOVAL_PAUSE: Duration = Duration::from_millis(50);
/// A browser that has not opened the page by then is stuck in its own start.
const START_MAX: Duration = Duration::from_secs(40);
/// The longest check takes a tenth of this on a busy machine.
const SILENCE_MAX: Duration = Duration::from_secs(120);
