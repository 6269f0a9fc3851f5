//! What the embedder asks of a loopback link.

use super::*;

impl Transport for Link {
    fn accept_answer(
        &mut self,
        answer: &SessionDescription,
        now: Instant,
    ) -> Result<(), TransportError> {
        self.check_alive()?;
        let Phase::Offering = self.phase else {
            return Err(TransportError::NotExpected("this link has its answer"));
        };
        let peer = Description::parse(answer, DescriptionKind::Answer)?;
        self.meet(peer, now);
        Ok(())
    }

    fn add_remote_candidate(
        &mut self,
        candidate: &IceCandidate,
        _now: Instant,
    ) -> Result<(), TransportError> {
        self.check_alive()?;
        if candidate.candidate.is_empty() || candidate.candidate.starts_with("candidate:") {
            return Ok(());
        }
        Err(TransportError::Candidate("no candidate".into()))
    }

    fn open_stream(
        &mut self,
        options: StreamOptions,
        now: Instant,
    ) -> Result<StreamId, TransportError> {
        self.check_alive()?;
        self.now = self.now.max(now);
        self.open(options)
    }

    fn write(
        &mut self,
        stream: StreamId,
        kind: MessageKind,
        payload: &[u8],
        now: Instant,
    ) -> Result<Written, TransportError> {
        self.check_alive()?;
        self.now = self.now.max(now);
        let bytes_max = self.max_message_bytes();
        let entry = self.streams.get(&stream.0);
        let entry = entry.filter(|entry| entry.state != StreamState::Closing);
        let state = entry.ok_or(TransportError::UnknownStream(stream))?.state;
        let bytes = payload.len();
        if bytes == 0 {
            return Err(TransportError::EmptyMessage);
        }
        if bytes > bytes_max {
            return Err(TransportError::MessageTooLarge { bytes, bytes_max });
        }
        if state == StreamState::Opening || self.pipe.buffered_bytes() + bytes > self.buffer_bytes {
            self.waiting = Waiting::Writer;
            return Ok(Written::Full);
        }
        let mut rest = payload;
        loop {
            let (now_sent, later) = rest.split_at(rest.len().min(PIECE_BYTES));
            self.say(&Frame::Data {
                stream: stream.0,
                kind,
                piece: match later {
                    [] => Piece::Last,
                    [..] => Piece::Inner,
                },
                payload: Bytes::copy_from_slice(now_sent),
            });
            if later.is_empty() {
                return Ok(Written::Accepted);
            }
            rest = later;
        }
    }

    fn close_stream(&mut self, stream: StreamId, now: Instant) {
        self.now = self.now.max(now);
        if let Some(entry) = self.streams.get_mut(&stream.0)
            && entry.state != StreamState::Closing
        {
            entry.state = StreamState::Closing;
            self.say(&Frame::Close { stream: stream.0 });
        }
    }

    fn close(&mut self, now: Instant) {
        self.now = self.now.max(now);
        if let Phase::Connected { path, .. } = self.phase {
            let goodbye = Segment {
                number: u32::MAX,
                ack: 0,
                frame: Frame::Goodbye.encode(),
            };
            let datagram = self.wrap(path, &goodbye);
            self.transmits.push_back(datagram);
        }
        self.end(LinkClosed::Local);
    }

    fn handle_datagram(&mut self, datagram: Received<'_>, now: Instant) {
        self.now = self.now.max(now);
        trace!(?datagram, "received");
        match datagram.payload.first() {
            Some(0..=3) => self.on_stun(datagram),
            Some(20..=63) => self.on_record(datagram),
            Some(_) | None => {}
        }
        // A quarter of the buffer is worth a wake-up.
        if self.pipe.buffered_bytes() <= self.buffer_bytes / 4 * 3
            && self.streams.values().any(|s| s.state == StreamState::Open)
        {
            self.call_waiting();
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.probe();
        if let Phase::Connected { .. } = self.phase {
            self.pipe.handle_timeout(self.now);
        }
    }

    fn poll_transmit(&mut self) -> Option<Datagram> {
        if let Some(datagram) = self.transmits.pop_front() {
            return Some(datagram);
        }
        let Phase::Connected { path, .. } = self.phase else {
            return None;
        };
        let segment = self.pipe.poll(self.now)?;
        Some(self.wrap(path, &segment))
    }

    fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Offering | Phase::Ended => None,
            Phase::Probing { probe_at, .. } => Some(probe_at),
            Phase::Connected { .. } => self.pipe.poll_timeout(),
        }
    }

    fn local_username_fragment(&self) -> &str {
        &self.own.username_fragment
    }

    fn max_message_bytes(&self) -> usize {
        let peer = self.peer();
        let peer = peer.map_or(self.buffer_bytes, |peer| peer.message_bytes_max);
        peer.min(self.buffer_bytes)
    }

    fn fingerprints(&self) -> Option<Fingerprints> {
        Some(Fingerprints {
            local: self.own.fingerprint,
            remote: self.peer()?.fingerprint,
        })
    }
}
