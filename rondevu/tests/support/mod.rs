//! What several tests need: two clients that meet, and a peer that is nothing but a WebRTC link.

#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod meeting;

use std::net::SocketAddr;
use std::time::{Duration, Instant as StdInstant};

use bytes::Bytes;
use rondevu::core::{Instant, LinkEvent, MessageKind, StreamId, StreamOptions};
use rondevu::transport::rtc::{RtcConfig, RtcFactory};
use rondevu::transport::{Received, Transport, Written};
use tokio::net::UdpSocket;

/// Drives one link by hand, over a UDP socket, as a web page does.
pub(crate) struct RawPeer {
    epoch: StdInstant,
    socket: UdpSocket,
    pub(crate) transport: Box<dyn Transport>,
}

/// A socket and a factory for one link.
pub(crate) struct RawEnd {
    epoch: StdInstant,
    socket: UdpSocket,
    pub(crate) factory: RtcFactory,
}

impl RawEnd {
    pub(crate) async fn new() -> Self {
        let epoch = StdInstant::now();
        Self {
            epoch,
            socket: UdpSocket::bind("127.0.0.1:0").await.unwrap(),
            factory: RtcFactory::new(RtcConfig::default(), epoch).unwrap(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::from_origin(self.epoch.elapsed())
    }

    pub(crate) fn with(self, transport: Box<dyn Transport>) -> RawPeer {
        RawPeer {
            epoch: self.epoch,
            socket: self.socket,
            transport,
        }
    }
}

impl RawPeer {
    pub(crate) fn now(&self) -> Instant {
        Instant::from_origin(self.epoch.elapsed())
    }

    /// The next thing that happens on the link; moves datagrams meanwhile. Nothing is lost when it
    /// is cancelled.
    pub(crate) async fn next_event(&mut self) -> LinkEvent {
        let mut buffer = [0; 2048];
        loop {
            self.flush().await;
            if let Some(event) = self.transport.poll_event() {
                return event;
            }
            let now = self.now();
            let wait = match self.transport.poll_timeout() {
                Some(at) => at.saturating_since(now),
                None => Duration::from_secs(3600),
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {
                    let now = self.now();
                    self.transport.handle_timeout(now);
                }
                received = self.socket.recv_from(&mut buffer) => {
                    let (len, source) = received.unwrap();
                    let now = self.now();
                    let datagram = Received {
                        source,
                        destination: self.socket.local_addr().unwrap(),
                        payload: &buffer[..len],
                    };
                    self.transport.handle_datagram(datagram, now);
                }
            }
        }
    }

    async fn flush(&mut self) {
        while let Some(datagram) = self.transport.poll_transmit() {
            // What the system refuses is lost, as on any network.
            let _ = self
                .socket
                .send_to(&datagram.payload, datagram.destination)
                .await;
        }
    }

    /// Skips events until a stream with this label opens.
    pub(crate) async fn opened(&mut self, label: &str) -> StreamId {
        loop {
            if let LinkEvent::StreamOpened {
                stream, options, ..
            } = self.next_event().await
                && options.label == label
            {
                return stream;
            }
        }
    }

    /// Skips events until a message comes.
    pub(crate) async fn message(&mut self) -> (StreamId, MessageKind, Bytes) {
        loop {
            if let LinkEvent::StreamMessage {
                stream,
                kind,
                payload,
            } = self.next_event().await
            {
                return (stream, kind, payload);
            }
        }
    }

    pub(crate) async fn open(&mut self, label: &str) -> StreamId {
        let now = self.now();
        let options = StreamOptions::reliable(label, "");
        self.transport.open_stream(options, now).unwrap();
        self.opened(label).await
    }

    pub(crate) async fn write(&mut self, stream: StreamId, kind: MessageKind, payload: &[u8]) {
        let now = self.now();
        let written = self.transport.write(stream, kind, payload, now);
        assert_eq!(written.unwrap(), Written::Accepted);
        self.flush().await;
    }

    pub(crate) async fn close(&mut self) {
        let now = self.now();
        self.transport.close(now);
        self.flush().await;
    }
}
