//! str0m driven as its documentation says, with its defaults and none of our layers.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rondevu_transport::Datagram;
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::channel::ChannelId;
use str0m::config::DtlsCert;
use str0m::crypto::CryptoProvider;
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use crate::machine::{Happening, Machine, Maker, Offering};

/// One certificate is made and shared, as it is with our links.
pub(crate) struct Plain {
    crypto: Arc<CryptoProvider>,
    certificate: DtlsCert,
}

impl Plain {
    pub(crate) fn new() -> Result<Self> {
        let crypto = str0m::crypto::from_feature_flags();
        let certificate = crypto.dtls_provider.generate_certificate();
        Ok(Self {
            certificate: certificate.context("no certificate")?,
            crypto: Arc::new(crypto),
        })
    }

    fn engine(&self, local: SocketAddr, now: Instant) -> Result<Rtc> {
        let config = RtcConfig::new()
            .set_crypto_provider(Arc::clone(&self.crypto))
            .set_dtls_cert(self.certificate.clone());
        let mut rtc = config.build(now);
        rtc.add_local_candidate(Candidate::host(local, Protocol::Udp)?);
        Ok(rtc)
    }
}

struct Offered {
    rtc: Rtc,
    pending: SdpPendingOffer,
}

struct Engine {
    rtc: Rtc,
    channel: Option<ChannelId>,
    transmits: VecDeque<Datagram>,
    events: VecDeque<Happening>,
    deadline: Instant,
    /// Something was written that has not been turned into datagrams yet.
    has_written: bool,
}

impl Maker for Plain {
    fn offer(&self, local: SocketAddr, now: Instant) -> Result<(Box<dyn Offering>, String)> {
        let mut rtc = self.engine(local, now)?;
        let mut changes = rtc.sdp_api();
        changes.add_channel("bench".into());
        let (offer, pending) = changes.apply().context("nothing to offer")?;
        Ok((Box::new(Offered { rtc, pending }), offer.to_sdp_string()))
    }

    fn answer(
        &self,
        offer: &str,
        local: SocketAddr,
        now: Instant,
    ) -> Result<(Box<dyn Machine>, String)> {
        let mut rtc = self.engine(local, now)?;
        let offer = SdpOffer::from_sdp_string(offer)?;
        let answer = rtc.sdp_api().accept_offer(offer)?;
        Ok((Box::new(Engine::new(rtc, now)), answer.to_sdp_string()))
    }
}

impl Offering for Offered {
    fn accept(mut self: Box<Self>, answer: &str, now: Instant) -> Result<Box<dyn Machine>> {
        let answer = SdpAnswer::from_sdp_string(answer)?;
        self.rtc.sdp_api().accept_answer(self.pending, answer)?;
        Ok(Box::new(Engine::new(self.rtc, now)))
    }
}

impl Engine {
    fn new(rtc: Rtc, now: Instant) -> Self {
        Self {
            rtc,
            channel: None,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            deadline: now,
            has_written: false,
        }
    }

    fn feed(&mut self, input: Input<'_>) -> Result<()> {
        self.rtc.handle_input(input)?;
        self.drain()
    }

    fn drain(&mut self) -> Result<()> {
        self.has_written = false;
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(at) => {
                    self.deadline = at;
                    return Ok(());
                }
                Output::Transmit(transmit) => self.transmits.push_back(Datagram {
                    source: transmit.source,
                    destination: transmit.destination,
                    payload: transmit.contents.into(),
                }),
                Output::Event(Event::ChannelOpen(channel, _)) => {
                    self.channel = Some(channel);
                    self.events.push_back(Happening::Opened);
                }
                Output::Event(Event::ChannelData(data)) => {
                    let first = data.data.first().copied().unwrap_or_default();
                    self.events.push_back(Happening::Message(first));
                }
                Output::Event(Event::Closed) => bail!("the peer has closed"),
                Output::Event(_) => {}
            }
        }
    }
}

impl Machine for Engine {
    fn write(&mut self, message: &[u8], now: Instant) -> Result<bool> {
        let channel = self.channel.context("the channel is not open")?;
        let mut channel = self.rtc.channel(channel).context("the channel is gone")?;
        let written = channel.write(true, message)?;
        if written && !self.has_written {
            // So that it knows the time when the datagrams are made.
            self.has_written = true;
            self.rtc.handle_input(Input::Timeout(now))?;
        }
        Ok(written)
    }

    fn handle_datagram(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
        payload: &[u8],
        now: Instant,
    ) -> Result<()> {
        let Ok(received) = Receive::new(Protocol::Udp, source, destination, payload) else {
            return Ok(());
        };
        self.feed(Input::Receive(now, received))
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<()> {
        self.feed(Input::Timeout(now))
    }

    fn poll_transmit(&mut self) -> Result<Option<Datagram>> {
        if self.has_written {
            self.drain()?;
        }
        Ok(self.transmits.pop_front())
    }

    fn poll_event(&mut self) -> Result<Option<Happening>> {
        Ok(self.events.pop_front())
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Some(self.deadline)
    }
}
