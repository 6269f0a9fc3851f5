//! One loopback link.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rondevu_core::{DescriptionKind, IceCandidate, Instant, LinkClosed, LinkEvent, MessageKind};
use rondevu_core::{LinkInfo, OpenedBy, SessionDescription, StreamId, StreamOptions};
use tracing::{debug, trace};

use super::description::Description;
use super::frame::{Frame, Piece};
use super::pipe::{Pipe, Segment};
use super::segment;
use crate::datagram::batch_bytes;
use crate::stun::{self, Class, Stun, Transaction};
use crate::{Datagram, Fingerprints, Received, Transport, TransportError, Written};

/// One loopback link, in either role.
#[derive(Debug)]
pub(super) struct Link {
    own: Description,
    role: Role,
    buffer_bytes: usize,
    phase: Phase,
    pipe: Pipe,
    streams: BTreeMap<u32, Stream>,
    next_stream: u32,
    waiting: Waiting,
    transmits: VecDeque<Datagram>,
    events: VecDeque<LinkEvent>,
    now: Instant,
}

/// ```text
/// Offering ─► Probing ─► Connected ─► Ended
///     └──────────┴─────────────────────┘
/// ```
#[derive(Debug)]
enum Phase {
    Offering,
    /// Looks for a path.
    Probing {
        peer: Description,
        since: Instant,
        probe_at: Instant,
        probes: u32,
    },
    /// Has one, which is where the first response came from.
    Connected {
        peer: Description,
        path: Path,
    },
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Path {
    local: SocketAddr,
    remote: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Offerer,
    Answerer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Nobody,
    Writer,
}

#[derive(Debug)]
struct Stream {
    state: StreamState,
    options: StreamOptions,
    partial: BytesMut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamState {
    Opening,
    Open,
    Closing,
}

impl Link {
    pub(super) fn new(role: Role, own: Description, buffer_bytes: usize, now: Instant) -> Self {
        Self {
            own,
            role,
            buffer_bytes,
            phase: Phase::Offering,
            pipe: Pipe::new(),
            streams: BTreeMap::new(),
            // Both sides number their streams; parity keeps them apart.
            next_stream: u32::from(role == Role::Answerer),
            waiting: Waiting::Nobody,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            now,
        }
    }

    /// Begins to look for a path to `peer`.
    pub(super) fn meet(&mut self, peer: Description, now: Instant) {
        self.phase = Phase::Probing {
            peer,
            since: now,
            probe_at: now,
            probes: 0,
        };
        self.handle_timeout(now);
    }

    pub(super) fn open(&mut self, options: StreamOptions) -> Result<StreamId, TransportError> {
        if options.label.len() + options.protocol.len() > NAMES_BYTES_MAX {
            return Err(TransportError::Options("label and protocol are too long"));
        }
        if self.streams.len() >= STREAMS_MAX {
            return Err(TransportError::TooManyStreams {
                streams_max: STREAMS_MAX,
            });
        }
        let stream = self.next_stream;
        self.next_stream += 2;
        let entry = Stream::new(StreamState::Opening, options.clone());
        self.streams.insert(stream, entry);
        self.say(&Frame::Open { stream, options });
        Ok(StreamId(stream))
    }

    fn say(&mut self, frame: &Frame) {
        let payload_bytes = match frame {
            Frame::Data { payload, .. } => payload.len(),
            _ => 0,
        };
        self.pipe.push(frame.encode(), payload_bytes);
    }

    fn peer(&self) -> Option<&Description> {
        match &self.phase {
            Phase::Probing { peer, .. } | Phase::Connected { peer, .. } => Some(peer),
            Phase::Offering | Phase::Ended => None,
        }
    }

    fn probe(&mut self) {
        let Phase::Probing {
            peer,
            since,
            probe_at,
            probes,
        } = &mut self.phase
        else {
            return;
        };
        if self.now < *probe_at {
            return;
        }
        if self.now.saturating_since(*since) >= PROBING_TIME {
            return self.end(LinkClosed::NoPath);
        }
        *probes += 1;
        *probe_at = self.now + PROBE_INTERVAL;
        let username = format!("{}:{}", peer.username_fragment, self.own.username_fragment);
        // The number says which probe of which link this is; responses repeat it.
        let mut transaction: Transaction = [0; 12];
        transaction[..8].copy_from_slice(&own_tag(&self.own));
        transaction[8..].copy_from_slice(&probes.to_be_bytes());
        let message = stun::request(&username, transaction);
        for &remote in &peer.addresses {
            for &local in &self.own.addresses {
                if local.is_ipv4() == remote.is_ipv4() {
                    self.transmits.push_back(Datagram {
                        source: local,
                        destination: remote,
                        payload: message.clone(),
                    });
                }
            }
        }
    }

    fn on_stun(&mut self, datagram: Received<'_>) {
        let (Some(stun), Some(peer)) = (Stun::parse(datagram.payload), self.peer()) else {
            return;
        };
        match stun.class() {
            Class::Request => {
                let username = format!("{}:{}", self.own.username_fragment, peer.username_fragment);
                if stun.username() != Some(username.as_str()) {
                    return;
                }
                self.transmits.push_back(Datagram {
                    source: datagram.destination,
                    destination: datagram.source,
                    payload: stun::success(stun.transaction()),
                });
            }
            Class::Success
                if stun.transaction()[..8] == own_tag(&self.own)
                    && peer.addresses.contains(&datagram.source) =>
            {
                self.connect(Path {
                    local: datagram.destination,
                    remote: datagram.source,
                });
            }
            Class::Success | Class::Failure | Class::Indication => {}
        }
    }

    fn connect(&mut self, path: Path) {
        let Phase::Probing { .. } = self.phase else {
            return;
        };
        self.phase = match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Probing { peer, .. } => {
                debug!(?path, "path found");
                Phase::Connected { peer, path }
            }
            other => other,
        };
        let info = LinkInfo {
            fingerprints: self.fingerprints(),
            message_bytes_max: self.max_message_bytes(),
            batch_bytes: batch_bytes(self.buffer_bytes),
        };
        self.events.push_back(LinkEvent::Connected(info));
    }

    fn on_record(&mut self, datagram: Received<'_>) {
        // What the peer sends before this side has found its path is lost; the peer repeats it.
        let Phase::Connected { peer, path } = &self.phase else {
            return;
        };
        let from_peer = datagram.source == path.remote;
        let Some(segment) = segment::decode(datagram.payload, own_tag(peer)) else {
            return;
        };
        if !from_peer {
            return debug!(?datagram, "from a stranger, ignored");
        }
        if Frame::decode(&segment.frame) == Some(Frame::Goodbye) {
            return self.end(LinkClosed::Remote);
        }
        for frame in self.pipe.receive(segment, self.now) {
            match Frame::decode(&frame) {
                Some(frame) => self.on_frame(frame),
                None => return self.end(LinkClosed::Failed("unreadable frame".into())),
            }
        }
    }

    fn on_frame(&mut self, frame: Frame) {
        match frame {
            Frame::Open { stream, options } => self.on_open(stream, options),
            Frame::Opened { stream } => {
                if let Some(entry) = self.streams.get_mut(&stream)
                    && entry.state == StreamState::Opening
                {
                    entry.state = StreamState::Open;
                    let options = entry.options.clone();
                    self.announce(stream, options, OpenedBy::Local);
                }
            }
            Frame::Data {
                stream,
                kind,
                piece,
                payload,
            } => self.on_data(stream, kind, piece, &payload),
            Frame::Close { stream } => {
                self.say(&Frame::Closed { stream });
                self.forget(stream);
            }
            Frame::Closed { stream } => self.forget(stream),
            Frame::Goodbye => {}
        }
    }

    fn on_open(&mut self, stream: u32, options: StreamOptions) {
        let ours = stream % 2 == u32::from(self.role == Role::Answerer);
        if ours || self.streams.contains_key(&stream) {
            return self.end(LinkClosed::Failed("stream opened twice".into()));
        }
        if self.streams.len() >= STREAMS_MAX {
            return self.say(&Frame::Close { stream });
        }
        let entry = Stream::new(StreamState::Open, options.clone());
        self.streams.insert(stream, entry);
        self.say(&Frame::Opened { stream });
        self.announce(stream, options, OpenedBy::Remote);
    }

    fn announce(&mut self, stream: u32, options: StreamOptions, by: OpenedBy) {
        self.events.push_back(LinkEvent::StreamOpened {
            stream: StreamId(stream),
            options,
            by,
        });
        self.call_waiting();
    }

    fn on_data(&mut self, stream: u32, kind: MessageKind, piece: Piece, payload: &[u8]) {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return;
        };
        entry.partial.extend_from_slice(payload);
        if entry.partial.len() > self.buffer_bytes {
            return self.end(LinkClosed::Failed("message too large".into()));
        }
        if piece == Piece::Last {
            let payload = entry.partial.split().freeze();
            if entry.state != StreamState::Closing {
                self.events.push_back(LinkEvent::StreamMessage {
                    stream: StreamId(stream),
                    kind,
                    payload,
                });
            }
        }
    }

    fn forget(&mut self, stream: u32) {
        if self.streams.remove(&stream).is_some() {
            let stream = StreamId(stream);
            self.events.push_back(LinkEvent::StreamClosed { stream });
        }
    }

    fn call_waiting(&mut self) {
        if self.waiting == Waiting::Writer {
            self.waiting = Waiting::Nobody;
            self.events.push_back(LinkEvent::Writable);
        }
    }

    fn end(&mut self, reason: LinkClosed) {
        if let Phase::Ended = self.phase {
            return;
        }
        debug!(%reason, "link ended");
        self.phase = Phase::Ended;
        self.streams.clear();
        self.events.push_back(LinkEvent::Closed { reason });
    }

    fn wrap(&self, path: Path, segment: &Segment) -> Datagram {
        Datagram {
            source: path.local,
            destination: path.remote,
            payload: segment::encode(segment, own_tag(&self.own)),
        }
    }

    fn check_alive(&self) -> Result<(), TransportError> {
        match self.phase {
            Phase::Ended => Err(TransportError::Closed),
            Phase::Offering | Phase::Probing { .. } | Phase::Connected { .. } => Ok(()),
        }
    }
}

impl Stream {
    fn new(state: StreamState, options: StreamOptions) -> Self {
        Self {
            state,
            options,
            partial: BytesMut::new(),
        }
    }
}

mod commands;

/// The first bytes of the fragment: enough to tell a link's own datagrams.
fn own_tag(side: &Description) -> [u8; 8] {
    let mut tag = [0; 8];
    let bytes = side.username_fragment.bytes();
    tag.iter_mut().zip(bytes).for_each(|(t, b)| *t = b);
    tag
}

/// How much of a message goes into one datagram.
const PIECE_BYTES: usize = 1150;
/// What fits one datagram besides the rest of the frame.
const NAMES_BYTES_MAX: usize = 1024;
const STREAMS_MAX: usize = 256;
const PROBE_INTERVAL: Duration = Duration::from_millis(50);
const PROBING_TIME: Duration = Duration::from_secs(15);
