//! Two machines, joined by links that can be cut at any message.

use std::collections::{BTreeMap, VecDeque};
use std::vec::Vec;

use rondevu_core::frame::{CONTROL_LABEL, CONTROL_PROTOCOL, ControlFrame};
use rondevu_core::{
    Delivery, DurableConnectionState as State, Fingerprints, LinkClosed, LinkEvent, Message,
    MessageKind, OpenedBy,
};

use super::*;
use crate::error::{DialFailure, DialRetry};

/// A message or a stream on its way on one direction of a link.
#[derive(Clone, Debug)]
pub(super) enum Flying {
    Connected(LinkInfo),
    Opened(StreamId, StreamOptions),
    Message(StreamId, MessageKind, Bytes),
}

#[derive(Default)]
pub(super) struct Link {
    pub(super) to_acceptor: VecDeque<Flying>,
    pub(super) to_dialer: VecDeque<Flying>,
    streams: u32,
    greeted: bool,
}

pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) config: ConnectionConfig,
    pub(super) trust: [Trust; 2],
    pub(super) dialer: ConnectionMachine,
    pub(super) acceptor: Option<ConnectionMachine>,
    pub(super) links: BTreeMap<LinkId, Link>,
    pub(super) network_up: bool,
    /// Whether somebody sits between the two and shows each his own certificate.
    pub(super) intercepted: bool,
    lives: u64,
    pub(super) events: Vec<ConnectionEvent>,
    pub(super) got: [Vec<Delivery>; 2],
    pub(super) closed_streams: u32,
}

pub(super) fn seeds(n: u64) -> Seeds {
    Seeds {
        session: SessionId(n.into()),
        incarnation: Incarnation(n),
        rng: n,
    }
}

pub(super) const CONTROL: StreamId = StreamId(0);

impl Pair {
    pub(super) fn new(config: ConnectionConfig) -> Self {
        Self::trusting(config, [Trust::default(), Trust::default()])
    }

    /// A dialer and an acceptor that trust as these two say.
    pub(super) fn trusting(config: ConnectionConfig, trust: [Trust; 2]) -> Self {
        let dialer = ConnectionMachine::dialer(config.clone(), trust[0].clone(), seeds(1));
        let mut pair = Self {
            now: Instant::ORIGIN,
            dialer,
            config,
            trust,
            acceptor: None,
            links: BTreeMap::new(),
            network_up: true,
            intercepted: false,
            closed_streams: 0,
            lives: 100,
            events: Vec::new(),
            got: [Vec::new(), Vec::new()],
        };
        pair.dialer.connect(pair.now);
        pair
    }

    pub(super) fn connected(config: ConnectionConfig) -> Self {
        let mut pair = Self::new(config);
        pair.settle();
        assert_eq!(pair.dialer.state(), State::Connected);
        pair
    }

    /// Does what both machines ask for, without delivering anything.
    pub(super) fn pump(&mut self) {
        while let Some(action) = self.dialer.poll_action() {
            self.act(action, Role::Dialer);
        }
        while let Some(transmit) = self.dialer.poll_transmit(self.now) {
            if let Some(link) = self.links.get_mut(&transmit.link) {
                link.to_acceptor.push_back(Flying::Message(
                    transmit.stream,
                    transmit.kind,
                    transmit.payload,
                ));
            }
        }
        while let Some(action) = self.acceptor.as_mut().and_then(|a| a.poll_action()) {
            self.act(action, Role::Acceptor);
        }
        let now = self.now;
        while let Some(transmit) = self.acceptor.as_mut().and_then(|a| a.poll_transmit(now)) {
            if let Some(link) = self.links.get_mut(&transmit.link) {
                link.to_dialer.push_back(Flying::Message(
                    transmit.stream,
                    transmit.kind,
                    transmit.payload,
                ));
            }
        }
        self.events
            .extend(core::iter::from_fn(|| self.dialer.poll_event()));
        if let Some(acceptor) = &mut self.acceptor {
            while acceptor.poll_event().is_some() {}
        }
    }

    pub(super) fn act(&mut self, action: Action, by: Role) {
        match action {
            Action::Dial { link } if !self.network_up => {
                let retry = DialRetry::Later;
                let failure = DialFailure {
                    reason: "unplugged".into(),
                    retry,
                };
                self.dialer.handle_dial_failed(link, failure, self.now);
            }
            Action::Dial { link } => {
                let options = StreamOptions::reliable(CONTROL_LABEL, CONTROL_PROTOCOL);
                let mut fresh = Link {
                    streams: 1,
                    ..Link::default()
                };
                let info = self.info(Role::Dialer);
                fresh.to_dialer.push_back(Flying::Connected(info));
                fresh.to_dialer.push_back(Flying::Opened(CONTROL, options));
                self.links.insert(link, fresh);
            }
            Action::OpenStream { link: id, options } => {
                let Some(link) = self.links.get_mut(&id) else {
                    return;
                };
                let stream = StreamId(link.streams);
                link.streams += 1;
                let opened = Flying::Opened(stream, options.clone());
                let local = LinkEvent::StreamOpened {
                    stream,
                    options,
                    by: OpenedBy::Local,
                };
                if by == Role::Dialer {
                    link.to_acceptor.push_back(opened);
                    self.dialer.handle_link_event(id, local, self.now);
                } else {
                    link.to_dialer.push_back(opened);
                    if let Some(acceptor) = &mut self.acceptor {
                        acceptor.handle_link_event(id, local, self.now);
                    }
                }
            }
            Action::CloseStream { .. } => self.closed_streams += 1,
            Action::AbandonLink { link } | Action::FinishLink { link } => {
                // What was transmitted before still arrives, then the peer sees the end.
                self.pump_link(link);
                self.cut(link);
            }
        }
    }

    /// What a link shows on this side.
    pub(super) fn info(&self, side: Role) -> LinkInfo {
        let (dialer, acceptor, interceptor) = ([1; 32], [2; 32], [3; 32]);
        let own = match side {
            Role::Dialer => Fingerprints {
                local: dialer,
                remote: acceptor,
            },
            Role::Acceptor => Fingerprints {
                local: acceptor,
                remote: dialer,
            },
        };
        let remote = if self.intercepted {
            interceptor
        } else {
            own.remote
        };
        LinkInfo {
            fingerprints: Some(Fingerprints { remote, ..own }),
            message_bytes_max: 64 * 1024,
            batch_bytes: 0,
        }
    }

    pub(super) fn pump_link(&mut self, id: LinkId) {
        for machine in [Some(&mut self.dialer), self.acceptor.as_mut()]
            .into_iter()
            .flatten()
        {
            while let Some(transmit) = machine.transmits.pop_front() {
                if let Some(link) = self.links.get_mut(&transmit.link) {
                    let flying = Flying::Message(transmit.stream, transmit.kind, transmit.payload);
                    match machine.role {
                        Role::Dialer => link.to_acceptor.push_back(flying),
                        Role::Acceptor => link.to_dialer.push_back(flying),
                    }
                }
            }
        }
        while self.deliver_to_acceptor(id) {}
        while self.deliver_to_dialer(id) {}
    }

    pub(super) fn deliver_to_dialer(&mut self, id: LinkId) -> bool {
        let Some(flying) = self
            .links
            .get_mut(&id)
            .and_then(|l| l.to_dialer.pop_front())
        else {
            return false;
        };
        self.dialer.handle_link_event(id, event(flying), self.now);
        true
    }

    pub(super) fn deliver_to_acceptor(&mut self, id: LinkId) -> bool {
        let Some(link) = self.links.get_mut(&id) else {
            return false;
        };
        let Some(flying) = link.to_acceptor.pop_front() else {
            return false;
        };
        if !link.greeted
            && let Flying::Message(CONTROL, _, mut payload) = flying.clone()
        {
            let Ok(ControlFrame::Hello(hello)) = ControlFrame::decode(&mut payload) else {
                panic!("a dialer says hello first")
            };
            self.greet(id, hello);
        } else if let Some(acceptor) = &mut self.acceptor {
            acceptor.handle_link_event(id, event(flying), self.now);
        }
        true
    }

    pub(super) fn greet(&mut self, id: LinkId, hello: Hello) {
        let arrival = Arrival {
            link: id,
            control: CONTROL,
            info: self.info(Role::Acceptor),
        };
        let outcome = match &mut self.acceptor {
            Some(acceptor) if acceptor.session() == hello.session => {
                acceptor.handle_hello(arrival, hello, self.now)
            }
            _ => {
                self.lives += 1;
                let config = self.config.clone();
                let (trust, seeds) = (self.trust[1].clone(), seeds(self.lives));
                ConnectionMachine::acceptor(config, trust, arrival, hello, seeds, self.now)
                    .map(|acceptor| self.acceptor = Some(acceptor))
            }
        };
        let link = self.links.get_mut(&id).expect("the hello came on it");
        match outcome {
            Ok(()) => link.greeted = true,
            Err(reason) => {
                let mut payload = Vec::new();
                ControlFrame::Reject { reason }.encode(&mut payload);
                link.to_dialer.push_back(Flying::Message(
                    CONTROL,
                    MessageKind::Binary,
                    payload.into(),
                ));
            }
        }
    }

    pub(super) fn cut(&mut self, id: LinkId) {
        if self.links.remove(&id).is_some() {
            let closed = || LinkEvent::Closed {
                reason: LinkClosed::NoPath,
            };
            self.dialer.handle_link_event(id, closed(), self.now);
            if let Some(acceptor) = &mut self.acceptor {
                acceptor.handle_link_event(id, closed(), self.now);
            }
        }
    }

    pub(super) fn cut_all(&mut self) {
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            self.cut(id);
        }
    }

    /// Delivers everything until nothing moves.
    pub(super) fn settle(&mut self) {
        self.settle_and(Self::read);
    }

    /// The same while nobody reads.
    pub(super) fn settle_without_reading(&mut self) {
        self.settle_and(|_| {});
    }

    /// Delivers one thing on each link in each direction.
    pub(super) fn deliver_some(&mut self) {
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            self.deliver_to_dialer(id);
            self.deliver_to_acceptor(id);
        }
    }

    fn settle_and(&mut self, read: impl Fn(&mut Self)) {
        loop {
            self.pump();
            read(self);
            // Reading may have made room worth telling.
            self.pump();
            let ids: Vec<_> = self.links.keys().copied().collect();
            let moved = ids.into_iter().fold(false, |moved, id| {
                let dialer = self.deliver_to_dialer(id);
                let acceptor = self.deliver_to_acceptor(id);
                moved | dialer | acceptor
            });
            if !moved {
                break;
            }
        }
    }

    pub(super) fn read(&mut self) {
        let machines = [Some(&mut self.dialer), self.acceptor.as_mut()];
        for (machine, got) in machines.into_iter().zip(&mut self.got) {
            for channel in machine.into_iter().flat_map(|m| m.channels.values_mut()) {
                got.extend(core::iter::from_fn(|| channel.recv()));
            }
        }
    }

    /// Moves time forward by `by`, stopping at each deadline on the way.
    pub(super) fn wait(&mut self, by: Duration) {
        let end = self.now + by;
        for _ in 0..10_000 {
            self.settle();
            let deadlines = [
                self.dialer.poll_timeout(),
                self.acceptor.as_ref().and_then(|a| a.poll_timeout()),
            ];
            let next = deadlines.into_iter().flatten().map(|d| d.at).min();
            match next.filter(|at| *at <= end) {
                Some(at) => self.now = at.max(self.now),
                None => {
                    self.now = end;
                    break;
                }
            }
            self.dialer.handle_timeout(self.now);
            let past = |d: rondevu_core::Deadline| d.at <= self.now;
            assert!(
                !self.dialer.poll_timeout().is_some_and(past),
                "a deadline in the past"
            );
            if let Some(acceptor) = &mut self.acceptor {
                acceptor.handle_timeout(self.now);
            }
        }
        self.settle();
    }

    pub(super) fn send(&mut self, from: Role, channel: ChannelId, text: &str) -> bool {
        let now = self.now;
        let machine = match from {
            Role::Dialer => Some(&mut self.dialer),
            Role::Acceptor => self.acceptor.as_mut(),
        };
        let channel = machine.and_then(|m| m.channel_mut(channel));
        channel.is_some_and(|c| c.send(text.into(), now).is_ok())
    }

    pub(super) fn received(&self, by: Role) -> Vec<&str> {
        let got = match by {
            Role::Dialer => &self.got[0],
            Role::Acceptor => &self.got[1],
        };
        let text = |delivery: &'_ Delivery| match delivery {
            Delivery::Message(Message::Text(_)) => true,
            other => panic!("unexpected {other:?}"),
        };
        got.iter()
            .filter(|d| text(d))
            .filter_map(|d| match d {
                Delivery::Message(message) => message.as_text(),
                Delivery::Lost { .. } => None,
            })
            .collect()
    }
}

fn event(flying: Flying) -> LinkEvent {
    match flying {
        Flying::Connected(info) => LinkEvent::Connected(info),
        Flying::Opened(stream, options) => LinkEvent::StreamOpened {
            stream,
            options,
            by: OpenedBy::Remote,
        },
        Flying::Message(stream, kind, payload) => LinkEvent::StreamMessage {
            stream,
            kind,
            payload,
        },
    }
}
