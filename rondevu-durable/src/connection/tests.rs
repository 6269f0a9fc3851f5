//! Two machines, joined by links that can be cut at any message.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;
use rondevu_core::frame::{CONTROL_LABEL, CONTROL_PROTOCOL, ControlFrame};
use rondevu_core::{
    Delivery, DurableConnectionState as State, LinkClosed, LinkEvent, Message, MessageKind,
    OpenedBy,
};

use super::*;
use crate::error::{DialFailure, DialRetry};

/// A message or a stream on its way on one direction of a link.
#[derive(Clone, Debug)]
enum Flying {
    Opened(StreamId, StreamOptions),
    Message(StreamId, Bytes),
}

#[derive(Default)]
struct Link {
    to_acceptor: VecDeque<Flying>,
    to_dialer: VecDeque<Flying>,
    streams: u32,
    greeted: bool,
}

struct Pair {
    now: Instant,
    config: ConnectionConfig,
    dialer: ConnectionMachine,
    acceptor: Option<ConnectionMachine>,
    links: BTreeMap<LinkId, Link>,
    network_up: bool,
    lives: u64,
    events: Vec<ConnectionEvent>,
    got: [Vec<Delivery>; 2],
}

fn seeds(n: u64) -> Seeds {
    Seeds {
        session: SessionId(n.into()),
        incarnation: Incarnation(n),
        rng: n,
    }
}

const CONTROL: StreamId = StreamId(0);

impl Pair {
    fn new(config: ConnectionConfig) -> Self {
        let mut pair = Self {
            now: Instant::ORIGIN,
            dialer: ConnectionMachine::dialer(config.clone(), seeds(1)),
            config,
            acceptor: None,
            links: BTreeMap::new(),
            network_up: true,
            lives: 100,
            events: Vec::new(),
            got: [Vec::new(), Vec::new()],
        };
        pair.dialer.connect(pair.now);
        pair
    }

    fn connected(config: ConnectionConfig) -> Self {
        let mut pair = Self::new(config);
        pair.settle();
        assert_eq!(pair.dialer.state(), State::Connected);
        pair
    }

    /// Does what both machines ask for, without delivering anything.
    fn pump(&mut self) {
        while let Some(action) = self.dialer.poll_action() {
            self.act(action, Role::Dialer);
        }
        while let Some(transmit) = self.dialer.poll_transmit(self.now) {
            if let Some(link) = self.links.get_mut(&transmit.link) {
                link.to_acceptor
                    .push_back(Flying::Message(transmit.stream, transmit.payload));
            }
        }
        while let Some(action) = self.acceptor.as_mut().and_then(|a| a.poll_action()) {
            self.act(action, Role::Acceptor);
        }
        let now = self.now;
        while let Some(transmit) = self.acceptor.as_mut().and_then(|a| a.poll_transmit(now)) {
            if let Some(link) = self.links.get_mut(&transmit.link) {
                link.to_dialer
                    .push_back(Flying::Message(transmit.stream, transmit.payload));
            }
        }
        self.events
            .extend(core::iter::from_fn(|| self.dialer.poll_event()));
        if let Some(acceptor) = &mut self.acceptor {
            while acceptor.poll_event().is_some() {}
        }
    }

    fn act(&mut self, action: Action, by: Role) {
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
            Action::AbandonLink { link } | Action::FinishLink { link } => {
                // What was transmitted before still arrives, then the peer sees the end.
                self.pump_link(link);
                self.cut(link);
            }
        }
    }

    fn pump_link(&mut self, id: LinkId) {
        for machine in [Some(&mut self.dialer), self.acceptor.as_mut()]
            .into_iter()
            .flatten()
        {
            while let Some(transmit) = machine.transmits.pop_front() {
                if let Some(link) = self.links.get_mut(&transmit.link) {
                    let flying = Flying::Message(transmit.stream, transmit.payload);
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

    fn deliver_to_dialer(&mut self, id: LinkId) -> bool {
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

    fn deliver_to_acceptor(&mut self, id: LinkId) -> bool {
        let Some(link) = self.links.get_mut(&id) else {
            return false;
        };
        let Some(flying) = link.to_acceptor.pop_front() else {
            return false;
        };
        if !link.greeted
            && let Flying::Message(CONTROL, mut payload) = flying.clone()
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

    fn greet(&mut self, id: LinkId, hello: rondevu_core::frame::Hello) {
        let outcome = match &mut self.acceptor {
            Some(acceptor) if acceptor.session() == hello.session => {
                acceptor.handle_hello(id, CONTROL, hello, self.now)
            }
            _ => {
                self.lives += 1;
                let config = self.config.clone();
                ConnectionMachine::acceptor(config, id, CONTROL, hello, seeds(self.lives), self.now)
                    .map(|acceptor| self.acceptor = Some(acceptor))
            }
        };
        let link = self.links.get_mut(&id).expect("the hello came on it");
        match outcome {
            Ok(()) => link.greeted = true,
            Err(reason) => {
                let mut payload = Vec::new();
                ControlFrame::Reject { reason }.encode(&mut payload);
                link.to_dialer
                    .push_back(Flying::Message(CONTROL, payload.into()));
            }
        }
    }

    fn cut(&mut self, id: LinkId) {
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

    fn cut_all(&mut self) {
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            self.cut(id);
        }
    }

    /// Delivers everything until nothing moves.
    fn settle(&mut self) {
        loop {
            self.pump();
            self.read();
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

    fn read(&mut self) {
        let machines = [Some(&mut self.dialer), self.acceptor.as_mut()];
        for (machine, got) in machines.into_iter().zip(&mut self.got) {
            for channel in machine.into_iter().flat_map(|m| m.channels.values_mut()) {
                got.extend(core::iter::from_fn(|| channel.recv()));
            }
        }
    }

    /// Moves time forward by `by`, stopping at each deadline on the way.
    fn wait(&mut self, by: Duration) {
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

    fn send(&mut self, from: Role, channel: ChannelId, text: &str) -> bool {
        let now = self.now;
        let machine = match from {
            Role::Dialer => Some(&mut self.dialer),
            Role::Acceptor => self.acceptor.as_mut(),
        };
        let channel = machine.and_then(|m| m.channel_mut(channel));
        channel.is_some_and(|c| c.send(text.into(), now).is_ok())
    }

    fn received(&self, by: Role) -> Vec<&str> {
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
        Flying::Opened(stream, options) => LinkEvent::StreamOpened {
            stream,
            options,
            by: OpenedBy::Remote,
        },
        Flying::Message(stream, payload) => LinkEvent::StreamMessage {
            stream,
            kind: MessageKind::Binary,
            payload,
        },
    }
}

fn channel(pair: &mut Pair) -> ChannelId {
    pair.dialer
        .open_channel("chat", &ChannelConfig::default(), pair.now)
        .unwrap()
}

#[test]
fn messages_sent_before_the_first_link_arrive_after_it() {
    let mut pair = Pair::new(ConnectionConfig::default());
    let chat = channel(&mut pair);
    assert!(pair.send(Role::Dialer, chat, "early"));
    pair.settle();
    assert_eq!(pair.received(Role::Acceptor), ["early"]);
}

#[test]
fn both_sides_can_open_channels_on_a_living_link() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    let now = pair.now;
    let acceptor = pair.acceptor.as_mut().unwrap();
    let news = acceptor
        .open_channel("news", &ChannelConfig::default(), now)
        .unwrap();
    assert!(pair.send(Role::Dialer, chat, "question"));
    assert!(pair.send(Role::Acceptor, news, "headline"));
    pair.settle();
    assert_eq!(pair.received(Role::Acceptor), ["question"]);
    assert_eq!(pair.received(Role::Dialer), ["headline"]);
}

#[test]
fn messages_sent_while_reconnecting_arrive_once() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.settle();
    pair.cut_all();
    assert_eq!(pair.dialer.state(), State::Reconnecting);
    assert_eq!(pair.acceptor.as_ref().unwrap().state(), State::Disconnected);
    assert!(pair.send(Role::Dialer, chat, "while away"));
    assert!(pair.send(Role::Acceptor, chat, "me too"));
    pair.wait(Duration::from_secs(2));
    assert_eq!(pair.received(Role::Acceptor), ["while away"]);
    assert_eq!(pair.received(Role::Dialer), ["me too"]);
    assert_eq!(pair.dialer.generation(), Generation(2));
}

#[test]
fn an_acceptor_that_lost_its_memory_gets_everything_unconfirmed_in_a_new_session() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.settle();
    pair.cut_all();
    pair.send(Role::Dialer, chat, "first");
    pair.send(Role::Dialer, chat, "second");
    pair.acceptor = None;
    pair.wait(Duration::from_secs(3));
    assert_eq!(pair.dialer.state(), State::Connected);
    assert_eq!(pair.received(Role::Acceptor), ["first", "second"]);
    let unconfirmed = Unconfirmed {
        undelivered: 2,
        maybe_delivered: 0,
    };
    assert!(
        pair.events
            .contains(&ConnectionEvent::SessionReset { unconfirmed })
    );
}

#[test]
fn attempts_back_off_and_end_in_failure() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    pair.network_up = false;
    pair.cut_all();
    pair.wait(Duration::from_secs(600));
    assert_eq!(pair.dialer.state(), State::Failed);
    let delays: Vec<u64> = pair
        .events
        .iter()
        .filter_map(|event| match event {
            ConnectionEvent::Reconnecting { delay, .. } => Some(delay.as_secs_f64().round() as u64),
            _ => None,
        })
        .collect();
    assert_eq!(delays.len(), 10);
    assert!(delays.iter().all(|delay| *delay <= 36), "{delays:?}");
    assert_eq!(
        pair.acceptor.as_ref().unwrap().state(),
        State::Closed,
        "the session expired"
    );
}

#[test]
fn the_resume_window_ends_to_the_second() {
    for (away, resumed) in [(299, true), (301, false)] {
        let mut config = ConnectionConfig::default();
        config.backoff.attempts_max = None;
        let mut pair = Pair::connected(config);
        let chat = channel(&mut pair);
        pair.settle();
        pair.network_up = false;
        pair.cut_all();
        pair.wait(Duration::from_secs(away));
        let open = pair.acceptor.as_ref().unwrap().state() == State::Disconnected;
        assert_eq!(open, resumed, "after {away} s");
        pair.network_up = true;
        pair.send(Role::Dialer, chat, "back");
        pair.wait(Duration::from_secs(40));
        assert_eq!(pair.received(Role::Acceptor), ["back"]);
    }
}

#[test]
fn a_silent_link_is_suspected_and_a_new_one_found_beside_it() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.wait(Duration::from_secs(1));
    // A black hole: the link swallows everything and nobody is told.
    let dead = *pair.links.keys().next().unwrap();
    pair.links.remove(&dead);
    pair.send(Role::Dialer, chat, "into the hole");
    pair.wait(Duration::from_secs(2));
    assert_eq!(pair.dialer.state(), State::Connected);
    assert_eq!(pair.received(Role::Acceptor), ["into the hole"]);
    assert_ne!(pair.dialer.live_link(), Some(dead));
}

#[test]
fn a_sign_of_life_below_the_messages_hastens_the_attempt_once() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.settle();
    // The first replacement starts at once; the link that it brings is not stable yet.
    pair.cut_all();
    pair.wait(Duration::from_secs(1));
    let dead = *pair.links.keys().next().unwrap();
    pair.links.remove(&dead);
    pair.send(Role::Dialer, chat, "x");
    pair.wait(Duration::from_millis(510));
    assert_eq!(pair.dialer.state(), State::Reconnecting);
    pair.dialer.handle_path_activity(dead, pair.now);
    pair.settle();
    assert_eq!(pair.received(Role::Acceptor), ["x"]);
}

#[test]
fn a_stream_that_the_link_closes_under_a_channel_costs_the_link_and_no_message() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.settle();
    let link = pair.dialer.live_link().unwrap();
    let stream = pair.dialer.channel(chat).unwrap().stream().unwrap();
    pair.dialer
        .handle_link_event(link, LinkEvent::StreamClosed { stream }, pair.now);
    assert_eq!(pair.dialer.state(), State::Reconnecting);
    assert!(pair.send(Role::Dialer, chat, "on the next link"));
    pair.wait(Duration::from_secs(2));
    assert_eq!(pair.received(Role::Acceptor), ["on the next link"]);
}

#[test]
fn closing_delivers_what_was_sent_and_tells_the_peer() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.send(Role::Dialer, chat, "last words");
    pair.dialer.close(pair.now);
    pair.settle();
    assert_eq!(pair.received(Role::Acceptor), ["last words"]);
    assert_eq!(pair.dialer.state(), State::Closed);
    assert_eq!(pair.acceptor.as_ref().unwrap().state(), State::Closed);
    let reason = ConnectionClosed::Local;
    let closed = ConnectionEvent::Closed {
        reason,
        unconfirmed: Unconfirmed::default(),
    };
    assert!(pair.events.contains(&closed));
}

#[test]
fn a_channel_whose_last_confirmation_was_lost_does_no_harm_to_the_next_link() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.settle();
    pair.send(Role::Acceptor, chat, "hello");
    pair.settle();
    let acceptor = pair.acceptor.as_mut().unwrap();
    acceptor.channel_mut(chat).unwrap().finish();
    pair.pump();
    let link = pair.dialer.live_link().unwrap();
    while pair.deliver_to_dialer(link) {}
    pair.pump();
    while pair.deliver_to_acceptor(link) {}
    pair.pump();
    let closed = rondevu_core::DurableChannelState::Closed;
    let acceptor = pair.acceptor.as_ref().unwrap();
    assert_eq!(acceptor.channel(chat).unwrap().state(), closed);
    assert_ne!(pair.dialer.channel(chat).unwrap().state(), closed);
    pair.cut_all();
    pair.wait(Duration::from_secs(2));
    assert_eq!(pair.dialer.channel(chat).unwrap().state(), closed);
    assert_eq!(pair.dialer.state(), State::Connected);
    assert_eq!(pair.dialer.generation(), Generation(2));
}

#[test]
fn closing_the_connection_leaves_what_closed_channels_hold() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.send(Role::Dialer, chat, "unread");
    pair.dialer.channel_mut(chat).unwrap().finish();
    let step = |pair: &mut Pair| {
        pair.pump();
        let link = pair.dialer.live_link().unwrap();
        pair.deliver_to_acceptor(link) | pair.deliver_to_dialer(link)
    };
    while step(&mut pair) {}
    let now = pair.now;
    let acceptor = pair.acceptor.as_mut().unwrap();
    let closed = rondevu_core::DurableChannelState::Closed;
    assert_eq!(acceptor.channel(chat).unwrap().state(), closed);
    acceptor.close(now);
    let unread = acceptor.channel_mut(chat).unwrap().recv();
    assert_eq!(unread, Some(Delivery::Message("unread".into())));
}

#[test]
fn a_channel_closed_across_a_cut_is_closed_on_both_sides() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let chat = channel(&mut pair);
    pair.settle();
    pair.send(Role::Dialer, chat, "bye");
    pair.dialer.channel_mut(chat).unwrap().finish();
    pair.pump();
    pair.cut_all();
    pair.wait(Duration::from_secs(3));
    assert_eq!(pair.received(Role::Acceptor), ["bye"]);
    let closed = rondevu_core::DurableChannelState::Closed;
    assert_eq!(pair.dialer.channel(chat).unwrap().state(), closed);
    assert_eq!(
        pair.acceptor
            .as_ref()
            .unwrap()
            .channel(chat)
            .unwrap()
            .state(),
        closed
    );
}

#[test]
fn a_channel_of_the_acceptor_that_the_dialer_never_heard_of_survives_the_link() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let now = pair.now;
    let acceptor = pair.acceptor.as_mut().unwrap();
    let news = acceptor
        .open_channel("news", &ChannelConfig::default(), now)
        .unwrap();
    assert!(pair.send(Role::Acceptor, news, "headline"));
    pair.pump();
    pair.cut_all();
    pair.wait(Duration::from_secs(2));
    assert_eq!(pair.received(Role::Dialer), ["headline"]);
}

#[test]
fn a_channel_that_ends_with_its_session_says_what_may_have_arrived() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let now = pair.now;
    let acceptor = pair.acceptor.as_mut().unwrap();
    let news = acceptor
        .open_channel("news", &ChannelConfig::default(), now)
        .unwrap();
    pair.settle();
    pair.send(Role::Dialer, news, "on its way");
    pair.pump();
    pair.acceptor = None;
    pair.cut_all();
    pair.wait(Duration::from_secs(2));
    let channel = pair.dialer.channel_mut(news).unwrap();
    let events: Vec<_> = core::iter::from_fn(|| channel.poll_event()).collect();
    let unconfirmed = Unconfirmed {
        undelivered: 0,
        maybe_delivered: 1,
    };
    let closed = crate::ChannelEvent::Closed {
        unconfirmed,
        unread: 0,
    };
    assert_eq!(events.last(), Some(&closed));
}

#[test]
fn an_unknown_name_fails_the_first_attempt_at_once() {
    let mut dialer = ConnectionMachine::dialer(ConnectionConfig::default(), seeds(1));
    dialer.connect(Instant::ORIGIN);
    let Some(Action::Dial { link }) = dialer.poll_action() else {
        panic!("dials")
    };
    let failure = DialFailure {
        reason: "no such user".into(),
        retry: DialRetry::Never,
    };
    dialer.handle_dial_failed(link, failure, Instant::ORIGIN);
    assert_eq!(dialer.state(), State::Failed);
}

#[test]
fn an_older_generation_is_refused_and_changes_nothing() {
    let mut pair = Pair::connected(ConnectionConfig::default());
    let hello = rondevu_core::frame::Hello {
        version: 1,
        session: SessionId(1),
        generation: Generation(1),
        incarnation: Incarnation(1),
        peer_incarnation: None,
        limits: ConnectionConfig::default().limits(),
        channels: Vec::new(),
        nonce: [0; 16],
        proof: None,
        extensions: Vec::new(),
    };
    let acceptor = pair.acceptor.as_mut().unwrap();
    let refused = acceptor.handle_hello(LinkId(77), CONTROL, hello, pair.now);
    assert_eq!(refused, Err(rondevu_core::RejectReason::Superseded));
    assert_eq!(acceptor.state(), State::Connected);
}

#[derive(Clone, Debug)]
enum Op {
    Send(bool),
    Step(bool),
    Pump,
    Read,
    Cut,
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => any::<bool>().prop_map(Op::Send),
        8 => any::<bool>().prop_map(Op::Step),
        3 => Just(Op::Pump),
        1 => Just(Op::Read),
        1 => Just(Op::Cut),
        1 => (1u64..1500).prop_map(Op::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Links die at any frame of greeting, replay and acknowledgement; both sides keep sending.
    #[test]
    fn every_message_arrives_once_and_in_order_on_both_sides(
        ops in prop::collection::vec(op(), 1..150),
    ) {
        let mut config = ConnectionConfig { window_bytes: 600, ..ConnectionConfig::default() };
        config.backoff.attempts_max = None;
        config.fragment_bytes = 8;
        let mut pair = Pair::connected(config);
        let chat = channel(&mut pair);
        pair.settle();
        let mut sent = [0u32, 0];
        for op in ops {
            match op {
                Op::Send(dialer) => {
                    let side = usize::from(!dialer);
                    let from = if dialer { Role::Dialer } else { Role::Acceptor };
                    let text = std::format!("message number {}", sent[side]);
                    sent[side] += u32::from(pair.send(from, chat, &text));
                }
                Op::Step(dialer) => {
                    pair.pump();
                    if let Some(id) = pair.links.keys().next_back().copied() {
                        if dialer { pair.deliver_to_dialer(id); } else { pair.deliver_to_acceptor(id); }
                    }
                }
                Op::Pump => pair.pump(),
                Op::Read => pair.read(),
                Op::Cut => pair.cut_all(),
                Op::Wait(ms) => pair.wait(Duration::from_millis(ms)),
            }
        }
        pair.wait(Duration::from_secs(40));
        for (role, count) in [(Role::Acceptor, sent[0]), (Role::Dialer, sent[1])] {
            let expected: Vec<_> = (0..count).map(|n| std::format!("message number {n}")).collect();
            prop_assert_eq!(pair.received(role), expected);
        }
    }
}
