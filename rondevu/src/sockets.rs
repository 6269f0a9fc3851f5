//! The UDP sockets of a service or of one attempt to connect, one for each local address.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use rondevu_transport::gather::{HostPolicy, interfaces, usable_addresses};
use tokio::task::JoinHandle;

use crate::batch::Batch;
use crate::burst::Burst;
use crate::cable::Cable;
use crate::shared::lock;

mod bound;

use bound::Bound;

/// Sockets bound to concrete addresses, so that each datagram's local address is known.
#[derive(Debug)]
pub(crate) struct Sockets {
    at: SocketAddr,
    bound: Mutex<Vec<Arc<Bound>>>,
    cable: Cable,
}

/// What came of following the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Followed {
    /// Other addresses than before are used.
    pub(crate) changed: bool,
    /// Something may work in a moment that did not now.
    pub(crate) incomplete: bool,
}

impl Sockets {
    /// Binds `at`; an unspecified address means each usable address of the machine.
    pub(crate) async fn bind(at: SocketAddr, cable: Cable) -> io::Result<Self> {
        let mut bound = Vec::new();
        let mut failure = None;
        let mut ips = addresses(at.ip())?;
        if ips.is_empty() {
            // A machine without a network can still talk to itself.
            ips.push(IpAddr::from([127, 0, 0, 1]));
        }
        for ip in ips {
            match Bound::bind(SocketAddr::new(ip, at.port())).await {
                Ok(socket) => bound.push(Arc::new(socket)),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if bound.is_empty() => Err(error),
            _ => Ok(Self {
                at,
                bound: Mutex::new(bound),
                cable,
            }),
        }
    }

    /// Follows the machine, which reaches others by the addresses `usable` now: binds those that it has
    /// got, if each of them was asked for, and stops to count on those that it has lost, unless nothing else is there.
    ///
    /// Cancellation: may have done a part; the next call does the rest.
    pub(crate) async fn follow(&self, usable: &[IpAddr], readers: &Readers) -> Followed {
        if !self.at.ip().is_unspecified() {
            return Followed::default();
        }
        let usable = of_family(self.at.ip(), usable);
        let mut followed = Followed::default();
        for ip in &usable {
            let known = lock(&self.bound)
                .iter()
                .any(|socket| socket.address.ip() == *ip);
            if known {
                continue;
            }
            match Bound::bind(SocketAddr::new(*ip, self.at.port())).await {
                Ok(socket) => {
                    self.add(Arc::new(socket), readers);
                    followed.changed = true;
                }
                Err(error) => {
                    // An address of IPv6 can be bound only once nobody else is found to have it.
                    tracing::debug!(%ip, %error, "a new address cannot be used yet");
                    followed.incomplete = true;
                }
            }
        }
        let mut bound = lock(&self.bound);
        if !bound.iter().any(|one| usable.contains(&one.address.ip())) {
            return followed;
        }
        for socket in bound.iter_mut() {
            let is_present = usable.contains(&socket.address.ip());
            if is_present && !socket.is_present() {
                // What the system refused while the address was gone is worth another try.
                match Bound::again(socket) {
                    Ok(again) => {
                        readers.end(socket.address);
                        *socket = Arc::new(again);
                        readers.begin(Arc::clone(socket));
                        followed.changed = true;
                    }
                    Err(_) => followed.incomplete = true,
                }
            } else if !is_present && socket.is_present() {
                socket.lose();
                followed.changed = true;
            }
        }
        followed
    }

    fn add(&self, socket: Arc<Bound>, readers: &Readers) {
        let mut bound = lock(&self.bound);
        if bound.len() >= SOCKETS_MAX
            && let Some(oldest) = bound.iter().position(|socket| !socket.is_present())
        {
            readers.end(bound.remove(oldest).address);
        }
        readers.begin(Arc::clone(&socket));
        bound.push(socket);
    }

    fn bound_to(&self, address: SocketAddr) -> Option<Arc<Bound>> {
        let bound = lock(&self.bound);
        bound
            .iter()
            .find(|bound| bound.address == address)
            .map(Arc::clone)
    }

    /// Whether one of the sockets is bound to `address`.
    pub(crate) fn has(&self, address: SocketAddr) -> bool {
        self.bound_to(address).is_some()
    }

    /// Those that the machine has.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let bound = lock(&self.bound);
        let present = bound.iter().filter(|bound| bound.is_present());
        present.map(|bound| bound.address).collect()
    }

    /// Sends datagrams in their order; what the system refuses is lost, as it may be on the
    /// network.
    ///
    /// Cancellation: some of the datagrams are sent, the rest is lost.
    pub(crate) async fn send(&self, batch: &Batch) {
        if self.cable.is_cut() {
            return;
        }
        if let Some(bound) = self.bound_to(batch.source())
            && bound.is_present()
        {
            bound.send(batch).await;
        }
    }

    /// Starts to read; `deliver` gets all datagrams, in the order of their coming from each
    /// socket.
    pub(crate) fn read(&self, deliver: impl Fn(Burst) + Clone + Send + Sync + 'static) -> Readers {
        let cable = self.cable.clone();
        let read = move |bound| tokio::spawn(read_one(bound, cable.clone(), deliver.clone()));
        let readers = Readers {
            tasks: Mutex::default(),
            read: Box::new(read),
        };
        let bound = lock(&self.bound);
        bound
            .iter()
            .for_each(|bound| readers.begin(Arc::clone(bound)));
        drop(bound);
        readers
    }
}

/// The addresses that `ip` stands for: itself, or each usable one of the machine.
fn addresses(ip: IpAddr) -> io::Result<Vec<IpAddr>> {
    if !ip.is_unspecified() {
        return Ok(vec![ip]);
    }
    let usable = usable_addresses(&interfaces()?, HostPolicy::default());
    Ok(of_family(ip, &usable))
}

/// Those of IPv4 for the unspecified address of IPv4, all for that of IPv6.
fn of_family(ip: IpAddr, usable: &[IpAddr]) -> Vec<IpAddr> {
    let usable = usable.iter().copied();
    usable.filter(|a| ip.is_ipv6() || a.is_ipv4()).collect()
}

async fn read_one(bound: Arc<Bound>, cable: Cable, deliver: impl Fn(Burst)) {
    loop {
        let received = bound.receive(|burst| {
            if !cable.is_cut() {
                deliver(burst);
            }
        });
        if let Err(error) = received.await {
            // The socket itself is fine.
            tracing::trace!(%error, "socket error");
            tokio::task::yield_now().await;
        }
    }
}

/// Reading tasks that end with this value, one for each socket.
pub(crate) struct Readers {
    tasks: Mutex<HashMap<SocketAddr, JoinHandle<()>>>,
    read: Box<dyn Fn(Arc<Bound>) -> JoinHandle<()> + Send + Sync>,
}

impl Readers {
    fn begin(&self, socket: Arc<Bound>) {
        let address = socket.address;
        lock(&self.tasks).insert(address, (self.read)(socket));
    }

    fn end(&self, address: SocketAddr) {
        if let Some(task) = lock(&self.tasks).remove(&address) {
            task.abort();
        }
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks = lock(&self.tasks);
        f.debug_set().entries(tasks.keys()).finish()
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        lock(&self.tasks).values().for_each(JoinHandle::abort);
    }
}

/// A machine that moves all day long gets more addresses than it has at any time.
const SOCKETS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use rondevu_transport::{Datagram, Received};
    use tokio::sync::mpsc;

    use super::*;

    async fn pair() -> (Sockets, Sockets) {
        let at = SocketAddr::from(([127, 0, 0, 1], 0));
        let bind = || Sockets::bind(at, Cable::new());
        (bind().await.unwrap(), bind().await.unwrap())
    }

    fn datagram(from: &Sockets, to: &Sockets, number: u16, len: usize) -> Datagram {
        let mut payload = vec![7; len];
        // Behind what tells DTLS.
        payload[1..3].copy_from_slice(&number.to_be_bytes());
        Datagram {
            source: from.addresses()[0],
            destination: to.addresses()[0],
            payload,
        }
    }

    /// The number and the length of each datagram that comes in.
    fn arrivals(at: &Sockets) -> (Readers, mpsc::UnboundedReceiver<(u16, usize)>) {
        let (sender, arrivals) = mpsc::unbounded_channel();
        let readers = at.read(move |burst| {
            for Received { payload, .. } in burst.datagrams() {
                let number = u16::from_be_bytes([payload[1], payload[2]]);
                sender.send((number, payload.len())).unwrap();
            }
        });
        (readers, arrivals)
    }

    #[tokio::test]
    async fn datagrams_of_a_batch_arrive_one_by_one_in_order() {
        let (here, there) = pair().await;
        let (_readers, mut arrivals) = arrivals(&there);
        let lens: Vec<usize> = (0..40).map(|n| if n == 39 { 500 } else { 1200 }).collect();
        let datagrams = (0u16..).zip(&lens);
        let mut datagrams = datagrams.map(|(number, len)| datagram(&here, &there, number, *len));
        let mut batch = Batch::of(&datagrams.next().unwrap());
        assert!(datagrams.all(|datagram| batch.push(&datagram)));
        here.send(&batch).await;
        for (number, len) in (0u16..).zip(lens) {
            assert_eq!(arrivals.recv().await, Some((number, len)));
        }
    }

    #[tokio::test]
    async fn an_address_that_is_back_is_used_again_with_the_same_port() {
        let at = SocketAddr::from(([0, 0, 0, 0], 0));
        let sockets = Sockets::bind(at, Cable::new()).await.unwrap();
        let (readers, mut arrivals) = arrivals(&sockets);
        let usable = addresses(at.ip()).unwrap();
        let addresses = sockets.addresses();
        if addresses[0].ip().is_loopback() {
            // A machine without a network has nothing to come back to.
            assert_eq!(sockets.follow(&usable, &readers).await, Followed::default());
            return;
        }
        assert_eq!(sockets.follow(&usable, &readers).await, Followed::default());
        for socket in &*lock(&sockets.bound) {
            socket.lose();
        }
        assert_eq!(sockets.addresses(), []);
        let followed = sockets.follow(&usable, &readers).await;
        assert!(followed.changed && !followed.incomplete);
        assert_eq!(sockets.addresses(), addresses);
        let datagram = datagram(&sockets, &sockets, 7, 100);
        sockets.send(&Batch::of(&datagram)).await;
        assert_eq!(arrivals.recv().await, Some((7, 100)));
    }

    #[tokio::test]
    async fn sockets_for_one_address_follow_nobody() {
        let (here, _) = pair().await;
        let (readers, _) = arrivals(&here);
        let at = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(here.follow(&[at], &readers).await, Followed::default());
    }

    #[tokio::test]
    async fn a_batch_that_the_system_refuses_leaves_one_by_one() {
        let (here, there) = pair().await;
        let (_readers, mut arrivals) = arrivals(&there);
        // Linux puts together at most 128.
        let all: Vec<_> = (0..200).map(|n| datagram(&here, &there, n, 8)).collect();
        let contents: Vec<u8> = all.iter().flat_map(|d| d.payload.clone()).collect();
        let batch = Batch::of(&all[0]);
        let socket = Arc::clone(&lock(&here.bound)[0]);
        socket.send_together(&batch, &contents).await;
        for number in 0..200 {
            assert_eq!(arrivals.recv().await, Some((number, 8)));
        }
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_does_not_cost_others_a_datagram() {
        let (here, there) = pair().await;
        let (gone, _) = pair().await;
        let to_gone = Batch::of(&datagram(&here, &gone, 9, 100));
        drop(gone);
        let (_readers, mut arrivals) = arrivals(&there);
        for number in 0..20 {
            // On loopback the refusal is there before the next call.
            here.send(&to_gone).await;
            here.send(&Batch::of(&datagram(&here, &there, number, 100)))
                .await;
            assert_eq!(arrivals.recv().await, Some((number, 100)));
        }
    }

    #[tokio::test]
    async fn more_than_one_call_takes_is_received_whole_again_and_again() {
        let (there, _) = pair().await;
        let (_readers, mut arrivals) = arrivals(&there);
        let mut senders = Vec::new();
        // Each has an address of its own, so nothing is put together.
        for _ in 0..13 {
            senders.push(pair().await.0);
        }
        for round in 0..20 {
            for (number, sender) in (0..).zip(&senders) {
                let datagram = datagram(sender, &there, 100 * round + number, 100);
                sender.send(&Batch::of(&datagram)).await;
            }
            let mut numbers = Vec::new();
            for _ in &senders {
                numbers.push(arrivals.recv().await.unwrap().0);
            }
            numbers.sort_unstable();
            assert!(numbers.into_iter().eq(100 * round..100 * round + 13));
        }
    }
}
