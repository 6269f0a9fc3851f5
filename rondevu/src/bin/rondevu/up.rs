//! `rondevu up`: runs the signaling server.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::{Context, Result};
use rondevu::signaling::server::{Server, ServerConfig};

#[derive(clap::Args)]
pub(crate) struct UpArgs {
    /// The address to listen on.
    #[arg(
        long,
        env = "RONDEVU_LISTEN",
        default_value = "127.0.0.1:3000",
        value_name = "ADDR"
    )]
    listen: SocketAddr,
}

pub(crate) async fn run(args: UpArgs) -> Result<ExitCode> {
    let server = Server::bind(args.listen, ServerConfig::default())
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))?;
    eprintln!("signaling server on {}", server.url());
    server
        .run_until(async {
            // Without a handler the program could not end in order; it then ends as by default.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
        .await?;
    Ok(ExitCode::SUCCESS)
}
