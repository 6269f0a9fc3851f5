//! A service whose server says things in an unusual order.

use async_trait::async_trait;
use rondevu_signaling::{CreatedOffer, MemoryPeer, MemorySignaling, NewOffer, SignalingLayer};
use rondevu_transport::rtc::{RtcConfig, RtcFactory};
use rondevu_transport::{LinkStage, Received, Transport, TransportFactory};
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;

use super::*;
use crate::dial::Target;
use crate::service::DurableService;

const SERVICE: &str = "com.example.test@1.0.0";

/// Takes its time to create offers, and to say that it did.
struct SlowServer {
    inner: MemoryPeer,
    /// How many more requests for offers may be carried out.
    requests: Semaphore,
    /// How many more of them may be answered.
    words: Semaphore,
    /// How many answers the service has heard of.
    heard: watch::Sender<usize>,
    /// The offers that it has beside that of the publication.
    offers: watch::Sender<Vec<OfferId>>,
}

#[async_trait]
impl SignalingLayer for SlowServer {
    fn inner(&self) -> &dyn Signaling {
        &self.inner
    }

    async fn create_offers(
        &self,
        offers: &[NewOffer],
    ) -> Result<Vec<CreatedOffer>, SignalingError> {
        self.requests.acquire().await.unwrap().forget();
        let created = self.inner.create_offers(offers).await?;
        let ids = created.iter().map(|offer| offer.id.clone());
        self.offers.send_modify(|offers| offers.extend(ids));
        self.words.acquire().await.unwrap().forget();
        Ok(created)
    }

    async fn delete_offer(&self, offer: &OfferId) -> Result<(), SignalingError> {
        self.offers
            .send_modify(|offers| offers.retain(|one| one != offer));
        self.inner.delete_offer(offer).await
    }

    async fn answers(
        &self,
        since: Option<UnixMillis>,
        wait: Duration,
    ) -> Result<Vec<OfferAnswer>, SignalingError> {
        let answers = self.inner.answers(since, wait).await?;
        self.heard.send_modify(|heard| *heard += answers.len());
        Ok(answers)
    }
}

impl SlowServer {
    fn new(inner: MemoryPeer) -> Arc<Self> {
        Arc::new(Self {
            inner,
            requests: Semaphore::new(0),
            words: Semaphore::new(0),
            heard: watch::Sender::new(0),
            offers: watch::Sender::default(),
        })
    }
}

async fn expose(server: &Arc<SlowServer>) -> DurableService {
    let shared: Arc<dyn Signaling> = server.clone();
    let service = client(shared).expose_service("alice", SERVICE, ServiceOptions::default());
    let service = service.unwrap();
    service.start().await.unwrap();
    service
}

fn client(signaling: Arc<dyn Signaling>) -> Rondevu {
    Rondevu::builder()
        .signaling(signaling)
        .bind("127.0.0.1:0".parse().unwrap())
        .build()
        .unwrap()
}

#[tokio::test]
async fn an_answer_that_comes_before_the_word_of_its_offer_is_not_lost() {
    let signaling = MemorySignaling::new();
    let server = SlowServer::new(signaling.peer());
    server.requests.add_permits(100);
    let service = expose(&server).await;
    // Each offer after the first stands on the server before the service knows.
    let dialer = client(Arc::new(signaling.peer()));
    let _first = dialer.connect("alice", SERVICE).await.unwrap();
    let second = tokio::spawn(async move { dialer.connect("alice", SERVICE).await });
    let mut heard = server.heard.subscribe();
    heard.wait_for(|heard| *heard == 2).await.unwrap();
    server.words.add_permits(1);
    let _second = second.await.unwrap().unwrap();
    assert_eq!(service.active_connections(), 2);
    server.words.add_permits(100);
    service.stop().await;
}

#[tokio::test]
async fn offers_that_are_being_created_go_with_the_service() {
    let signaling = MemorySignaling::new();
    let server = SlowServer::new(signaling.peer());
    server.requests.add_permits(1);
    let service = expose(&server).await;
    // Uses up the offer of the publication.
    let dialer = client(Arc::new(signaling.peer()));
    let _first = dialer.connect("alice", SERVICE).await.unwrap();
    let mut offers = server.offers.subscribe();
    offers.wait_for(|offers| !offers.is_empty()).await.unwrap();
    let stopping = tokio::spawn(async move { service.stop().await });
    // It is told, and whatever it does at once is done.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    server.words.add_permits(1);
    stopping.await.unwrap();
    assert_eq!(*server.offers.borrow(), []);
}

#[tokio::test]
async fn dialers_that_wait_get_the_next_offers_in_the_order_of_their_coming() {
    let signaling = MemorySignaling::new();
    let server = SlowServer::new(signaling.peer());
    server.words.add_permits(100);
    let service = expose(&server).await;
    let dialer = client(Arc::new(signaling.peer()));
    dialer.connect("alice", SERVICE).await.unwrap();
    let target = Target::parse("alice", SERVICE).unwrap();
    let mut waiting = JoinSet::new();
    for number in 1..=6 {
        let dialer = dialer.clone();
        waiting.spawn({
            let dialer = dialer.clone();
            async move { (number, dialer.connect("alice", SERVICE).await.unwrap()) }
        });
        while dialer.inner.lines.length(&target) < number {
            tokio::task::yield_now().await;
        }
    }
    let mut served = Vec::new();
    for number in 1..=6 {
        server.requests.add_permits(1);
        let (next, connection) = waiting.join_next().await.unwrap().unwrap();
        assert_eq!(next, number);
        served.push(connection);
    }
    server.requests.add_permits(100);
    service.stop().await;
}

#[tokio::test]
async fn a_check_that_is_faster_than_the_answer_is_kept() {
    let signaling = MemorySignaling::new();
    let alice = client(Arc::new(signaling.peer()));
    let service = alice.expose_service("alice", SERVICE, ServiceOptions::default());
    let service = service.unwrap();
    service.start().await.unwrap();
    let peer = signaling.peer();
    let (alice, name) = ("alice".parse().unwrap(), SERVICE.parse().unwrap());
    let uuid = peer.find_service(&alice, &name).await.unwrap();
    let offer = peer.take_offer(&uuid).await.unwrap();

    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let local = socket.local_addr().unwrap();
    let factory = RtcFactory::new(RtcConfig::default(), std::time::Instant::now()).unwrap();
    // The clock of the dialer stands still, so it checks each path once.
    let now = Instant::from_origin(Duration::from_secs(1));
    let answered = factory.create_answer(&offer.sdp, &[local.into()], now);
    let answered = answered.unwrap();
    let mut link = answered.transport;
    flush(&mut *link, &socket).await;
    // Loopback takes no time, and whoever reads gets a turn.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    peer.answer_offer(&offer.offer_id, &answered.description, None)
        .await
        .unwrap();
    let mut buffer = [0; 2048];
    let found = async {
        while matches!(link.stage(), LinkStage::Searching { .. }) {
            let (len, source) = socket.recv_from(&mut buffer).await.unwrap();
            let datagram = Received {
                source,
                destination: local,
                payload: &buffer[..len],
            };
            link.handle_datagram(datagram, now);
            flush(&mut *link, &socket).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(10), found).await;
    assert!(found.is_ok(), "the check was lost: {:?}", link.stage());
    service.stop().await;
}

async fn flush(link: &mut dyn Transport, socket: &UdpSocket) {
    while let Some(datagram) = link.poll_transmit() {
        let sent = socket
            .send_to(&datagram.payload, datagram.destination)
            .await;
        sent.unwrap();
    }
}
