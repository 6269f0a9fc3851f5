//! Two ends of a link without anything above it, each a task with a socket of its own.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use async_trait::async_trait;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::far;
use crate::machine::Maker;
use crate::pump::{Order, Pump, Sending};
use crate::stack::{ECHO, Pair, SWALLOW, Stack};
use crate::wire::{Relay, Wire};

pub(crate) struct Bare<M> {
    maker: M,
    sending: Sending,
}

impl<M> Bare<M> {
    pub(crate) fn new(maker: M, sending: Sending) -> Self {
        Self { maker, sending }
    }
}

struct Linked {
    here: End,
    there: End,
    _relay: Option<Relay>,
}

struct End {
    orders: mpsc::UnboundedSender<Order>,
    task: JoinHandle<Result<()>>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[async_trait]
impl<M: Maker> Stack for Bare<M> {
    async fn connect(&self, wire: Wire) -> Result<Box<dyn Pair>> {
        let (here, there) = (bind().await?, far::run(bind()).await?);
        let now = Instant::now();
        let (service, mut offer) = self.maker.offer(here.local_addr()?, now)?;
        let relay = match wire {
            Wire::Loopback => None,
            Wire::Delayed(one_way) => Some(Relay::before(here.local_addr()?, one_way).await?),
        };
        if let Some(relay) = &relay {
            offer = relay.offer(&offer);
        }
        let (dialer, mut answer) = self.maker.answer(&offer, there.local_addr()?, now)?;
        if let Some(relay) = &relay {
            answer = relay.answer(&answer)?;
        }
        let service = service.accept(&answer, now)?;
        let (here_orders, inbox) = mpsc::unbounded_channel();
        let here = tokio::spawn(Pump::new(service, here, self.sending)?.run(inbox));
        let (there_orders, inbox) = mpsc::unbounded_channel();
        let there = far::spawn(Pump::new(dialer, there, self.sending)?.run(inbox));
        let linked = Linked {
            here: End {
                orders: here_orders,
                task: here,
            },
            there: End {
                orders: there_orders,
                task: there,
            },
            _relay: relay,
        };
        linked.opened().await?;
        Ok(Box::new(linked))
    }
}

async fn bind() -> Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    let sized = socket2::SockRef::from(&socket);
    sized.set_recv_buffer_size(SOCKET_BYTES)?;
    sized.set_send_buffer_size(SOCKET_BYTES)?;
    Ok(socket)
}

#[async_trait]
impl Pair for Linked {
    async fn round_trip(&mut self) -> Result<()> {
        self.transfer(&self.here, [ECHO; 64].into(), 1).await
    }

    async fn bulk(&mut self, size: usize, count: usize) -> Result<()> {
        self.transfer(&self.there, vec![SWALLOW; size], count).await
    }
}

impl Linked {
    async fn opened(&self) -> Result<()> {
        let (opened, waiting) = oneshot::channel();
        self.here.orders.send(Order::Open(opened))?;
        waiting.await.context("the link has ended")
    }

    /// `here` writes; `receiver` is whoever has the last word: `here` itself if `there` echoes.
    async fn transfer(&self, receiver: &End, message: Vec<u8>, count: usize) -> Result<()> {
        let (done, all_here) = oneshot::channel();
        receiver.orders.send(Order::Expect(count, done))?;
        self.here
            .orders
            .send(Order::Write(Arc::from(message), count))?;
        all_here.await.context("the link has ended")
    }
}

/// As with our own sockets.
const SOCKET_BYTES: usize = 2 * 1024 * 1024;
