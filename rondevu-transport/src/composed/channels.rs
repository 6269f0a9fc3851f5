//! Data channels (RFC 8831): which stream of SCTP is which, how they open and close.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rondevu_core::{MessageKind, StreamOptions};
use rtc_sctp::PayloadProtocolIdentifier as Kind;
use tracing::{debug, trace};

use super::dcep::Dcep;
use super::dtls::Side;
use super::sctp::{Sctp, SctpConfig, SctpNews};
use crate::TransportError;

/// The name of a channel, never used twice on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Channel(u32);

/// The channels of one link.
#[derive(Debug)]
pub(super) struct Channels {
    sctp: Sctp,
    /// Who chooses even ids (RFC 8832, section 6).
    side: Option<Side>,
    channels: BTreeMap<Channel, Entry>,
    by_id: HashMap<u16, Channel>,
    /// The id after the latest that was opened.
    next_id: u16,
    next: u32,
    now: Option<Instant>,
    /// Consents to channels of a peer that is faster than the association; nothing once it is up.
    unsent: Option<Vec<(u16, Bytes)>>,
    news: VecDeque<ChannelNews>,
}

/// ```text
/// Wanted ─► Opening ─► Open ─► Closing ─► (gone)
///    └─────────┴───────────────────┘
/// ```
#[derive(Debug, PartialEq, Eq)]
enum Entry {
    /// Asked for, before there is an association or an id for it.
    Wanted(StreamOptions),
    /// Waits for the peer's consent.
    Opening(u16),
    /// Carries messages.
    Open(u16),
    /// Closed by this side; waits for the peer, not for ever.
    Closing(u16, Instant),
}

impl Entry {
    fn id(&self) -> Option<u16> {
        match self {
            Self::Wanted(_) => None,
            Self::Opening(id) | Self::Open(id) | Self::Closing(id, _) => Some(*id),
        }
    }
}

/// What channels tell.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ChannelNews {
    /// A channel carries messages; its options if the peer asked for it.
    Opened {
        channel: Channel,
        options: Option<StreamOptions>,
    },
    Message {
        channel: Channel,
        kind: MessageKind,
        payload: Bytes,
    },
    /// A channel is closed in both directions.
    Closed { channel: Channel },
    /// The peer has ended the association.
    Ended,
    /// The association is of no use any more.
    Failed(String),
}

impl Channels {
    pub(super) fn new(config: &SctpConfig) -> Self {
        Self {
            sctp: Sctp::new(config.clone()),
            side: None,
            channels: BTreeMap::new(),
            by_id: HashMap::new(),
            next_id: 0,
            next: 0,
            now: None,
            unsent: Some(Vec::new()),
            news: VecDeque::new(),
        }
    }

    /// The encryption is there: begins to associate, with datagrams of at most `datagram_bytes`.
    pub(super) fn start(&mut self, side: Side, datagram_bytes: usize, now: Instant) {
        self.now = Some(now);
        self.side = Some(side);
        self.sctp.start(side, datagram_bytes, now);
    }

    /// Asks for a channel; it opens as soon as possible.
    pub(super) fn open(&mut self, options: StreamOptions) -> Result<Channel, TransportError> {
        // What cannot be said later is refused now.
        Dcep::Open(options.clone()).encode()?;
        let channel = self.add(Entry::Wanted(options));
        self.open_wanted();
        Ok(channel)
    }

    fn add(&mut self, entry: Entry) -> Channel {
        let channel = Channel(self.next);
        // Each costs the peer a round trip: four thousand million of them take years.
        self.next = self.next.wrapping_add(1);
        if let Some(id) = entry.id() {
            self.by_id.insert(id, channel);
        }
        self.channels.insert(channel, entry);
        channel
    }

    /// Opens the channels that wait, as far as there are ids.
    fn open_wanted(&mut self) {
        let Some(now) = self.now else { return };
        let wanted = self
            .channels
            .iter()
            .filter_map(|(channel, entry)| matches!(entry, Entry::Wanted(_)).then_some(*channel));
        for channel in wanted.collect::<Vec<_>>() {
            let Some(id) = self.open_free_id() else {
                return;
            };
            let Some(entry) = self.channels.get_mut(&channel) else {
                continue;
            };
            let Entry::Wanted(options) = std::mem::replace(entry, Entry::Opening(id)) else {
                continue;
            };
            self.by_id.insert(id, channel);
            self.sctp.configure(id, &options);
            if let Ok(message) = Dcep::Open(options).encode() {
                self.send_dcep(id, message.into(), now);
            }
        }
    }

    /// A free id of this side, opened. Those that were closed come last: what the peer sent about
    /// them may still be on its way, and would close the next channel with the same id.
    fn open_free_id(&mut self) -> Option<u16> {
        let first = match self.side? {
            Side::Client => 0,
            Side::Server => 1,
        };
        let ids = || (first..self.sctp.stream_ids()).step_by(2);
        let fresh = ids().filter(|id| *id >= self.next_id);
        let again = ids().filter(|id| *id < self.next_id);
        let free = fresh.chain(again).filter(|id| !self.by_id.contains_key(id));
        // The association may still hold one that is closed here.
        for id in free.collect::<Vec<_>>() {
            if self.sctp.open(id) {
                self.next_id = id + 1;
                return Some(id);
            }
        }
        None
    }

    fn send_dcep(&mut self, id: u16, message: Bytes, now: Instant) {
        if let Some(unsent) = &mut self.unsent {
            // One for each id at most.
            unsent.push((id, message));
        } else if let Err(why) = self.sctp.write(id, Kind::Dcep, &message, now) {
            self.news.push_back(ChannelNews::Failed(why));
        }
    }

    fn on_up(&mut self) {
        for (id, message) in self.unsent.take().into_iter().flatten() {
            if let Some(now) = self.now {
                self.send_dcep(id, message, now);
            }
        }
        self.open_wanted();
    }

    /// Whether messages can be written.
    pub(super) fn is_open(&self, channel: Channel) -> bool {
        self.unsent.is_none() && matches!(self.channels.get(&channel), Some(Entry::Open(_)))
    }

    /// Whether messages can be written on any channel.
    pub(super) fn has_open(&self) -> bool {
        let mut entries = self.channels.values();
        self.unsent.is_none() && entries.any(|entry| matches!(entry, Entry::Open(_)))
    }

    /// Sends a message of at least one byte on an open channel.
    pub(super) fn write(
        &mut self,
        channel: Channel,
        kind: MessageKind,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), String> {
        let Some(Entry::Open(id)) = self.channels.get(&channel) else {
            return Err("the channel is not open".into());
        };
        let kind = match kind {
            MessageKind::Text => Kind::String,
            MessageKind::Binary => Kind::Binary,
        };
        let payload = Bytes::copy_from_slice(payload);
        self.sctp.write(*id, kind, &payload, now)
    }

    /// Closes a channel in both directions, after what was written.
    pub(super) fn close(&mut self, channel: Channel, now: Instant) {
        let id = match self.channels.get(&channel) {
            Some(Entry::Opening(id) | Entry::Open(id)) => *id,
            Some(Entry::Wanted(_)) => return self.remove(channel),
            Some(Entry::Closing(..)) | None => return,
        };
        match self.sctp.close(id, now) {
            true => {
                let entry = Entry::Closing(id, now + CLOSING_TIME);
                self.channels.insert(channel, entry);
            }
            false => self.remove(channel),
        }
    }

    fn remove(&mut self, channel: Channel) {
        if let Some(entry) = self.channels.remove(&channel) {
            if let Some(id) = entry.id() {
                self.by_id.remove(&id);
            }
            self.news.push_back(ChannelNews::Closed { channel });
        }
    }

    pub(super) fn handle(&mut self, packet: &[u8], now: Instant) {
        self.now = Some(now);
        self.sctp.handle(packet, now);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.now.is_none() {
            return;
        }
        self.now = Some(now);
        self.sctp.handle_timeout(now);
        let late = self.channels.iter().filter_map(|(channel, entry)| {
            matches!(entry, Entry::Closing(_, at) if *at <= now).then_some(*channel)
        });
        for channel in late.collect::<Vec<_>>() {
            debug!(?channel, "the peer does not close its side");
            // Its id stays taken in the association, so nobody will get it again.
            self.remove(channel);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let closing = self.channels.values().filter_map(|entry| match entry {
            Entry::Closing(_, at) => Some(*at),
            Entry::Wanted(_) | Entry::Opening(_) | Entry::Open(_) => None,
        });
        closing.chain(self.sctp.poll_timeout()).min()
    }

    pub(super) fn poll_packets(&mut self, now: Instant) -> Option<Vec<Bytes>> {
        self.sctp.poll_packets(now)
    }

    pub(super) fn poll_news(&mut self) -> Option<ChannelNews> {
        loop {
            if let Some(news) = self.news.pop_front() {
                return Some(news);
            }
            match self.sctp.poll_news()? {
                SctpNews::Up => self.on_up(),
                SctpNews::Readable(id) => self.read(id),
                SctpNews::Reset(id) => {
                    if let Some(channel) = self.by_id.get(&id) {
                        self.remove(*channel);
                    }
                    // There is an id more.
                    self.open_wanted();
                }
                SctpNews::Ended => return Some(ChannelNews::Ended),
                SctpNews::Failed(why) => return Some(ChannelNews::Failed(why)),
            }
        }
    }

    fn read(&mut self, id: u16) {
        while let Some((kind, payload)) = self.sctp.read(id) {
            match kind {
                Kind::Dcep => self.on_dcep(id, &payload),
                Kind::String => self.on_message(id, MessageKind::Text, payload),
                Kind::Binary => self.on_message(id, MessageKind::Binary, payload),
                // One byte stands for none (RFC 8831, section 6.6).
                Kind::StringEmpty => self.on_message(id, MessageKind::Text, Bytes::new()),
                Kind::BinaryEmpty => self.on_message(id, MessageKind::Binary, Bytes::new()),
                _ => trace!(id, "message of an unknown kind ignored"),
            }
        }
    }

    fn on_dcep(&mut self, id: u16, message: &[u8]) {
        let known = self.by_id.get(&id).copied();
        match (Dcep::parse(message), known) {
            (Some(Dcep::Open(options)), None) => {
                let channel = self.add(Entry::Open(id));
                self.sctp.configure(id, &options);
                if let (Ok(ack), Some(now)) = (Dcep::Ack.encode(), self.now) {
                    self.send_dcep(id, ack.into(), now);
                }
                let options = Some(options);
                self.news
                    .push_back(ChannelNews::Opened { channel, options });
            }
            (Some(Dcep::Ack), Some(channel)) => self.on_consent(id, channel),
            (Some(Dcep::Open(_)), Some(_)) => debug!(id, "channel opened twice"),
            (Some(Dcep::Ack), None) => debug!(id, "consent to nothing"),
            (None, _) => debug!(id, "malformed opening message ignored"),
        }
    }

    fn on_consent(&mut self, id: u16, channel: Channel) {
        if let Some(entry @ Entry::Opening(_)) = self.channels.get_mut(&channel) {
            *entry = Entry::Open(id);
            let options = None;
            self.news
                .push_back(ChannelNews::Opened { channel, options });
        }
    }

    fn on_message(&mut self, id: u16, kind: MessageKind, payload: Bytes) {
        let Some(&channel) = self.by_id.get(&id) else {
            return trace!(id, "message on a channel that nobody opened ignored");
        };
        // On an unordered channel a message may overtake the consent.
        self.on_consent(id, channel);
        self.news.push_back(ChannelNews::Message {
            channel,
            kind,
            payload,
        });
    }

    /// Bytes that the peer has not acknowledged.
    pub(super) fn buffered_bytes(&mut self) -> usize {
        self.buffered().sum()
    }

    /// Whether the peer has something to acknowledge.
    pub(super) fn are_expecting(&mut self) -> bool {
        self.buffered().any(|bytes| bytes > 0)
    }

    fn buffered(&mut self) -> impl Iterator<Item = usize> {
        let Self { channels, sctp, .. } = self;
        let ids = channels.values().filter_map(Entry::id);
        ids.map(|id| sctp.buffered_bytes(id))
    }
}

/// A message that crosses our closing keeps the association from telling that the peer has closed
/// too; then this is how long a channel is waited for.
const CLOSING_TIME: Duration = Duration::from_secs(5);
