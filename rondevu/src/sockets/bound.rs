//! One UDP socket, and what the system can do on it.

use std::cell::RefCell;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use rondevu_transport::Buffer;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::batch::Batch;
use crate::burst::Burst;

/// A socket bound to a concrete address.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) address: SocketAddr,
    /// Whether the machine has the address at the moment. The socket of one that it has lost is kept,
    /// as it works again when the address is back.
    is_present: AtomicBool,
    socket: Arc<UdpSocket>,
    offload: UdpSocketState,
}

impl Bound {
    /// Binds a concrete address.
    pub(super) async fn bind(at: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(at).await?;
        widen(&socket);
        Ok(Self {
            address: socket.local_addr()?,
            is_present: AtomicBool::new(true),
            offload: UdpSocketState::new((&socket).into())?,
            socket: Arc::new(socket),
        })
    }

    /// The same socket, of whose abilities nothing is known yet.
    pub(super) fn again(&self) -> io::Result<Self> {
        Ok(Self {
            address: self.address,
            is_present: AtomicBool::new(true),
            offload: UdpSocketState::new((&*self.socket).into())?,
            socket: Arc::clone(&self.socket),
        })
    }

    pub(super) fn is_present(&self) -> bool {
        self.is_present.load(Ordering::Relaxed)
    }

    /// The machine has lost the address.
    pub(super) fn lose(&self) {
        self.is_present.store(false, Ordering::Relaxed);
    }

    /// Sends datagrams in their order; what the system refuses is lost.
    ///
    /// Cancellation: some of the datagrams are sent, the rest is lost.
    pub(super) async fn send(&self, batch: &Batch) {
        for part in batch.parts(self.offload.max_gso_segments()) {
            self.send_together(batch, part).await;
        }
    }

    /// Sends several datagrams to where the batch goes.
    pub(super) async fn send_together(&self, batch: &Batch, datagrams: &[u8]) {
        let refused = self.send_part(batch, datagrams).await;
        // Some drivers refuse to cut up what was put together. The next batches come in single
        // datagrams by themselves.
        if refused && datagrams.len() > batch.stride() {
            for datagram in datagrams.chunks(batch.stride()) {
                self.send_part(batch, datagram).await;
            }
        }
    }

    /// Whether the system refused to send `contents`, a part of the batch.
    async fn send_part(&self, batch: &Batch, contents: &[u8]) -> bool {
        let transmit = Transmit {
            destination: batch.destination(),
            ecn: None,
            contents,
            segment_size: (contents.len() > batch.stride()).then_some(batch.stride()),
            src_ip: None,
        };
        let send = || self.offload.try_send((&*self.socket).into(), &transmit);
        let sent = self.socket.async_io(Interest::WRITABLE, send).await;
        if let Err(error) = &sent {
            tracing::trace!(%error, "not sent");
        }
        sent.is_err()
    }

    /// Waits until something comes in, and hands on what one call of the system takes of it.
    pub(super) async fn receive(&self, deliver: impl Fn(Burst)) -> io::Result<()> {
        self.socket.readable().await?;
        let receive = || RECEIVED.with_borrow_mut(|slots| self.receive_into(slots, &deliver));
        let received = self.socket.try_io(Interest::READABLE, receive);
        // Whoever always has something to read lets others run too.
        tokio::task::coop::consume_budget().await;
        match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            received => received,
        }
    }

    /// Fails as a socket that would block if the call has left nothing in it: whoever asked again to find that out
    /// would keep the link waiting meanwhile.
    fn receive_into(&self, slots: &mut Slots, deliver: impl Fn(Burst)) -> io::Result<()> {
        let new = || std::array::from_fn(|_| Buffer::filled(BURST_BYTES_MAX));
        let slots = slots.get_or_insert_with(new);
        let mut metas = [RecvMeta::default(); BURSTS_MAX];
        let mut slices = slots.each_mut().map(|slot| IoSliceMut::new(slot));
        let received = self
            .offload
            .recv((&*self.socket).into(), &mut slices, &mut metas)?;
        for (meta, slot) in metas.iter().zip(slots).take(received) {
            deliver(Burst {
                source: meta.addr,
                destination: self.address,
                stride: meta.stride,
                payload: take(slot, meta.len),
            });
        }
        match FILLS_ALL && received < BURSTS_MAX {
            // Whatever comes from now on is told anew.
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => Ok(()),
        }
    }
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

/// The first `len` bytes of a slot: themselves if they fill most of it and there is another for its place, else
/// a copy.
fn take(slot: &mut Buffer, len: usize) -> Buffer {
    if len < BURST_BYTES_MAX / 2 {
        return Buffer::copy_of(&slot[..len]);
    }
    match Buffer::kept(BURST_BYTES_MAX) {
        Some(other) => {
            let mut taken = std::mem::replace(slot, other);
            taken.truncate(len);
            taken
        }
        None => {
            // It may take the place of a slot later.
            let mut copy = Buffer::with_capacity(BURST_BYTES_MAX);
            copy.extend_from_slice(&slot[..len]);
            copy
        }
    }
}

type Slots = Option<[Buffer; BURSTS_MAX]>;

thread_local! {
    /// For each thread, not for each socket: most of these wait.
    static RECEIVED: RefCell<Slots> = const { RefCell::new(None) };
}

/// What one system call receives. Datagrams of one peer that came together are one burst already;
/// this many peers are served by one call.
const BURSTS_MAX: usize = 8;
/// Whether a call that received less has emptied the socket: where it is `recvmmsg`.
const FILLS_ALL: bool = cfg!(any(target_os = "linux", target_os = "android"));
/// The system puts no more together.
const BURST_BYTES_MAX: usize = 64 * 1024;
/// The system may grant less.
const BUFFER_BYTES: usize = 2 * 1024 * 1024;
