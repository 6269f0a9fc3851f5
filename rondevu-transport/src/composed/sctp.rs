//! Streams of messages in datagrams: the SCTP of `rtc-sctp`, one association for each link.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rondevu_core::{Reliability, StreamOptions};
use rtc_sctp::{
    Association, AssociationError, AssociationHandle, ClientConfig, DatagramEvent, Endpoint,
    EndpointConfig, Event, Payload, PayloadProtocolIdentifier, ReliabilityType, ServerConfig,
    StreamEvent, TimerConfig, TransportConfig, max_payload_size_for_mtu,
};
use rtc_shared::TransportProtocol;

use super::dtls::Side;
use crate::Buffer;

/// What all associations of a factory have in common.
#[derive(Clone, Debug)]
pub(super) struct SctpConfig {
    transport: Arc<TransportConfig>,
    receive_message_bytes_max: usize,
}

impl SctpConfig {
    /// For messages of the peer of at most `receive_message_bytes_max`.
    pub(super) fn new(receive_message_bytes_max: u32) -> Self {
        let transport = TransportConfig::default()
            // What the peer takes is looked at elsewhere.
            .with_max_message_size(u32::MAX)
            .with_max_receive_buffer_size(WINDOW_BYTES)
            .with_max_num_inbound_streams(STREAM_IDS)
            .with_max_num_outbound_streams(STREAM_IDS)
            // ICE says when the peer is gone.
            .with_timer_config(TimerConfig {
                max_t3_rtx_retrans: usize::MAX,
                max_reconfig_retrans: usize::MAX,
                ..TimerConfig::default()
            });
        Self {
            transport: Arc::new(transport),
            receive_message_bytes_max: receive_message_bytes_max as usize,
        }
    }
}

/// One side's association.
pub(super) struct Sctp {
    config: SctpConfig,
    state: State,
    /// How much came in since a message was complete.
    unfinished_bytes: usize,
    /// Whether it has been up: before, an association that was called is as good as closed.
    was_up: bool,
    failure: Option<String>,
}

enum State {
    /// There is nothing to talk over yet.
    Idle,
    /// Waits for the peer's INIT.
    Listening(Box<Endpoint>),
    /// On the way up, up, or closed.
    Associated(Box<Associated>),
}

struct Associated {
    endpoint: Endpoint,
    handle: AssociationHandle,
    association: Association,
}

/// What an association tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SctpNews {
    /// Streams can be opened.
    Up,
    /// There may be messages on this stream.
    Readable(u16),
    /// The peer has closed this stream, and so has this side.
    Reset(u16),
    /// The peer has ended the association.
    Ended,
    /// The association failed.
    Failed(String),
}

impl Sctp {
    pub(super) fn new(config: SctpConfig) -> Self {
        Self {
            config,
            state: State::Idle,
            unfinished_bytes: 0,
            was_up: false,
            failure: None,
        }
    }

    /// Begins to associate. Both sides might call; it is enough that the DTLS client does, and a
    /// peer that calls too is answered by the same association. Datagrams have at most `datagram_bytes`.
    pub(super) fn start(&mut self, side: Side, datagram_bytes: usize, now: Instant) {
        let server = match side {
            Side::Client => None,
            Side::Server => Some(Arc::new(ServerConfig::new(
                (*self.config.transport).clone(),
            ))),
        };
        let packet_bytes = datagram_bytes.saturating_sub(RECORD_OVERHEAD_BYTES);
        let mut config = EndpointConfig::new();
        config.max_payload_size(max_payload_size_for_mtu(packet_bytes as u32));
        let config = Arc::new(config);
        let mut endpoint = Endpoint::new(NOWHERE, TransportProtocol::UDP, config, server);
        self.state = match side {
            Side::Server => State::Listening(Box::new(endpoint)),
            Side::Client => {
                let client = ClientConfig::new((*self.config.transport).clone());
                match endpoint.connect(now, client, NOWHERE) {
                    Ok((handle, association)) => State::Associated(Box::new(Associated {
                        endpoint,
                        handle,
                        association,
                    })),
                    Err(error) => {
                        self.failure = Some(error.to_string());
                        State::Idle
                    }
                }
            }
        };
    }

    pub(super) fn handle(&mut self, packet: &[u8], now: Instant) {
        self.unfinished_bytes = self.unfinished_bytes.saturating_add(packet.len());
        if self.unfinished_bytes > UNFINISHED_BYTES_MAX {
            self.failure = Some("the peer sends a message without end".into());
            return;
        }
        let packet = Bytes::from_owner(Buffer::copy_of(packet));
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => {}
            State::Listening(mut endpoint) => {
                self.state = match endpoint.handle(now, NOWHERE, None, packet) {
                    Some((handle, DatagramEvent::NewAssociation(association))) => {
                        State::Associated(Box::new(Associated {
                            endpoint: *endpoint,
                            handle,
                            association,
                        }))
                    }
                    _ => State::Listening(endpoint),
                };
            }
            State::Associated(mut it) => {
                match it.endpoint.handle(now, NOWHERE, None, packet) {
                    Some((handle, DatagramEvent::AssociationEvent(event)))
                        if handle == it.handle =>
                    {
                        it.association.handle_event(event);
                    }
                    // A second association, made of a call that crossed ours.
                    _ => {}
                }
                self.state = State::Associated(it);
            }
        }
    }

    fn association(&self) -> Option<&Association> {
        match &self.state {
            State::Associated(it) => Some(&it.association),
            State::Idle | State::Listening(_) => None,
        }
    }

    fn association_mut(&mut self) -> Option<&mut Association> {
        match &mut self.state {
            State::Associated(it) => Some(&mut it.association),
            State::Idle | State::Listening(_) => None,
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some(association) = self.association_mut() {
            association.handle_timeout(now);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.association()?.poll_timeout()
    }

    /// The next packets to send.
    pub(super) fn poll_packets(&mut self, now: Instant) -> Option<Vec<Bytes>> {
        let message = self.association_mut()?.poll_transmit(now)?.message;
        match message {
            Payload::RawEncode(packets) => Some(packets),
            _ => None,
        }
    }

    pub(super) fn poll_news(&mut self) -> Option<SctpNews> {
        if let Some(why) = self.failure.take() {
            return Some(SctpNews::Failed(why));
        }
        let State::Associated(it) = &mut self.state else {
            return None;
        };
        let association = &mut it.association;
        while let Some(event) = association.poll() {
            match event {
                Event::Connected => {
                    self.was_up = true;
                    return Some(SctpNews::Up);
                }
                Event::Stream(StreamEvent::Opened { id }) => {
                    // Who came is known by its first message; the queue must not grow.
                    while association.accept_stream().is_some() {}
                    if id >= STREAM_IDS {
                        let why = "the peer uses a stream that was not agreed upon";
                        return Some(SctpNews::Failed(why.into()));
                    }
                }
                Event::Stream(StreamEvent::Readable { id }) => {
                    return Some(SctpNews::Readable(id));
                }
                Event::AssociationLost { .. } if association.is_closed() => {
                    return Some(SctpNews::Ended);
                }
                Event::AssociationLost {
                    reason: AssociationError::Reset,
                    id,
                } => return Some(SctpNews::Reset(id)),
                Event::AssociationLost { .. } => return Some(SctpNews::Ended),
                Event::HandshakeFailed { reason } => {
                    return Some(SctpNews::Failed(reason.to_string()));
                }
                // The rest is about levels that are looked at anyway.
                _ => {}
            }
        }
        (self.was_up && association.is_closed()).then_some(SctpNews::Ended)
    }

    /// How many streams each side may have, from 0 on.
    pub(super) fn stream_ids(&self) -> u16 {
        let negotiated = self
            .association()
            .and_then(Association::negotiated_max_streams);
        negotiated.map_or(0, |ids| ids.min(STREAM_IDS))
    }

    /// Opens a stream in this direction; whether that worked.
    pub(super) fn open(&mut self, id: u16) -> bool {
        let Some(association) = self.association_mut() else {
            return false;
        };
        association
            .open_stream(id, PayloadProtocolIdentifier::Binary)
            .is_ok()
    }

    /// Sets how messages of this side are delivered.
    pub(super) fn configure(&mut self, id: u16, options: &StreamOptions) {
        let (kind, value) = match options.reliability {
            Reliability::Reliable => (ReliabilityType::Reliable, 0),
            Reliability::MaxRetransmits(retransmits) => {
                (ReliabilityType::Rexmit, retransmits.into())
            }
            Reliability::MaxPacketLifetime(lifetime) => {
                let millis = u32::try_from(lifetime.as_millis()).unwrap_or(u32::MAX);
                (ReliabilityType::Timed, millis)
            }
        };
        if let Some(association) = self.association_mut()
            && let Ok(mut stream) = association.stream(id)
        {
            // Fails for a stream that is not there, which this one is.
            let _ = stream.set_reliability_params(!options.ordered, kind, value);
        }
    }

    pub(super) fn write(
        &mut self,
        id: u16,
        kind: PayloadProtocolIdentifier,
        message: &Bytes,
        now: Instant,
    ) -> Result<(), String> {
        let Some(association) = self.association_mut() else {
            return Err("there is no association".into());
        };
        let written = association
            .stream(id)
            .and_then(|mut stream| stream.write_chunk_with_ppi(now, message, kind));
        written.map(drop).map_err(|error| error.to_string())
    }

    /// The next message of a stream.
    pub(super) fn read(&mut self, id: u16) -> Option<(PayloadProtocolIdentifier, Bytes)> {
        let bytes_max = self.config.receive_message_bytes_max;
        let mut stream = self.association_mut()?.stream(id).ok()?;
        let chunks = stream.read_sctp().ok()??;
        self.unfinished_bytes = 0;
        match chunks.to_payload(bytes_max) {
            Ok(payload) => Some((chunks.ppi, payload.freeze())),
            Err(_) => {
                self.failure = Some("the peer sends a message that is too large".into());
                None
            }
        }
    }

    /// Closes a stream in both directions, after what was written; whether there was something
    /// to close.
    pub(super) fn close(&mut self, id: u16, now: Instant) -> bool {
        let Some(association) = self.association_mut() else {
            return false;
        };
        let closed = association
            .stream(id)
            .and_then(|mut stream| stream.close(now));
        closed.is_ok()
    }

    /// Bytes on a stream that the peer has not acknowledged.
    pub(super) fn buffered_bytes(&mut self, id: u16) -> usize {
        let stream = self.association_mut().map(|it| it.stream(id));
        let Some(Ok(stream)) = stream else { return 0 };
        stream.buffered_amount().unwrap_or(0)
    }
}

impl std::fmt::Debug for Sctp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            State::Idle => "idle",
            State::Listening(_) => "listening",
            State::Associated(_) => "associated",
        };
        f.debug_tuple("Sctp").field(&state).finish()
    }
}

/// What DTLS adds to a packet: header, explicit nonce and tag of AES-GCM.
const RECORD_OVERHEAD_BYTES: usize = 13 + 8 + 16;
/// What may be on its way to this side. More than a socket buffer holds would be lost by the
/// burst, and SCTP waits a second before it repeats the end of a burst.
const WINDOW_BYTES: u32 = 512 * 1024;
/// As in browsers. Ids are used again, so this is how many streams there can be at a time.
const STREAM_IDS: u16 = 1024;
/// Fragments of one message follow each other. The largest that browsers send has 256 KiB, a
/// window of repetitions comes on top.
const UNFINISHED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The crate asks for addresses and does nothing with them.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5000);
