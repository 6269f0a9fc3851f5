//! Links within the memory of one process.
//!
//! A link has two ends, and each end an inbox that the other writes into. Nothing travels on the
//! network, so the ends have no datagrams to wait for: they look into their inbox in short intervals.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rondevu::core::{
    IceCandidate, Instant, LinkClosed, LinkEvent, LinkInfo, MessageKind, OpenedBy,
    SessionDescription, StreamId, StreamOptions,
};
use rondevu::transport::{
    Answered, Datagram, Fingerprints, LocalCandidate, Offered, Received, Transport, TransportError,
    TransportFactory, Written,
};

/// All links of a process, by the number that stands in their descriptions.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Vec<Arc<Mutex<Wire>>>>);

/// What the two ends of one link share.
#[derive(Debug, Default)]
struct Wire {
    /// For the offering and for the answering end.
    inboxes: [VecDeque<LinkEvent>; 2],
    has_answer: bool,
    is_closed: bool,
    next_stream: u32,
}

/// One end of a link.
#[derive(Debug)]
struct End {
    wire: Arc<Mutex<Wire>>,
    /// The index of this end's inbox.
    side: usize,
    name: String,
    streams: BTreeMap<StreamId, StreamOptions>,
    /// When to look into the inbox again; `None` after the end.
    look_at: Option<Instant>,
    events: VecDeque<LinkEvent>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    /// How many links were made.
    pub(crate) fn links(&self) -> usize {
        let wires = lock(&self.0);
        wires.iter().filter(|wire| lock(wire).has_answer).count()
    }

    /// Loses all links, as a network may.
    pub(crate) fn cut_all(&self) {
        for wire in &*lock(&self.0) {
            let mut wire = lock(wire);
            for inbox in &mut wire.inboxes {
                inbox.clear();
            }
            wire.is_closed = wire.has_answer;
        }
    }
}

impl TransportFactory for Memory {
    fn create_offer(
        &self,
        _local: &[LocalCandidate],
        stream: StreamOptions,
        now: Instant,
    ) -> Result<Offered, TransportError> {
        let mut wires = lock(&self.0);
        let wire = Arc::new(Mutex::new(Wire::default()));
        let number = wires.len();
        wires.push(Arc::clone(&wire));
        let mut end = End::new(wire, 0, number, now);
        let stream = end.open_stream(stream, now)?;
        Ok(Offered {
            transport: Box::new(end),
            description: SessionDescription::offer(number.to_string()),
            stream,
        })
    }

    fn create_answer(
        &self,
        offer: &SessionDescription,
        _local: &[LocalCandidate],
        now: Instant,
    ) -> Result<Answered, TransportError> {
        let number: Option<usize> = offer.sdp.parse().ok();
        let wires = lock(&self.0);
        let wire = number.and_then(|number| wires.get(number));
        let what = "the offer names no link of this process".to_owned();
        let wire = wire.ok_or(TransportError::Description(what))?;
        {
            let mut wire = lock(wire);
            wire.has_answer = true;
            for inbox in &mut wire.inboxes {
                // Before what the other end may have sent already.
                inbox.push_front(LinkEvent::Connected(INFO));
            }
        }
        let end = End::new(Arc::clone(wire), 1, number.unwrap_or_default(), now);
        Ok(Answered {
            transport: Box::new(end),
            description: SessionDescription::answer(offer.sdp.clone()),
        })
    }
}

impl End {
    fn new(wire: Arc<Mutex<Wire>>, side: usize, number: usize, now: Instant) -> Self {
        Self {
            wire,
            side,
            name: format!("{number}.{side}"),
            streams: BTreeMap::new(),
            look_at: Some(now),
            events: VecDeque::new(),
        }
    }

    fn end(&mut self, reason: LinkClosed) {
        if self.look_at.take().is_some() {
            self.events.push_back(LinkEvent::Closed { reason });
        }
    }

    fn is_open(&self) -> Result<(), TransportError> {
        match self.look_at {
            Some(_) => Ok(()),
            None => Err(TransportError::Closed),
        }
    }
}

impl Transport for End {
    fn accept_answer(&mut self, _: &SessionDescription, _: Instant) -> Result<(), TransportError> {
        self.is_open()
    }

    fn add_remote_candidate(&mut self, _: &IceCandidate, _: Instant) -> Result<(), TransportError> {
        self.is_open()
    }

    fn open_stream(
        &mut self,
        options: StreamOptions,
        _: Instant,
    ) -> Result<StreamId, TransportError> {
        self.is_open()?;
        let mut wire = lock(&self.wire);
        let stream = StreamId(wire.next_stream);
        wire.next_stream += 1;
        for (inbox, by) in [
            (self.side, OpenedBy::Local),
            (1 - self.side, OpenedBy::Remote),
        ] {
            let options = options.clone();
            wire.inboxes[inbox].push_back(LinkEvent::StreamOpened {
                stream,
                options,
                by,
            });
        }
        Ok(stream)
    }

    fn write(
        &mut self,
        stream: StreamId,
        kind: MessageKind,
        payload: &[u8],
        _: Instant,
    ) -> Result<Written, TransportError> {
        self.is_open()?;
        if !self.streams.contains_key(&stream) {
            return Err(TransportError::UnknownStream(stream));
        }
        let (bytes, bytes_max) = (payload.len(), INFO.message_bytes_max);
        if payload.is_empty() {
            return Err(TransportError::EmptyMessage);
        }
        if bytes > bytes_max {
            return Err(TransportError::MessageTooLarge { bytes, bytes_max });
        }
        let mut wire = lock(&self.wire);
        let inbox = &mut wire.inboxes[1 - self.side];
        if inbox.len() >= INBOX_MAX {
            return Ok(Written::Full);
        }
        let payload = payload.to_vec().into();
        inbox.push_back(LinkEvent::StreamMessage {
            stream,
            kind,
            payload,
        });
        Ok(Written::Accepted)
    }

    fn close_stream(&mut self, stream: StreamId, _: Instant) {
        if self.streams.contains_key(&stream) {
            for inbox in &mut lock(&self.wire).inboxes {
                inbox.push_back(LinkEvent::StreamClosed { stream });
            }
        }
    }

    fn close(&mut self, _: Instant) {
        lock(&self.wire).is_closed = true;
        self.end(LinkClosed::Local);
    }

    fn handle_datagram(&mut self, _: Received<'_>, _: Instant) {}

    fn handle_timeout(&mut self, now: Instant) {
        if self.look_at.is_none_or(|at| at > now) {
            return;
        }
        let (has_answer, came, is_closed) = {
            let mut wire = lock(&self.wire);
            let has_answer = wire.has_answer;
            let came = match has_answer {
                true => std::mem::take(&mut wire.inboxes[self.side]),
                false => VecDeque::new(),
            };
            (has_answer, came, wire.is_closed)
        };
        for event in came {
            match &event {
                LinkEvent::StreamOpened {
                    stream, options, ..
                } => {
                    self.streams.insert(*stream, options.clone());
                }
                LinkEvent::StreamClosed { stream } => {
                    self.streams.remove(stream);
                }
                _ => {}
            }
            self.events.push_back(event);
        }
        let pause = match has_answer {
            // There is room again for what may have waited.
            true => {
                self.events.push_back(LinkEvent::Writable);
                LOOK_INTERVAL
            }
            false => OFFER_LOOK_INTERVAL,
        };
        self.look_at = Some(now + pause);
        if is_closed {
            self.end(LinkClosed::Remote);
        }
    }

    fn poll_transmit(&mut self) -> Option<Datagram> {
        None
    }

    fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.look_at
    }

    fn local_username_fragment(&self) -> &str {
        &self.name
    }

    fn max_message_bytes(&self) -> usize {
        INFO.message_bytes_max
    }

    fn fingerprints(&self) -> Option<Fingerprints> {
        None
    }
}

/// Memory has no certificates, so nobody proves a key on such a link.
const INFO: LinkInfo = LinkInfo {
    message_bytes_max: 64 * 1024,
    ..LinkInfo::UNKNOWN
};
const INBOX_MAX: usize = 256;
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
const OFFER_LOOK_INTERVAL: Duration = Duration::from_millis(20);
