//! `cargo xtask openapi`: holds the signaling server to its own description with schemathesis.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::outcome::Outcome;
use crate::process::Invocation;
use crate::workspace::build_program;

/// Builds the program, starts its server, and sends it what its description allows and forbids.
pub(crate) fn run() -> Result<Outcome> {
    let schemathesis = match installed_schemathesis() {
        Ok(program) => program,
        Err(why) => {
            let note = format!("the server against its description: {why:#}");
            return Ok(Outcome::Skipped(note));
        }
    };
    let server = Server::start()?;
    let peer = register(&server.address)?;
    // Apart, as the first kind would use up the time of the second.
    for (phases, seconds) in [("coverage,fuzzing", "50"), ("stateful", "30")] {
        Invocation::new(&schemathesis)
            .args(["run", &format!("http://{}/openapi.json", server.address)])
            .args(["--header", &format!("Authorization: {peer}")])
            .args(["--phases", phases, "--max-time", seconds])
            // Several at once stumble over a fault of Python 3.11.
            .args(["--workers", "1"])
            // Longer than a request may wait.
            .args(["--request-timeout", "40"])
            .args(["--exclude-checks", NOT_FOR_US, "--warnings", "off"])
            .args(["--continue-on-failure", "--no-color"])
            .run_within(LIMIT)?;
    }
    Ok(Outcome::Done)
}

/// The program, installed into an environment of its own below `target`.
fn installed_schemathesis() -> Result<String> {
    let program = format!("{FOLDER}/bin/schemathesis");
    let has_right_version = Invocation::new(&program)
        .args(["--version"])
        .read_if_any()
        .is_some_and(|text| text.contains(VERSION));
    if has_right_version {
        return Ok(program);
    }
    if Path::new(FOLDER).exists() {
        fs::remove_dir_all(FOLDER).context("cannot remove an older installation")?;
    }
    Invocation::new("python3")
        .args(["-m", "venv", FOLDER])
        .run()
        .context("python3 with venv is missing (`apt-get install python3-venv`)")?;
    Invocation::new(&format!("{FOLDER}/bin/pip"))
        .args(["install", "--quiet", &format!("schemathesis=={VERSION}")])
        .run()
        .context("schemathesis could not be installed from PyPI")?;
    Ok(program)
}

/// The signaling server; killed when dropped.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start() -> Result<Self> {
        let mut command = Command::new(build_program("rondevu")?);
        command.args(["up", "--listen", "127.0.0.1:0"]);
        for limit in ["address", "peer", "registration", "name"] {
            command.args([&format!("--limit-{limit}-rate"), "none"]);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start the server")?;
        let output = child.stderr.take().context("the server has no output")?;
        let mut lines = BufReader::new(output).lines();
        while let Some(line) = lines.next().transpose()? {
            if let Some(address) = line.strip_prefix("signaling server on http://") {
                let address = address.to_owned();
                // Whatever else it says, so that it never waits to say it.
                thread::spawn(move || lines.for_each(drop));
                return Ok(Self { child, address });
            }
        }
        bail!("the server ended before it listened")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Becomes a peer; returns the value of its `Authorization` header.
fn register(address: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(
        b"POST /register HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    )?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let field = |name: &str| {
        let (_, rest) = reply.split_once(&format!("\"{name}\":\""))?;
        rest.split('"').next()
    };
    let credentials = field("peerId").zip(field("secret"));
    let (peer, secret) = credentials.context("the server registered nobody")?;
    Ok(format!("Bearer {peer}:{secret}"))
}

/// The protocol answers 404 to unknown methods, and what is right by its form can still be refused
/// for a signature that no generator makes.
const NOT_FOR_US: &str = "unsupported_method,allow_header_conformance,positive_data_acceptance";

const FOLDER: &str = "target/schemathesis";
const VERSION: &str = "4.32.5";

/// Twice the time that it gives itself, for slow machines.
const LIMIT: Duration = Duration::from_secs(120);
