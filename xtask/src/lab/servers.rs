//! The servers of the lab: a real coturn, and the signaling server of this program.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::network::sh;
use crate::workspace::built;

/// Servers that end with this value.
#[derive(Debug)]
pub(super) struct Servers {
    /// The program under test, which also serves.
    pub(super) program: String,
    running: Vec<Child>,
}

impl Servers {
    /// Starts both and waits until they listen. `folder` gets their files.
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let path = folder.display();
        sh(&format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
             -keyout {path}/key.pem -out {path}/cert.pem -subj /CN=turn.example.org \
             -addext subjectAltName=IP:{IP} -addext basicConstraints=critical,CA:FALSE"
        ))?;
        let config = format!(
            "listening-ip={IP}\nrelay-ip={IP}\nlt-cred-mech\nuser={USER}:{PASSWORD}\nrealm=example.org\n\
             fingerprint\nno-cli\nno-dtls\nmin-port=50000\nmax-port=51000\ncert={path}/cert.pem\n\
             pkey={path}/key.pem\nlog-file={path}/turn.log\nsimple-log\npidfile={path}/turn.pid\n\
             userdb={path}/turndb\n"
        );
        std::fs::write(folder.join("turn.conf"), config)?;
        let turn = format!("{path}/turn.conf");
        let program = built("debug/rondevu")?;
        let mut servers = Self {
            program: program.clone(),
            running: Vec::new(),
        };
        servers.spawn(folder, "turn", &["turnserver", "-c", &turn])?;
        let listen = format!("{IP}:3000");
        servers.spawn(folder, "signaling", &[&program, "up", "--listen", &listen])?;
        for port in [3000, 3478, 5349] {
            wait_for(port)?;
        }
        Ok(servers)
    }

    fn spawn(&mut self, folder: &Path, name: &str, command: &[&str]) -> Result<()> {
        let log = File::create(folder.join(format!("{name}.out")))?;
        let child = Command::new("ip")
            .args(["netns", "exec", "servers"])
            .args(command)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        self.running.push(child);
        Ok(())
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.running {
            // It may have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until something listens on the port.
fn wait_for(port: u16) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(20);
    let listens = format!("ip netns exec servers ss -lnt | grep -q '{IP}:{port} '");
    while sh(&listens).is_err() {
        if Instant::now() > end {
            bail!("nothing listens on port {port} after 20 s");
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The address of the signaling server.
pub(super) fn signaling() -> String {
    format!("http://{}", SocketAddr::from(([203, 0, 113, 10], 3000)))
}

pub(super) const IP: &str = "203.0.113.10";
pub(super) const USER: &str = "lab";
pub(super) const PASSWORD: &str = "secret";
