//! `rondevu pipe`: joins standard input and output with those of another machine.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rondevu::{
    ChannelConfig, ConnectionConfig, ConnectionEvent, Delivery, DurableChannel, DurableConnection,
    HalfOpen, KeyPolicy, LinkPath, Missed, PublicKey, QueueLimits, RondevuBuilder, ServiceName,
    ServiceOptions, Username,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{Network, key_store};

#[derive(clap::Args)]
pub(crate) struct PipeArgs {
    /// The other end, as in alice/com.example.log@1.0.0.
    #[arg(value_name = "NAME/SERVICE")]
    address: Address,
    /// Wait for the other end under this address instead of calling it.
    #[arg(long)]
    listen: bool,
    /// The key file for --listen; made if it is missing.
    #[arg(long, value_name = "FILE", requires = "listen")]
    key: Option<PathBuf>,
    /// The public key that the other end must prove, in base64, as `rondevu claim` shows it.
    /// Without it the key of the first time is remembered and required from then on.
    #[arg(long, value_name = "KEY", conflicts_with = "listen")]
    peer_key: Option<PublicKey>,
    #[command(flatten)]
    network: Network,
}

#[derive(Clone)]
struct Address {
    username: Username,
    service: ServiceName,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (username, service) = text
            .split_once('/')
            .ok_or("an address is NAME/SERVICE, as in alice/com.example.log@1.0.0")?;
        Ok(Self {
            username: Username::parse(username).map_err(|error| error.to_string())?,
            service: ServiceName::parse(service).map_err(|error| error.to_string())?,
        })
    }
}

pub(crate) async fn run(args: PipeArgs) -> Result<ExitCode> {
    let builder = args.network.builder()?.connection(connection_config());
    let (username, service) = (
        args.address.username.as_str(),
        args.address.service.as_str(),
    );
    if !args.listen {
        let client = match args.peer_key {
            Some(key) => {
                let client = builder.key_policy(KeyPolicy::PinnedOnly).build()?;
                client.pin_key(username, key)?;
                client
            }
            None => builder.known_keys(key_store::known_keys()).build()?,
        };
        let connection = client.connect(username, service).await.with_context(|| {
            format!(
                "cannot connect to {username}/{service} through {}",
                args.network.server
            )
        })?;
        match connection.peer().public_key {
            Some(key) => eprintln!("connected to {username}/{service}, key {key}"),
            None => eprintln!("connected to {username}/{service}, which proved no key"),
        }
        say_path(&connection);
        let channel = connection.create_channel("pipe", &channel_config())?;
        return join(connection, channel).await;
    }
    listen(builder, &args).await
}

async fn listen(builder: RondevuBuilder, args: &PipeArgs) -> Result<ExitCode> {
    let (username, service) = (&args.address.username, &args.address.service);
    let key_pair = key_store::load_or_generate(username, args.key.clone())?;
    let client = builder.key_pair(key_pair).build()?;
    let published = client.expose_service(
        username.as_str(),
        service.as_str(),
        ServiceOptions::default(),
    )?;
    published.start().await.with_context(|| {
        format!(
            "cannot expose {username}/{service} on {}",
            args.network.server
        )
    })?;
    eprintln!("waiting as {username}/{service}");
    let connection = published
        .accept()
        .await
        .context("the service was stopped")?;
    eprintln!("a peer connected");
    say_path(&connection);
    let channel = connection
        .incoming_channel()
        .await
        .context("the peer left without a word")?;
    let code = join(connection, channel).await;
    published.stop().await;
    code
}

/// A file may take longer than a message should wait, and its last bytes must arrive.
fn connection_config() -> ConnectionConfig {
    ConnectionConfig {
        close_timeout: Duration::from_secs(60),
        incoming_channel: channel_config(),
        ..ConnectionConfig::default()
    }
}

fn channel_config() -> ChannelConfig {
    let queue = QueueLimits {
        age_max: None,
        messages_max: 256,
        ..QueueLimits::default()
    };
    ChannelConfig {
        queue,
        half_open: HalfOpen::Keep,
        ..ChannelConfig::default()
    }
}

/// Copies both ways until it is over, and says on standard error what happens to the link.
async fn join(connection: DurableConnection, channel: DurableChannel) -> Result<ExitCode> {
    let events = tokio::spawn({
        let connection = connection.clone();
        async move {
            tokio::join!(report(connection.clone()), report_paths(&connection));
        }
    });
    let read = AtomicU64::new(0);
    let input = copy_in(&channel, &read);
    let output = copy_out(&channel);
    tokio::pin!(input, output);
    let outcome = tokio::select! {
        // The peer is done. If this side had nothing to say, it is over, although nobody has
        // closed its standard input; else what this side has to say is still sent.
        written = &mut output => match written {
            Ok(written) if written > 0 && read.load(Ordering::Relaxed) == 0 => Ok(()),
            Ok(_) => input.await,
            Err(error) => Err(error),
        },
        sent = &mut input => match sent {
            Ok(()) => output.await.map(drop),
            Err(error) => Err(error),
        },
    };
    if outcome.is_ok() {
        channel.close().await;
    }
    connection.close().await;
    events.abort();
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn copy_in(channel: &DurableChannel, read: &AtomicU64) -> Result<()> {
    let mut input = tokio::io::stdin();
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        let len = input
            .read(&mut chunk)
            .await
            .context("cannot read standard input")?;
        if len == 0 {
            channel.finish();
            return Ok(());
        }
        read.fetch_add(len as u64, Ordering::Relaxed);
        chunk.truncate(len);
        channel
            .send(chunk)
            .await
            .context("the connection ended before all was sent")?;
    }
}

/// Returns how many bytes came.
async fn copy_out(channel: &DurableChannel) -> Result<u64> {
    let mut output = tokio::io::stdout();
    let mut written = 0;
    while let Some(delivery) = channel.recv_delivery().await {
        let Delivery::Message(message) = delivery else {
            bail!("the peer dropped a part of its input");
        };
        output
            .write_all(message.as_bytes())
            .await
            .context("cannot write standard output")?;
        written += message.len() as u64;
    }
    output
        .flush()
        .await
        .context("cannot write standard output")?;
    if !channel.has_ended() {
        return Err(anyhow::Error::from(channel.connection().closed().await)
            .context("the connection ended before the peer's input did"));
    }
    Ok(written)
}

fn say_path(connection: &DurableConnection) {
    if let Some(path) = connection.path() {
        eprintln!("path: {path}");
    }
}

/// Says when a better path was found, or another had to be taken.
async fn report_paths(connection: &DurableConnection) {
    let ends = |path: LinkPath| (path.local, path.remote);
    let mut known = connection.path().map(ends);
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let Some(path) = connection.path() else {
            continue;
        };
        if known.replace(ends(path)) != Some(ends(path)) {
            eprintln!("path: {path}");
        }
    }
}

async fn report(connection: DurableConnection) {
    let mut events = connection.events();
    let mut lost = false;
    while let Some(event) = events.recv().await {
        match event {
            Ok(ConnectionEvent::Disconnected) => {
                lost = true;
                eprintln!("link lost");
            }
            Ok(ConnectionEvent::Reconnecting { attempt, delay, .. }) => {
                eprintln!(
                    "reconnecting, attempt {attempt} in {:.1} s",
                    delay.as_secs_f64()
                );
            }
            Ok(ConnectionEvent::Connected { .. }) if std::mem::take(&mut lost) => {
                eprintln!("resumed");
                say_path(&connection);
            }
            Ok(ConnectionEvent::SessionReset { .. }) => {
                eprintln!("the other end was restarted: its output begins in the middle");
            }
            Ok(_) | Err(Missed { .. }) => {}
        }
    }
}

const CHUNK_BYTES: usize = 16 * 1024;
