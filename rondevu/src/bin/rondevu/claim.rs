//! `rondevu claim`: makes a key and claims a username with it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use rondevu::{Rondevu, Username};

use crate::{Network, key_store};

#[derive(clap::Args)]
pub(crate) struct ClaimArgs {
    /// The username: 3 to 32 of a-z, 0-9 and inner dashes.
    username: Username,
    /// The key file; made if it is missing. Default: a file of that name among the user's settings.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    network: Network,
}

pub(crate) async fn run(args: ClaimArgs) -> Result<ExitCode> {
    let key_pair = key_store::load_or_generate(&args.username, args.key)?;
    let public_key = key_pair.public_key();
    let client = Rondevu::builder()
        .server(&args.network.server)
        .bind(args.network.bind)
        .key_pair(key_pair)
        .build()?;
    client
        .claim_username(args.username.as_str())
        .await
        .with_context(|| format!("cannot claim {} on {}", args.username, args.network.server))?;
    println!("{} belongs to {public_key}", args.username);
    Ok(ExitCode::SUCCESS)
}
