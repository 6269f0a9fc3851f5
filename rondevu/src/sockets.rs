//! The UDP sockets of a service or of one attempt to connect, one for each local address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rondevu_transport::gather::{HostPolicy, interfaces, usable_addresses};
use rondevu_transport::{Datagram, Received};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::cable::Cable;

/// A datagram that came in.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) payload: Vec<u8>,
}

impl Inbound {
    pub(crate) fn as_received(&self) -> Received<'_> {
        Received {
            source: self.source,
            destination: self.destination,
            payload: &self.payload,
        }
    }
}

/// Sockets bound to concrete addresses, so that each datagram's local address is known.
#[derive(Debug)]
pub(crate) struct Sockets {
    bound: Vec<(SocketAddr, Arc<UdpSocket>)>,
    cable: Cable,
}

impl Sockets {
    /// Binds `at`; an unspecified address means each usable address of the machine.
    pub(crate) async fn bind(at: SocketAddr, cable: Cable) -> io::Result<Self> {
        let mut bound = Vec::new();
        let mut failure = None;
        for ip in addresses(at.ip())? {
            match UdpSocket::bind(SocketAddr::new(ip, at.port())).await {
                Ok(socket) => {
                    widen(&socket);
                    bound.push((socket.local_addr()?, Arc::new(socket)));
                }
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if bound.is_empty() => Err(error),
            _ => Ok(Self { bound, cable }),
        }
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.bound.iter().map(|(address, _)| *address).collect()
    }

    /// Sends a datagram; one that the system refuses is lost, as one on the network may be.
    pub(crate) async fn send(&self, datagram: &Datagram) {
        if self.cable.is_cut() {
            return;
        }
        let socket = self
            .bound
            .iter()
            .find(|(address, _)| *address == datagram.source);
        let Some((_, socket)) = socket else { return };
        if let Err(error) = socket
            .send_to(&datagram.payload, datagram.destination)
            .await
        {
            tracing::trace!(%error, "datagram not sent");
        }
    }

    /// Starts to read; `deliver` gets each datagram.
    pub(crate) fn read(&self, deliver: impl Fn(Inbound) + Clone + Send + 'static) -> Readers {
        let read = |(address, socket): &(SocketAddr, Arc<UdpSocket>)| {
            let (socket, cable) = (Arc::clone(socket), self.cable.clone());
            tokio::spawn(read_one(socket, *address, cable, deliver.clone()))
        };
        Readers(self.bound.iter().map(read).collect())
    }
}

fn addresses(ip: IpAddr) -> io::Result<Vec<IpAddr>> {
    if !ip.is_unspecified() {
        return Ok(vec![ip]);
    }
    let usable = usable_addresses(&interfaces()?, HostPolicy::default());
    let usable: Vec<_> = usable
        .into_iter()
        .filter(|a| ip.is_ipv6() || a.is_ipv4())
        .collect();
    // A machine without a network can still talk to itself.
    Ok(if usable.is_empty() {
        vec![IpAddr::from([127, 0, 0, 1])]
    } else {
        usable
    })
}

/// Asks for buffers that hold a full SCTP window of datagrams; with the usual ones a burst on a
/// fast path is lost, and SCTP waits a second before it repeats the end of a burst. What the
/// system refuses does no harm.
fn widen(socket: &UdpSocket) {
    let socket = socket2::SockRef::from(socket);
    for result in [
        socket.set_recv_buffer_size(BUFFER_BYTES),
        socket.set_send_buffer_size(BUFFER_BYTES),
    ] {
        if let Err(error) = result {
            tracing::debug!(%error, "socket buffer not resized");
        }
    }
}

async fn read_one(
    socket: Arc<UdpSocket>,
    destination: SocketAddr,
    cable: Cable,
    deliver: impl Fn(Inbound),
) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((len, source)) if !cable.is_cut() => {
                deliver(Inbound {
                    source,
                    destination,
                    payload: buffer[..len].to_vec(),
                });
            }
            Ok(_) => {}
            // A peer's refusal that came back by ICMP; the socket itself is fine.
            Err(error) => {
                tracing::trace!(%error, "socket error");
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Reading tasks that end with this value.
#[derive(Debug)]
pub(crate) struct Readers(Vec<JoinHandle<()>>);

impl Drop for Readers {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// No datagram of ours is larger than 1400 bytes; what is longer is somebody else's.
const DATAGRAM_BYTES_MAX: usize = 2048;
/// The system may grant less.
const BUFFER_BYTES: usize = 2 * 1024 * 1024;
