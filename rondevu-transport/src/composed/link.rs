//! One link over WebRTC data channels, carried by the composed engine.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rondevu_core::{DescriptionKind, IceCandidate, Instant, LinkClosed, LinkEvent, LinkInfo};
use rondevu_core::{MessageKind, SessionDescription, StreamId, StreamOptions};
use tracing::{debug, trace};

use super::channels::{Channel, ChannelNews, Channels};
use super::dtls::{Dtls, Said, Side};
use super::factory::{MID, Shared};
use super::ice::{Ice, Role, Route};
use super::path_mtu::{BASE_BYTES, PathMtu};
use crate::datagram::batch_bytes;
use crate::rtc::flight::Flight;
use crate::rtc::idleness::Idleness;
use crate::rtc::locals::Locals;
use crate::rtc::remote_sdp::RemoteSdp;
use crate::rtc::sdp_text::Setup;
use crate::rtc::sources::Sources;
use crate::rtc::streams::{Opened, Streams};
use crate::rtc::succession::Succession;
use crate::{Buffer, Datagram, Fingerprints, LinkPath, LinkStage, LocalCandidate};
use crate::{Received, Transport, TransportError, Written};

/// One link, in either role.
///
/// Each input is worked off at once, but for written messages: what several of them make is
/// gathered when the embedder asks for it, so that small ones share datagrams.
pub(super) struct ComposedLink {
    shared: Arc<Shared>,
    now: Instant,
    phase: Phase,
    ice: Ice,
    route: Option<Route>,
    path_mtu: PathMtu,
    streams: Streams<Channel>,
    channels: Channels,
    sources: Sources,
    locals: Locals,
    idleness: Idleness,
    flight: Flight,
    succession: Succession,
    /// When the agent wants to be called.
    ice_at: Option<Instant>,
    /// Nothing is due before, whatever the parts say.
    resting_until: Instant,
    output: Output,
    transmits: VecDeque<Datagram>,
    events: VecDeque<LinkEvent>,
}

/// ```text
/// Offering ─► Negotiated ─► Ended
///     └──────────────────────┘
/// ```
enum Phase {
    /// Waits for the answer. Checks are heard, but nothing is sent.
    Offering { early_checks: usize },
    /// Finds a path, then carries streams.
    Negotiated(Box<Negotiated>),
    /// Nothing happens any more.
    Ended,
}

/// What is known once both descriptions are.
struct Negotiated {
    fingerprints: Fingerprints,
    /// The largest message that the peer takes.
    message_bytes_max: usize,
    dtls: Dtls,
    /// When the handshake wants to be called.
    dtls_at: Option<Instant>,
    side: Side,
    is_secured: bool,
}

/// Whether written messages wait to be made into datagrams.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    Waiting,
    Gathered,
}

impl ComposedLink {
    pub(super) fn offering(shared: Arc<Shared>, ice: Ice, locals: Locals) -> Self {
        Self {
            streams: Streams::new(shared.config.streams_max),
            channels: Channels::new(&shared.sctp),
            path_mtu: PathMtu::new(BASE_BYTES),
            shared,
            now: Instant::ORIGIN,
            phase: Phase::Offering { early_checks: 0 },
            ice,
            route: None,
            sources: Sources::default(),
            locals,
            idleness: Idleness::default(),
            flight: Flight::new(),
            succession: Succession::default(),
            ice_at: None,
            resting_until: Instant::ORIGIN,
            output: Output::Gathered,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Opens a stream, as soon as there is something to open it on.
    pub(super) fn add_stream(
        &mut self,
        options: StreamOptions,
    ) -> Result<StreamId, TransportError> {
        self.streams.check_room()?;
        let channel = self.channels.open(options.clone())?;
        Ok(self.streams.add_local(channel, options))
    }

    /// Begins to look for a path to the peer of `remote`.
    pub(super) fn begin(&mut self, remote: &RemoteSdp, role: Role, now: Instant) {
        self.advance(now);
        let std_now = self.std_now();
        let side = match (remote.setup(), role) {
            (Setup::Active, _) | (Setup::ActPass, Role::Offerer) => Side::Server,
            (Setup::Passive, _) | (Setup::ActPass, Role::Answerer) => Side::Client,
        };
        let early_checks = match self.phase {
            Phase::Offering { early_checks } => early_checks,
            Phase::Negotiated(_) | Phase::Ended => 0,
        };
        let shared = &self.shared;
        let promised = remote.fingerprint;
        self.phase = Phase::Negotiated(Box::new(Negotiated {
            fingerprints: Fingerprints {
                local: shared.fingerprint,
                remote: promised,
            },
            message_bytes_max: usize::try_from(remote.message_bytes_max).unwrap_or(usize::MAX),
            dtls: Dtls::new(&shared.dtls, &shared.certificate, side, promised, std_now),
            dtls_at: None,
            side,
            is_secured: false,
        }));
        self.path_mtu = PathMtu::new(self.shared.datagram_bytes_max(self.now));
        self.ice.begin(remote, role);
        // The checks that came before the answer are worked off one in each call, 50 ms apart.
        // They are old enough.
        for _ in 0..=early_checks {
            self.ice.handle_timeout(std_now);
        }
        self.work();
    }

    /// Time never goes back, whatever the embedder says.
    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    fn std_now(&self) -> std::time::Instant {
        self.shared.epoch.to_std(self.now)
    }

    fn negotiated(&self) -> Option<&Negotiated> {
        match &self.phase {
            Phase::Negotiated(negotiated) => Some(negotiated),
            Phase::Offering { .. } | Phase::Ended => None,
        }
    }

    fn negotiated_mut(&mut self) -> Option<&mut Negotiated> {
        match &mut self.phase {
            Phase::Negotiated(negotiated) => Some(negotiated),
            Phase::Offering { .. } | Phase::Ended => None,
        }
    }

    fn do_what_is_due(&mut self) {
        let (now, std_now) = (self.now, self.std_now());
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.ice_at) {
            self.ice.handle_timeout(std_now);
        }
        let Some(negotiated) = self.negotiated_mut() else {
            return;
        };
        if due(negotiated.dtls_at) {
            negotiated.dtls_at = None;
            if let Err(error) = negotiated.dtls.handle_timeout(std_now) {
                return self.end(LinkClosed::Failed(error.to_string()));
            }
        }
        self.channels.handle_timeout(std_now);
        self.path_mtu.handle_timeout(now);
        self.work();
        self.repeat_flight();
    }

    /// Takes over all that the parts have to say.
    fn work(&mut self) {
        self.hear_ice();
        self.probe_path();
        self.hear_dtls();
        // What is heard may have to be answered.
        self.hear_channels();
        self.gather();
        self.announce_room();
    }

    fn feed_dtls(&mut self, payload: &[u8]) {
        self.idleness.on_data(self.now);
        self.flight.on_received(payload);
        let now = self.std_now();
        let Some(negotiated) = self.negotiated_mut() else {
            return;
        };
        if let Err(error) = negotiated.dtls.handle(payload, now) {
            return self.end(LinkClosed::Failed(error.to_string()));
        }
        self.hear_dtls();
    }

    fn hear_dtls(&mut self) {
        let Some(route) = self.route else { return };
        let mut buffer = Buffer::filled(RECORD_BYTES);
        let (epoch, now) = (self.shared.epoch, self.std_now());
        loop {
            let Phase::Negotiated(negotiated) = &mut self.phase else {
                return;
            };
            match negotiated.dtls.poll(&mut buffer) {
                Said::Datagram(payload) => {
                    let datagram = Datagram {
                        source: route.local,
                        destination: route.remote,
                        payload: payload.into(),
                    };
                    self.idleness.on_data(self.now);
                    self.path_mtu.on_sent(payload.len(), self.now);
                    self.flight.on_sent(&datagram, self.now);
                    self.succession.on_sent(datagram.destination);
                    self.locals.on_sent(&datagram);
                    self.transmits.push_back(datagram);
                }
                Said::Data(packet) => self.channels.handle(packet, now),
                Said::Secured => {
                    let side = negotiated.side;
                    negotiated.is_secured = true;
                    let info = self.info();
                    self.events.push_back(LinkEvent::Connected(info));
                    let datagram_bytes = self.path_mtu.settle();
                    debug!(datagram_bytes, "secured");
                    self.channels.start(side, datagram_bytes, now);
                    self.output = Output::Waiting;
                }
                Said::Closed => return self.end(LinkClosed::Remote),
                Said::Failed(why) => return self.end(LinkClosed::Failed(why)),
                Said::Larger(bytes) => buffer = Buffer::filled(bytes),
                Said::Again => {}
                Said::Nothing(at) => {
                    let at = epoch.at_std(at);
                    let soon = at.saturating_since(self.now) < NEVER;
                    negotiated.dtls_at = soon.then_some(at);
                    return;
                }
            }
        }
    }

    /// Makes datagrams of what the channels have to say.
    fn gather(&mut self) {
        self.output = Output::Gathered;
        let now = self.std_now();
        while let Some(packets) = self.channels.poll_packets(now) {
            for packet in packets {
                let Some(negotiated) = self.negotiated_mut() else {
                    return;
                };
                if let Err(error) = negotiated.dtls.send(&packet) {
                    return self.end(LinkClosed::Failed(error.to_string()));
                }
                self.hear_dtls();
            }
        }
    }

    fn hear_channels(&mut self) {
        while let Some(news) = self.channels.poll_news() {
            match news {
                ChannelNews::Opened { channel, options } => self.on_opened(channel, options),
                ChannelNews::Message {
                    channel,
                    kind,
                    payload,
                } => {
                    let Some((stream, opened)) = self.streams.on_message(channel) else {
                        trace!("message on a stream that is not open ignored");
                        continue;
                    };
                    self.events.extend(opened);
                    self.events.push_back(LinkEvent::StreamMessage {
                        stream,
                        kind,
                        payload,
                    });
                }
                ChannelNews::Closed { channel } => {
                    self.events.extend(self.streams.on_close(channel));
                }
                ChannelNews::Ended => return self.end(LinkClosed::Remote),
                ChannelNews::Failed(why) => return self.end(LinkClosed::Failed(why)),
            }
        }
    }

    fn on_opened(&mut self, channel: Channel, options: Option<StreamOptions>) {
        match self.streams.on_open(channel, || options) {
            Opened::Announce(event) => {
                self.events.push_back(event);
                self.flight.on_opened();
                self.idleness.on_open(self.now);
            }
            Opened::Known => {}
            Opened::Unwanted => {
                debug!(?channel, "channel refused");
                self.channels
                    .close(channel, self.shared.epoch.to_std(self.now));
                self.output = Output::Waiting;
            }
        }
        // A message may have been refused because its stream was not open.
        self.events.extend(self.streams.call_waiting());
    }

    fn info(&self) -> LinkInfo {
        LinkInfo {
            fingerprints: self.fingerprints(),
            message_bytes_max: self.max_message_bytes(),
            batch_bytes: batch_bytes(self.shared.buffer_bytes()),
        }
    }

    /// Whether a message may be written: it fits, or it will never fit and has the buffer to
    /// itself.
    fn has_room(&mut self, bytes: usize) -> bool {
        let buffered = self.channels.buffered_bytes();
        buffered == 0 || buffered + bytes <= self.shared.buffer_bytes()
    }

    /// Calls those who wait for room once there is enough to be worth it.
    fn announce_room(&mut self) {
        let Some(awaited) = self.streams.awaited_room() else {
            return;
        };
        let buffer_bytes = self.shared.buffer_bytes();
        let worthwhile = awaited.max(buffer_bytes / 4).min(buffer_bytes);
        // Before, the opening of the stream is what is waited for.
        if self.channels.has_open() && self.has_room(worthwhile) {
            self.events.extend(self.streams.call_waiting());
        }
    }

    /// Sends again what the peer seems to have missed.
    fn repeat_flight(&mut self) {
        let due = self.flight.take_due(self.now);
        if !due.is_empty() {
            debug!(datagrams = due.len(), "peer is silent, repeating");
            self.transmits.extend(due.iter().cloned());
        }
    }

    /// Tells the peer that this was all.
    fn say_farewell(&mut self) {
        if let Some(negotiated) = self.negotiated_mut() {
            match negotiated.dtls.close() {
                Ok(()) => self.hear_dtls(),
                Err(error) => debug!(%error, "the peer could not be told"),
            }
        }
    }

    fn end(&mut self, reason: LinkClosed) {
        if let Phase::Ended = self.phase {
            return;
        }
        debug!(%reason, "link ended");
        self.phase = Phase::Ended;
        self.channels = Channels::new(&self.shared.sctp);
        self.ice_at = None;
        self.output = Output::Gathered;
        self.flight = Flight::new();
        self.events.push_back(LinkEvent::Closed { reason });
    }

    fn check_alive(&self) -> Result<(), TransportError> {
        match self.phase {
            Phase::Ended => Err(TransportError::Closed),
            Phase::Offering { .. } | Phase::Negotiated(_) => Ok(()),
        }
    }
}

mod commands;
mod inbound;
mod path;

/// How often the parts may ask to be called again at the same time.
const TURNS_MAX: usize = 8;
/// As many checks that came before the answer are kept by the agent.
const EARLY_CHECKS_MAX: usize = 100;
/// A time that far away means never.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// Larger than any record in the datagram of an Ethernet.
const RECORD_BYTES: usize = 2048;

impl fmt::Debug for ComposedLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match &self.phase {
            Phase::Offering { .. } => "offering",
            Phase::Negotiated(_) => "negotiated",
            Phase::Ended => "ended",
        };
        f.debug_struct("ComposedLink")
            .field("ufrag", &self.ice.ufrag())
            .field("phase", &phase)
            .finish_non_exhaustive()
    }
}
