//! Peers whose server goes away without warning and comes back.

use std::sync::Mutex;
use std::time::Duration;

use rondevu::signaling::{HttpSignaling, Signaling, UsernameStatus};
use rondevu::{
    ChannelConfig, ConnectionConfig, ConnectionEvent, DurableChannel, DurableConnection,
    DurableConnectionState, DurableService, Events, KeyPair, Message, Rondevu, ServiceOptions,
};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::program::{Program, SERVICE};

/// A service and its dialer with a link.
struct Pair {
    name: String,
    keys: KeyPair,
    _service: DurableService,
    accepted: DurableConnection,
    connection: DurableConnection,
    channel: DurableChannel,
    incoming: DurableChannel,
    /// Of both sides, from when the link was up.
    events: Mutex<[Events<ConnectionEvent>; 2]>,
}

fn client(url: &str, keys: &KeyPair) -> Rondevu {
    let builder = Rondevu::builder().server(url).key_pair(keys.clone());
    let builder = builder.bind("127.0.0.1:0".parse().unwrap());
    builder.connection(patient()).build().unwrap()
}

/// A hundred links share this machine with other programs: a slow answer is no lost link here.
fn patient() -> ConnectionConfig {
    let mut config = ConnectionConfig::default();
    config.liveness.heartbeat = Duration::from_secs(60);
    config.liveness.silence_min = Duration::from_secs(60);
    config
}

impl Pair {
    async fn connect(url: String, number: u8) -> Self {
        let name = format!("peer-{number}");
        let keys = KeyPair::from_seed(&[number; 32]);
        let service = client(&url, &keys)
            .expose_service(&name, SERVICE, ServiceOptions::default())
            .unwrap();
        service.start().await.unwrap();
        let dialer = client(&url, &KeyPair::from_seed(&[number + 100; 32]));
        let connection = dialer.connect(&name, SERVICE).await.unwrap();
        let accepted = service.accept().await.unwrap();
        let channel = connection
            .create_channel("chat", &ChannelConfig::default())
            .unwrap();
        channel.send("before").await.unwrap();
        let incoming = accepted.incoming_channel().await.unwrap();
        assert_eq!(incoming.recv().await, Some(Message::from("before")));
        let events = Mutex::new([connection.events(), accepted.events()]);
        Self {
            name,
            keys,
            _service: service,
            accepted,
            connection,
            channel,
            incoming,
            events,
        }
    }

    /// The link lives, and is the one that was there from the beginning.
    async fn check(&self, text: &str) {
        for connection in [&self.connection, &self.accepted] {
            assert_eq!(connection.state(), DurableConnectionState::Connected);
        }
        for events in &mut *self.events.lock().unwrap() {
            // Nothing has happened to it.
            assert_eq!(events.try_recv(), None);
        }
        self.channel.send(text).await.unwrap();
        assert_eq!(self.incoming.recv().await, Some(Message::from(text)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_keeps_200_peers_their_names_and_their_links() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("store.db");
    let program = Program::start_at("127.0.0.1:0", &file).await;
    let mut connecting = JoinSet::new();
    let mut pairs = Vec::new();
    for number in 0..100 {
        connecting.spawn(Pair::connect(program.url.clone(), number));
        if connecting.len() == 10 {
            pairs.push(connecting.join_next().await.unwrap().unwrap());
        }
    }
    pairs.extend(connecting.join_all().await);
    assert_eq!(pairs.len(), 100);
    for pair in &pairs {
        pair.check("with the server").await;
    }

    let address = program.address().to_owned();
    program.kill().await;
    for pair in &pairs {
        pair.check("without the server").await;
    }
    let program = Program::start_at(&address, &file).await;
    let looking = HttpSignaling::new(&program.url).unwrap();
    for pair in &pairs {
        let name = pair.name.parse().unwrap();
        let status = looking.look_up_username(&name).await.unwrap();
        let key = pair.keys.public_key();
        assert!(
            matches!(&status, UsernameStatus::Taken { public_key, .. } if *public_key == key),
            "{status:?}"
        );
        let service = SERVICE.parse().unwrap();
        looking.find_service(&name, &service).await.unwrap();
        pair.check("with the server again").await;
    }
}
