//! The `rondevu` program: a demonstration, the signaling server, and a pipe between two machines.

mod claim;
mod demo;
mod key_store;
mod pipe;
mod tally;
mod up;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use rondevu::{Engine, IceServer, Rondevu, RondevuBuilder};
use tracing_subscriber::EnvFilter;

/// Two programs find each other by name and keep talking, whatever the network does.
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Connect two peers on this machine, cut the network between them, and count what arrives.
    Demo(demo::DemoArgs),
    /// Run the signaling server.
    Up(up::UpArgs),
    /// Make a key, store it, and claim a username with it.
    Claim(claim::ClaimArgs),
    /// Join standard input and output with those of another machine.
    Pipe(pipe::PipeArgs),
}

/// How to reach the signaling server and the network.
#[derive(Args)]
struct Network {
    /// The signaling server.
    #[arg(
        long,
        env = "RONDEVU_SERVER",
        default_value = "http://127.0.0.1:3000",
        value_name = "URL"
    )]
    server: String,
    /// The UDP address to use; 0.0.0.0 means each usable address of this machine.
    #[arg(
        long,
        env = "RONDEVU_BIND",
        default_value = "0.0.0.0:0",
        value_name = "ADDR",
        value_parser = socket_address
    )]
    bind: SocketAddr,
    /// A STUN or TURN server, as in stun:HOST, turn:HOST?transport=tcp or turns:HOST; may be given
    /// several times. Without it only peers that see each other connect.
    #[arg(
        long,
        env = "RONDEVU_ICE_SERVERS",
        value_name = "URL",
        value_delimiter = ','
    )]
    ice_server: Vec<String>,
    /// The user name for the TURN servers.
    #[arg(long, env = "RONDEVU_ICE_USERNAME", value_name = "NAME")]
    ice_username: Option<String>,
    /// The credential for the TURN servers; others see it in the list of processes, so better set the
    /// variable.
    #[arg(
        long,
        env = "RONDEVU_ICE_CREDENTIAL",
        value_name = "SECRET",
        hide_env_values = true,
        requires = "ice_username"
    )]
    ice_credential: Option<String>,
    /// Tell peers addresses of TURN servers alone, and none of this machine.
    #[arg(long, env = "RONDEVU_RELAY_ONLY", requires = "ice_server")]
    relay_only: bool,
    /// The WebRTC engine. Peers need not have the same.
    #[arg(
        long,
        env = "RONDEVU_ENGINE",
        value_name = "ENGINE",
        default_value = "str0m"
    )]
    engine: EngineName,
}

#[derive(Clone, Copy, ValueEnum)]
enum EngineName {
    /// In use for years, and small in memory.
    #[value(name = "str0m")]
    Str0m,
    /// Several times as fast with much data.
    #[cfg(feature = "engine-composed")]
    Composed,
}

impl From<EngineName> for Engine {
    fn from(name: EngineName) -> Self {
        match name {
            EngineName::Str0m => Self::Str0m,
            #[cfg(feature = "engine-composed")]
            EngineName::Composed => Self::Composed,
        }
    }
}

impl Network {
    /// A client that is to be configured further.
    fn builder(&self) -> anyhow::Result<RondevuBuilder> {
        let mut servers = Vec::new();
        if !self.ice_server.is_empty() {
            let server = IceServer::new(&self.ice_server)?;
            servers.push(match (&self.ice_username, &self.ice_credential) {
                (Some(username), Some(credential)) => server.credential(username, credential),
                (_, _) => server,
            });
        }
        let builder = Rondevu::builder()
            .server(&self.server)
            .bind(self.bind)
            .engine(self.engine.into());
        Ok(match self.relay_only {
            true => builder.relay_only(servers),
            false => builder.ice_servers(servers),
        })
    }
}

/// For a flag: the error of the standard library does not say what an address looks like.
fn socket_address(text: &str) -> Result<SocketAddr, &'static str> {
    let hint = "write an IP address and a port, as in 127.0.0.1:3000; port 0 picks a free one";
    text.parse().map_err(|_| hint)
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log(&cli.command);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("rondevu: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Demo(args) => demo::run(args).await,
            Command::Up(args) => up::run(args).await,
            Command::Claim(args) => claim::run(args).await,
            Command::Pipe(args) => pipe::run(args).await,
        }
    });
    // A thread that waits for standard input must not keep the program from ending.
    runtime.shutdown_timeout(Duration::from_millis(100));
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("rondevu: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Writes to standard error what `RUST_LOG` asks for.
fn log(command: &Command) {
    let (default, format) = match command {
        Command::Up(args) => ("warn,rondevu_signaling=info", args.log_format),
        // What the TURN client logs as errors is said by ours, in context.
        Command::Demo(_) | Command::Claim(_) | Command::Pipe(_) => (
            "error,stun_proto=off,turn_client_proto=off",
            LogFormat::Text,
        ),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| default.into());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
}

/// How the log is written.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
