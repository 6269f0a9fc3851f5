//! LAN only: the service brings its own signaling server, and no packet leaves the local network.
//!
//! `cargo run --package rondevu --features server --example lan_only`
//!
//! Nothing is contacted that is not named: the only address that others need is that of the server,
//! which they may get from a QR code, mDNS or a colleague. In earnest bind the server to
//! `0.0.0.0:3000` and the clients to the address of the right interface.

use std::net::SocketAddr;

use rondevu::signaling::server::{Server, ServerConfig};
use rondevu::{ChannelConfig, DurableService, Message, Rondevu, ServiceOptions};

const SERVICE: &str = "com.example.printer@1.0.0";

#[tokio::main]
pub(crate) async fn main() -> anyhow::Result<()> {
    let interface: SocketAddr = "127.0.0.1:0".parse()?;
    let server = Server::bind(interface, ServerConfig::default()).await?;
    let server = server.spawn();
    println!("others connect through {}", server.url());
    let printer = printer(&server.url(), interface).await?;
    tokio::spawn({
        let printer = printer.clone();
        async move { print_all(&printer).await }
    });

    let laptop = Rondevu::builder().server(server.url()).bind(interface);
    let connection = laptop.build()?.connect("office", SERVICE).await?;
    let job = connection.create_channel("page 1", &ChannelConfig::default())?;
    job.send("Dear customer").await?;
    let answer = job.recv().await;
    println!("the printer says {answer:?}");
    anyhow::ensure!(answer == Some(Message::from("printed 13 bytes")));
    connection.close().await;
    printer.stop().await;
    Ok(())
}

async fn printer(server: &str, interface: SocketAddr) -> anyhow::Result<DurableService> {
    let client = Rondevu::builder().server(server).bind(interface).build()?;
    let service = client.expose_service("office", SERVICE, ServiceOptions::default())?;
    service.start().await?;
    Ok(service)
}

async fn print_all(printer: &DurableService) {
    printer
        .for_each_channel(|job| async move {
            while let Some(page) = job.recv().await {
                println!("{}: {:?}", job.label(), page);
                let answer = format!("printed {} bytes", page.len());
                if job.send(answer).await.is_err() {
                    return;
                }
            }
        })
        .await;
}
