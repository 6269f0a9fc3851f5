//! Which data channel of the engine is which stream, and who waits for room.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use rondevu_core::{LinkEvent, OpenedBy, StreamId, StreamOptions};

use crate::TransportError;

/// The streams of one link, from being asked for until they are closed. `C` is the engine's name
/// for a channel.
#[derive(Debug)]
pub(crate) struct Streams<C> {
    streams: BTreeMap<StreamId, Stream<C>>,
    by_channel: HashMap<C, StreamId>,
    next: u32,
    streams_max: usize,
    /// The room, in bytes, that the smallest refused message needs.
    awaited_room: Option<usize>,
}

#[derive(Debug)]
struct Stream<C> {
    channel: C,
    state: StreamState,
}

/// ```text
/// open_stream ─► Opening ─► Open ─► Closing ─► (gone)
///                   └─────────────────┘
/// ```
#[derive(Debug, PartialEq, Eq)]
enum StreamState {
    /// Asked for; waits for the peer.
    Opening(StreamOptions),
    /// Carries messages.
    Open,
    /// Closed by this side; waits for the engine to be done with it.
    Closing,
}

/// What to do about a channel that the engine opened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// Tell the embedder.
    Announce(LinkEvent),
    /// The embedder knows it already.
    Known,
    /// Close it again: it came too late or is one too many.
    Unwanted,
}

impl<C: Copy + Eq + Hash> Streams<C> {
    pub(crate) fn new(streams_max: usize) -> Self {
        Self {
            streams: BTreeMap::new(),
            by_channel: HashMap::new(),
            next: 0,
            streams_max,
            awaited_room: None,
        }
    }

    /// Whether one more stream may be opened.
    pub(crate) fn check_room(&self) -> Result<(), TransportError> {
        let streams_max = self.streams_max;
        if self.streams.len() >= streams_max {
            return Err(TransportError::TooManyStreams { streams_max });
        }
        Ok(())
    }

    /// Enters a stream that this side asked for.
    pub(crate) fn add_local(&mut self, channel: C, options: StreamOptions) -> StreamId {
        self.add(channel, StreamState::Opening(options))
    }

    fn add(&mut self, channel: C, state: StreamState) -> StreamId {
        let stream = StreamId(self.next);
        // Each stream costs the peer a round trip: four thousand million of them take years.
        self.next = self.next.wrapping_add(1);
        self.streams.insert(stream, Stream { channel, state });
        self.by_channel.insert(channel, stream);
        stream
    }

    /// The engine opened `channel`; `remote_options` are its options if the peer asked for it.
    pub(crate) fn on_open(
        &mut self,
        channel: C,
        remote_options: impl FnOnce() -> Option<StreamOptions>,
    ) -> Opened {
        let Some(&stream) = self.by_channel.get(&channel) else {
            let Some(options) = remote_options() else {
                return Opened::Unwanted;
            };
            if self.check_room().is_err() {
                return Opened::Unwanted;
            }
            let stream = self.add(channel, StreamState::Open);
            return Opened::Announce(LinkEvent::StreamOpened {
                stream,
                options,
                by: OpenedBy::Remote,
            });
        };
        match self.announce(stream) {
            Some(event) => Opened::Announce(event),
            None if self.is_closing(stream) => Opened::Unwanted,
            None => Opened::Known,
        }
    }

    /// The stream that a message on `channel` belongs to, with the news that it is open if this
    /// is the first sign of it: on an unordered stream a message may overtake the peer's consent.
    pub(crate) fn on_message(&mut self, channel: C) -> Option<(StreamId, Option<LinkEvent>)> {
        let stream = *self.by_channel.get(&channel)?;
        let opened = self.announce(stream);
        (!self.is_closing(stream)).then_some((stream, opened))
    }

    fn announce(&mut self, stream: StreamId) -> Option<LinkEvent> {
        let entry = self.streams.get_mut(&stream)?;
        let StreamState::Opening(options) = &entry.state else {
            return None;
        };
        let options = options.clone();
        entry.state = StreamState::Open;
        Some(LinkEvent::StreamOpened {
            stream,
            options,
            by: OpenedBy::Local,
        })
    }

    fn is_closing(&self, stream: StreamId) -> bool {
        let entry = self.streams.get(&stream);
        entry.is_some_and(|entry| entry.state == StreamState::Closing)
    }

    /// The engine is done with `channel`.
    pub(crate) fn on_close(&mut self, channel: C) -> Option<LinkEvent> {
        let stream = self.by_channel.remove(&channel)?;
        self.streams.remove(&stream);
        Some(LinkEvent::StreamClosed { stream })
    }

    /// This side closes `stream`; its channel if there is something to close.
    pub(crate) fn close(&mut self, stream: StreamId) -> Option<C> {
        let entry = self.streams.get_mut(&stream)?;
        if entry.state == StreamState::Closing {
            return None;
        }
        entry.state = StreamState::Closing;
        Some(entry.channel)
    }

    /// The channel to write messages of `stream` to.
    pub(crate) fn channel(&self, stream: StreamId) -> Result<C, TransportError> {
        let writable = |entry: &&Stream<C>| entry.state != StreamState::Closing;
        let entry = self.streams.get(&stream).filter(writable);
        Ok(entry.ok_or(TransportError::UnknownStream(stream))?.channel)
    }

    /// Every channel that may hold bytes back.
    #[cfg(feature = "str0m")]
    pub(crate) fn channels(&self) -> impl Iterator<Item = C> {
        self.streams.values().map(|entry| entry.channel)
    }

    /// A message of `bytes` was refused: somebody waits.
    pub(crate) fn refuse(&mut self, bytes: usize) {
        let smallest = self.awaited_room.map_or(bytes, |room| room.min(bytes));
        self.awaited_room = Some(smallest);
    }

    /// The room that those who wait need at least.
    pub(crate) fn awaited_room(&self) -> Option<usize> {
        self.awaited_room
    }

    /// Calls those who wait, if there are any.
    pub(crate) fn call_waiting(&mut self) -> Option<LinkEvent> {
        self.awaited_room.take().map(|_| LinkEvent::Writable)
    }
}
