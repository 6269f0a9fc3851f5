//! HTTP as far as this server needs it, on one connection, at little cost to the one who measures.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection that is kept open.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A request to be sent.
pub(crate) struct Request<'a> {
    pub(crate) method: &'static str,
    pub(crate) path: &'a str,
    pub(crate) peer: Option<&'a str>,
    pub(crate) body: String,
}

impl<'a> Request<'a> {
    pub(crate) fn get(path: &'a str) -> Self {
        Self {
            method: "GET",
            path,
            peer: None,
            body: String::new(),
        }
    }

    pub(crate) fn post(path: &'a str, body: String) -> Self {
        Self {
            method: "POST",
            body,
            ..Self::get(path)
        }
    }

    pub(crate) fn by(mut self, peer: &'a str) -> Self {
        self.peer = Some(peer);
        self
    }
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }

    /// Sends a request and returns the status and the body of the answer.
    pub(crate) async fn send(&mut self, request: Request<'_>) -> Result<(u16, Vec<u8>)> {
        let Request {
            method,
            path,
            peer,
            body,
        } = request;
        let peer = peer.map_or(String::new(), |peer| format!("Authorization: {peer}\r\n"));
        let length = body.len();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nHost: bench\r\n{peer}Content-Length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(text.as_bytes()).await?;
        self.buffer.clear();
        let head = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            self.read().await?;
        };
        let text = str::from_utf8(&self.buffer[..head])?;
        let status = text.get(9..12).context("no status")?.parse()?;
        let length = header(text, "content-length").context("no length")?;
        let length: usize = length.parse()?;
        while self.buffer.len() < head + length {
            self.read().await?;
        }
        Ok((status, self.buffer[head..].to_vec()))
    }

    /// As [`send`](Self::send), for JSON and success.
    pub(crate) async fn ask(&mut self, request: Request<'_>) -> Result<Value> {
        let what = format!("{} {}", request.method, request.path);
        let (status, body) = self.send(request).await?;
        if !(200..300).contains(&status) {
            bail!("{what}: {status} {}", String::from_utf8_lossy(&body));
        }
        Ok(serde_json::from_slice(&body)?)
    }

    /// Becomes a peer; returns the header.
    pub(crate) async fn register(&mut self) -> Result<String> {
        let reply = self.ask(Request::post("/register", String::new())).await?;
        let text = |name: &str| reply[name].as_str().context("no such text");
        Ok(format!("Bearer {}:{}", text("peerId")?, text("secret")?))
    }

    async fn read(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => bail!("the server closed the connection"),
            _ => Ok(()),
        }
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(found, _)| found.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim())
}
