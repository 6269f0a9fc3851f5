//! A running `rondevu up`, and somebody who speaks plain HTTP to it.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rondevu::signaling::UnixMillis;
use rondevu::{KeyPair, Username};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;

pub(crate) const SERVICE: &str = "com.example.chat@1.0.0";

/// The process; killed when dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) url: String,
    log: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Program {
    /// Starts it, and returns once it listens.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[]).await
    }

    /// Starts it with environment variables.
    pub(crate) async fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = command(arguments);
        command.envs(environment.iter().copied());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let url = loop {
            let line = lines.next_line().await.unwrap();
            let line = line.unwrap_or_else(|| panic!("it ended: {}", log.lock().unwrap()));
            keep(&log, &line);
            if let Some(url) = line.strip_prefix("signaling server on ") {
                break url.to_owned();
            }
        };
        let reader = tokio::spawn(read_all(lines, Arc::clone(&log)));
        Self {
            child,
            url,
            log,
            reader,
        }
    }

    /// Starts it with a store in a file, at an address where it was before.
    pub(crate) async fn start_at(address: &str, file: &Path) -> Self {
        let store = format!("sqlite:{}", file.display());
        Self::start(&["--listen", address, "--store", &store]).await
    }

    /// Where it listens, to start another one there.
    pub(crate) fn address(&self) -> &str {
        self.url.split_once("//").unwrap().1
    }

    /// Ends it as `kill -9` does.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to end, as service managers do.
    pub(crate) async fn terminate(&self) {
        let id = self.child.id().unwrap().to_string();
        let kill = Command::new("kill").args(["-TERM", &id]).status().await;
        assert!(kill.unwrap().success());
    }

    /// Waits for its end; returns how it ended and all that it wrote.
    pub(crate) async fn ended(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().await.unwrap();
        (&mut self.reader).await.unwrap();
        let log = self.log.lock().unwrap().clone();
        (status, log)
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rondevu"));
    let listen = ["--listen", "127.0.0.1:0"];
    command.arg("up");
    if !arguments.contains(&"--listen") {
        command.args(listen);
    }
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs it to its end; returns whether it succeeded and what it wrote.
pub(crate) async fn run(arguments: &[&str]) -> (bool, String) {
    let output = command(arguments).output().await.unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    (output.status.success(), text)
}

async fn read_all(mut lines: Lines<BufReader<ChildStderr>>, log: Arc<Mutex<String>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        keep(&log, &line);
    }
}

fn keep(log: &Mutex<String>, line: &str) {
    let mut log = log.lock().unwrap();
    log.push_str(line);
    log.push('\n');
}

/// A client without any state.
pub(crate) fn http() -> reqwest::Client {
    let builder = reqwest::Client::builder().tls_certs_only([]);
    builder.build().unwrap()
}

/// Sends JSON as a peer, if there is one; returns status and body.
pub(crate) async fn post(
    http: &reqwest::Client,
    url: String,
    peer: Option<&str>,
    body: &Value,
) -> reqwest::Result<(u16, Value)> {
    let mut request = http.post(url).json(body);
    if let Some(peer) = peer {
        request = request.header("authorization", peer);
    }
    let response = request.send().await?;
    Ok((response.status().as_u16(), response.json().await?))
}

/// Registers; returns the `Authorization` header.
pub(crate) async fn register(http: &reqwest::Client, url: &str) -> String {
    let nothing = json!({});
    let reply = post(http, format!("{url}/register"), None, &nothing).await;
    let (_, reply) = reply.unwrap();
    let text = |name: &str| reply[name].as_str().unwrap().to_owned();
    format!("Bearer {}:{}", text("peerId"), text("secret"))
}

/// The body of a claim.
pub(crate) fn claim(keys: &KeyPair, name: &Username) -> Value {
    let claim = keys.sign_claim(name, UnixMillis::now());
    json!({
        "username": name.as_str(),
        "publicKey": claim.public_key.to_string(),
        "signature": claim.signature.to_string(),
        "message": claim.message(),
    })
}

/// The body of a publication.
pub(crate) fn publication(keys: &KeyPair, name: &Username, sdp: &str) -> Value {
    let service = SERVICE.parse().unwrap();
    let signed = keys.sign_publish(name, &service, UnixMillis::now());
    json!({
        "username": name.as_str(),
        "serviceFqn": SERVICE,
        "sdp": sdp,
        "ttl": 300_000,
        "signature": signed.signature.to_string(),
        "message": signed.message(name, &service),
    })
}
