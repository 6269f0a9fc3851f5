//! The server under load: started, asked what it uses, ended.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

/// `rondevu up`, without limits on rates; killed when dropped.
pub(crate) struct ServerProcess {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl ServerProcess {
    pub(crate) async fn start(program: &Path, store: &str) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["up", "--listen", "127.0.0.1:0", "--store", store]);
        for limit in ["address", "peer", "registration", "name"] {
            command.args([&format!("--limit-{limit}-rate"), "none"]);
        }
        command.args(["--limit-offers-per-peer", "1000000"]);
        command.env("RUST_LOG", "off").stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start the server")?;
        let output = child.stderr.take().context("no output")?;
        for line in BufReader::new(output).lines() {
            if let Some(url) = line?.strip_prefix("signaling server on http://") {
                let address = url.parse()?;
                return Ok(Self { child, address });
            }
        }
        bail!("the server ended at once")
    }

    /// The memory that the process has.
    pub(crate) fn resident_bytes(&self) -> Result<usize> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let mut lines = status.lines();
        let line = lines.find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.context("no VmRSS")?.trim().trim_end_matches(" kB");
        Ok(kib.parse::<usize>()? * 1024)
    }

    /// How long it has kept processors busy.
    pub(crate) fn cpu_seconds(&self) -> Result<String> {
        cpu_seconds(&self.child.id().to_string())
    }
}

/// How long a process has kept processors busy.
pub(crate) fn cpu_seconds(process: &str) -> Result<String> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let after_name = stat.rsplit(')').next().unwrap_or("");
    let fields: Vec<_> = after_name.split_whitespace().collect();
    let seconds = |index: usize| -> Result<f64> {
        let ticks = fields.get(index).context("no such field")?;
        Ok(ticks.parse::<f64>()? / TICKS_PER_SECOND)
    };
    let (program, kernel) = (seconds(11)?, seconds(12)?);
    Ok(format!(
        "{program:.1} s of processor in the program, {kernel:.1} s in the kernel"
    ))
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const TICKS_PER_SECOND: f64 = 100.0;
