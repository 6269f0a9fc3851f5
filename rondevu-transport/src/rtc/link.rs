//! One link over WebRTC data channels.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use rondevu_core::{DescriptionKind, IceCandidate, Instant, LinkClosed, LinkEvent, MessageKind};
use rondevu_core::{LinkInfo, SessionDescription, StreamId, StreamOptions};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::channel::{ChannelData, ChannelId};
use str0m::net::{Protocol, Receive};
use str0m::{Event, Input, Output, Reason, Rtc};
use tracing::{debug, trace};

use super::RtcConfig;
use super::epoch::Epoch;
use super::factory::BUFFER_BYTES;
use super::flight::Flight;
use super::idleness::Idleness;
use super::locals::Locals;
use super::negotiated::Negotiated;
use super::remote_sdp::RemoteSdp;
use super::sources::Sources;
use super::streams::{Opened, Streams};
use super::succession::Succession;
use super::translate::{channel_config, stream_options};
use crate::datagram::batch_bytes;
use crate::stun::{Class, Stun};
use crate::{Datagram, Fingerprints, Received, Transport, TransportError, Written};

/// One link, in either role.
///
/// Messages that are written before the engine is drained share datagrams, and what came in before it
/// is drained is acknowledged by one datagram, whose making and reading cost more than all else. So
/// `write` and messages of the peer only mark the link as `undrained`, and everything else drains, a
/// `write` to an engine that has rested too.
pub(super) struct RtcLink {
    epoch: Epoch,
    ufrag: String,
    buffer_bytes: usize,
    /// At least what the engine buffers.
    buffered_at_most: usize,
    now: Instant,
    /// What the engine takes for the time, at least.
    engine_now: Instant,
    phase: Phase,
    path: Path,
    streams: Streams<ChannelId>,
    sources: Sources,
    locals: Locals,
    idleness: Idleness,
    flight: Flight,
    succession: Succession,
    drainage: Drainage,
    /// How many datagrams the engine was given since it was drained.
    undrained_datagrams: usize,
    transmits: VecDeque<Datagram>,
    events: VecDeque<LinkEvent>,
}

/// ```text
/// Offering ─► Negotiated ─► Closing ─► Ended
///     └───────────┴─────────────────────┘
/// ```
enum Phase {
    /// Waits for the answer. The engine is fed checks, but does nothing by itself.
    Offering {
        rtc: Box<Rtc>,
        pending: SdpPendingOffer,
        mid: String,
        early_checks: usize,
    },
    /// Finds a path, then carries streams.
    Negotiated(Negotiated),
    /// The engine says its last words; only while it is being drained.
    Closing(Negotiated, LinkClosed),
    /// Nothing happens any more.
    Ended,
}

/// Whether ICE has found a path to the peer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Path {
    Searched,
    Found,
    /// And the handshake is over.
    Connected,
}

/// How far the engine's output has been taken over.
#[derive(Clone, Copy)]
enum Drainage {
    /// There may be more.
    Undrained,
    /// Nothing until then.
    Until(Option<Instant>),
}

impl RtcLink {
    pub(super) fn offering(
        config: &RtcConfig,
        epoch: Epoch,
        ufrag: String,
        locals: Locals,
        rtc: Box<Rtc>,
        pending: SdpPendingOffer,
        mid: String,
    ) -> Self {
        let phase = Phase::Offering {
            rtc,
            pending,
            mid,
            early_checks: 0,
        };
        Self::new(config, epoch, ufrag, locals, phase)
    }

    pub(super) fn answering(
        config: &RtcConfig,
        epoch: Epoch,
        ufrag: String,
        locals: Locals,
        negotiated: Negotiated,
    ) -> Self {
        Self::new(config, epoch, ufrag, locals, Phase::Negotiated(negotiated))
    }

    fn new(config: &RtcConfig, epoch: Epoch, ufrag: String, locals: Locals, phase: Phase) -> Self {
        Self {
            epoch,
            ufrag,
            buffer_bytes: config.buffer_bytes_or(BUFFER_BYTES),
            buffered_at_most: 0,
            now: Instant::ORIGIN,
            engine_now: Instant::ORIGIN,
            phase,
            path: Path::Searched,
            streams: Streams::new(config.streams_max),
            sources: Sources::default(),
            locals,
            idleness: Idleness::default(),
            flight: Flight::new(),
            succession: Succession::default(),
            drainage: Drainage::Until(None),
            undrained_datagrams: 0,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Enters the stream that the offer itself opens.
    pub(super) fn add_first_stream(
        &mut self,
        channel: ChannelId,
        options: StreamOptions,
    ) -> StreamId {
        self.streams.add_local(channel, options)
    }

    /// Begins to look for a path.
    pub(super) fn start(&mut self, now: Instant) {
        self.advance(now);
        self.turn(now);
    }

    /// Time never goes back, whatever the embedder says.
    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    fn rtc(&mut self) -> Option<&mut Rtc> {
        match &mut self.phase {
            Phase::Offering { rtc, .. } => Some(rtc),
            Phase::Negotiated(negotiated) | Phase::Closing(negotiated, _) => {
                Some(&mut negotiated.rtc)
            }
            Phase::Ended => None,
        }
    }

    fn negotiated(&self) -> Option<&Negotiated> {
        match &self.phase {
            Phase::Negotiated(negotiated) | Phase::Closing(negotiated, _) => Some(negotiated),
            Phase::Offering { .. } | Phase::Ended => None,
        }
    }

    /// Tells the engine that has rested the time. It dates what is written by the time that it knows; by an
    /// old one its retransmission timer would be due at once, and its congestion window one datagram.
    fn rouse(&mut self) {
        let lag = self.now.saturating_since(self.engine_now);
        if lag > ENGINE_LAG_MAX && self.negotiated().is_some() {
            self.turn(self.now);
        }
    }

    /// Tells the engine the time and takes over what it has to say.
    fn turn(&mut self, now: Instant) {
        self.feed(Input::Timeout(self.epoch.to_std(now)));
    }

    fn feed(&mut self, input: Input<'_>) {
        self.engine_now = self.now;
        let Some(rtc) = self.rtc() else { return };
        if let Err(error) = rtc.handle_input(input) {
            return self.fail(&error);
        }
        self.drain();
    }

    /// Gives the engine a datagram that it may work off together with others.
    fn feed_together(&mut self, input: Input<'_>) {
        self.engine_now = self.now;
        let Some(rtc) = self.rtc() else { return };
        if let Err(error) = rtc.handle_input(input) {
            return self.fail(&error);
        }
        self.drainage = Drainage::Undrained;
        self.undrained_datagrams += 1;
        if self.undrained_datagrams >= UNDRAINED_DATAGRAMS_MAX {
            self.drain();
        }
    }

    /// Takes over all output, until the engine wants nothing before a later time.
    fn drain(&mut self) {
        self.undrained_datagrams = 0;
        for _ in 0..TURNS_MAX {
            self.drain_once();
            let now = self.epoch.to_std(self.now);
            match self.drainage {
                Drainage::Until(Some(at)) if at <= self.now => {
                    let Some(rtc) = self.rtc() else { return };
                    if let Err(error) = rtc.handle_input(Input::Timeout(now)) {
                        return self.fail(&error);
                    }
                }
                Drainage::Until(_) | Drainage::Undrained => return self.finish(),
            }
        }
        // The engine asks for the past again and again: it may do so, but not spin the embedder.
        let later = self.now + Duration::from_millis(1);
        self.drainage = Drainage::Until(Some(later));
        self.finish();
    }

    fn drain_once(&mut self) {
        loop {
            let epoch = self.epoch;
            let Some(rtc) = self.rtc() else { return };
            match rtc.poll_output() {
                Ok(Output::Transmit(transmit)) => self.transmit(Datagram {
                    source: transmit.source,
                    destination: transmit.destination,
                    payload: transmit.contents.into(),
                }),
                Ok(Output::Event(event)) => self.on_event(event),
                Ok(Output::Timeout(at)) => {
                    let reason = rtc.last_timeout_reason();
                    self.drainage = Drainage::Until(self.next_call(epoch.at_std(at), reason));
                    return;
                }
                Err(error) => return self.fail(&error),
            }
        }
    }

    /// When to call the engine that wants to be called at `wanted`.
    fn next_call(&mut self, wanted: Instant, reason: Reason) -> Option<Instant> {
        let Self {
            phase: Phase::Negotiated(Negotiated { rtc, .. }),
            ..
        } = self
        else {
            return None;
        };
        if wanted.saturating_since(self.now) >= NEVER {
            return None;
        }
        let postponed = self.idleness.postpone(wanted, self.now);
        if reason != Reason::Ice || postponed == wanted {
            return Some(wanted);
        }
        // Whatever else the engine waits for hides behind a check that is due earlier. Without
        // unacknowledged messages that is nothing that could not wait for the next check.
        let mut channels = self
            .streams
            .channels()
            .map(|id| rtc.channel(id).map(|mut channel| channel.buffered_amount()));
        // One that is not open yet waits for the peer to confirm it.
        let waiting = channels.any(|bytes| bytes != Some(0));
        Some(if waiting { wanted } else { postponed })
    }

    fn transmit(&mut self, datagram: Datagram) {
        let stun = Stun::parse(&datagram.payload);
        match stun.map(|stun| (stun.class(), stun.transaction())) {
            Some((Class::Request, transaction)) => {
                self.idleness.on_check(self.now);
                self.locals.on_check(transaction, self.now);
            }
            Some((Class::Success | Class::Failure | Class::Indication, _)) => {}
            None => {
                self.idleness.on_data(self.now);
                self.flight.on_sent(&datagram, self.now);
                self.succession.on_sent(datagram.destination);
                self.locals.on_sent(&datagram);
            }
        }
        self.transmits.push_back(datagram);
    }

    /// After draining: ends a link that is closing, and tells of room.
    fn finish(&mut self) {
        if let Phase::Closing(_, reason) = &self.phase {
            let reason = reason.clone();
            self.end(reason);
        }
        self.announce_room();
    }

    fn on_event(&mut self, event: Event) {
        if let Phase::Closing(_, LinkClosed::Local) = self.phase {
            return;
        }
        match event {
            Event::IceConnectionStateChange(state)
                if state.is_connected() && self.path == Path::Searched =>
            {
                self.path = Path::Found;
            }
            Event::IceConnectionStateChange(state) if state.is_disconnected() => {
                self.begin_closing(LinkClosed::NoPath);
            }
            Event::Connected => {
                self.path = Path::Connected;
                let info = self.info();
                self.events.push_back(LinkEvent::Connected(info));
            }
            Event::ChannelOpen(channel, _) => self.on_channel_open(channel),
            Event::ChannelData(data) => self.on_channel_data(data),
            Event::ChannelClose(channel) => self.events.extend(self.streams.on_close(channel)),
            Event::Closed => self.begin_closing(LinkClosed::Remote),
            // The rest is about media and statistics.
            _ => {}
        }
    }

    fn info(&self) -> LinkInfo {
        LinkInfo {
            fingerprints: self.fingerprints(),
            message_bytes_max: self.max_message_bytes(),
            batch_bytes: batch_bytes(self.buffer_bytes),
        }
    }

    fn on_channel_open(&mut self, channel: ChannelId) {
        let Self { phase, streams, .. } = self;
        let Phase::Negotiated(Negotiated { rtc, .. }) = phase else {
            return;
        };
        let options = || rtc.channel(channel)?.config().map(stream_options);
        match streams.on_open(channel, options) {
            Opened::Announce(event) => {
                self.events.push_back(event);
                self.flight.on_opened();
                self.idleness.on_open(self.now);
            }
            Opened::Known => {}
            Opened::Unwanted => {
                debug!(?channel, "channel refused");
                rtc.direct_api().close_data_channel(channel);
            }
        }
        // A message may have been refused because its stream was not open.
        self.events.extend(self.streams.call_waiting());
    }

    fn on_channel_data(&mut self, data: ChannelData) {
        let Some((stream, opened)) = self.streams.on_message(data.id) else {
            trace!("message on a stream that is not open ignored");
            return;
        };
        self.events.extend(opened);
        self.events.push_back(LinkEvent::StreamMessage {
            stream,
            kind: match data.binary {
                true => MessageKind::Binary,
                false => MessageKind::Text,
            },
            payload: Bytes::from(data.data),
        });
    }

    /// Calls those who wait for room once there is enough to be worth it. The engine tells of room
    /// only at the moment when it falls below a threshold; looking at the level misses nothing.
    fn announce_room(&mut self) {
        let Some(awaited) = self.streams.awaited_room() else {
            return;
        };
        let buffered = self.count_buffered();
        let worthwhile = awaited.max(self.buffer_bytes / 4).min(self.buffer_bytes);
        if self.buffer_bytes.saturating_sub(buffered) >= worthwhile {
            self.events.extend(self.streams.call_waiting());
        }
    }

    /// Whether a message may be given to the engine: it fits, or it will never fit and has the
    /// buffer to itself.
    fn has_room(&mut self, bytes: usize) -> bool {
        if self.buffered_at_most + bytes <= self.buffer_bytes {
            return true;
        }
        let buffered = self.count_buffered();
        buffered == 0 || buffered + bytes <= self.buffer_bytes
    }

    /// What the engine buffers, sent but unacknowledged bytes included.
    fn count_buffered(&mut self) -> usize {
        let Self { phase, streams, .. } = self;
        let buffered = match phase {
            Phase::Negotiated(Negotiated { rtc, .. }) => streams
                .channels()
                .filter_map(|id| Some(rtc.channel(id)?.buffered_amount()))
                .sum(),
            Phase::Offering { .. } | Phase::Closing(..) | Phase::Ended => 0,
        };
        self.buffered_at_most = buffered;
        buffered
    }

    /// Sends again what the peer seems to have missed.
    fn repeat_flight(&mut self) {
        let due = self.flight.take_due(self.now);
        if !due.is_empty() {
            debug!(datagrams = due.len(), "peer is silent, repeating");
            self.transmits.extend(due.iter().cloned());
        }
    }

    fn begin_closing(&mut self, reason: LinkClosed) {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Negotiated(negotiated) => Phase::Closing(negotiated, reason),
            phase @ (Phase::Offering { .. } | Phase::Closing(..) | Phase::Ended) => phase,
        };
    }

    fn fail(&mut self, error: &str0m::RtcError) {
        self.end(LinkClosed::Failed(error.to_string()));
    }

    fn end(&mut self, reason: LinkClosed) {
        if let Phase::Ended = self.phase {
            return;
        }
        debug!(%reason, "link ended");
        self.phase = Phase::Ended;
        self.drainage = Drainage::Until(None);
        self.flight = Flight::new();
        self.events.push_back(LinkEvent::Closed { reason });
    }

    fn check_alive(&self) -> Result<(), TransportError> {
        match self.phase {
            Phase::Ended => Err(TransportError::Closed),
            Phase::Offering { .. } | Phase::Negotiated(_) | Phase::Closing(..) => Ok(()),
        }
    }
}

mod commands;
mod inbound;

/// The engine keeps as many checks that came before the answer.
const EARLY_CHECKS_MAX: usize = 100;
/// The engine's DTLS fails if it is given more than 30.
const UNDRAINED_DATAGRAMS_MAX: usize = 24;
/// Small beside a retransmission timeout, which is a second at least (RFC 9260, section 16), and large beside
/// what an answer takes.
const ENGINE_LAG_MAX: Duration = Duration::from_millis(1);
/// How often the engine may ask to be called again at the same time.
const TURNS_MAX: usize = 64;
/// A time that far away means never.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

impl fmt::Debug for RtcLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match &self.phase {
            Phase::Offering { .. } => "offering",
            Phase::Negotiated(_) => "negotiated",
            Phase::Closing(..) => "closing",
            Phase::Ended => "ended",
        };
        f.debug_struct("RtcLink")
            .field("ufrag", &self.ufrag)
            .field("phase", &phase)
            .finish_non_exhaustive()
    }
}
