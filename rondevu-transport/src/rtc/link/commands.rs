//! What the embedder asks of a WebRTC link.

use super::*;
use crate::rtc::candidate::{candidate_line, local_candidate};
use crate::rtc::config::{MESSAGE_BYTES_MAX, UNNEGOTIATED_BYTES};
use crate::{LinkPath, LinkStage, LocalCandidate, NamedCandidate};

impl Transport for RtcLink {
    fn accept_answer(
        &mut self,
        answer: &SessionDescription,
        now: Instant,
    ) -> Result<(), TransportError> {
        self.check_alive()?;
        self.advance(now);
        let Phase::Offering { mid, .. } = &self.phase else {
            return Err(TransportError::NotExpected("this link has its answer"));
        };
        let remote = RemoteSdp::parse(answer, DescriptionKind::Answer)?;
        if remote.mid() != mid {
            return Err(TransportError::Description("answers another offer".into()));
        }
        let answer = SdpAnswer::from_sdp_string(&remote.to_text())
            .map_err(|error| TransportError::Description(error.to_string()))?;
        let Phase::Offering {
            mut rtc,
            pending,
            early_checks,
            ..
        } = std::mem::replace(&mut self.phase, Phase::Ended)
        else {
            return Err(TransportError::Closed);
        };
        let std_now = self.epoch.to_std(self.now);
        // The engine slept while the offer stood open; its handshake must not start in the past.
        let accepted = rtc
            .handle_input(Input::Timeout(std_now))
            .and_then(|()| rtc.sdp_api().accept_answer(pending, answer));
        self.phase = Phase::Negotiated(Negotiated::new(rtc, &remote));
        if let Err(error) = accepted {
            self.fail(&error);
            return Err(TransportError::Description(error.to_string()));
        }
        // The checks that came before the answer are worked off one in each turn, 50 ms apart.
        // They are old enough.
        for _ in 0..=early_checks {
            self.turn(self.now);
        }
        Ok(())
    }

    fn add_remote_candidate(
        &mut self,
        candidate: &IceCandidate,
        now: Instant,
    ) -> Result<(), TransportError> {
        self.check_alive()?;
        self.advance(now);
        let Phase::Negotiated(negotiated) = &mut self.phase else {
            return Err(TransportError::NotExpected("a candidate before the answer"));
        };
        let Some(line) = candidate_line(candidate)? else {
            return Ok(());
        };
        negotiated.add_candidate(line)?;
        self.turn(self.now);
        Ok(())
    }

    fn add_local_candidate(&mut self, candidate: LocalCandidate, now: Instant) {
        self.advance(now);
        let Ok(translated) = local_candidate(candidate) else {
            return debug!(?candidate, "an address that is of no use to a peer");
        };
        if !self.locals.has_room(candidate) {
            return;
        }
        let Some(rtc) = self.rtc() else { return };
        let line = rtc.add_local_candidate(translated);
        let line = line.map(|candidate| candidate.to_sdp_string());
        self.locals.add(candidate, line);
        if self.negotiated().is_some() {
            self.turn(self.now);
        }
    }

    fn remove_local_candidate(&mut self, candidate: LocalCandidate, now: Instant) {
        self.advance(now);
        self.locals.remove(candidate);
        let (Ok(translated), Some(rtc)) = (local_candidate(candidate), self.rtc()) else {
            return;
        };
        rtc.direct_api().invalidate_candidate(&translated);
        if self.negotiated().is_some() {
            self.turn(self.now);
        }
    }

    fn poll_candidate(&mut self) -> Option<IceCandidate> {
        self.locals.poll_news(&self.ufrag)
    }

    fn poll_named_candidate(&mut self) -> Option<NamedCandidate> {
        match &mut self.phase {
            Phase::Negotiated(negotiated) => negotiated.remotes.poll_named(),
            Phase::Offering { .. } | Phase::Closing(..) | Phase::Ended => None,
        }
    }

    fn open_stream(
        &mut self,
        options: StreamOptions,
        now: Instant,
    ) -> Result<StreamId, TransportError> {
        self.check_alive()?;
        self.advance(now);
        let config = channel_config(&options)?;
        self.streams.check_room()?;
        let rtc = self.rtc().ok_or(TransportError::Closed)?;
        let channel = rtc.direct_api().create_data_channel(config);
        let stream = self.streams.add_local(channel, options);
        if self.negotiated().is_some() {
            self.turn(self.now);
        }
        Ok(stream)
    }

    fn write(
        &mut self,
        stream: StreamId,
        kind: MessageKind,
        payload: &[u8],
        now: Instant,
    ) -> Result<Written, TransportError> {
        self.check_alive()?;
        self.advance(now);
        self.rouse();
        let channel = self.streams.channel(stream)?;
        // The engine numbers an empty message without sending it, and the stream waits for ever.
        if payload.is_empty() {
            return Err(TransportError::EmptyMessage);
        }
        let bytes_max = self.max_message_bytes();
        if payload.len() > bytes_max {
            return Err(TransportError::MessageTooLarge {
                bytes: payload.len(),
                bytes_max,
            });
        }
        let has_room = self.has_room(payload.len());
        let rtc = self.rtc().ok_or(TransportError::Closed)?;
        let written = match rtc.channel(channel) {
            Some(mut channel) if has_room => channel.write(kind == MessageKind::Binary, payload),
            Some(_) | None => Ok(false),
        };
        match written {
            Ok(true) => {
                self.buffered_at_most += payload.len();
                self.drainage = Drainage::Undrained;
                Ok(Written::Accepted)
            }
            Ok(false) => {
                self.streams.refuse(payload.len());
                Ok(Written::Full)
            }
            Err(error) => {
                self.fail(&error);
                Err(TransportError::Engine(error.to_string()))
            }
        }
    }

    fn close_stream(&mut self, stream: StreamId, now: Instant) {
        self.advance(now);
        let Some(channel) = self.streams.close(stream) else {
            return;
        };
        if let Phase::Negotiated(Negotiated { rtc, .. }) = &mut self.phase {
            rtc.direct_api().close_data_channel(channel);
            self.turn(self.now);
        }
    }

    fn close(&mut self, now: Instant) {
        self.advance(now);
        // What was written goes out before the farewell.
        self.drain();
        self.begin_closing(LinkClosed::Local);
        if let Phase::Closing(Negotiated { rtc, .. }, _) = &mut self.phase {
            if let Err(error) = rtc.close() {
                debug!(%error, "the peer could not be told");
            }
            self.drain();
        }
        self.end(LinkClosed::Local);
    }

    fn handle_datagram(&mut self, datagram: Received<'_>, now: Instant) {
        self.advance(now);
        trace!(?datagram, "received");
        // RFC 7983 tells protocols apart by their first byte.
        match datagram.payload.first() {
            Some(0..=3) => self.on_stun(datagram),
            Some(20..=63) => self.on_dtls(datagram),
            Some(_) | None => trace!(?datagram, "neither STUN nor DTLS, ignored"),
        }
        self.feed_early();
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        if self.negotiated().is_some() {
            self.turn(self.now);
            self.feed_early();
            self.repeat_flight();
        }
    }

    fn poll_transmit(&mut self) -> Option<Datagram> {
        if let Drainage::Undrained = self.drainage {
            self.drain();
        }
        let datagram = self.transmits.pop_front()?;
        trace!(?datagram, "sent");
        Some(datagram)
    }

    fn poll_event(&mut self) -> Option<LinkEvent> {
        if let Drainage::Undrained = self.drainage {
            self.drain();
        }
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self.drainage {
            Drainage::Undrained => Some(self.now),
            Drainage::Until(at) => {
                let times = [at, self.flight.poll_timeout()];
                times.into_iter().flatten().min()
            }
        }
    }

    fn local_username_fragment(&self) -> &str {
        &self.ufrag
    }

    fn max_message_bytes(&self) -> usize {
        let negotiated = self.negotiated();
        let peer = negotiated.map_or(UNNEGOTIATED_BYTES, |n| n.message_bytes_max);
        peer.min(self.buffer_bytes.max(MESSAGE_BYTES_MAX))
    }

    fn stage(&self) -> LinkStage {
        match (&self.phase, self.path) {
            (Phase::Offering { .. }, _) => LinkStage::Offered,
            (_, Path::Connected) => LinkStage::Connected,
            (_, Path::Found) => LinkStage::Securing,
            (_, Path::Searched) => LinkStage::Searching {
                local: self.locals.count(),
                remote: self.negotiated().map_or(0, |n| n.remotes.count()),
            },
        }
    }

    fn path(&self) -> Option<LinkPath> {
        let negotiated = self.negotiated()?;
        self.locals.path(|remote| negotiated.remotes.kind(remote))
    }

    fn fingerprints(&self) -> Option<Fingerprints> {
        Some(self.negotiated()?.fingerprints)
    }
}
