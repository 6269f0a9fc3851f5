//! Two pipes that look for each other, and what they say about it.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::network::Side;
use super::servers::{PASSWORD, USER, signaling};

/// `rondevu pipe` on both sides, connected. They end with this value.
#[derive(Debug)]
pub(super) struct Pair {
    listener: Pipe,
    dialer: Pipe,
    /// From the start of the dialer until it was connected.
    pub(super) took: Duration,
    /// What the dialer says about the path.
    pub(super) path: String,
    /// All that each side has sent.
    sent: String,
}

#[derive(Debug)]
struct Pipe {
    child: Child,
    input: Option<ChildStdin>,
    output: PathBuf,
    errors: PathBuf,
}

impl Pair {
    /// Side A listens, side B dials; `a` and `b` are what else they are told.
    pub(super) fn connect(
        program: &str,
        folder: &Path,
        number: usize,
        a: &[&str],
        b: &[&str],
    ) -> Result<Self> {
        let address = format!("lab{number}/com.example.lab@1.0.0");
        let key = folder.join(format!("{number}.pem")).display().to_string();
        let mut words = vec!["--listen", &address, "--key", &key];
        words.extend(a);
        let listener = Pipe::start(program, folder, number, Side::A, &words)?;
        listener.wait_for("waiting as", PATIENCE)?;
        let start = Instant::now();
        let mut words = vec![address.as_str()];
        words.extend(b);
        let dialer = Pipe::start(program, folder, number, Side::B, &words)?;
        let said = dialer.wait_for("connected to", PATIENCE)?;
        let took = start.elapsed();
        let path = match said.lines().find_map(|line| line.strip_prefix("path: ")) {
            Some(path) => path.to_owned(),
            None => {
                let said = dialer.wait_for("path: ", Duration::from_secs(1))?;
                let path = said.lines().find_map(|line| line.strip_prefix("path: "));
                path.unwrap_or_default().to_owned()
            }
        };
        let mut pair = Self {
            listener,
            dialer,
            took,
            path,
            sent: String::new(),
        };
        pair.exchange(PATIENCE)?;
        Ok(pair)
    }

    /// Sends a line each way and waits for both; how long that took.
    pub(super) fn exchange(&mut self, limit: Duration) -> Result<Duration> {
        self.exchange_bytes(0, limit)
    }

    /// The same with a line of so many bytes at least.
    pub(super) fn exchange_bytes(&mut self, bytes: usize, limit: Duration) -> Result<Duration> {
        let start = Instant::now();
        let number = 1 + self.sent.lines().count();
        let line = format!("line {number}{}\n", ".".repeat(bytes));
        self.sent += &line;
        for pipe in [&mut self.listener, &mut self.dialer] {
            let input = pipe.input.as_mut().context("the input is closed")?;
            input.write_all(line.as_bytes())?;
            input.flush()?;
        }
        for pipe in [&self.listener, &self.dialer] {
            while pipe.read(&pipe.output)? != self.sent {
                if start.elapsed() > limit {
                    let came = pipe.read(&pipe.output)?;
                    bail!(
                        "line {number} did not come within {limit:?}; {} lines of {} bytes came; it \
                         said: {}",
                        came.lines().count(),
                        came.len(),
                        pipe.read(&pipe.errors)?
                    );
                }
                thread::sleep(LOOK);
            }
        }
        Ok(start.elapsed())
    }

    /// What the dialer says about its path once it has found one without a relay. That may be a
    /// moment after it was connected: the first path is taken, then the best.
    pub(super) fn direct_path(&self) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        loop {
            let path = self.latest_path()?;
            if !path.contains("relay ") || Instant::now() > end {
                return Ok(path);
            }
            thread::sleep(LOOK);
        }
    }

    /// What the dialer said last about its path.
    pub(super) fn latest_path(&self) -> Result<String> {
        let said = self.dialer.read(&self.dialer.errors)?;
        let path = said.lines().rev().find_map(|l| l.strip_prefix("path: "));
        Ok(path.unwrap_or_default().to_owned())
    }

    /// How often the dialer has looked for another link.
    pub(super) fn repairs(&self) -> Result<usize> {
        let said = self.dialer.read(&self.dialer.errors)?;
        Ok(said.matches("resumed").count())
    }
}

impl Pipe {
    fn start(
        program: &str,
        folder: &Path,
        number: usize,
        side: Side,
        words: &[&str],
    ) -> Result<Self> {
        let file = |kind: &str| folder.join(format!("{number}{}.{kind}", side.peer()));
        let (output, errors) = (file("out"), file("err"));
        let mut child = Command::new("ip")
            .args(["netns", "exec", side.peer(), program, "pipe"])
            .args(words)
            .env("HOME", folder)
            .env("RONDEVU_SERVER", signaling())
            .env("RONDEVU_ICE_USERNAME", USER)
            .env("RONDEVU_ICE_CREDENTIAL", PASSWORD)
            .env("SSL_CERT_FILE", folder.join("cert.pem"))
            .stdin(Stdio::piped())
            .stdout(File::create(&output)?)
            .stderr(File::create(&errors)?)
            .spawn()
            .context("cannot start a pipe")?;
        let input = child.stdin.take();
        Ok(Self {
            child,
            input,
            output,
            errors,
        })
    }

    /// Waits until it says `what` on standard error; all that it has said.
    fn wait_for(&self, what: &str, limit: Duration) -> Result<String> {
        let end = Instant::now() + limit;
        loop {
            let said = self.read(&self.errors)?;
            if said.contains(what) {
                return Ok(said);
            }
            if Instant::now() > end || said.contains("rondevu: ") {
                bail!("no {what:?}; it said: {}", said.trim());
            }
            thread::sleep(LOOK);
        }
    }

    fn read(&self, path: &Path) -> Result<String> {
        let mut text = String::new();
        let mut file = File::open(path)?;
        file.rewind()?;
        file.read_to_string(&mut text)?;
        Ok(text)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// On a busy machine everything takes longer.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(10);
