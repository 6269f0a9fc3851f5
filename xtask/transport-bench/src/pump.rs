//! The task of one end: moves datagrams between a machine and its socket.

use std::cell::RefCell;
use std::io::{ErrorKind, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use rondevu_transport::Datagram;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};

use crate::machine::{Happening, Machine};
use crate::stack::ECHO;

/// How datagrams get to the system and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// One with each call of the system.
    Single,
    /// As many as it takes.
    Batched,
}

/// What an end is asked to do.
pub(crate) enum Order {
    /// Tell when the stream is open.
    Open(oneshot::Sender<()>),
    /// Write this message so many times.
    Write(Arc<[u8]>, usize),
    /// Tell when so many messages have come.
    Expect(usize, oneshot::Sender<()>),
}

pub(crate) struct Pump {
    machine: Box<dyn Machine>,
    socket: UdpSocket,
    local: SocketAddr,
    offload: Option<UdpSocketState>,
    is_open: bool,
    opening: Option<oneshot::Sender<()>>,
    to_write: Option<(Arc<[u8]>, usize)>,
    /// Messages to send back.
    echoes: usize,
    expected: Option<(usize, oneshot::Sender<()>)>,
    /// For what leaves in one call.
    gathered: Vec<u8>,
}

impl Pump {
    pub(crate) fn new(
        machine: Box<dyn Machine>,
        socket: UdpSocket,
        sending: Sending,
    ) -> Result<Self> {
        let offload = match sending {
            Sending::Single => None,
            Sending::Batched => Some(UdpSocketState::new((&socket).into())?),
        };
        Ok(Self {
            machine,
            local: socket.local_addr()?,
            offload,
            socket,
            is_open: false,
            opening: None,
            to_write: None,
            echoes: 0,
            expected: None,
            gathered: Vec::new(),
        })
    }

    pub(crate) async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) -> Result<()> {
        loop {
            self.write()?;
            self.flush().await?;
            let deadline = self.machine.poll_timeout().context("the link has ended")?;
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.on_order(order),
                    None => return Ok(()),
                },
                readable = self.socket.readable() => {
                    readable?;
                    self.receive()?;
                }
                () = tokio::time::sleep_until(deadline.into()) => {
                    self.machine.handle_timeout(Instant::now())?;
                }
            }
            // An order to expect messages was given before the order to write them.
            while let Ok(order) = orders.try_recv() {
                self.on_order(order);
            }
            self.hear()?;
        }
    }

    fn on_order(&mut self, order: Order) {
        match order {
            Order::Open(opened) if self.is_open => {
                // Whoever asked may be gone.
                let _ = opened.send(());
            }
            Order::Open(opened) => self.opening = Some(opened),
            Order::Write(message, count) => self.to_write = Some((message, count)),
            Order::Expect(count, done) => self.expected = Some((count, done)),
        }
    }

    fn write(&mut self) -> Result<()> {
        if !self.is_open {
            return Ok(());
        }
        let now = Instant::now();
        while self.echoes > 0 && self.machine.write(&[ECHO; 64], now)? {
            self.echoes -= 1;
        }
        while let Some((message, left)) = &mut self.to_write {
            if *left == 0 {
                self.to_write = None;
            } else if self.machine.write(message, now)? {
                *left -= 1;
            } else {
                break;
            }
        }
        Ok(())
    }

    fn hear(&mut self) -> Result<()> {
        while let Some(event) = self.machine.poll_event()? {
            match event {
                Happening::Opened => {
                    self.is_open = true;
                    if let Some(opening) = self.opening.take() {
                        // Whoever asked may be gone.
                        let _ = opening.send(());
                    }
                }
                Happening::Message(first) => match self.expected.take() {
                    Some((1, done)) => {
                        // Whoever asked may be gone.
                        let _ = done.send(());
                    }
                    Some((count, done)) => self.expected = Some((count - 1, done)),
                    None if first == ECHO => self.echoes += 1,
                    None => bail!("a message that nobody expected"),
                },
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        if self.offload.is_none() {
            while let Some(datagram) = self.machine.poll_transmit()? {
                let to = datagram.destination;
                self.socket.send_to(&datagram.payload, to).await?;
            }
            return Ok(());
        }
        let mut batch: Option<(SocketAddr, usize)> = None;
        while let Some(datagram) = self.machine.poll_transmit()? {
            if let Some((to, stride)) = batch {
                if self.joins(&datagram, to, stride) {
                    self.gathered.extend_from_slice(&datagram.payload);
                    continue;
                }
                self.send(to, stride).await?;
            }
            batch = Some((datagram.destination, datagram.payload.len()));
            self.gathered.clear();
            self.gathered.extend_from_slice(&datagram.payload);
        }
        if let Some((to, stride)) = batch {
            self.send(to, stride).await?;
        }
        Ok(())
    }

    fn joins(&self, datagram: &Datagram, to: SocketAddr, stride: usize) -> bool {
        let (len, bytes) = (datagram.payload.len(), self.gathered.len());
        datagram.destination == to
            && len <= stride
            && bytes.is_multiple_of(stride)
            && bytes / stride < 64
            && bytes + len <= 65_000
    }

    async fn send(&mut self, destination: SocketAddr, stride: usize) -> Result<()> {
        let Self {
            offload,
            gathered,
            socket,
            ..
        } = self;
        let (socket, offload) = (&*socket, offload.as_ref().context("batches need offload")?);
        let transmit = Transmit {
            destination,
            ecn: None,
            contents: gathered,
            segment_size: (gathered.len() > stride).then_some(stride),
            src_ip: None,
        };
        let send = || offload.try_send(socket.into(), &transmit);
        Ok(socket.async_io(Interest::WRITABLE, send).await?)
    }

    fn receive(&mut self) -> Result<()> {
        RECEIVED.with_borrow_mut(|buffer| self.receive_into(buffer))
    }

    fn receive_into(&mut self, buffer: &mut Vec<u8>) -> Result<()> {
        let now = Instant::now();
        buffer.resize(BURSTS_MAX * BURST_BYTES_MAX, 0);
        let Self {
            machine,
            socket,
            offload,
            local,
            ..
        } = self;
        let Some(offload) = offload else {
            for _ in 0..DATAGRAMS_MAX {
                match socket.try_recv_from(buffer) {
                    Ok((len, from)) => {
                        machine.handle_datagram(from, *local, &buffer[..len], now)?
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                }
            }
            return Ok(());
        };
        let mut metas = [RecvMeta::default(); BURSTS_MAX];
        let mut slices = buffer.chunks_exact_mut(BURST_BYTES_MAX);
        let mut slices: [_; BURSTS_MAX] =
            std::array::from_fn(|_| IoSliceMut::new(slices.next().unwrap_or_default()));
        let receive = || offload.recv((&*socket).into(), &mut slices, &mut metas);
        let bursts = match socket.try_io(Interest::READABLE, receive) {
            Ok(bursts) => bursts,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for (meta, slice) in metas.iter().zip(&slices).take(bursts) {
            for payload in slice[..meta.len].chunks(meta.stride.max(1)) {
                machine.handle_datagram(meta.addr, *local, payload, now)?;
            }
        }
        Ok(())
    }
}

thread_local! {
    /// One buffer for each thread: the ends that wait need none.
    static RECEIVED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What one call of the system receives, as with our own sockets.
const BURSTS_MAX: usize = 8;
const BURST_BYTES_MAX: usize = 64 * 1024;
/// After so many datagrams the machine gets its turn.
const DATAGRAMS_MAX: usize = 64;
