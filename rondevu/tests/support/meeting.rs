//! A service and a client that calls it, over real WebRTC on loopback, with signaling in memory.

use std::sync::Arc;
use std::time::Duration;

use rondevu::signaling::MemorySignaling;
use rondevu::{
    Cable, ConnectionConfig, DurableConnection, DurableService, Rondevu, RondevuBuilder,
    ServiceOptions,
};

pub(crate) const SERVICE: &str = "com.example.test@1.0.0";

/// A client on loopback that is still to be built.
pub(crate) fn client(signaling: &MemorySignaling) -> RondevuBuilder {
    Rondevu::builder()
        .signaling(Arc::new(signaling.peer()))
        .bind("127.0.0.1:0".parse().unwrap())
}

/// [`SERVICE`] of this client under the name of Alice, published.
pub(crate) async fn expose(alice: &Rondevu, options: ServiceOptions) -> DurableService {
    let service = alice.expose_service("alice", SERVICE, options).unwrap();
    service.start().await.unwrap();
    service
}

/// Alice exposes [`SERVICE`]; Bob calls it over a cable that can be pulled.
pub(crate) struct Meeting {
    pub(crate) signaling: MemorySignaling,
    pub(crate) service: DurableService,
    pub(crate) cable: Cable,
    pub(crate) bob: Rondevu,
}

impl Meeting {
    pub(crate) async fn new() -> Self {
        Self::with(ServiceOptions::default(), ConnectionConfig::default()).await
    }

    /// With these settings on both sides.
    pub(crate) async fn with(options: ServiceOptions, config: ConnectionConfig) -> Self {
        let signaling = MemorySignaling::new();
        let build = |builder: RondevuBuilder| builder.connection(config.clone()).build().unwrap();
        let alice = build(client(&signaling));
        let service = expose(&alice, options).await;
        let cable = Cable::new();
        Self {
            bob: build(client(&signaling).cable(cable.clone())),
            signaling,
            service,
            cable,
        }
    }

    /// The two ends of a new connection, the dialer's first.
    pub(crate) async fn connect(&self) -> (DurableConnection, DurableConnection) {
        let dialed = self.bob.connect("alice", SERVICE).await.unwrap();
        (dialed, self.service.accept().await.unwrap())
    }
}

/// Pulls the cable for `time`, and returns at once.
pub(crate) fn pull(cable: &Cable, time: Duration) {
    cable.cut();
    let cable = cable.clone();
    tokio::spawn(async move {
        tokio::time::sleep(time).await;
        cable.heal();
    });
}
