//! One link over WebRTC data channels.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use rondevu_core::{DescriptionKind, IceCandidate, Instant, LinkClosed, LinkEvent, MessageKind};
use rondevu_core::{SessionDescription, StreamId, StreamOptions};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::channel::{ChannelData, ChannelId};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};
use tracing::{debug, trace};

use super::RtcConfig;
use super::remote_sdp::RemoteSdp;
use super::sources::Sources;
use super::streams::{Opened, Streams};
use super::translate::{Epoch, channel_config, stream_options};
use crate::stun::{Class, Stun};
use crate::{Datagram, Fingerprints, Received, Transport, TransportError, Written};

/// One link, in either role.
///
/// The engine must be drained after each datagram, or it fails; it need not be after each written
/// message, and several that are drained together share datagrams. So `write` only marks the link
/// as `undrained`, and everything else drains.
pub(super) struct RtcLink {
    epoch: Epoch,
    ufrag: String,
    buffer_bytes: usize,
    now: Instant,
    phase: Phase,
    path: Path,
    streams: Streams,
    sources: Sources,
    drainage: Drainage,
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

/// Whether ICE has a path to the peer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Path {
    Searched,
    Found,
}

/// How far the engine's output has been taken over.
#[derive(Clone, Copy)]
enum Drainage {
    /// There may be more.
    Undrained,
    /// Nothing until then.
    Until(Option<Instant>),
}

/// An engine that knows both sides' descriptions.
pub(super) struct Negotiated {
    rtc: Box<Rtc>,
    fingerprints: Fingerprints,
    /// The largest message that the peer takes.
    message_bytes_max: usize,
    candidates_left: usize,
}

impl Negotiated {
    pub(super) fn new(mut rtc: Box<Rtc>, remote: &RemoteSdp) -> Self {
        let mut digest = [0; 32];
        let own = rtc.direct_api().local_dtls_fingerprint().bytes.clone();
        digest.copy_from_slice(&own[..32]);
        let mut negotiated = Self {
            rtc,
            fingerprints: Fingerprints {
                local: digest,
                remote: remote.fingerprint,
            },
            message_bytes_max: usize::try_from(remote.message_bytes_max).unwrap_or(usize::MAX),
            candidates_left: REMOTE_CANDIDATES_MAX,
        };
        for line in &remote.candidates {
            if let Err(error) = negotiated.add_candidate(line) {
                debug!(%error, "candidate in a description ignored");
            }
        }
        negotiated
    }

    fn add_candidate(&mut self, line: &str) -> Result<(), TransportError> {
        if is_unusable(line) {
            debug!("candidate of a kind that is not used ignored");
            return Ok(());
        }
        let candidate = Candidate::from_sdp_string(line)
            .map_err(|error| TransportError::Candidate(error.to_string()))?;
        match self.candidates_left.checked_sub(1) {
            Some(left) => {
                self.candidates_left = left;
                self.rtc.add_remote_candidate(candidate);
            }
            None => debug!("one candidate too many ignored"),
        }
        Ok(())
    }
}

impl RtcLink {
    pub(super) fn offering(
        config: &RtcConfig,
        epoch: Epoch,
        ufrag: String,
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
        Self::new(config, epoch, ufrag, phase)
    }

    pub(super) fn answering(
        config: &RtcConfig,
        epoch: Epoch,
        ufrag: String,
        negotiated: Negotiated,
    ) -> Self {
        Self::new(config, epoch, ufrag, Phase::Negotiated(negotiated))
    }

    fn new(config: &RtcConfig, epoch: Epoch, ufrag: String, phase: Phase) -> Self {
        Self {
            epoch,
            ufrag,
            buffer_bytes: config.buffer_bytes,
            now: Instant::ORIGIN,
            phase,
            path: Path::Searched,
            streams: Streams::new(config.streams_max),
            sources: Sources::default(),
            drainage: Drainage::Until(None),
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

    /// Tells the engine the time and takes over what it has to say.
    fn turn(&mut self, now: Instant) {
        self.feed(Input::Timeout(self.epoch.to_std(now)));
    }

    fn feed(&mut self, input: Input<'_>) {
        let Some(rtc) = self.rtc() else { return };
        if let Err(error) = rtc.handle_input(input) {
            return self.fail(&error);
        }
        self.drain();
    }

    /// Takes over all output, until the engine wants nothing before a later time.
    fn drain(&mut self) {
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
                Ok(Output::Transmit(transmit)) => self.transmits.push_back(Datagram {
                    source: transmit.source,
                    destination: transmit.destination,
                    payload: transmit.contents.into(),
                }),
                Ok(Output::Event(event)) => self.on_event(event),
                Ok(Output::Timeout(at)) => {
                    let at = epoch.at_std(at);
                    let soon = at.saturating_since(self.now) < NEVER;
                    let due = soon && matches!(self.phase, Phase::Negotiated(_));
                    self.drainage = Drainage::Until(due.then_some(at));
                    return;
                }
                Err(error) => return self.fail(&error),
            }
        }
    }

    /// After draining: ends a link that is closing.
    fn finish(&mut self) {
        if let Phase::Closing(_, reason) = &self.phase {
            let reason = reason.clone();
            self.end(reason);
        }
    }

    fn on_event(&mut self, event: Event) {
        if let Phase::Closing(_, LinkClosed::Local) = self.phase {
            return;
        }
        match event {
            Event::IceConnectionStateChange(state) if state.is_connected() => {
                self.path = Path::Found;
            }
            Event::IceConnectionStateChange(state) if state.is_disconnected() => {
                self.begin_closing(LinkClosed::NoPath);
            }
            Event::Connected => self.events.push_back(LinkEvent::Connected),
            Event::ChannelOpen(channel, _) => self.on_channel_open(channel),
            Event::ChannelData(data) => self.on_channel_data(data),
            Event::ChannelClose(channel) => self.events.extend(self.streams.on_close(channel)),
            Event::Closed => self.begin_closing(LinkClosed::Remote),
            // The rest is about media and statistics.
            _ => {}
        }
    }

    fn on_channel_open(&mut self, channel: ChannelId) {
        let Self { phase, streams, .. } = self;
        let Phase::Negotiated(Negotiated { rtc, .. }) = phase else {
            return;
        };
        let options = || rtc.channel(channel)?.config().map(stream_options);
        match streams.on_open(channel, options) {
            Opened::Announce(event) => self.events.push_back(event),
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
        let (Some(awaited), buffer_bytes) = (self.streams.awaited_room(), self.buffer_bytes) else {
            return;
        };
        let Self { phase, streams, .. } = self;
        let Phase::Negotiated(Negotiated { rtc, .. }) = phase else {
            return;
        };
        let buffered: usize = streams
            .channels()
            .filter_map(|id| Some(rtc.channel(id)?.buffered_amount()))
            .sum();
        let worthwhile = awaited.max(buffer_bytes / 4).min(buffer_bytes);
        if buffer_bytes.saturating_sub(buffered) >= worthwhile {
            self.events.extend(self.streams.call_waiting());
        }
    }

    fn on_stun(&mut self, datagram: Received<'_>) {
        let Some(stun) = Stun::parse(datagram.payload) else {
            return trace!(?datagram, "malformed STUN ignored");
        };
        let Some(input) = self.parse(datagram) else {
            return trace!(?datagram, "malformed STUN ignored");
        };
        let proven = self.sources.is_proven(datagram.source);
        if !proven {
            let accepted = self.rtc().is_some_and(|rtc| rtc.accepts(&input));
            if !accepted || !self.sources.admit(datagram.source) {
                return debug!(?datagram, "STUN of a stranger ignored");
            }
        }
        if let (Class::Success, Some(mapped)) = (stun.class(), stun.mapped_address())
            && !self.sources.admit_mapped(mapped)
        {
            return debug!(
                ?datagram,
                "peer claims too many addresses, response ignored"
            );
        }
        if let Phase::Offering { early_checks, .. } = &mut self.phase {
            *early_checks = (*early_checks + 1).min(EARLY_CHECKS_MAX);
        }
        self.feed(input);
    }

    fn on_dtls(&mut self, datagram: Received<'_>) {
        if !self.sources.is_proven(datagram.source) || self.negotiated().is_none() {
            return debug!(?datagram, "DTLS of a stranger ignored");
        }
        if self.path == Path::Searched {
            let held = self.sources.hold(datagram);
            return debug!(?datagram, held, "DTLS before there is a path");
        }
        if let Some(input) = self.parse(datagram) {
            self.feed(input);
        }
    }

    fn parse<'a>(&self, datagram: Received<'a>) -> Option<Input<'a>> {
        let Received {
            source,
            destination,
            payload,
        } = datagram;
        let receive = Receive::new(Protocol::Udp, source, destination, payload).ok()?;
        Some(Input::Receive(self.epoch.to_std(self.now), receive))
    }

    /// Feeds what came before there was a path, now that there may be one.
    fn feed_early(&mut self) {
        while self.path == Path::Found
            && let Some(early) = self.sources.take_early()
        {
            if let Some(input) = self.parse(early.as_received()) {
                self.feed(input);
            }
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
        self.events.push_back(LinkEvent::Closed { reason });
    }

    fn check_alive(&self) -> Result<(), TransportError> {
        match self.phase {
            Phase::Ended => Err(TransportError::Closed),
            Phase::Offering { .. } | Phase::Negotiated(_) | Phase::Closing(..) => Ok(()),
        }
    }
}

/// Whether a candidate is of a kind that is well-formed but not used: TCP, or an mDNS name.
fn is_unusable(line: &str) -> bool {
    let mut words = line.split(' ').skip(2);
    let tcp = words.next().is_some_and(|w| !w.eq_ignore_ascii_case("udp"));
    let name = words.nth(1).is_some_and(|w| w.ends_with(".local"));
    tcp || name
}

mod commands;

/// A peer's description may name 32; as many again may trickle in.
const REMOTE_CANDIDATES_MAX: usize = 64;
/// The engine keeps as many checks that came before the answer.
const EARLY_CHECKS_MAX: usize = 100;
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
