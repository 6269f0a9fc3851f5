//! A peer for web pages: signaling server, web server and a service that echoes, in one program.
//!
//! `cargo run --package rondevu --features server --example browser_peer` serves the demonstration of
//! `docs/browser` until it is interrupted. With `--check chromium` it starts that browser without a window,
//! lets it run the pages of `rondevu/tests/browser`, and fails unless all their checks pass:
//! `cargo xtask browser` does so in a network of its own. With `--hidden` the browser tells names in place
//! of its addresses.

mod chromium;
mod peer;
mod plain;
mod site;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use rondevu::Engine;

use crate::chromium::Addresses;
use crate::peer::Peer;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    let http = SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port));
    let listener = tokio::net::TcpListener::bind(http).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let peer = Peer::new(&url, arguments.udp, arguments.engine)?;
    let (site, reports) = site::router(peer.clone()).await?;
    let serving = tokio::spawn(async move {
        let app = site.into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, app).await
    });
    peer.start().await.context("cannot publish the service")?;
    match arguments.check {
        Some(browser) => chromium::check(&browser, arguments.addresses, &url, reports).await,
        None => {
            println!("open {url}/browser/index.html");
            serving.await?.context("the web server ended")
        }
    }
}

#[derive(Debug)]
struct Arguments {
    /// The port of the web server; 0 for a free one.
    port: u16,
    /// The address for WebRTC. Pages cannot use loopback addresses.
    udp: IpAddr,
    /// The browser that is to run the checks.
    check: Option<PathBuf>,
    addresses: Addresses,
    /// What carries the links of the program.
    engine: Engine,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut parsed = Self {
            port: 0,
            udp: Ipv4Addr::UNSPECIFIED.into(),
            check: None,
            addresses: Addresses::Shown,
            engine: Engine::default(),
        };
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .with_context(|| format!("{word} needs a value"))
            };
            match word.as_str() {
                "--port" => parsed.port = value()?.parse().context("--port needs a number")?,
                "--udp" => parsed.udp = value()?.parse().context("--udp needs an address")?,
                "--check" => parsed.check = Some(value()?.into()),
                "--hidden" => parsed.addresses = Addresses::Hidden,
                "--engine" => parsed.engine = engine(&value()?)?,
                _ => bail!(
                    "unknown argument {word}: use --port, --udp, --engine, --check or --hidden"
                ),
            }
        }
        Ok(parsed)
    }
}

fn engine(name: &str) -> Result<Engine> {
    match name {
        "str0m" => Ok(Engine::Str0m),
        #[cfg(feature = "engine-composed")]
        "composed" => Ok(Engine::Composed),
        _ => bail!("there is no engine {name} in this build"),
    }
}
