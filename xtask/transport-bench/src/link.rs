//! A link of ours without anything above it: no session, no channel, no handle.

use std::net::SocketAddr;
use std::time::Instant as Clock;

use anyhow::{Context, Result, bail};
use rondevu::Engine;
use rondevu_core::{Instant, LinkEvent, MessageKind, SessionDescription, StreamId, StreamOptions};
use rondevu_transport::composed::ComposedFactory;
use rondevu_transport::rtc::{RtcConfig, RtcFactory};
use rondevu_transport::{Datagram, Received, Transport, TransportFactory, Written};

use crate::machine::{Happening, Machine, Maker, Offering};

pub(crate) struct Links {
    factory: Box<dyn TransportFactory>,
    epoch: Clock,
}

impl Links {
    pub(crate) fn new(engine: Engine) -> Result<Self> {
        let epoch = Clock::now();
        let config = RtcConfig::default();
        let factory: Box<dyn TransportFactory> = match engine {
            Engine::Composed => Box::new(ComposedFactory::new(config, epoch)?),
            _ => Box::new(RtcFactory::new(config, epoch)?),
        };
        Ok(Self { factory, epoch })
    }

    fn end(&self, transport: Box<dyn Transport>) -> Box<Link> {
        Box::new(Link {
            transport,
            epoch: self.epoch,
            stream: None,
        })
    }
}

impl Maker for Links {
    fn offer(&self, local: SocketAddr, now: Clock) -> Result<(Box<dyn Offering>, String)> {
        let options = StreamOptions::reliable("bench", "");
        let now = instant(self.epoch, now);
        let offered = self.factory.create_offer(&[local.into()], options, now)?;
        Ok((self.end(offered.transport), offered.description.sdp))
    }

    fn answer(
        &self,
        offer: &str,
        local: SocketAddr,
        now: Clock,
    ) -> Result<(Box<dyn Machine>, String)> {
        let now = instant(self.epoch, now);
        let offer = SessionDescription::offer(offer);
        let answered = self.factory.create_answer(&offer, &[local.into()], now)?;
        Ok((self.end(answered.transport), answered.description.sdp))
    }
}

struct Link {
    transport: Box<dyn Transport>,
    epoch: Clock,
    stream: Option<StreamId>,
}

impl Offering for Link {
    fn accept(mut self: Box<Self>, answer: &str, now: Clock) -> Result<Box<dyn Machine>> {
        let now = instant(self.epoch, now);
        self.transport
            .accept_answer(&SessionDescription::answer(answer), now)?;
        Ok(self)
    }
}

impl Machine for Link {
    fn write(&mut self, message: &[u8], now: Clock) -> Result<bool> {
        let stream = self.stream.context("the stream is not open")?;
        let now = instant(self.epoch, now);
        let written = self
            .transport
            .write(stream, MessageKind::Binary, message, now)?;
        Ok(written == Written::Accepted)
    }

    fn handle_datagram(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
        payload: &[u8],
        now: Clock,
    ) -> Result<()> {
        let datagram = Received {
            source,
            destination,
            payload,
        };
        self.transport
            .handle_datagram(datagram, instant(self.epoch, now));
        Ok(())
    }

    fn handle_timeout(&mut self, now: Clock) -> Result<()> {
        self.transport.handle_timeout(instant(self.epoch, now));
        Ok(())
    }

    fn poll_transmit(&mut self) -> Result<Option<Datagram>> {
        Ok(self.transport.poll_transmit())
    }

    fn poll_event(&mut self) -> Result<Option<Happening>> {
        while let Some(event) = self.transport.poll_event() {
            match event {
                LinkEvent::StreamOpened { stream, .. } => {
                    self.stream = Some(stream);
                    return Ok(Some(Happening::Opened));
                }
                LinkEvent::StreamMessage { payload, .. } => {
                    let first = payload.first().copied().unwrap_or_default();
                    return Ok(Some(Happening::Message(first)));
                }
                LinkEvent::Closed { reason } => bail!("the link has ended: {reason}"),
                LinkEvent::Connected(_) | LinkEvent::Writable | LinkEvent::StreamClosed { .. } => {}
            }
        }
        Ok(None)
    }

    fn poll_timeout(&self) -> Option<Clock> {
        Some(self.epoch + self.transport.poll_timeout()?.since_origin())
    }
}

fn instant(epoch: Clock, now: Clock) -> Instant {
    Instant::from_origin(now.saturating_duration_since(epoch))
}
