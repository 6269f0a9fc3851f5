//! Signaling of one's own: two peers that share nothing but a folder.
//!
//! `cargo run --package rondevu --example folder_signaling`
//!
//! The folder may be a network drive, a synchronised one or a memory stick that is carried to and fro:
//! all that the peers need is to exchange two texts. See `folder.rs` for the implementation of
//! [`Signaling`](rondevu::signaling::Signaling).

mod folder;

use std::sync::Arc;

use rondevu::{ChannelConfig, Message, Rondevu, ServiceOptions};

use self::folder::Folder;

const SERVICE: &str = "com.example.echo@1.0.0";

#[tokio::main]
pub(crate) async fn main() -> anyhow::Result<()> {
    let shared = tempfile::tempdir()?;
    let client = || {
        let builder = Rondevu::builder().signaling(Arc::new(Folder::new(shared.path())));
        builder
            .bind("127.0.0.1:0".parse().expect("an address"))
            .build()
    };
    let service = client()?.expose_service("alice", SERVICE, ServiceOptions::default())?;
    service.start().await?;
    tokio::spawn({
        let service = service.clone();
        async move {
            let echo = |channel: rondevu::DurableChannel| async move {
                while let Some(message) = channel.recv().await {
                    let _ = channel.send(message).await;
                }
            };
            service.for_each_channel(echo).await;
        }
    });
    // Each dialer uses up an offer, and the service puts the next one into the folder.
    for name in ["bob", "carol"] {
        let connection = client()?.connect("alice", SERVICE).await?;
        let channel = connection.create_channel(name, &ChannelConfig::default())?;
        channel.send(name).await?;
        let back = channel.recv().await;
        println!("{name} hears {back:?}");
        anyhow::ensure!(back == Some(Message::from(name)), "another answer came");
        connection.close().await;
    }
    service.stop().await;
    anyhow::ensure!(
        shared.path().read_dir()?.count() == 0,
        "something was left behind"
    );
    Ok(())
}
