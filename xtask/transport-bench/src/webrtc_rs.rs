//! Two peer connections of webrtc-rs with its defaults, and a data channel between them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use bytes::BytesMut;
use tokio::sync::{Notify, mpsc};
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState,
    RTCSessionDescription,
};
use webrtc::runtime::{Runtime, default_runtime};

use crate::far;
use crate::stack::{ECHO, Pair, SWALLOW, Stack};
use crate::wire::{Relay, Wire, host_address};

pub(crate) struct WebrtcRs {
    runtime: Arc<dyn Runtime>,
}

impl WebrtcRs {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            runtime: default_runtime().context("no runtime for webrtc-rs")?,
        })
    }
}

async fn peer(runtime: Arc<dyn Runtime>, handler: Handler) -> Result<Arc<dyn PeerConnection>> {
    let builder = PeerConnectionBuilder::new()
        .with_handler(Arc::new(handler))
        .with_runtime(runtime)
        .with_udp_addrs(vec!["127.0.0.1:0"])
        // Without it everything that is sent piles up in memory.
        .with_data_channel_send_buffer_limit(SEND_BUFFER_BYTES);
    Ok(Arc::new(builder.build().await?))
}

struct Connected {
    peers: [Arc<dyn PeerConnection>; 2],
    channel: Arc<dyn DataChannel>,
    echoed: mpsc::UnboundedReceiver<()>,
    swallowed: Arc<Swallowed>,
    _relay: Option<Relay>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        // Their tasks go on otherwise.
        for peer in self.peers.clone() {
            tokio::spawn(async move { peer.close().await });
        }
    }
}

/// What the receiver has got.
#[derive(Default)]
struct Swallowed {
    awaited: AtomicUsize,
    all_there: Notify,
}

struct Handler {
    gathered: mpsc::UnboundedSender<()>,
    swallowed: Arc<Swallowed>,
}

#[async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            let _ = self.gathered.send(());
        }
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        tokio::spawn(serve(channel, Arc::clone(&self.swallowed)));
    }
}

async fn serve(channel: Arc<dyn DataChannel>, swallowed: Arc<Swallowed>) {
    while let Some(event) = channel.poll().await {
        match event {
            DataChannelEvent::OnMessage(message) if message.data.first() == Some(&ECHO) => {
                if channel.send(message.data).await.is_err() {
                    return;
                }
            }
            DataChannelEvent::OnMessage(_) => {
                if swallowed.awaited.fetch_sub(1, Ordering::AcqRel) == 1 {
                    swallowed.all_there.notify_one();
                }
            }
            DataChannelEvent::OnClose => return,
            _ => {}
        }
    }
}

#[async_trait]
impl Stack for WebrtcRs {
    async fn connect(&self, wire: Wire) -> Result<Box<dyn Pair>> {
        let swallowed = Arc::new(Swallowed::default());
        let (gathered, mut gathering) = mpsc::unbounded_channel();
        let handler = |gathered: &mpsc::UnboundedSender<()>| Handler {
            gathered: gathered.clone(),
            swallowed: Arc::clone(&swallowed),
        };
        let runtime = || Arc::clone(&self.runtime);
        let here = peer(runtime(), handler(&gathered)).await?;
        let there = far::run(peer(runtime(), handler(&gathered))).await?;
        let channel = here.create_data_channel("bench", None).await?;
        let offer = here.create_offer(None).await?;
        here.set_local_description(offer).await?;
        gathering.recv().await;
        let mut offer = here.local_description().await.context("no offer")?.sdp;
        let relay = match wire {
            Wire::Loopback => None,
            Wire::Delayed(one_way) => Some(Relay::before(host_address(&offer)?, one_way).await?),
        };
        if let Some(relay) = &relay {
            offer = relay.offer(&offer);
        }
        let offer = RTCSessionDescription::offer(offer)?;
        let answering = Arc::clone(&there);
        let answered = async move {
            answering.set_remote_description(offer).await?;
            let answer = answering.create_answer(None).await?;
            answering.set_local_description(answer).await?;
            gathering.recv().await;
            let answer = answering.local_description().await;
            Ok(answer.context("no answer")?.sdp)
        };
        let mut answer = far::run(answered).await?;
        if let Some(relay) = &relay {
            answer = relay.answer(&answer)?;
        }
        let answer = RTCSessionDescription::answer(answer)?;
        here.set_remote_description(answer).await?;
        loop {
            match channel.poll().await {
                Some(DataChannelEvent::OnOpen) => break,
                Some(DataChannelEvent::OnClose) | None => bail!("the channel has closed"),
                Some(_) => {}
            }
        }
        let (echo, echoed) = mpsc::unbounded_channel();
        let listening = Arc::clone(&channel);
        tokio::spawn(async move {
            while let Some(event) = listening.poll().await {
                if matches!(event, DataChannelEvent::OnMessage(_)) && echo.send(()).is_err() {
                    return;
                }
            }
        });
        Ok(Box::new(Connected {
            peers: [here, there],
            channel,
            echoed,
            swallowed,
            _relay: relay,
        }))
    }
}

#[async_trait]
impl Pair for Connected {
    async fn round_trip(&mut self) -> Result<()> {
        self.channel.send(BytesMut::from(&[ECHO; 64][..])).await?;
        self.echoed.recv().await.context("the channel has closed")
    }

    async fn bulk(&mut self, size: usize, count: usize) -> Result<()> {
        self.swallowed.awaited.store(count, Ordering::Release);
        let message = BytesMut::from(&vec![SWALLOW; size][..]);
        for _ in 0..count {
            self.channel.send(message.clone()).await?;
        }
        self.swallowed.all_there.notified().await;
        Ok(())
    }
}

const SEND_BUFFER_BYTES: usize = 1024 * 1024;
