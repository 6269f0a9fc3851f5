//! What carries the links of a simulated world, in memory or over a WebRTC engine.

use std::fmt;

use bytes::Bytes;
use rondevu_core::{Instant, LinkEvent, MessageKind, StreamId, StreamOptions};

use super::Setup;

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndId(pub u32);

/// Stands for the text of an offer or an answer: the fabric knows which end made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Description(pub EndId);

/// Who has an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Node {
    /// The process of the service.
    Service,
    /// The process of a dialer.
    Dialer(u8),
}

/// What a fabric reports about an end.
#[derive(Clone, Debug)]
pub enum FabricEvent {
    /// A fact about the link.
    Link(LinkEvent),
    /// Something came in below the messages.
    PathActivity,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// It is on its way.
    Accepted,
    /// There is no room; [`LinkEvent::Writable`] follows.
    Full,
    /// The link or the stream is over.
    Gone,
}

/// What happens to the links between one dialer and the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The present links carry nothing any more.
    Cut(Told),
    /// Nothing gets through in these directions until it is healed; new links suffer too.
    Hole(Direction),
    /// What is sent from now on over the present links takes so many milliseconds longer.
    Lag(u16),
    /// The buffers of the present links hold only so many bytes.
    Congest(u16),
    /// So many of a hundred datagrams are lost.
    Loss(u8),
    /// So many of a hundred datagrams come twice, and as many are overtaken.
    Disorder(u8),
    /// The dialer has another address: what is sent to the old one is lost.
    Roam,
    /// A stream of the present link closes.
    CloseStream,
}

/// Who is told at once that a link has ended; the others find out by silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Both sides.
    Both,
    /// The dialer.
    Dialer,
    /// The service.
    Service,
    /// None.
    Nobody,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    Both,
    /// From the dialer to the service.
    ToService,
    /// From the service to the dialer.
    ToDialer,
}

/// Carries links in virtual time.
///
/// Poll [`poll_event`](Self::poll_event) until `None` after each call.
pub trait Fabric: fmt::Debug {
    /// Whether the same calls have the same effects in each run.
    const IS_REPEATABLE: bool;

    /// A fabric without links.
    fn new(setup: &Setup) -> Self;

    /// The service makes an offer whose first stream is `stream`.
    fn offer(&mut self, stream: StreamOptions, now: Instant) -> Option<(EndId, StreamId)>;

    /// A dialer answers an offer; `None` if it cannot be used.
    fn answer(&mut self, dialer: u8, offer: Description, now: Instant) -> Option<EndId>;

    /// The service takes an answer; whether it can be used.
    fn accept(&mut self, offer: EndId, answer: Description, now: Instant) -> bool;

    /// Opens a stream; whether that is possible.
    fn open_stream(&mut self, end: EndId, options: StreamOptions, now: Instant) -> bool;

    /// Closes a stream on both sides.
    fn close_stream(&mut self, end: EndId, stream: StreamId, now: Instant);

    /// Hands over a message.
    fn write(
        &mut self,
        end: EndId,
        stream: StreamId,
        kind: MessageKind,
        payload: &Bytes,
        now: Instant,
    ) -> Write;

    /// Ends a link and tells the peer.
    fn close(&mut self, end: EndId, now: Instant);

    /// Ends a link without a word, as a process does that is killed.
    fn vanish(&mut self, end: EndId, now: Instant);

    /// Whether the end still has something to do.
    fn is_alive(&self, end: EndId) -> bool;

    /// Whether the link works in both directions, whatever its ends know.
    fn is_healthy(&self, end: EndId) -> bool;

    /// From now on nothing is reported to a node.
    fn fall_asleep(&mut self, node: Node);

    /// A node is reported what came in meanwhile.
    fn wake(&mut self, node: Node, now: Instant);

    /// Does harm to the links of a dialer.
    fn impair(&mut self, dialer: u8, fault: Fault, now: Instant);

    /// Undoes all that can be undone, and makes the network quick.
    fn heal(&mut self, now: Instant);

    /// Does what is due.
    fn handle_timeout(&mut self, now: Instant);

    /// The next fact, in the order in which things happened.
    fn poll_event(&mut self, now: Instant) -> Option<(EndId, FabricEvent)>;

    /// When something is due.
    fn poll_timeout(&self) -> Option<Instant>;

    /// A message that will never arrive although its link accepted it, and whether others before
    /// it on the same way did not arrive either.
    fn poll_lost(&mut self) -> Option<Lost>;

    /// How long a round trip takes at most once everything is healed, in milliseconds.
    fn calm_round_trip_ms(&self) -> u64;

    /// How long a link takes to be established at most once everything is healed.
    fn calm_set_up_ms(&self) -> u64;

    /// How long what nobody confirms, on lossy channels, may stand in the way of other messages once
    /// everything is healed.
    fn calm_drain_ms(&self) -> u64;
}

/// A message that was lost with its link.
#[derive(Clone, Debug)]
pub struct Lost {
    /// Whom it was for.
    pub to: EndId,
    /// Its stream.
    pub stream: StreamId,
    /// Its content.
    pub payload: Bytes,
}
