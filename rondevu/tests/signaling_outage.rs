//! Services whose signaling server goes away and comes back, over real HTTP and UDP on loopback.
#![cfg(feature = "server")]
#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something unexpected happens"
)]

use std::net::SocketAddr;

use rondevu::signaling::server::{RunningServer, Server, ServerConfig};
use rondevu::{
    ChannelConfig, DurableChannel, DurableConnection, DurableService, DurableServiceEvent, Events,
    Message, Rondevu, ServiceOptions,
};

const SERVICE: &str = "com.example.test@1.0.0";

fn client(url: &str) -> Rondevu {
    let builder = Rondevu::builder().server(url);
    builder
        .bind("127.0.0.1:0".parse().unwrap())
        .build()
        .unwrap()
}

/// A way to run a server.
enum Host {
    /// In this process.
    Task(Box<ServerConfig>),
    /// `rondevu up` in a process of its own.
    #[cfg(feature = "cli")]
    Process,
}

/// A running server; dropping it kills it.
enum Running {
    Task(RunningServer),
    #[cfg(feature = "cli")]
    Process(process::Up),
}

impl Host {
    /// A server at `address`, which an earlier one may be about to leave.
    async fn start(&self, address: SocketAddr) -> Running {
        match self {
            Self::Task(config) => loop {
                match Server::bind(address, ServerConfig::clone(config)).await {
                    Ok(server) => return Running::Task(server.spawn()),
                    Err(_) => tokio::task::yield_now().await,
                }
            },
            #[cfg(feature = "cli")]
            Self::Process => Running::Process(process::Up::start(address)),
        }
    }
}

impl Running {
    fn url(&self) -> String {
        match self {
            Self::Task(server) => server.url(),
            #[cfg(feature = "cli")]
            Self::Process(up) => up.url.clone(),
        }
    }
}

#[cfg(feature = "cli")]
mod process {
    use std::io::{BufRead, BufReader};
    use std::net::SocketAddr;
    use std::process::{Child, Command, Stdio};

    /// `rondevu up`.
    pub(crate) struct Up {
        child: Child,
        pub(crate) url: String,
    }

    impl Up {
        pub(crate) fn start(address: SocketAddr) -> Self {
            let mut child = Command::new(env!("CARGO_BIN_EXE_rondevu"))
                .args(["up", "--listen", &address.to_string()])
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
            let mut first = lines.by_ref().map(Result::unwrap);
            let url = first.find_map(|line| Some(line[line.find("http://")?..].trim().to_owned()));
            // Read to the end, so that the program is never held up by a full pipe.
            std::thread::spawn(move || lines.for_each(drop));
            Self {
                url: url.expect("it says where it listens"),
                child,
            }
        }
    }

    impl Drop for Up {
        fn drop(&mut self) {
            // SIGKILL on Unix: no orderly end.
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

/// A service and a dialer with a channel between them.
struct Pair {
    service: DurableService,
    dialed: (DurableConnection, DurableChannel),
    accepted: (DurableConnection, DurableChannel),
}

impl Pair {
    async fn new(url: &str) -> Self {
        let service = client(url).expose_service("alice", SERVICE, ServiceOptions::default());
        let service = service.unwrap();
        service.start().await.unwrap();
        let dialed = client(url).connect("alice", SERVICE).await.unwrap();
        let channel = dialed.create_channel("chat", &ChannelConfig::default());
        let channel = channel.unwrap();
        channel.send("hello").await.unwrap();
        let accepted = service.accept().await.unwrap();
        let incoming = accepted.incoming_channel().await.unwrap();
        assert_eq!(incoming.recv().await, Some(Message::from("hello")));
        Self {
            service,
            dialed: (dialed, channel),
            accepted: (accepted, incoming),
        }
    }

    async fn talk(&self, text: &'static str) {
        let (near, far) = (&self.dialed.1, &self.accepted.1);
        for (from, to) in [(near, far), (far, near)] {
            from.send(text).await.unwrap();
            assert_eq!(to.recv().await, Some(Message::from(text)));
        }
    }
}

/// The events up to the first that `is_last` says yes to.
async fn events_until(
    events: &mut Events<DurableServiceEvent>,
    is_last: impl Fn(&DurableServiceEvent) -> bool,
) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        let event = events.recv().await.unwrap().unwrap();
        let name = format!("{event:?}");
        let end = name.find([' ', '(', '{']).unwrap_or(name.len());
        names.push(name[..end].to_owned());
        if is_last(&event) {
            return names;
        }
    }
}

/// The server is killed and comes back without its memory; nothing happens to the link meanwhile.
async fn outage(host: Host) {
    let first = host.start("127.0.0.1:0".parse().unwrap()).await;
    let url = first.url();
    let address = url["http://".len()..].parse().unwrap();
    let pair = Pair::new(&url).await;
    let mut events = pair.service.events();
    let mut link_events = [pair.dialed.0.events(), pair.accepted.0.events()];

    drop(first);
    let lost = events_until(&mut events, |_| true).await;
    assert_eq!(lost, ["Error"]);
    pair.talk("while it is away").await;

    let second = host.start(address).await;
    let begun = std::time::Instant::now();
    let mut seen = Vec::new();
    while !["Published", "Recovered"]
        .iter()
        .all(|name| seen.iter().any(|seen| seen == name))
    {
        seen.extend(events_until(&mut events, |_| true).await);
    }
    println!("published again {:?} after the start", begun.elapsed());
    seen.sort();
    assert_eq!(seen, ["Published", "Recovered"], "each is told once");
    pair.talk("after it came back").await;

    // The service is found again by somebody who was never there.
    let newcomer = client(&url).connect("alice", SERVICE).await.unwrap();
    assert_eq!(pair.service.active_connections(), 2);
    newcomer.close().await;
    pair.talk("and at last").await;
    for events in &mut link_events {
        assert_eq!(events.try_recv(), None, "the links were touched");
    }
    pair.service.stop().await;
    drop(second);
}

#[tokio::test]
async fn a_server_that_comes_back_without_memory_gets_the_service_anew_and_links_live_on() {
    outage(Host::Task(Box::default())).await;
}

#[tokio::test]
async fn a_server_that_knows_the_peer_but_not_its_service_gets_it_anew_too() {
    outage(Host::Task(Box::new(ServerConfig::default().key([7; 32])))).await;
}

#[cfg(feature = "cli")]
#[tokio::test]
async fn a_server_that_is_killed_and_started_anew_gets_the_service_anew_and_links_live_on() {
    outage(Host::Process).await;
}
