//! A chat in the browser: one program serves the page, the signaling server and the room.
//!
//! `cargo run --package rondevu --features server --example browser_chat -- --serve`, then open the address
//! that it prints in several windows. Without `--serve` it checks itself with members of its own.
//!
//! The page uses the module of `docs/browser`, so each window gets its messages once and in order while
//! links come and go.

mod pages;

use std::net::SocketAddr;

use rondevu::signaling::server::{Hub, ServerConfig};
use rondevu::{ChannelConfig, DurableChannel, Message, Rondevu, ServiceOptions};
use tokio::sync::broadcast;

const ROOM: &str = "com.example.chat@1.0.0";

#[tokio::main]
pub(crate) async fn main() -> anyhow::Result<()> {
    let serves = std::env::args().any(|argument| argument == "--serve");
    // Browsers use no loopback address for WebRTC.
    let udp: SocketAddr = if serves { "0.0.0.0:0" } else { "127.0.0.1:0" }.parse()?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let app = pages::router().merge(Hub::open(&ServerConfig::default()).await?.router());
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });

    let options = ServiceOptions {
        pool_size: 4,
        ..ServiceOptions::default()
    };
    let client = || Rondevu::builder().server(&url).bind(udp).build();
    let service = client()?.expose_service("lobby", ROOM, options)?;
    service.start().await?;
    let room = broadcast::channel(100).0;
    tokio::spawn({
        let service = service.clone();
        async move {
            service
                .for_each_channel(move |member| serve(member, room.clone()))
                .await
        }
    });
    if serves {
        println!("open {url}/chat");
        return std::future::pending().await;
    }

    let page = reqwest::get(format!("{url}/chat")).await?.text().await?;
    anyhow::ensure!(
        page.contains("/browser/rondevu.js"),
        "the page does not load the module"
    );
    let module = reqwest::get(format!("{url}/browser/rondevu.js")).await?;
    anyhow::ensure!(module.status().is_success(), "the module is not served");
    let [bob, carol] = [client()?, client()?];
    let config = ChannelConfig::default();
    let bob = bob
        .connect("lobby", ROOM)
        .await?
        .create_channel("chat", &config)?;
    bob.send("bob: is anybody here?").await?;
    let echo = bob.recv().await;
    anyhow::ensure!(echo == Some(Message::from("bob: is anybody here?")));
    let carol = carol
        .connect("lobby", ROOM)
        .await?
        .create_channel("chat", &config)?;
    carol.send("carol: I am").await?;
    println!("{:?}", bob.recv().await);
    service.stop().await;
    Ok(())
}

/// Gives each member all that is said, what it said itself included.
async fn serve(member: DurableChannel, room: broadcast::Sender<Message>) {
    let mut said = room.subscribe();
    loop {
        tokio::select! {
            message = member.recv() => match message {
                Some(message) => drop(room.send(message)),
                None => return,
            },
            Ok(message) = said.recv() => {
                if member.send(message).await.is_err() {
                    return;
                }
            }
        }
    }
}
