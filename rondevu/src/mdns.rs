//! Addresses of peers that name themselves in place of them, asked for in the local network.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use rondevu_transport::gather::{
    HostPolicy, Include, Interface, MDNS_GROUP, MdnsEvent, MdnsPolicy, MdnsResolver, interfaces,
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
            let questions: Vec<_> = std::iter::from_fn(|| resolver.poll_transmit()).collect();
            if !questions.is_empty() {
                networks.follow(self.reach);
            }
            for question in &questions {
                networks.send(question).await;
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
    fn interfaces(self) -> io::Result<Vec<(Ipv4Addr, Interface)>> {
        let listed = interfaces()?;
        let v4 = |one: &Interface| match one.address {
            IpAddr::V4(v4) => Some((v4, one.clone())),
            IpAddr::V6(_) => None,
        };
        let at = match self {
            Self::Networks(at) => at,
            #[cfg(test)]
            Self::Loopback => {
                let loopback = listed.iter().filter(|one| one.address.is_loopback());
                return Ok(loopback.filter_map(v4).take(1).collect());
            }
        };
        let usable = usable_addresses(&listed, HostPolicy::default());
        let is_bound = |one: &Interface| {
            let mut alike = listed.iter().filter(|other| other.name == one.name);
            at.is_unspecified() || alike.any(|other| other.address == at)
        };
        let used = listed.iter().filter(|one| usable.contains(&one.address));
        let mut used: Vec<_> = used.filter(|one| is_bound(one)).filter_map(v4).collect();
        used.sort_by(|(a, one), (b, other)| (&one.name, a).cmp(&(&other.name, b)));
        used.dedup_by(|(_, one), (_, other)| one.name == other.name);
        Ok(used)
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

/// The networks that are asked, as far as there are any.
#[derive(Debug)]
struct Networks {
    group: SocketAddrV4,
    open: Vec<Network>,
}

#[derive(Debug)]
struct Network {
    interface: Interface,
    socket: UdpSocket,
}

impl Networks {
    fn new(group: SocketAddrV4) -> Self {
        Self {
            group,
            open: Vec::new(),
        }
    }

    /// Follows this machine from network to network.
    fn follow(&mut self, reach: Reach) {
        let listed = match reach.interfaces() {
            Ok(listed) => listed,
            Err(error) => return tracing::debug!(%error, "networks cannot be listed"),
        };
        self.open
            .retain(|open| listed.iter().any(|(_, one)| *one == open.interface));
        for (address, interface) in listed {
            if self.open.iter().any(|open| open.interface == interface) {
                continue;
            }
            match open(self.group, address) {
                Ok(socket) => self.open.push(Network { interface, socket }),
                Err(error) => {
                    tracing::debug!(%address, %error, "a network cannot be asked for names");
                }
            }
        }
    }

    /// Asks in each network. One that does not take it at once does without.
    async fn send(&mut self, question: &[u8]) {
        let mut at = 0;
        while let Some(network) = self.open.get(at) {
            let sending = network.socket.send_to(question, self.group);
            match tokio::time::timeout(SENDING_TIME, sending).await {
                Ok(Err(error)) => self.close(at, &error),
                Ok(Ok(_)) | Err(_) => at += 1,
            }
        }
    }

    /// Gives a socket up; the next question opens another.
    fn close(&mut self, at: usize, error: &io::Error) {
        tracing::debug!(%error, "a network does not work any more");
        self.open.remove(at);
    }

    /// Waits for a datagram that may be an answer: one from the network and from the port of the group
    /// (RFC 6762, sections 6 and 11). Cancellation: none is lost.
    async fn receive(&mut self, buffer: &mut [u8]) -> usize {
        loop {
            match self.receive_any(buffer).await {
                (at, Ok((length, source))) => {
                    let network = self.open.remove(at);
                    let is_near = network.interface.reaches(source.ip());
                    // Behind the others, which have their turn then.
                    self.open.push(network);
                    if is_near && source.port() == self.group.port() {
                        return length;
                    }
                }
                (at, Err(error)) => self.close(at, &error),
            }
        }
    }

    async fn receive_any(&self, buffer: &mut [u8]) -> (usize, io::Result<(usize, SocketAddr)>) {
        std::future::poll_fn(|cx| {
            for (at, network) in self.open.iter().enumerate() {
                let mut buffer = ReadBuf::new(buffer);
                if let Poll::Ready(received) = network.socket.poll_recv_from(cx, &mut buffer) {
                    let length = buffer.filled().len();
                    return Poll::Ready((at, received.map(|source| (length, source))));
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
    #[cfg(all(
        unix,
        not(any(
            target_os = "solaris",
            target_os = "illumos",
            target_os = "cygwin",
            target_os = "nuttx"
        ))
    ))]
    socket.set_reuse_port(true)?;
    // What is sent to this machine alone is for others with the same port. Not everywhere can the
    // group be bound.
    let at = match cfg!(any(target_os = "linux", target_os = "android")) {
        true => *group.ip(),
        false => Ipv4Addr::UNSPECIFIED,
    };
    socket.bind(&SockAddr::from(SocketAddrV4::new(at, group.port())))?;
    socket.join_multicast_v4(group.ip(), &address)?;
    // Else it hears the networks that others on this machine have joined too.
    #[cfg(target_os = "linux")]
    if let Err(error) = socket.set_multicast_all_v4(false) {
        tracing::debug!(%error, "more is heard than was asked for");
    }
    socket.set_multicast_if_v4(&address)?;
    // A browser on this machine is to hear it too.
    socket.set_multicast_loop_v4(true)?;
    socket.set_multicast_ttl_v4(255)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}

/// How long a network may take to take a question. It has room unless something is wrong.
const SENDING_TIME: Duration = Duration::from_millis(100);
/// As long as datagrams of multicast DNS may be (RFC 6762, section 17).
const DATAGRAM_BYTES_MAX: usize = 9000;
/// How far those who ask may be ahead of the task that takes it down: as many as can be asked for.
const ASKS_MAX: usize = 64;
