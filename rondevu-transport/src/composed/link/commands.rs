//! What the embedder asks of a link.

use super::*;
use crate::NamedCandidate;
use crate::rtc::candidate::candidate_line;
use crate::rtc::config::{MESSAGE_BYTES_MAX, UNNEGOTIATED_BYTES};

impl Transport for ComposedLink {
    fn accept_answer(
        &mut self,
        answer: &SessionDescription,
        now: Instant,
    ) -> Result<(), TransportError> {
        self.check_alive()?;
        self.advance(now);
        let Phase::Offering { .. } = self.phase else {
            return Err(TransportError::NotExpected("this link has its answer"));
        };
        let remote = RemoteSdp::parse(answer, DescriptionKind::Answer)?;
        if remote.mid() != MID {
            return Err(TransportError::Description("answers another offer".into()));
        }
        self.begin(&remote, Role::Offerer, now);
        Ok(())
    }

    fn add_remote_candidate(
        &mut self,
        candidate: &IceCandidate,
        now: Instant,
    ) -> Result<(), TransportError> {
        self.check_alive()?;
        self.advance(now);
        if self.negotiated().is_none() {
            return Err(TransportError::NotExpected("a candidate before the answer"));
        }
        let Some(line) = candidate_line(candidate)? else {
            return Ok(());
        };
        self.ice.add_remote(line)?;
        self.search_anew();
        Ok(())
    }

    fn add_local_candidate(&mut self, candidate: LocalCandidate, now: Instant) {
        self.advance(now);
        if matches!(self.phase, Phase::Ended) || !self.locals.has_room(candidate) {
            return;
        }
        let line = self.ice.add_late_local(candidate);
        self.locals.add(candidate, line);
        self.search_anew();
    }

    fn remove_local_candidate(&mut self, candidate: LocalCandidate, now: Instant) {
        self.advance(now);
        self.locals.remove(candidate);
        self.ice.remove_local(candidate);
        self.search_anew();
    }

    fn poll_candidate(&mut self) -> Option<IceCandidate> {
        self.locals.poll_news(self.ice.ufrag())
    }

    fn poll_named_candidate(&mut self) -> Option<NamedCandidate> {
        self.negotiated()?;
        self.ice.remotes.poll_named()
    }

    fn open_stream(
        &mut self,
        options: StreamOptions,
        now: Instant,
    ) -> Result<StreamId, TransportError> {
        self.check_alive()?;
        self.advance(now);
        let stream = self.add_stream(options)?;
        self.work();
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
        let channel = self.streams.channel(stream)?;
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
        if !self.has_room(payload.len()) || !self.channels.is_open(channel) {
            self.streams.refuse(payload.len());
            return Ok(Written::Full);
        }
        match self
            .channels
            .write(channel, kind, payload, self.shared.epoch.to_std(self.now))
        {
            Ok(()) => {
                self.output = Output::Waiting;
                Ok(Written::Accepted)
            }
            Err(why) => {
                self.end(LinkClosed::Failed(why.clone()));
                Err(TransportError::Engine(why))
            }
        }
    }

    fn close_stream(&mut self, stream: StreamId, now: Instant) {
        self.advance(now);
        if let Some(channel) = self.streams.close(stream) {
            self.channels.close(channel, self.std_now());
            self.work();
        }
    }

    fn close(&mut self, now: Instant) {
        self.advance(now);
        // What was written goes out before the farewell.
        self.work();
        self.say_farewell();
        self.end(LinkClosed::Local);
    }

    fn handle_datagram(&mut self, datagram: Received<'_>, now: Instant) {
        self.advance(now);
        trace!(?datagram, "received");
        // RFC 7983 tells protocols apart by their first byte.
        match datagram.payload.first() {
            Some(0..=3) => {
                self.on_stun(datagram);
                self.work();
            }
            Some(20..=63) => {
                self.on_dtls(datagram);
                // What there is to answer is gathered with the answers to the datagrams behind.
                self.output = Output::Waiting;
            }
            Some(_) | None => trace!(?datagram, "neither STUN nor DTLS, ignored"),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        for _ in 0..TURNS_MAX {
            self.do_what_is_due();
            if self.poll_timeout().is_none_or(|at| at > self.now) {
                return;
            }
        }
        // A part asks for the past again and again: it may do so, but not spin the embedder.
        self.resting_until = self.now + Duration::from_millis(1);
    }

    fn poll_transmit(&mut self) -> Option<Datagram> {
        if self.output == Output::Waiting {
            self.work();
        }
        let datagram = self.transmits.pop_front()?;
        trace!(?datagram, "sent");
        Some(datagram)
    }

    fn poll_event(&mut self) -> Option<LinkEvent> {
        if self.output == Output::Waiting {
            self.work();
        }
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let negotiated = self.negotiated()?;
        if self.output == Output::Waiting {
            return Some(self.now);
        }
        let dtls_at = negotiated.dtls_at.filter(|_| self.route.is_some());
        let channels_at = self.channels.poll_timeout();
        let times = [
            self.ice_at,
            dtls_at,
            channels_at.map(|at| self.shared.epoch.at_std(at)),
            self.flight.poll_timeout(),
            self.path_mtu
                .poll_timeout()
                .filter(|_| self.route.is_some()),
        ];
        let next = times.into_iter().flatten().min();
        next.map(|at| at.max(self.resting_until))
    }

    fn local_username_fragment(&self) -> &str {
        self.ice.ufrag()
    }

    fn max_message_bytes(&self) -> usize {
        let peer = self.negotiated().map_or(UNNEGOTIATED_BYTES, |negotiated| {
            negotiated.message_bytes_max
        });
        peer.min(self.shared.buffer_bytes().max(MESSAGE_BYTES_MAX))
    }

    fn stage(&self) -> LinkStage {
        match (&self.phase, self.route) {
            (Phase::Offering { .. }, _) => LinkStage::Offered,
            (Phase::Negotiated(negotiated), _) if negotiated.is_secured => LinkStage::Connected,
            (Phase::Negotiated(_), Some(_)) => LinkStage::Securing,
            (Phase::Negotiated(_), None) => LinkStage::Searching {
                local: self.locals.count(),
                remote: self.ice.remotes.count(),
            },
            // What it was is known from its last event.
            (Phase::Ended, _) => LinkStage::Unknown,
        }
    }

    fn path(&self) -> Option<LinkPath> {
        self.negotiated()?;
        self.locals.path(|remote| self.ice.remotes.kind(remote))
    }

    fn fingerprints(&self) -> Option<Fingerprints> {
        Some(self.negotiated()?.fingerprints)
    }
}
