//! What a link must be able to do, whichever engine carries it.

use std::fmt;

use rondevu_core::{Fingerprints, IceCandidate, Instant, LinkEvent, MessageKind};
use rondevu_core::{SessionDescription, StreamId, StreamOptions};

use crate::TransportError;
use crate::{Datagram, LinkPath, LinkStage, LocalCandidate, NamedCandidate, Received};

/// One incarnation of a link to a peer: a machine without sockets, threads or a clock.
///
/// The embedder moves datagrams between the machine and the network and wakes it in time:
///
/// 1. call any method below;
/// 2. call [`poll_transmit`](Self::poll_transmit) until `None` and send what it gives;
/// 3. call [`poll_event`](Self::poll_event) until `None` and act on what it gives;
/// 4. call [`handle_timeout`](Self::handle_timeout) at the instant that
///    [`poll_timeout`](Self::poll_timeout) names, or later.
///
/// ```text
///  create_offer ─► accept_answer ─┐
///                                 ├─► Connected ─► StreamOpened … ─► Closed
///  create_answer ─────────────────┘        (or straight to Closed)
/// ```
///
/// A link ends exactly once, with [`LinkEvent::Closed`] as its last event. From then on commands
/// fail with [`TransportError::Closed`], facts are ignored and `poll_timeout` is `None`. Nothing
/// that the network does ends more than this one link, and a datagram that does not belong to the
/// link changes nothing.
pub trait Transport: Send + fmt::Debug {
    /// Gives the peer's answer to the side that made the offer; once.
    ///
    /// # Errors
    ///
    /// [`TransportError::NotExpected`] on the answering side and for a second answer,
    /// [`TransportError::Description`] if the answer cannot be used (another answer may then still
    /// be given, unless the link has ended), [`TransportError::Closed`] after the end.
    fn accept_answer(
        &mut self,
        answer: &SessionDescription,
        now: Instant,
    ) -> Result<(), TransportError>;

    /// Adds an address under which the peer may be reached and that its description did not name.
    ///
    /// Candidates that this transport cannot use (TCP) and those beyond its limit are ignored, and
    /// so is the empty candidate that marks the end. One under a name of the local network is given
    /// back by [`poll_named_candidate`](Self::poll_named_candidate).
    ///
    /// # Errors
    ///
    /// [`TransportError::Candidate`] if the line is no candidate or names another host,
    /// [`TransportError::NotExpected`] before the peer's description is known,
    /// [`TransportError::Closed`] after the end. None ends the link.
    fn add_remote_candidate(
        &mut self,
        candidate: &IceCandidate,
        now: Instant,
    ) -> Result<(), TransportError>;

    /// Adds an address under which this side may be reached and that the description does not
    /// name. [`poll_candidate`](Self::poll_candidate) then gives it for the peer.
    ///
    /// One that is known already is ignored, and so is one beyond the limit. By default all are:
    /// the link makes do with what it was created with.
    fn add_local_candidate(&mut self, candidate: LocalCandidate, now: Instant) {
        let _ = (candidate, now);
    }

    /// Takes back an address, because its socket is gone or it is lent no more. A path over it is
    /// given up at once, and another is taken if there is one.
    ///
    /// By default nothing happens; the path dies by silence.
    fn remove_local_candidate(&mut self, candidate: LocalCandidate, now: Instant) {
        let _ = (candidate, now);
    }

    /// The next address under which this side may be reached and that its description did not
    /// name, in order. It is for the peer's [`add_remote_candidate`](Self::add_remote_candidate).
    ///
    /// By default there is none: everything was known when the description was made.
    fn poll_candidate(&mut self) -> Option<IceCandidate> {
        None
    }

    /// The next candidate of the peer, from its description or added later, that names a host of the
    /// local network in place of an address, in order. Whoever can find out the address gives
    /// [the same candidate with it](NamedCandidate::with_address) to
    /// [`add_remote_candidate`](Self::add_remote_candidate); to leave it alone costs at most a path.
    ///
    /// By default there is none: such candidates are ignored.
    fn poll_named_candidate(&mut self) -> Option<NamedCandidate> {
        None
    }

    /// Opens a stream. It carries messages once [`LinkEvent::StreamOpened`] names it.
    ///
    /// May be called before the link is connected.
    ///
    /// # Errors
    ///
    /// [`TransportError::Options`] if the options do not fit on the wire,
    /// [`TransportError::TooManyStreams`] at the limit, [`TransportError::Closed`] after the end.
    fn open_stream(
        &mut self,
        options: StreamOptions,
        now: Instant,
    ) -> Result<StreamId, TransportError>;

    /// Hands over one message of at least one byte.
    ///
    /// [`Written::Full`] means that nothing was taken: the buffer, one pool for all streams of the
    /// link, has no room for the message, or the stream is not open yet. A
    /// [`LinkEvent::Writable`] then follows when it is worth trying again.
    ///
    /// # Errors
    ///
    /// [`TransportError::MessageTooLarge`] above [`max_message_bytes`](Self::max_message_bytes),
    /// [`TransportError::EmptyMessage`] for an empty one, [`TransportError::UnknownStream`] if the stream was never opened or has closed,
    /// [`TransportError::Closed`] after the end.
    fn write(
        &mut self,
        stream: StreamId,
        kind: MessageKind,
        payload: &[u8],
        now: Instant,
    ) -> Result<Written, TransportError>;

    /// Closes a stream in both directions; [`LinkEvent::StreamClosed`] follows on both sides.
    ///
    /// Messages that were accepted before are delivered first, if the stream is reliable and the
    /// link lives. Does nothing for a stream that is not open.
    fn close_stream(&mut self, stream: StreamId, now: Instant);

    /// Ends the link and tells the peer, as far as one datagram can.
    ///
    /// [`LinkEvent::Closed`] with [`Local`](rondevu_core::LinkClosed::Local) follows. Send what
    /// `poll_transmit` still gives before dropping the link: without it the peer has to find out
    /// by silence. Messages that were not acknowledged may be lost. Dropping the link without
    /// `close` tells the peer nothing.
    fn close(&mut self, now: Instant);

    /// Takes a datagram from the network. One that does not belong to this link is ignored.
    fn handle_datagram(&mut self, datagram: Received<'_>, now: Instant);

    /// Does what is due at `now`; calling early or again is a no-op.
    fn handle_timeout(&mut self, now: Instant);

    /// The next datagram to send, in order.
    fn poll_transmit(&mut self) -> Option<Datagram>;

    /// The next thing that happened, in order.
    fn poll_event(&mut self) -> Option<LinkEvent>;

    /// When to call [`handle_timeout`](Self::handle_timeout); never in the past of the latest
    /// `now` once `handle_timeout` was called with it. `None` after the end.
    fn poll_timeout(&self) -> Option<Instant>;

    /// The ICE user name fragment of this side: the part before the colon in the USERNAME of the
    /// STUN requests that the peer sends. A [`Router`](crate::Router) finds the link by it.
    fn local_username_fragment(&self) -> &str;

    /// The largest message that [`write`](Self::write) takes, in bytes.
    ///
    /// What the peer is willing to receive, but never more than the buffer holds. Before the
    /// peer's description is known, what may be relied upon in any case. It does not change once
    /// the link is connected.
    fn max_message_bytes(&self) -> usize;

    /// How far the link has come, for those who ask why it is not connected.
    fn stage(&self) -> LinkStage {
        LinkStage::Unknown
    }

    /// The path that the link's messages take; `None` before the first has left, and by default.
    fn path(&self) -> Option<LinkPath> {
        None
    }

    /// The certificates of both sides, for a proof that the peer holds a key; `None` before the
    /// peer's description is known.
    ///
    /// The link only connects to a peer that proves possession of the remote certificate.
    fn fingerprints(&self) -> Option<Fingerprints>;
}

/// What became of a message that was handed to [`Transport::write`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message that was not accepted must be offered again"]
pub enum Written {
    /// The message will be sent.
    Accepted,
    /// Nothing was taken; a [`LinkEvent::Writable`] follows when it is worth trying again.
    Full,
}
