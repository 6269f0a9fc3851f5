//! `rondevu demo`: two peers meet by name, lose the network, and lose nothing.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rondevu::signaling::server::{Server, ServerConfig};
use rondevu::{
    Cable, ChannelConfig, ConnectionConfig, DurableChannel, DurableConnection, HalfOpen, Message,
    QueueLimits, Rondevu, ServiceOptions,
};
use serde_json::json;

use crate::tally::Tally;

#[derive(clap::Args)]
pub(crate) struct DemoArgs {
    /// How many messages travel each way.
    #[arg(long, default_value_t = 20_000, value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    messages: u64,
    /// How often the network is cut.
    #[arg(long, default_value_t = 3, value_name = "K")]
    cuts: u32,
    /// How long each cut lasts.
    #[arg(long, default_value_t = 2.0, value_name = "SECS", value_parser = parse_secs)]
    cut_for: f64,
    /// The size of each message, at least 8.
    #[arg(long, default_value_t = 64, value_name = "BYTES",
          value_parser = clap::value_parser!(u64).range(8..=16 * 1024 * 1024))]
    size: u64,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

fn parse_secs(text: &str) -> Result<f64, String> {
    let secs: f64 = text
        .parse()
        .map_err(|_| "a number of seconds, as in 2 or 0.5".to_owned())?;
    if (0.0..=3600.0).contains(&secs) {
        Ok(secs)
    } else {
        Err("between 0 and 3600".into())
    }
}

const SERVICE: &str = "com.example.echo@1.0.0";

/// The two peers and what joins them.
struct Stage {
    cable: Cable,
    connection: DurableConnection,
    alice: DurableConnection,
    connect_ms: f64,
}

/// What a cut cost.
struct Cut {
    /// From healing to the first message that came through.
    recovered: Duration,
    roamed: bool,
}

pub(crate) async fn run(args: DemoArgs) -> Result<ExitCode> {
    let server = Server::bind("127.0.0.1:0", ServerConfig::default())
        .await
        .context("cannot start a signaling server on loopback")?;
    let url = server.url();
    let server = tokio::spawn(server.run());
    let say = |text: &str| {
        if !args.json {
            println!("{text}");
        }
    };
    say(&format!("signaling server on {url}"));
    let outcome = play(&args, &url, &say).await;
    server.abort();
    outcome
}

async fn play(args: &DemoArgs, url: &str, say: &impl Fn(&str)) -> Result<ExitCode> {
    let alice = client(url, &Cable::new())?;
    alice.claim_username("alice").await?;
    let service = alice.expose_service("alice", SERVICE, ServiceOptions::default())?;
    service.start().await?;
    say(&format!("alice exposes {SERVICE}"));

    let stage = connect(url, &service).await?;
    say(&format!(
        "a second peer connected; first echo after {:.0} ms",
        stage.connect_ms
    ));
    let (there, back, cuts, took) = stream(args, &stage).await?;
    tokio::join!(stage.connection.close(), service.stop());

    let perfect = there.is_perfect() && back.is_perfect() && cuts.len() == args.cuts as usize;
    if args.json {
        print_json(args, &stage, [&there, &back], &cuts);
    } else {
        print_table(args, [&there, &back], &cuts, took);
    }
    Ok(if perfect {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn client(url: &str, cable: &Cable) -> Result<Rondevu> {
    let incoming_channel = channel_config();
    let config = ConnectionConfig {
        incoming_channel,
        ..ConnectionConfig::default()
    };
    let builder = Rondevu::builder()
        .server(url)
        .cable(cable.clone())
        .connection(config);
    Ok(builder.bind(([127, 0, 0, 1], 0).into()).build()?)
}

/// Both directions end by themselves, and no message is too old, however long the cut.
fn channel_config() -> ChannelConfig {
    let queue = QueueLimits {
        age_max: None,
        ..QueueLimits::default()
    };
    ChannelConfig {
        queue,
        half_open: HalfOpen::Keep,
        ..ChannelConfig::default()
    }
}

/// Connects and measures the time to the first echoed message.
async fn connect(url: &str, service: &rondevu::DurableService) -> Result<Stage> {
    let cable = Cable::new();
    let bob = client(url, &cable)?;
    let echo = async {
        let alice = service.accept().await.context("the service was stopped")?;
        let channel = alice
            .incoming_channel()
            .await
            .context("the connection ended")?;
        let message = channel.recv().await.context("the channel ended")?;
        channel.send(message).await?;
        channel.close().await;
        anyhow::Ok(alice)
    };
    let call = async {
        let start = Instant::now();
        let connection = bob.connect("alice", SERVICE).await?;
        let channel = connection.create_channel("echo", &channel_config())?;
        channel.send("hello").await?;
        let message = channel.recv().await.context("no echo came")?;
        let took = start.elapsed();
        if message != Message::from("hello") {
            bail!("the echo differs from what was sent");
        }
        channel.finish();
        anyhow::Ok((connection, took))
    };
    let (alice, called) = tokio::join!(echo, call);
    let (connection, took) = called?;
    Ok(Stage {
        cable,
        connection,
        alice: alice?,
        connect_ms: took.as_secs_f64() * 1000.0,
    })
}

async fn stream(args: &DemoArgs, stage: &Stage) -> Result<(Tally, Tally, Vec<Cut>, Duration)> {
    let start = Instant::now();
    let here = stage
        .connection
        .create_channel("numbers", &channel_config())?;
    let progress = Arc::new(AtomicU64::new(0));
    let (there, back, cuts) = tokio::join!(
        async {
            let there = stage
                .alice
                .incoming_channel()
                .await
                .context("the connection ended")?;
            tokio::try_join!(send(args, &there), receive(args, &there, &progress))
        },
        async { tokio::try_join!(send(args, &here), receive(args, &here, &progress)) },
        cut_network(args, stage, &progress),
    );
    Ok((there?.1, back?.1, cuts?, start.elapsed()))
}

async fn send(args: &DemoArgs, channel: &DurableChannel) -> Result<()> {
    for number in 0..args.messages {
        let mut payload = vec![0; args.size as usize];
        payload[..8].copy_from_slice(&number.to_be_bytes());
        channel.send(payload).await?;
    }
    channel.finish();
    Ok(())
}

async fn receive(args: &DemoArgs, channel: &DurableChannel, progress: &AtomicU64) -> Result<Tally> {
    let mut tally = Tally::new(usize::try_from(args.messages)?);
    while let Some(message) = channel.recv().await {
        tally.count(message.as_bytes());
        progress.fetch_add(1, Ordering::Relaxed);
    }
    Ok(tally)
}

/// Cuts the network at even distances of progress, and measures how soon messages flow again.
async fn cut_network(args: &DemoArgs, stage: &Stage, progress: &AtomicU64) -> Result<Vec<Cut>> {
    let total = 2 * args.messages;
    let bar = progress_bar(args, total);
    let mut cuts = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    let received = || progress.load(Ordering::Relaxed);
    for number in 1..=args.cuts {
        let at = total * u64::from(number) / (u64::from(args.cuts) + 1);
        while received() < at {
            tick.tick().await;
            bar.set_position(received());
            ensure_alive(stage)?;
        }
        let roamed = number == args.cuts;
        bar.set_message(if roamed {
            "cut, and moving to another port"
        } else {
            "cut"
        });
        stage.cable.cut();
        let half = Duration::from_secs_f64(args.cut_for) / 2;
        tokio::time::sleep(half).await;
        if roamed {
            stage.connection.rebind();
        }
        tokio::time::sleep(half).await;
        let (before, healed) = (received(), Instant::now());
        stage.cable.heal();
        bar.set_message("healed");
        while received() == before && before < total {
            tick.tick().await;
            ensure_alive(stage)?;
        }
        cuts.push(Cut {
            recovered: healed.elapsed(),
            roamed,
        });
        bar.set_message("");
    }
    while received() < total {
        tick.tick().await;
        bar.set_position(received());
        ensure_alive(stage)?;
    }
    bar.finish_and_clear();
    Ok(cuts)
}

fn ensure_alive(stage: &Stage) -> Result<()> {
    let state = stage.connection.state();
    if state.is_final() {
        bail!("the connection is {state} before everything arrived");
    }
    Ok(())
}

fn progress_bar(args: &DemoArgs, total: u64) -> ProgressBar {
    let target = if args.json {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} messages  {msg}");
    style
        .map(|style| bar.clone().with_style(style))
        .unwrap_or(bar)
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

fn print_json(args: &DemoArgs, stage: &Stage, tallies: [&Tally; 2], cuts: &[Cut]) {
    let sum = |count: fn(&Tally) -> u64| tallies.iter().map(|tally| count(tally)).sum::<u64>();
    let recover_ms: Vec<f64> = cuts.iter().map(|cut| millis(cut.recovered)).collect();
    let result = json!({
        "connect_ms": (stage.connect_ms * 10.0).round() / 10.0,
        "sent": 2 * args.messages,
        "received": sum(|tally| tally.received),
        "lost": sum(Tally::lost),
        "duplicated": sum(|tally| tally.duplicated),
        "reordered": sum(|tally| tally.reordered),
        "cuts": cuts.len(),
        "recover_ms": recover_ms,
    });
    println!("{result}");
}

fn print_table(args: &DemoArgs, tallies: [&Tally; 2], cuts: &[Cut], took: Duration) {
    println!(
        "\n{:<16}{:>10}{:>10}{:>8}{:>10}{:>14}",
        "direction", "sent", "received", "lost", "repeated", "out of order"
    );
    for (name, tally) in ["to alice", "from alice"].iter().zip(tallies) {
        println!(
            "{name:<16}{:>10}{:>10}{:>8}{:>10}{:>14}",
            args.messages,
            tally.received,
            tally.lost(),
            tally.duplicated,
            tally.reordered
        );
    }
    for (number, cut) in cuts.iter().enumerate() {
        let how = if cut.roamed { ", on another port" } else { "" };
        println!(
            "cut {} of {} s: first message {:.0} ms after healing{how}",
            number + 1,
            args.cut_for,
            millis(cut.recovered)
        );
    }
    println!("all of it took {:.1} s", took.as_secs_f64());
}
