//! What peers are told of a program that asks servers for its addresses.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something unexpected happens"
)]

mod support;

use std::net::SocketAddr;

use rondevu::signaling::{MemorySignaling, Signaling};
use rondevu::{IceServer, IceTransportPolicy, ServiceOptions};
use support::meeting::{SERVICE, client};
use tokio::net::UdpSocket;

/// A STUN server (RFC 8489) to which everybody seems to be at [`PUBLIC`].
async fn stun_server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut request = [0; 1500];
        while let Ok((len, from)) = socket.recv_from(&mut request).await {
            if len < 20 || request[..2] != [0, 1] {
                continue;
            }
            // A success with XOR-MAPPED-ADDRESS, under the same cookie and transaction.
            let mut answer = vec![1, 1, 0, 12];
            answer.extend(&request[4..20]);
            answer.extend([0, 0x20, 0, 8, 0, 1]);
            answer.extend((PUBLIC.port() ^ 0x2112).to_be_bytes());
            let SocketAddr::V4(public) = PUBLIC else {
                panic!("an IPv4 address")
            };
            let cookie = [0x21, 0x12, 0xa4, 0x42];
            answer.extend(public.ip().octets().iter().zip(cookie).map(|(a, b)| a ^ b));
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn the_address_that_a_stun_server_sees_is_told_to_dialers() {
    let server = IceServer::new([format!("stun:{}", stun_server().await)]).unwrap();
    let reflexive = format!(" {} {} typ srflx", PUBLIC.ip(), PUBLIC.port());
    let mut offers = Vec::new();
    // A description waits 100 ms for the server, which a busy machine may take longer to run.
    for _ in 0..10 {
        let offer = first_offer(&server).await;
        if offer.contains(&reflexive) {
            return;
        }
        offers.push(offer);
    }
    panic!("nobody is told: {offers:#?}");
}

/// What a dialer gets from a service that knows `server`.
async fn first_offer(server: &IceServer) -> String {
    let signaling = MemorySignaling::new();
    let alice = client(&signaling).ice_servers([server.clone()]);
    let service = alice
        .build()
        .unwrap()
        .expose_service("alice", SERVICE, ServiceOptions::default())
        .unwrap();
    service.start().await.unwrap();
    let dialer = signaling.peer();
    let alice = "alice".parse().unwrap();
    let services = dialer.list_services(&alice).await.unwrap();
    let offer = dialer.take_offer(&services[0].uuid).await.unwrap();
    offer.sdp.sdp
}

#[tokio::test]
async fn relays_alone_without_a_relay_are_refused() {
    let signaling = MemorySignaling::new();
    let server = IceServer::new([format!("stun:{}", stun_server().await)]);
    let alice = client(&signaling)
        .ice_servers([server.unwrap()])
        .ice_transport_policy(IceTransportPolicy::Relay);
    let error = alice.build().unwrap_err();
    assert!(error.to_string().contains("TURN"), "{error}");
}

const PUBLIC: SocketAddr = SocketAddr::V4(std::net::SocketAddrV4::new(
    std::net::Ipv4Addr::new(203, 0, 113, 9),
    7009,
));
