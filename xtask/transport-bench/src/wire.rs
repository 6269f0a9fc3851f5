//! The way between two ends: loopback as it is, or relays that keep each datagram for a while.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What datagrams pass on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Nothing.
    Loopback,
    /// Relays that pass them on later; the time is for one direction.
    Delayed(Duration),
}

/// Two relay sockets between a dialer and a service, each standing for one side in the eyes of the
/// other. No privilege and no kernel module is needed for it.
///
/// ```text
/// dialer ⇄ as_service ═ delay ═ as_dialer ⇄ service
/// ```
#[derive(Debug)]
pub(crate) struct Relay {
    as_dialer: SocketAddr,
    as_service: SocketAddr,
    service: SocketAddr,
    /// Known once it has been told or has sent something.
    dialer: Arc<OnceLock<SocketAddr>>,
    tasks: [JoinHandle<()>; 4],
}

impl Relay {
    /// A relay before `service`.
    pub(crate) async fn before(service: SocketAddr, one_way: Duration) -> Result<Self> {
        let here = Arc::new(UdpSocket::bind("127.0.0.1:0").await?);
        let there = Arc::new(UdpSocket::bind("127.0.0.1:0").await?);
        let dialer = Arc::new(OnceLock::new());
        let (to_service, from_dialer) = mpsc::unbounded_channel();
        let (to_dialer, from_service) = mpsc::unbounded_channel();
        let learned = Arc::clone(&dialer);
        let tasks = [
            tokio::spawn(keep(Arc::clone(&here), one_way, to_service, move |from| {
                learned.get_or_init(|| from);
            })),
            tokio::spawn(keep(Arc::clone(&there), one_way, to_dialer, |_| {})),
            tokio::spawn(pass_on(from_dialer, Arc::clone(&there), move || {
                Some(service)
            })),
            tokio::spawn({
                let dialer = Arc::clone(&dialer);
                pass_on(from_service, Arc::clone(&here), move || {
                    dialer.get().copied()
                })
            }),
        ];
        Ok(Self {
            as_dialer: there.local_addr()?,
            as_service: here.local_addr()?,
            service,
            dialer,
            tasks,
        })
    }

    /// Where the dialer finds the service.
    pub(crate) fn as_service(&self) -> SocketAddr {
        self.as_service
    }

    /// The service's description as the dialer must see it.
    pub(crate) fn offer(&self, sdp: &str) -> String {
        moved(sdp, self.service, self.as_service)
    }

    /// The dialer's description as the service must see it.
    pub(crate) fn answer(&self, sdp: &str) -> Result<String> {
        let dialer = host_address(sdp)?;
        self.dialer.get_or_init(|| dialer);
        Ok(moved(sdp, dialer, self.as_dialer))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

type Kept = (Instant, Vec<u8>);

async fn keep(
    socket: Arc<UdpSocket>,
    one_way: Duration,
    kept: mpsc::UnboundedSender<Kept>,
    learn: impl Fn(SocketAddr),
) {
    let mut buffer = vec![0; 2048];
    while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
        learn(from);
        if kept
            .send((Instant::now() + one_way, buffer[..len].to_vec()))
            .is_err()
        {
            return;
        }
    }
}

async fn pass_on(
    mut kept: mpsc::UnboundedReceiver<Kept>,
    socket: Arc<UdpSocket>,
    to: impl Fn() -> Option<SocketAddr>,
) {
    while let Some((at, datagram)) = kept.recv().await {
        tokio::time::sleep_until(at).await;
        if let Some(to) = to() {
            // What cannot be sent is lost, as on a network.
            let _ = socket.send_to(&datagram, to).await;
        }
    }
}

/// The address in the first candidate of a description.
pub(crate) fn host_address(sdp: &str) -> Result<SocketAddr> {
    let line = sdp.lines().find(|line| line.starts_with("a=candidate:"));
    let mut words = line.context("no candidate")?.split(' ').skip(4);
    let ip: Ipv4Addr = words.next().context("no address")?.parse()?;
    let port = words.next().context("no port")?.parse()?;
    Ok((ip, port).into())
}

/// A description that names `to` instead of `from` in its candidates.
fn moved(sdp: &str, from: SocketAddr, to: SocketAddr) -> String {
    let words = |at: SocketAddr| format!(" {} {} ", at.ip(), at.port());
    sdp.replace(&words(from), &words(to))
}
