//! Addresses of peers that name themselves in place of them, asked for in the local network.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use rondevu_transport::gather::{
    HostPolicy, MDNS_GROUP, MdnsEvent, MdnsResolver, interfaces, usable_addresses,
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

/// Whom to ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reach {
    /// The networks of this machine.
    #[default]
    Networks,
    /// This machine alone.
    #[cfg(test)]
    Loopback,
}

impl Reach {
    fn addresses(self) -> io::Result<Vec<IpAddr>> {
        match self {
            Self::Networks => Ok(usable_addresses(&interfaces()?, self.policy())),
            #[cfg(test)]
            Self::Loopback => Ok(vec![Ipv4Addr::LOCALHOST.into()]),
        }
    }

    fn policy(self) -> HostPolicy {
        match self {
            Self::Networks => HostPolicy::default(),
            #[cfg(test)]
            Self::Loopback => HostPolicy {
                loopback: rondevu_transport::gather::Include::Yes,
                ..HostPolicy::default()
            },
        }
    }
}

/// A name whose address somebody waits for.
#[derive(Debug)]
struct Ask {
    name: String,
    answer: oneshot::Sender<IpAddr>,
}

impl Default for Mdns {
    fn default() -> Self {
        Self {
            asks: Arc::default(),
            group: MDNS_GROUP,
            reach: Reach::default(),
        }
    }
}

impl Mdns {
    /// The address of a name that ends in `.local`; `None` if nobody answers within 5 s, or too many
    /// names are asked for. Cancellation: the question may still be asked.
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
        if let Some(open) = &*asks {
            // Where there is no room or the task has panicked, the answer is dropped with the question.
            let _ = open.try_send(ask);
            return;
        }
        let networks = match self.networks() {
            Ok(networks) if !networks.is_empty() => networks,
            Ok(_) => return tracing::debug!("there is no network to ask for names"),
            Err(error) => return tracing::debug!(%error, "no network can be asked for names"),
        };
        let (sender, receiver) = mpsc::channel(ASKS_MAX);
        // There is room in a new one.
        let _ = sender.try_send(ask);
        *asks = Some(sender);
        tokio::spawn(self.clone().serve(networks, receiver));
    }

    /// A socket in each network. One that cannot be opened fails all only if there is no other.
    fn networks(&self) -> io::Result<Vec<UdpSocket>> {
        let mut failure = None;
        let mut networks = Vec::new();
        for address in self.reach.addresses()? {
            // Answers by IPv4 tell addresses of either kind.
            let IpAddr::V4(address) = address else {
                continue;
            };
            match open(self.group, address) {
                Ok(socket) => networks.push(socket),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if networks.is_empty() => Err(error),
            _ => Ok(networks),
        }
    }

    /// Asks until all have their answer.
    async fn serve(self, networks: Vec<UdpSocket>, mut asks: mpsc::Receiver<Ask>) {
        let clock = Clock::start();
        let mut resolver = MdnsResolver::new(self.reach.policy());
        let mut waiting: HashMap<String, Vec<oneshot::Sender<IpAddr>>> = HashMap::new();
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            while let Some(question) = resolver.poll_transmit() {
                for network in &networks {
                    if let Err(error) = network.send_to(&question, self.group).await {
                        tracing::debug!(%error, "a network is not asked for a name");
                    }
                }
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
                (length, source) = receive(&networks, &mut buffer) => {
                    // All others only pretend (RFC 6762, section 6).
                    if source.port() == self.group.port() {
                        resolver.handle_datagram(&buffer[..length]);
                    }
                }
                () = clock.sleep_until(resolver.poll_timeout()) => {
                    resolver.handle_timeout(clock.now());
                }
            }
        }
    }
}

/// A socket that sends to `group` and hears it in the network in which this machine has `address`.
/// Others on this machine may have the same port open (RFC 6762, section 15).
fn open(group: SocketAddrV4, address: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    #[cfg(all(unix, not(any(target_os = "solaris", target_os = "illumos"))))]
    socket.set_reuse_port(true)?;
    let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, group.port());
    socket.bind(&SockAddr::from(any))?;
    socket.join_multicast_v4(group.ip(), &address)?;
    socket.set_multicast_if_v4(&address)?;
    // A browser on this machine is to hear it too.
    socket.set_multicast_loop_v4(true)?;
    socket.set_multicast_ttl_v4(255)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}

/// Waits for a datagram from any of `sockets`. Cancellation: none is lost.
async fn receive(sockets: &[UdpSocket], buffer: &mut [u8]) -> (usize, SocketAddr) {
    std::future::poll_fn(|cx| {
        for socket in sockets {
            let mut buffer = ReadBuf::new(buffer);
            match socket.poll_recv_from(cx, &mut buffer) {
                Poll::Ready(Ok(source)) => return Poll::Ready((buffer.filled().len(), source)),
                Poll::Ready(Err(error)) => tracing::debug!(%error, "a network is not heard"),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    })
    .await
}

/// As long as datagrams of multicast DNS may be (RFC 6762, section 17).
const DATAGRAM_BYTES_MAX: usize = 9000;
/// How far those who ask may be ahead of the task that takes it down.
const ASKS_MAX: usize = 16;
