//! Chat for many: a service passes what one says on to all others.
//!
//! `cargo run --package rondevu --features server --example chat`

use rondevu::signaling::server::{Server, ServerConfig};
use rondevu::{ChannelConfig, DurableChannel, Message, Rondevu, ServiceOptions};
use tokio::sync::broadcast;

const ROOM: &str = "com.example.chat@1.0.0";

#[tokio::main]
pub(crate) async fn main() -> anyhow::Result<()> {
    let server = Server::bind("127.0.0.1:0", ServerConfig::default()).await?;
    let server = server.spawn();
    let client = || {
        let builder = Rondevu::builder().server(server.url());
        builder
            .bind("127.0.0.1:0".parse().expect("an address"))
            .build()
    };

    // The room. Several dialers may come at once, so several offers stand open.
    let options = ServiceOptions {
        pool_size: 4,
        ..ServiceOptions::default()
    };
    let service = client()?.expose_service("alice", ROOM, options)?;
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

    // Three members: each says hello when it is in, and hears all who come after it.
    let mut members = Vec::new();
    for name in ["bob", "carol", "dave"] {
        let connection = client()?.connect("alice", ROOM).await?;
        let channel = connection.create_channel(name, &ChannelConfig::default())?;
        let welcome = channel.recv().await;
        anyhow::ensure!(welcome == Some(Message::from("welcome")), "not let in");
        channel.send("hello").await?;
        members.push((name, channel));
    }
    let mut heard = Vec::new();
    for ((name, channel), others) in members.iter().zip([2, 1, 0]) {
        for _ in 0..others {
            let said = channel.recv().await;
            let said = said
                .as_ref()
                .and_then(Message::as_text)
                .unwrap_or("nothing");
            println!("{name} hears {said}");
            heard.push(format!("{name} hears {said}"));
        }
    }
    anyhow::ensure!(heard.len() == 3 && heard.contains(&"bob hears dave: hello".into()));
    service.stop().await;
    Ok(())
}

/// Joins one member to the room, under the label of its channel.
async fn serve(member: DurableChannel, room: broadcast::Sender<(u64, String)>) {
    let me = member.connection().id();
    let mut others = room.subscribe();
    if member.send("welcome").await.is_err() {
        return;
    }
    loop {
        tokio::select! {
            message = member.recv() => {
                let Some(message) = message else { return };
                let text = message.as_text().unwrap_or("(something that is no text)");
                // An error means that nobody is in the room.
                let _ = room.send((me, format!("{}: {text}", member.label())));
            }
            said = others.recv() => match said {
                Ok((who, text)) if who != me => {
                    if member.send(text).await.is_err() {
                        return;
                    }
                }
                Ok(_) => {}
                // A member that reads too slowly misses what was said.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }
}
