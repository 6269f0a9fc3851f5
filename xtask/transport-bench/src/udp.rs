//! Datagrams as they are, with a word from the receiver now and then so that none is lost.

use anyhow::Result;
use async_trait::async_trait;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::far;
use crate::stack::{ECHO, Pair, SWALLOW, Stack};
use crate::wire::{Relay, Wire};

pub(crate) struct Udp;

struct Sockets {
    here: UdpSocket,
    there: JoinHandle<()>,
    _relay: Option<Relay>,
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.there.abort();
    }
}

#[async_trait]
impl Stack for Udp {
    async fn connect(&self, wire: Wire) -> Result<Box<dyn Pair>> {
        let here = UdpSocket::bind("127.0.0.1:0").await?;
        let bound = async { Ok(UdpSocket::bind("127.0.0.1:0").await?) };
        let there = far::run(bound).await?;
        let mut to = there.local_addr()?;
        let relay = match wire {
            Wire::Loopback => None,
            Wire::Delayed(one_way) => Some(Relay::before(to, one_way).await?),
        };
        if let Some(relay) = &relay {
            to = relay.as_service();
        }
        here.connect(to).await?;
        let there = far::spawn(async move {
            let mut buffer = [0; DATAGRAM_BYTES];
            while let Ok((len, from)) = there.recv_from(&mut buffer).await {
                let answer = &buffer[..len.min(64)];
                if buffer[0] == ECHO && there.send_to(answer, from).await.is_err() {
                    return;
                }
            }
        });
        Ok(Box::new(Sockets {
            here,
            there,
            _relay: relay,
        }))
    }

    fn has_set_up(&self) -> bool {
        false
    }
}

#[async_trait]
impl Pair for Sockets {
    async fn round_trip(&mut self) -> Result<()> {
        let mut buffer = [ECHO; 64];
        self.here.send(&buffer).await?;
        self.here.recv(&mut buffer).await?;
        Ok(())
    }

    async fn bulk(&mut self, size: usize, count: usize) -> Result<()> {
        let mut sent = 0_usize;
        let (mut datagram, mut answer) = ([SWALLOW; DATAGRAM_BYTES], [0; 64]);
        for message in 0..count {
            for at in (0..size).step_by(DATAGRAM_BYTES) {
                let len = (size - at).min(DATAGRAM_BYTES);
                sent += 1;
                let is_last = message + 1 == count && at + len == size;
                let asks = is_last || sent.is_multiple_of(WINDOW);
                datagram[0] = if asks { ECHO } else { SWALLOW };
                self.here.send(&datagram[..len]).await?;
                if asks {
                    self.here.recv(&mut answer).await?;
                }
            }
        }
        Ok(())
    }
}

const DATAGRAM_BYTES: usize = 1200;
/// Fits the smallest socket buffer that systems give.
const WINDOW: usize = 64;
