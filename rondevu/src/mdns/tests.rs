//! Names that a responder of another hand has, asked for over the loopback interface.

use std::net;

use mdns_sd::{DaemonEvent, IfKind, ServiceDaemon, ServiceInfo};

use super::*;

/// A port that nobody else uses for it.
pub(crate) fn free_port() -> u16 {
    let socket = net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.local_addr().unwrap().port()
}

/// Asks this machine alone.
pub(crate) fn on_loopback(port: u16) -> Mdns {
    Mdns {
        group: SocketAddrV4::new(*MDNS_GROUP.ip(), port),
        reach: Reach::Loopback,
        asks: Arc::default(),
    }
}

/// Answers for a name on this machine alone, while it lives.
pub(crate) struct Responder(ServiceDaemon);

impl Responder {
    pub(crate) async fn start(port: u16, name: &str) -> Self {
        let daemon = ServiceDaemon::new_with_port(port).unwrap();
        daemon.disable_interface(IfKind::All).unwrap();
        daemon.enable_interface(IfKind::LoopbackV4).unwrap();
        let events = daemon.monitor().unwrap();
        let responder = Self(daemon);
        let address = Ipv4Addr::LOCALHOST.to_string();
        let info = ServiceInfo::new(
            "_test._udp.local.",
            "test",
            &format!("{name}."),
            &address,
            9,
            None,
        );
        responder.0.register(info.unwrap()).unwrap();
        while let Ok(event) = events.recv_async().await {
            if let DaemonEvent::Announce(..) = event {
                return responder;
            }
        }
        panic!("the responder has ended");
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        // Its thread would go on.
        let _ = self.0.shutdown();
    }
}

#[tokio::test]
async fn names_are_found_however_often_they_are_asked_for() {
    let port = free_port();
    let _responder = Responder::start(port, "d5d4a2f0-6bb5-4f23.local").await;
    let mdns = on_loopback(port);
    let localhost = IpAddr::from(Ipv4Addr::LOCALHOST);
    let (one, other) = tokio::join!(
        mdns.resolve("d5d4a2f0-6bb5-4f23.local"),
        mdns.resolve("D5D4A2F0-6bb5-4f23.LOCAL"),
    );
    assert_eq!((one, other), (Some(localhost), Some(localhost)));
    let again = mdns.clone().resolve("d5d4a2f0-6bb5-4f23.local").await;
    assert_eq!(again, Some(localhost));
    // A task ends only when it has nothing left to do.
    while lock(&mdns.asks).is_some() {
        tokio::task::yield_now().await;
    }
}
