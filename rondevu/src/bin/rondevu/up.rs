//! `rondevu up`: runs the signaling server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use rondevu::signaling::Limits;
use rondevu::signaling::server::{
    ClientAddress, Cors, IpNet, RateLimit, Server, ServerConfig, Storage, TlsIdentity,
};

use crate::LogFormat;

#[derive(clap::Args)]
pub(crate) struct UpArgs {
    /// The address to listen on; port 0 picks a free one.
    #[arg(
        long,
        env = "RONDEVU_LISTEN",
        default_value = "127.0.0.1:3000",
        value_name = "ADDR",
        value_parser = crate::socket_address
    )]
    listen: SocketAddr,
    /// Where names, services and offers are kept: `memory`, or `sqlite:PATH` for a file.
    #[arg(
        long,
        env = "RONDEVU_STORE",
        default_value = "memory",
        value_name = "STORE"
    )]
    store: Storage,
    /// The address at which clients reach the server, where it is not the one it listens on.
    #[arg(long, env = "RONDEVU_PUBLIC_URL", value_name = "URL")]
    public_url: Option<String>,
    /// A file with 64 hex digits that credentials are made with; without it, the store keeps a key.
    #[arg(long, env = "RONDEVU_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// The certificate for HTTPS, in PEM, with the intermediate ones after it.
    #[arg(
        long,
        env = "RONDEVU_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    tls_cert: Option<PathBuf>,
    /// The private key of the certificate, in PEM.
    #[arg(
        long,
        env = "RONDEVU_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    tls_key: Option<PathBuf>,
    /// The web pages that may use the server: `anywhere`, `nowhere`, or origins such as
    /// `https://example.com` with commas between them.
    #[arg(
        long,
        env = "RONDEVU_CORS",
        default_value = "anywhere",
        value_name = "ORIGINS"
    )]
    cors: Cors,
    /// A proxy before the server, or a network of such, whose `X-Forwarded-For` is believed; can be
    /// given several times.
    #[arg(
        long,
        env = "RONDEVU_TRUSTED_PROXY",
        value_delimiter = ',',
        value_parser = parse_network,
        value_name = "ADDR"
    )]
    trusted_proxy: Vec<IpNet>,
    /// How the log is written; `RUST_LOG` says how much of it.
    #[arg(
        long,
        env = "RONDEVU_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT"
    )]
    pub(crate) log_format: LogFormat,
    #[command(flatten)]
    limits: LimitArgs,
}

/// How much the server does for whom. Rates are written `50/s:500` (50 a second, 500 at once),
/// `6/m:60`, or `none` for no limit.
#[derive(clap::Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Requests from one address.
    #[arg(
        long,
        env = "RONDEVU_LIMIT_ADDRESS_RATE",
        default_value = "200/s:2000",
        value_name = "RATE"
    )]
    limit_address_rate: RateLimit,
    /// Requests of one registered peer.
    #[arg(
        long,
        env = "RONDEVU_LIMIT_PEER_RATE",
        default_value = "50/s:500",
        value_name = "RATE"
    )]
    limit_peer_rate: RateLimit,
    /// Peers that one address registers.
    #[arg(
        long,
        env = "RONDEVU_LIMIT_REGISTRATION_RATE",
        default_value = "20/s:500",
        value_name = "RATE"
    )]
    limit_registration_rate: RateLimit,
    /// Free usernames that one address claims.
    #[arg(
        long,
        env = "RONDEVU_LIMIT_NAME_RATE",
        default_value = "6/m:100",
        value_name = "RATE"
    )]
    limit_name_rate: RateLimit,
    /// Living offers of one peer.
    #[arg(
        long,
        env = "RONDEVU_LIMIT_OFFERS_PER_PEER",
        default_value_t = 1000,
        value_name = "COUNT"
    )]
    limit_offers_per_peer: usize,
    /// Living services of one username.
    #[arg(
        long,
        env = "RONDEVU_LIMIT_SERVICES_PER_USERNAME",
        default_value_t = 64,
        value_name = "COUNT"
    )]
    limit_services_per_username: usize,
    /// MiB of everything that is kept.
    #[arg(
        long,
        env = "RONDEVU_LIMIT_STORED_MIB",
        default_value_t = 256,
        value_name = "MIB"
    )]
    limit_stored_mib: usize,
    /// Connections that are open at once; later ones wait.
    #[arg(
        long,
        env = "RONDEVU_LIMIT_CONNECTIONS",
        default_value_t = 10_000,
        value_name = "COUNT"
    )]
    limit_connections: usize,
}

pub(crate) async fn run(args: UpArgs) -> Result<ExitCode> {
    // Before there is anything to end in order.
    let stop = stop_signal()?;
    let store = args.store.to_string();
    let listen = args.listen;
    let server = Server::bind(listen, config(args)?)
        .await
        .with_context(|| format!("cannot serve on {listen} with the store {store}"))?;
    eprintln!("signaling server on {}", server.url());
    server.run_until(stop).await?;
    eprintln!("signaling server stopped");
    Ok(ExitCode::SUCCESS)
}

fn config(args: UpArgs) -> Result<ServerConfig> {
    let limits = args.limits;
    let mut config = ServerConfig::default()
        .storage(args.store)
        .cors(args.cors)
        .address_rate(limits.limit_address_rate)
        .peer_rate(limits.limit_peer_rate)
        .registration_rate(limits.limit_registration_rate)
        .name_rate(limits.limit_name_rate)
        .connections_max(limits.limit_connections)
        .limits(
            Limits::default()
                .offers_per_peer(limits.limit_offers_per_peer)
                .services_per_username(limits.limit_services_per_username)
                .bytes_total(limits.limit_stored_mib.saturating_mul(1024 * 1024)),
        );
    if !args.trusted_proxy.is_empty() {
        config = config.client_address(ClientAddress::ForwardedBy(args.trusted_proxy));
    }
    if let Some(url) = args.public_url {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            bail!("--public-url has to begin with https:// or http://");
        }
        config = config.public_url(url);
    }
    if let Some(file) = args.key_file {
        config = config.key(read_key(&file)?);
    }
    if let (Some(certificate), Some(key)) = (args.tls_cert, args.tls_key) {
        config = config.tls(TlsIdentity::from_pem_files(&certificate, &key)?);
    }
    Ok(config)
}

fn read_key(file: &std::path::Path) -> Result<[u8; 32]> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("cannot read the key file {}", file.display()))?;
    let text = text.trim();
    let mut key = [0; 32];
    let is_hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex {
        bail!(
            "{} has to hold 64 hex digits: write some with `openssl rand -hex 32`",
            file.display()
        );
    }
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = str::from_utf8(digits).expect("hex digits are ASCII");
        *byte = u8::from_str_radix(digits, 16).expect("they are hex digits");
    }
    Ok(key)
}

/// A network, or one address.
fn parse_network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().ok();
    let network = network.or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from));
    network
        .ok_or_else(|| "write an address such as 127.0.0.1, or a network such as 10.0.0.0/8".into())
}

/// Ready once the program is asked to end, by Ctrl-C or as service managers do it.
#[cfg(unix)]
fn stop_signal() -> Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Ready once the program is asked to end.
#[cfg(not(unix))]
fn stop_signal() -> Result<impl Future<Output = ()>> {
    Ok(async {
        // Without a handler the program could not end in order; it then ends as by default.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
