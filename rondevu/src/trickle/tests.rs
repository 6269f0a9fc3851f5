//! Links whose descriptions name no address, so that all depends on candidates that come late.

use std::collections::VecDeque;

use rondevu_signaling::original::OriginalServer;
use rondevu_signaling::server::{Server, ServerConfig};
use rondevu_signaling::{HttpSignaling, MemorySignaling};
use rondevu_transport::rtc::{RtcConfig, RtcFactory};
use rondevu_transport::{Answered, LocalCandidate, NamedCandidate, Offered, TransportFactory};

use super::*;
use crate::mdns::tests::{Responder, free_port};
use crate::{Rondevu, RondevuBuilder, ServiceOptions};

const SERVICE: &str = "com.example.test@1.0.0";

/// Leaves the candidates out of the descriptions; the links have them for the peer afterwards, one
/// at a time.
#[derive(Debug)]
struct LateFactory {
    rtc: RtcFactory,
    /// What stands in the candidates in place of the address.
    name: Option<&'static str>,
}

impl LateFactory {
    fn late(
        &self,
        transport: Box<dyn Transport>,
        description: &mut SessionDescription,
    ) -> Box<dyn Transport> {
        let mut candidates = strip(description);
        assert!(!candidates.is_empty());
        if let Some(name) = self.name {
            for candidate in &mut candidates {
                candidate.candidate = candidate.candidate.replace("127.0.0.1", name);
            }
        }
        Box::new(LateLink {
            transport,
            candidates,
        })
    }
}

#[derive(Debug)]
struct LateLink {
    transport: Box<dyn Transport>,
    candidates: VecDeque<IceCandidate>,
}

/// Takes the candidates out of a description.
fn strip(description: &mut SessionDescription) -> VecDeque<IceCandidate> {
    let is_candidate = |line: &&str| line.starts_with("a=candidate:");
    let lines: Vec<_> = description.sdp.split_inclusive("\r\n").collect();
    let candidates = lines.iter().copied().filter(is_candidate);
    let candidates = candidates.map(|line| IceCandidate {
        candidate: line.trim()["a=".len()..].into(),
        sdp_mid: Some("0".into()),
        sdp_m_line_index: Some(0),
        username_fragment: None,
    });
    let candidates = candidates.collect();
    let rest = lines.iter().filter(|line| !is_candidate(line)).copied();
    description.sdp = rest.collect();
    candidates
}

impl TransportFactory for LateFactory {
    fn create_offer(
        &self,
        local: &[LocalCandidate],
        stream: StreamOptions,
        now: Instant,
    ) -> Result<Offered, TransportError> {
        let mut offered = self.rtc.create_offer(local, stream, now)?;
        offered.transport = self.late(offered.transport, &mut offered.description);
        Ok(offered)
    }

    fn create_answer(
        &self,
        offer: &SessionDescription,
        local: &[LocalCandidate],
        now: Instant,
    ) -> Result<Answered, TransportError> {
        let mut answered = self.rtc.create_answer(offer, local, now)?;
        answered.transport = self.late(answered.transport, &mut answered.description);
        Ok(answered)
    }
}

impl Transport for LateLink {
    fn poll_candidate(&mut self) -> Option<IceCandidate> {
        self.candidates.pop_front()
    }

    fn poll_named_candidate(&mut self) -> Option<NamedCandidate> {
        self.transport.poll_named_candidate()
    }

    fn accept_answer(
        &mut self,
        answer: &SessionDescription,
        now: Instant,
    ) -> Result<(), TransportError> {
        self.transport.accept_answer(answer, now)
    }

    fn add_remote_candidate(
        &mut self,
        candidate: &IceCandidate,
        now: Instant,
    ) -> Result<(), TransportError> {
        self.transport.add_remote_candidate(candidate, now)
    }

    fn open_stream(
        &mut self,
        options: StreamOptions,
        now: Instant,
    ) -> Result<StreamId, TransportError> {
        self.transport.open_stream(options, now)
    }

    fn write(
        &mut self,
        stream: StreamId,
        kind: MessageKind,
        payload: &[u8],
        now: Instant,
    ) -> Result<Written, TransportError> {
        self.transport.write(stream, kind, payload, now)
    }

    fn close_stream(&mut self, stream: StreamId, now: Instant) {
        self.transport.close_stream(stream, now);
    }

    fn close(&mut self, now: Instant) {
        self.transport.close(now);
    }

    fn handle_datagram(&mut self, datagram: Received<'_>, now: Instant) {
        self.transport.handle_datagram(datagram, now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.transport.handle_timeout(now);
    }

    fn poll_transmit(&mut self) -> Option<Datagram> {
        self.transport.poll_transmit()
    }

    fn poll_event(&mut self) -> Option<LinkEvent> {
        self.transport.poll_event()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.transport.poll_timeout()
    }

    fn local_username_fragment(&self) -> &str {
        self.transport.local_username_fragment()
    }

    fn max_message_bytes(&self) -> usize {
        self.transport.max_message_bytes()
    }

    fn fingerprints(&self) -> Option<Fingerprints> {
        self.transport.fingerprints()
    }
}

fn client(signaling: Arc<dyn Signaling>, name: Option<&'static str>) -> RondevuBuilder {
    let clock = Clock::start();
    let rtc = RtcFactory::new(RtcConfig::default(), clock.epoch()).unwrap();
    Rondevu::builder()
        .signaling(signaling)
        .transport(Arc::new(LateFactory { rtc, name }), clock.epoch())
        .bind("127.0.0.1:0".parse().unwrap())
}

async fn connects(service: Arc<dyn Signaling>, dialer: Arc<dyn Signaling>) {
    clients_connect(client(service, None), client(dialer, None)).await;
}

async fn clients_connect(service: RondevuBuilder, dialer: RondevuBuilder) {
    let (service, dialer) = (service.build().unwrap(), dialer.build().unwrap());
    let service = service
        .expose_service("alice", SERVICE, ServiceOptions::default())
        .unwrap();
    service.start().await.unwrap();
    let begun = std::time::Instant::now();
    let dialed = dialer.connect("alice", SERVICE).await.unwrap();
    println!("connected after {:?}", begun.elapsed());
    service.accept().await.unwrap();
    dialed.close().await;
    service.stop().await;
}

#[tokio::test]
async fn late_candidates_reach_the_other_side_in_memory() {
    let signaling = MemorySignaling::new();
    connects(Arc::new(signaling.peer()), Arc::new(signaling.peer())).await;
}

#[tokio::test]
async fn names_in_place_of_addresses_are_asked_for() {
    let (name, port) = ("d5d4a2f0-6bb5-4f23.local", free_port());
    let _responder = Responder::start(port, name).await;
    // One side that knows the other is enough, whichever it is.
    for asks in [true, false] {
        let signaling = MemorySignaling::new();
        let service = client(Arc::new(signaling.peer()), Some(name));
        let dialer = client(Arc::new(signaling.peer()), Some(name));
        let (service, dialer) = match asks {
            true => (service.mdns_on_loopback(port), dialer.mdns(false)),
            false => (service.mdns(false), dialer.mdns_on_loopback(port)),
        };
        clients_connect(service, dialer).await;
    }
}

#[tokio::test]
async fn late_candidates_reach_the_other_side_through_our_server() {
    let server = Server::bind("127.0.0.1:0", ServerConfig::default()).await;
    let server = server.unwrap().spawn();
    let peer = || Arc::new(HttpSignaling::new(&server.url()).unwrap());
    connects(peer(), peer()).await;
}

#[tokio::test]
async fn late_candidates_reach_the_other_side_through_the_original_server() {
    let server = OriginalServer::start().await.unwrap();
    let peer = || Arc::new(HttpSignaling::new(&server.url()).unwrap());
    connects(peer(), peer()).await;
    // One side that has heard of the other is enough: its checks tell the other its address.
    assert!(server.requests("POST /offers/*/ice-candidates") >= 1);
    assert!(server.requests("GET /offers/*/ice-candidates") >= 1);
}

#[tokio::test]
async fn links_that_find_their_path_at_once_ask_for_no_candidates() {
    let server = OriginalServer::start().await.unwrap();
    let make = || {
        let builder = Rondevu::builder().server(server.url());
        let builder = builder.bind("127.0.0.1:0".parse().unwrap());
        builder.build().unwrap()
    };
    let service = make().expose_service("alice", SERVICE, ServiceOptions::default());
    let service = service.unwrap();
    service.start().await.unwrap();
    make().connect("alice", SERVICE).await.unwrap();
    service.accept().await.unwrap();
    assert_eq!(server.requests("POST /offers/*/ice-candidates"), 0);
    service.stop().await;
}
