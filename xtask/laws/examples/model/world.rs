//! Two machines and everything that is on its way between them.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use rondevu_core::frame::{CONTROL_LABEL, CONTROL_PROTOCOL, ChannelFrame, ControlFrame, Hello};
use rondevu_core::{
    ChannelId, Delivery, DurableConnectionState, Incarnation, Instant, LinkClosed, LinkEvent,
    LinkId, LinkInfo, OpenedBy, QueueLimits, SessionId, StreamId, StreamOptions,
};
use rondevu_durable::{
    Action, Arrival, ChannelConfig, ConnectionConfig, ConnectionMachine, Seeds, Transmit, Trust,
};

/// How far the exploration goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How many links are cut.
    pub(crate) cuts: u8,
    /// How many time-outs come while something is on its way. Those that come when nothing is do not
    /// count: without them nothing goes on.
    pub(crate) timeouts: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Dialer,
    Acceptor,
}

impl Side {
    const BOTH: [Self; 2] = [Self::Dialer, Self::Acceptor];

    fn other(self) -> Self {
        match self {
            Self::Dialer => Self::Acceptor,
            Self::Acceptor => Self::Dialer,
        }
    }
}

/// What comes to one side in its order: a stream of a link. The end of a link has a lane of its own.
type Lane = (LinkId, Side, StreamId);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Choice {
    Send(Side),
    Deliver(Lane),
    Cut(LinkId),
    TimeOut,
}

#[derive(Debug)]
struct Link {
    streams: u32,
    greeted: bool,
    cut: bool,
}

pub(crate) struct World {
    limits: Limits,
    now: Instant,
    dialer: ConnectionMachine,
    acceptor: Option<ConnectionMachine>,
    channel: ChannelId,
    links: BTreeMap<LinkId, Link>,
    lanes: BTreeMap<Lane, VecDeque<LinkEvent>>,
    sent: [u8; 2],
    got: [Vec<u8>; 2],
    cuts: u8,
    timeouts: u8,
}

const MESSAGES: u8 = 2;
const CONTROL: StreamId = StreamId(0);
const END: StreamId = StreamId(u32::MAX);
const LINK: LinkInfo = LinkInfo {
    message_bytes_max: 64 * 1024,
    ..LinkInfo::UNKNOWN
};

fn config() -> ConnectionConfig {
    let mut config = ConnectionConfig {
        reconnect_spread: Duration::ZERO,
        ..ConnectionConfig::default()
    };
    config.backoff.jitter = 0.0;
    config
}

impl World {
    /// The world after these choices.
    pub(crate) fn replay(limits: Limits, path: &[u8]) -> Self {
        let seeds = Seeds {
            session: SessionId(1),
            incarnation: Incarnation(1),
            rng: 1,
        };
        let mut dialer = ConnectionMachine::dialer(config(), Trust::default(), seeds);
        let queue = QueueLimits {
            age_max: None,
            ..QueueLimits::default()
        };
        let channel = ChannelConfig {
            queue,
            ..ChannelConfig::default()
        };
        let channel = dialer
            .open_channel("chat", &channel)
            .expect("there is room for one channel");
        dialer.connect(Instant::ORIGIN);
        let mut world = Self {
            limits,
            now: Instant::ORIGIN,
            dialer,
            acceptor: None,
            channel,
            links: BTreeMap::new(),
            lanes: BTreeMap::new(),
            sent: [0; 2],
            got: [Vec::new(), Vec::new()],
            cuts: 0,
            timeouts: 0,
        };
        world.settle();
        for choice in path {
            let choice = world.choices()[usize::from(*choice)];
            world.choose(choice);
        }
        world
    }

    /// What can happen next.
    pub(crate) fn choices(&self) -> Vec<Choice> {
        let mut choices = Vec::new();
        let can_send = |side: &Side| {
            let known = match side {
                Side::Dialer => true,
                Side::Acceptor => self.acceptor.is_some(),
            };
            known && self.sent[*side as usize] < MESSAGES
        };
        choices.extend(Side::BOTH.into_iter().filter(can_send).map(Choice::Send));
        choices.extend(self.lanes.keys().copied().map(Choice::Deliver));
        if self.cuts < self.limits.cuts {
            let whole = self.links.iter().filter(|(_, link)| !link.cut);
            choices.extend(whole.map(|(id, _)| Choice::Cut(*id)));
        }
        let waits = !self.lanes.is_empty();
        let may = match waits {
            true => self.timeouts < self.limits.timeouts,
            false => !self.is_idle(),
        };
        if may && self.next_deadline().is_some() {
            choices.push(Choice::TimeOut);
        }
        choices
    }

    fn choose(&mut self, choice: Choice) {
        match choice {
            Choice::Send(side) => self.send(side),
            Choice::Deliver(lane) => self.deliver(lane),
            Choice::Cut(link) => {
                self.cuts += 1;
                self.cut(link);
            }
            Choice::TimeOut => {
                self.timeouts += u8::from(!self.lanes.is_empty());
                self.time_out();
            }
        }
        self.settle();
    }

    fn machine(&mut self, side: Side) -> Option<&mut ConnectionMachine> {
        match side {
            Side::Dialer => Some(&mut self.dialer),
            Side::Acceptor => self.acceptor.as_mut(),
        }
    }

    fn send(&mut self, side: Side) {
        let (channel, now) = (self.channel, self.now);
        let number = self.sent[side as usize];
        let sent = self.machine(side).and_then(|machine| {
            let channel = machine.channel_mut(channel)?;
            channel.send(vec![number].into(), now).ok()
        });
        self.sent[side as usize] += u8::from(sent.is_some());
    }

    fn deliver(&mut self, lane: Lane) {
        let (id, side, stream) = lane;
        let Some(queue) = self.lanes.get_mut(&lane) else {
            return;
        };
        let event = queue.pop_front().expect("an empty lane is removed");
        if queue.is_empty() {
            self.lanes.remove(&lane);
        }
        if stream == END {
            self.lanes.retain(|lane, _| (lane.0, lane.1) != (id, side));
        }
        let greeted = self.links.get(&id).is_some_and(|link| link.greeted);
        let now = self.now;
        match (side, &event) {
            (Side::Acceptor, LinkEvent::StreamMessage { payload, .. })
                if stream == CONTROL && !greeted =>
            {
                match ControlFrame::decode(&mut payload.clone()) {
                    Ok(ControlFrame::Hello(hello)) => self.greet(id, hello),
                    other => panic!("a dialer says hello first, not {other:?}"),
                }
            }
            _ => {
                if let Some(machine) = self.machine(side) {
                    machine.handle_link_event(id, event, now);
                }
            }
        }
    }

    fn greet(&mut self, id: LinkId, hello: Hello) {
        let arrival = Arrival {
            link: id,
            control: CONTROL,
            info: LINK,
        };
        let now = self.now;
        let outcome = match &mut self.acceptor {
            Some(acceptor) => acceptor.handle_hello(arrival, hello, now),
            None => {
                let seeds = Seeds {
                    session: SessionId(2),
                    incarnation: Incarnation(2),
                    rng: 2,
                };
                let trust = Trust::default();
                ConnectionMachine::acceptor(config(), trust, arrival, hello, seeds, now)
                    .map(|acceptor| self.acceptor = Some(acceptor))
            }
        };
        match outcome {
            Ok(()) => {
                if let Some(link) = self.links.get_mut(&id) {
                    link.greeted = true;
                }
            }
            Err(reason) => {
                let mut payload = Vec::new();
                ControlFrame::Reject { reason }.encode(&mut payload);
                let kind = rondevu_core::MessageKind::Binary;
                let payload = Bytes::from(payload);
                let event = LinkEvent::StreamMessage {
                    stream: CONTROL,
                    kind,
                    payload,
                };
                self.put((id, Side::Dialer, CONTROL), event);
            }
        }
    }

    fn put(&mut self, lane: Lane, event: LinkEvent) {
        let known = self.links.get(&lane.0).is_some_and(|link| !link.cut);
        if known || lane.2 == END {
            self.lanes.entry(lane).or_default().push_back(event);
        }
    }

    /// What is on its way is lost; each side notices the end at some time.
    fn cut(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.cut = true;
        self.lanes.retain(|lane, _| lane.0 != id);
        for side in Side::BOTH {
            let reason = LinkClosed::NoPath;
            self.put((id, side, END), LinkEvent::Closed { reason });
        }
    }

    /// One side is done with a link; what it has sent may still arrive before the other notices.
    fn leave(&mut self, id: LinkId, by: Side) {
        self.lanes.retain(|lane, _| (lane.0, lane.1) != (id, by));
        if let Some(link) = self.links.get_mut(&id)
            && !link.cut
        {
            let reason = LinkClosed::Remote;
            self.put((id, by.other(), END), LinkEvent::Closed { reason });
            if let Some(link) = self.links.get_mut(&id) {
                link.cut = true;
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let machines = [Some(&self.dialer), self.acceptor.as_ref()];
        let deadlines = machines.into_iter().flatten();
        let deadlines = deadlines.filter_map(|machine| machine.poll_timeout());
        deadlines.map(|deadline| deadline.at).min()
    }

    fn time_out(&mut self) {
        if let Some(at) = self.next_deadline() {
            self.now = at.max(self.now);
        }
        let now = self.now;
        for side in Side::BOTH {
            if let Some(machine) = self.machine(side) {
                machine.handle_timeout(now);
            }
        }
    }

    /// Does all that both machines ask for, and reads.
    fn settle(&mut self) {
        for side in Side::BOTH {
            while self.pump(side) {}
        }
        for side in Side::BOTH {
            let channel = self.channel;
            let machine = self.machine(side);
            let Some(channel) = machine.and_then(|machine| machine.channel_mut(channel)) else {
                continue;
            };
            let received = std::iter::from_fn(|| channel.recv());
            let numbers: Vec<u8> = received
                .map(|delivery| match delivery {
                    Delivery::Message(message) => message.as_bytes()[0],
                    Delivery::Lost { .. } => u8::MAX,
                })
                .collect();
            self.got[side as usize].extend(numbers);
        }
        for side in Side::BOTH {
            while self.pump(side) {}
        }
    }

    /// One duty of a machine; whether there was one.
    fn pump(&mut self, side: Side) -> bool {
        let now = self.now;
        let Some(machine) = self.machine(side) else {
            return false;
        };
        while machine.poll_event().is_some() {}
        while let Some(id) = machine.poll_touched() {
            if let Some(channel) = machine.channel_mut(id) {
                while channel.poll_event().is_some() {}
            }
        }
        if let Some(action) = machine.poll_action() {
            self.act(side, action);
            return true;
        }
        match machine.poll_transmit(now) {
            Some(transmit) => {
                self.transmit(side, transmit);
                true
            }
            None => false,
        }
    }

    fn transmit(&mut self, side: Side, transmit: Transmit) {
        let lane = (transmit.link, side.other(), transmit.stream);
        let event = LinkEvent::StreamMessage {
            stream: transmit.stream,
            kind: transmit.kind,
            payload: transmit.payload,
        };
        self.put(lane, event);
    }

    fn act(&mut self, side: Side, action: Action) {
        match action {
            Action::Dial { link } => {
                let fresh = Link {
                    streams: 1,
                    greeted: false,
                    cut: false,
                };
                self.links.insert(link, fresh);
                let control = LinkEvent::StreamOpened {
                    stream: CONTROL,
                    options: StreamOptions::reliable(CONTROL_LABEL, CONTROL_PROTOCOL),
                    by: OpenedBy::Remote,
                };
                let lane = (link, Side::Dialer, CONTROL);
                self.put(lane, LinkEvent::Connected(LINK));
                self.put(lane, control);
            }
            Action::OpenStream { link: id, options } => {
                let Some(link) = self.links.get_mut(&id) else {
                    return;
                };
                let stream = StreamId(link.streams);
                link.streams += 1;
                let opened = |by, options| LinkEvent::StreamOpened {
                    stream,
                    options,
                    by,
                };
                let now = self.now;
                let local = opened(OpenedBy::Local, options.clone());
                if let Some(machine) = self.machine(side) {
                    machine.handle_link_event(id, local, now);
                }
                let lane = (id, side.other(), stream);
                self.put(lane, opened(OpenedBy::Remote, options));
            }
            Action::CloseStream { .. } => {}
            Action::AbandonLink { link } | Action::FinishLink { link } => self.leave(link, side),
        }
    }

    // ---- looks ----

    /// Whether what was received so far is what was sent, once and in order.
    pub(crate) fn is_sound(&self) -> bool {
        Side::BOTH.into_iter().all(|side| {
            let (sent, got) = (self.sent[side.other() as usize], &self.got[side as usize]);
            got.len() <= usize::from(sent) && got.iter().copied().eq(0..got.len() as u8)
        })
    }

    pub(crate) fn has_delivered_all(&self) -> bool {
        let all: Vec<u8> = (0..MESSAGES).collect();
        self.sent == [MESSAGES; 2] && self.got == [all.clone(), all]
    }

    pub(crate) fn cuts(&self) -> u8 {
        self.cuts
    }

    /// Whether everything was delivered and both sides know it.
    fn is_settled(&self) -> bool {
        let machines = [Some(&self.dialer), self.acceptor.as_ref()];
        let settled = machines.into_iter().flatten().all(|machine| {
            let channel = machine.channel(self.channel);
            channel.is_some_and(|channel| channel.outbox().is_settled())
        });
        self.has_delivered_all() && settled
    }

    /// Whether both sides are connected and owe each other nothing: from here on time only brings
    /// heartbeats, without end.
    fn is_idle(&self) -> bool {
        let machines = [Some(&self.dialer), self.acceptor.as_ref()];
        machines.into_iter().all(|machine| {
            machine.is_some_and(|machine| {
                let channel = machine.channel(self.channel);
                let settled = channel.is_some_and(|channel| channel.outbox().is_settled());
                settled && machine.state() == DurableConnectionState::Connected
            })
        })
    }

    /// Lets the network behave from here on; whether everything arrives. The world is used up.
    pub(crate) fn completes(&mut self) -> bool {
        for _ in 0..COMPLETION_STEPS_MAX {
            for side in Side::BOTH {
                if self.sent[side as usize] < MESSAGES {
                    self.send(side);
                }
            }
            self.settle();
            if let Some(lane) = self.lanes.keys().next().copied() {
                self.deliver(lane);
            } else if self.is_settled() {
                return self.is_sound();
            } else {
                self.time_out();
            }
            self.settle();
        }
        false
    }

    pub(crate) fn digest(&self) -> u128 {
        let mut text = String::new();
        write!(
            text,
            "{:?}{:?}{:?}{:?}{:?}{} {} ",
            self.dialer, self.acceptor, self.links, self.sent, self.got, self.cuts, self.timeouts
        )
        .expect("a text takes everything");
        for (lane, events) in &self.lanes {
            write!(text, "{lane:?}").expect("a text takes everything");
            for event in events {
                write_event(&mut text, lane.2, event);
            }
        }
        crate::digest::digest(&text, self.now)
    }
}

/// Frames are written decoded, so that their nonces can be left out.
fn write_event(text: &mut String, stream: StreamId, event: &LinkEvent) {
    let LinkEvent::StreamMessage { payload, .. } = event else {
        write!(text, "{event:?}").expect("a text takes everything");
        return;
    };
    let mut payload = payload.clone();
    while !payload.is_empty() {
        let written = match stream {
            CONTROL => write!(text, "{:?}", ControlFrame::decode(&mut payload)),
            _ => write!(text, "{:?}", ChannelFrame::decode(&mut payload)),
        };
        written.expect("a text takes everything");
    }
}

/// Ten attempts of ten seconds each and their backoff are far fewer.
const COMPLETION_STEPS_MAX: usize = 2000;
