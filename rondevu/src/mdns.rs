//! Addresses of peers that name themselves in place of them, asked for in the local network.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use rondevu_transport::gather::{
    HostPolicy, Include, MDNS_GROUP, MdnsEvent, MdnsPolicy, MdnsResolver, interfaces,
    usable_addresses,
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;
use crate::shared::lock;

#[cfg(test)]
pub(crate) mod tests;

/// Asks the local network for addresses. Clones share the sockets, which are open only while something
/// is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Mdns {
    asks: Arc<Mutex<Option<mpsc::Sender<Ask>>>>,
    group: SocketAddrV4,
    reach: Reach,
}

/// Whom to ask, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// The networks that a socket bound to this address is in.
    Networks(IpAddr),
    /// This machine alone.
    #[cfg(test)]
    Loopback,
}

/// A name whose address somebody waits for.
#[derive(Debug)]
struct Ask {
    name: String,
    answer: oneshot::Sender<IpAddr>,
}

impl Mdns {
    /// For links that are bound to `address`, which may be unspecified.
    pub(crate) fn bound_to(address: IpAddr) -> Self {
        Self {
            asks: Arc::default(),
            group: MDNS_GROUP,
            reach: Reach::Networks(address),
        }
    }

    /// The address of a name that ends in `.local`; `None` if nobody answers within 5 s, or too many
    /// names are asked for. Cancellation: the name is asked for no more.
    pub(crate) async fn resolve(&self, name: &str) -> Option<IpAddr> {
        let (answer, address) = oneshot::channel();
        self.ask(Ask {
            name: name.to_ascii_lowercase(),
            answer,
        });
        let address = address.await.ok();
        tracing::debug!(name, ?address, "the local network was asked");
        address
    }

    fn ask(&self, ask: Ask) {
        let mut asks = lock(&self.asks);
        let ask = match &*asks {
            Some(open) => match open.try_send(ask) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Full(ask)) => {
                    return tracing::debug!(ask.name, "too many names are asked for");
                }
                // The runtime of the task is gone.
                Err(mpsc::error::TrySendError::Closed(ask)) => ask,
            },
            None => ask,
        };
        let (sender, receiver) = mpsc::channel(ASKS_MAX);
        // There is room in a new one.
        let _ = sender.try_send(ask);
        *asks = Some(sender);
        tokio::spawn(self.clone().serve(receiver));
    }

    /// Asks until nobody waits for an answer.
    async fn serve(self, mut asks: mpsc::Receiver<Ask>) {
        let clock = Clock::start();
        let mut resolver = MdnsResolver::new(self.reach.policy());
        let mut waiting: HashMap<String, Vec<oneshot::Sender<IpAddr>>> = HashMap::new();
        let mut networks = Networks::new(self.group);
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            waiting.retain(|name, answers| {
                answers.retain(|answer| !answer.is_closed());
                if answers.is_empty() {
                    resolver.cancel(name);
                }
                !answers.is_empty()
            });
            resolver.handle_timeout(clock.now());
            while let Some(question) = resolver.poll_transmit() {
                networks.follow(self.reach);
                networks.send(&question).await;
            }
            while let Some(event) = resolver.poll_event() {
                let (name, found) = match event {
                    MdnsEvent::Found { name, address } => (name, Some(address)),
                    MdnsEvent::NotFound { name } => (name, None),
                };
                let answers = waiting.remove(&name).unwrap_or_default();
                for (answer, address) in answers.into_iter().zip(found.into_iter().cycle()) {
                    // Whoever asked may have given up.
                    let _ = answer.send(address);
                }
            }
            if resolver.poll_timeout().is_none() {
                let mut open = lock(&self.asks);
                if asks.is_empty() {
                    // Whoever asks now opens anew.
                    *open = None;
                    return;
                }
            }
            tokio::select! {
                Some(ask) = asks.recv() => {
                    if resolver.resolve(&ask.name, clock.now()) {
                        waiting.entry(ask.name).or_default().push(ask.answer);
                    }
                }
                length = networks.receive(&mut buffer) => {
                    resolver.handle_datagram(&buffer[..length]);
                }
                () = clock.sleep_until(resolver.poll_timeout()) => {}
            }
        }
    }
}

impl Reach {
    /// An address of this machine in each network, of IPv4: answers tell addresses of either kind.
    fn addresses(self) -> io::Result<Vec<Ipv4Addr>> {
        let at = match self {
            Self::Networks(at) => at,
            #[cfg(test)]
            Self::Loopback => return Ok(vec![Ipv4Addr::LOCALHOST]),
        };
        let mut listed = interfaces()?;
        let usable = usable_addresses(&listed, HostPolicy::default());
        listed.retain(|one| usable.contains(&one.address) && one.address.is_ipv4());
        listed.retain(|one| at.is_unspecified() || at.is_ipv6() || one.address == at);
        listed.sort_by(|a, b| (&a.name, a.address).cmp(&(&b.name, b.address)));
        listed.dedup_by(|a, b| a.name == b.name);
        let addresses = listed.into_iter().map(|one| match one.address {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        });
        Ok(addresses.flatten().collect())
    }

    fn policy(self) -> MdnsPolicy {
        let include = |yes: bool| if yes { Include::Yes } else { Include::No };
        match self {
            Self::Networks(at) => MdnsPolicy {
                ipv4: include(at.is_ipv4() || at.is_unspecified()),
                ipv6: include(at.is_ipv6()),
                ..MdnsPolicy::default()
            },
            #[cfg(test)]
            Self::Loopback => MdnsPolicy {
                loopback: Include::Yes,
                ..MdnsPolicy::default()
            },
        }
    }
}

/// A socket in each network, as far as there are any.
#[derive(Debug)]
struct Networks {
    group: SocketAddrV4,
    addresses: Vec<Ipv4Addr>,
    sockets: Vec<UdpSocket>,
}

impl Networks {
    fn new(group: SocketAddrV4) -> Self {
        Self {
            group,
            addresses: Vec::new(),
            sockets: Vec::new(),
        }
    }

    /// Opens all sockets anew if this machine is in other networks than before.
    fn follow(&mut self, reach: Reach) {
        let addresses = match reach.addresses() {
            Ok(addresses) => addresses,
            Err(error) => return tracing::debug!(%error, "networks cannot be listed"),
        };
        if addresses == self.addresses {
            return;
        }
        self.sockets.clear();
        for address in &addresses {
            match open(self.group, *address) {
                Ok(socket) => self.sockets.push(socket),
                Err(error) => {
                    tracing::debug!(%address, %error, "a network cannot be asked for names");
                }
            }
        }
        self.addresses = addresses;
    }

    async fn send(&self, question: &[u8]) {
        for socket in &self.sockets {
            if let Err(error) = socket.send_to(question, self.group).await {
                tracing::debug!(%error, "a network is not asked for a name");
            }
        }
    }

    /// Waits for a datagram from the port of the group; all others only pretend (RFC 6762, section 6).
    /// Cancellation: none is lost.
    async fn receive(&self, buffer: &mut [u8]) -> usize {
        loop {
            match self.receive_any(buffer).await {
                Ok((length, source)) if source.port() == self.group.port() => return length,
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "a network is not heard");
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    async fn receive_any(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        std::future::poll_fn(|cx| {
            for socket in &self.sockets {
                let mut buffer = ReadBuf::new(buffer);
                if let Poll::Ready(received) = socket.poll_recv_from(cx, &mut buffer) {
                    let length = buffer.filled().len();
                    return Poll::Ready(received.map(|source| (length, source)));
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// A socket that sends to `group`, and hears what is sent to it, in the network in which this machine
/// has `address`. Others on this machine may have the same port open (RFC 6762, section 15).
fn open(group: SocketAddrV4, address: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
    socket.set_reuse_port(true)?;
    // What was sent to one address of this machine is from anywhere. Elsewhere the group cannot be bound.
    let at = match cfg!(target_os = "linux") {
        true => *group.ip(),
        false => Ipv4Addr::UNSPECIFIED,
    };
    socket.bind(&SockAddr::from(SocketAddrV4::new(at, group.port())))?;
    socket.join_multicast_v4(group.ip(), &address)?;
    // Else it hears the networks that others on this machine have joined.
    #[cfg(target_os = "linux")]
    socket.set_multicast_all_v4(false)?;
    socket.set_multicast_if_v4(&address)?;
    // A browser on this machine is to hear it too.
    socket.set_multicast_loop_v4(true)?;
    socket.set_multicast_ttl_v4(255)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}

/// As long as datagrams of multicast DNS may be (RFC 6762, section 17).
const DATAGRAM_BYTES_MAX: usize = 9000;
/// How far those who ask may be ahead of the task that takes it down: as many as can be asked for.
const ASKS_MAX: usize = 64;
