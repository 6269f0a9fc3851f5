//! A service behind a username whose key is pinned: who answers under the name has to prove it.
//!
//! `cargo run --package rondevu --features server --example pinned_key`
//!
//! Alice keeps her key in a file. Bob got her public key from her, not from the server. When somebody
//! else runs the server and answers as alice, Bob's program says so instead of talking to him.

use rondevu::signaling::server::{RunningServer, Server, ServerConfig};
use rondevu::{
    ConnectionFailure, DurableService, Error, KeyPair, KeyPolicy, ProofFailure, Rondevu,
    RondevuBuilder, ServiceOptions,
};

const SERVICE: &str = "com.example.vault@1.0.0";

#[tokio::main]
pub(crate) async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("alice.pem");
    KeyPair::generate()?.save(&file)?;
    let key_of_alice = KeyPair::load(&file)?.public_key();
    println!("alice tells bob her key: {key_of_alice}");

    let server = start_server().await?;
    let alice = expose(&server, KeyPair::load(&file)?).await?;
    let bob = client(&server).key_policy(KeyPolicy::PinnedOnly).build()?;
    let unknown = bob.connect("alice", SERVICE).await;
    println!("before the key is pinned: {}", described(&unknown));
    anyhow::ensure!(matches!(unknown, Err(Error::UnknownKey(_))));
    bob.pin_key("alice", key_of_alice)?;
    let connection = bob.connect("alice", SERVICE).await?;
    anyhow::ensure!(connection.peer().public_key == Some(key_of_alice));
    println!("with the key: connected, and the peer has proved it");

    // A server of somebody else, who has taken her name there.
    let false_server = start_server().await?;
    let mallory = expose(&false_server, KeyPair::generate()?).await?;
    let bob = client(&false_server)
        .key_policy(KeyPolicy::PinnedOnly)
        .build()?;
    bob.pin_key("alice", key_of_alice)?;
    let fooled = bob.connect("alice", SERVICE).await;
    println!("on a false server: {}", described(&fooled));
    let other_key = ConnectionFailure::Untrusted(ProofFailure::OtherKey);
    anyhow::ensure!(matches!(fooled, Err(Error::Failed(failure)) if failure == other_key));
    mallory.stop().await;
    alice.stop().await;
    Ok(())
}

fn described<T>(result: &Result<T, Error>) -> String {
    match result {
        Ok(_) => "connected".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn client(server: &RunningServer) -> RondevuBuilder {
    let builder = Rondevu::builder().server(server.url());
    builder.bind("127.0.0.1:0".parse().expect("an address"))
}

async fn start_server() -> anyhow::Result<RunningServer> {
    let server = Server::bind("127.0.0.1:0", ServerConfig::default());
    Ok(server.await?.spawn())
}

async fn expose(server: &RunningServer, key: KeyPair) -> anyhow::Result<DurableService> {
    let client = client(server).key_pair(key).build()?;
    let service = client.expose_service("alice", SERVICE, ServiceOptions::default())?;
    service.start().await?;
    Ok(service)
}
