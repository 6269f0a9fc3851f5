//! One connection machine with an embedder that does what it asks for.

use std::time::Duration;

use bytes::Bytes;
use rondevu_core::frame::{CONTROL_LABEL, CONTROL_PROTOCOL};
use rondevu_core::{
    ChannelId, Deadline, DurableChannelState, DurableConnectionState, Incarnation, Instant,
    LinkEvent, LinkId, LinkInfo, Message, MessageKind, OpenedBy, QueueLimits, SessionId, StreamId,
    StreamOptions,
};
use rondevu_durable::{
    Action, Arrival, ChannelConfig, ConnectionConfig, ConnectionEvent, ConnectionMachine,
    DialFailure, DialRetry, Durability, HalfOpen, Role, Seeds, Trust,
};

use super::events::{channel, info, link_event, options, stream};
use super::peer::Peer;
use crate::inbox::held_max;
use crate::{Machine, Script, Trace};

pub(super) struct Subject {
    machine: ConnectionMachine,
    now: Instant,
    peer: Peer,
    /// The state as the events tell it.
    told: DurableConnectionState,
    ended: u32,
    /// How many links there were.
    links: u64,
    next_stream: u32,
}

const CONTROL: StreamId = StreamId(0);

fn config(script: &mut Script<'_>) -> ConnectionConfig {
    let half_open = match script.flag() {
        true => HalfOpen::Close,
        false => HalfOpen::Keep,
    };
    ConnectionConfig {
        window_bytes: 1024,
        message_bytes_max: MESSAGE_MAX,
        fragment_bytes: 64,
        channels_max: CHANNELS_MAX,
        resume_window: Duration::from_secs(30),
        incoming_channel: channel_config(half_open),
        ..ConnectionConfig::default()
    }
}

fn channel_config(half_open: HalfOpen) -> ChannelConfig {
    ChannelConfig {
        queue: QueueLimits {
            messages_max: 20,
            bytes_max: QUEUE_BYTES_MAX,
            age_max: Some(Duration::from_secs(10)),
            overflow: rondevu_core::Overflow::DropOldest,
        },
        half_open,
        ..ChannelConfig::default()
    }
}

impl Subject {
    pub(super) fn new(role: Role, script: &mut Script<'_>) -> Self {
        let now = Instant::ORIGIN;
        let mut peer = Peer::default();
        let config = config(script);
        let machine = match role {
            Role::Dialer => {
                let mut machine = ConnectionMachine::dialer(config, Trust::default(), SEEDS);
                machine.connect(now);
                machine
            }
            Role::Acceptor if script.pick(4) == 0 => ConnectionMachine::plain_acceptor(
                config,
                Trust::default(),
                LinkId(0),
                CONTROL,
                LINK,
                SEEDS,
                now,
            )
            .expect("plain peers are accepted by default"),
            Role::Acceptor => {
                let hello = peer.hello_for(script, None);
                let trust = Trust::default();
                ConnectionMachine::acceptor(config, trust, arrival(0), hello, SEEDS, now)
                    .expect("a first hello is welcome")
            }
        };
        Self {
            machine,
            now,
            peer,
            told: DurableConnectionState::Connecting,
            ended: 0,
            links: 1,
            next_stream: 1,
        }
    }

    /// A link that matters, or any other.
    fn link(&self, script: &mut Script<'_>) -> LinkId {
        match (script.pick(8), self.machine.live_link()) {
            (0, _) => LinkId(script.small()),
            (1..=5, Some(live)) => live,
            _ => LinkId(self.links.saturating_sub(1)),
        }
    }

    fn feed(&mut self, link: LinkId, event: LinkEvent) {
        self.machine.handle_link_event(link, event, self.now);
    }

    /// What a working link and a correct peer would bring.
    fn advance(&mut self, script: &mut Script<'_>) {
        let link = LinkId(self.links.saturating_sub(1));
        let live = self.machine.live_link();
        match (self.machine.role(), live) {
            (Role::Dialer, None) if script.flag() => {
                self.feed(link, LinkEvent::Connected(info(script)));
                let event = LinkEvent::StreamOpened {
                    stream: CONTROL,
                    options: StreamOptions::reliable(CONTROL_LABEL, CONTROL_PROTOCOL),
                    by: OpenedBy::Remote,
                };
                self.feed(link, event);
            }
            (Role::Dialer, None) => {
                if let Some(welcome) = self.peer.welcome(script) {
                    let mut payload = Vec::new();
                    welcome.encode(&mut payload);
                    self.feed(link, message(CONTROL, payload.into()));
                }
            }
            (Role::Acceptor, None) => self.greet(script),
            (_, Some(live)) => {
                let stream = stream(script);
                let payload = match stream {
                    CONTROL => {
                        let mut out = Vec::new();
                        super::events::control_frame(script).encode(&mut out);
                        out.into()
                    }
                    stream => self.peer.frames(stream.0, script),
                };
                self.feed(live, message(stream, payload));
            }
        }
    }

    fn greet(&mut self, script: &mut Script<'_>) {
        // Nobody knows the session of a peer that does not speak the protocol.
        let plain = self.machine.durability() == Some(Durability::Plain);
        if self.machine.role() != Role::Acceptor || plain {
            return;
        }
        let known = script.flag().then_some(SEEDS.incarnation);
        let hello = match script.pick(4) {
            0 => super::events::hello(script),
            _ => self.peer.hello_for(script, known),
        };
        let generation = (self.machine.generation(), hello.generation);
        let arrival = Arrival {
            info: info(script),
            ..arrival(self.links)
        };
        self.links += 1;
        self.peer.on_new_link();
        let before = (self.machine.state(), self.machine.live_link());
        if self.machine.handle_hello(arrival, hello, self.now).is_err() {
            let after = (self.machine.state(), self.machine.live_link());
            assert_eq!(before, after, "a refused hello changes nothing");
        } else {
            assert!(generation.1 > generation.0, "a stale generation");
        }
    }

    fn use_application(&mut self, script: &mut Script<'_>) {
        let now = self.now;
        match script.pick(24) {
            0..=2 => {
                let half_open = match script.flag() {
                    true => HalfOpen::Close,
                    false => HalfOpen::Keep,
                };
                let mut config = channel_config(half_open);
                config.options = options(script);
                drop(self.machine.open_channel("chat", &config));
            }
            3..=8 => {
                let id = channel(script);
                let message = text(script);
                if let Some(channel) = self.machine.channel_mut(id) {
                    let state = channel.state();
                    let sent = channel.send(message, now);
                    assert!(sent.is_err() || state != DurableChannelState::Closed);
                }
            }
            9..=12 => {
                let id = channel(script);
                if let Some(channel) = self.machine.channel_mut(id) {
                    while channel.recv().is_some() {}
                }
            }
            13 | 14 => {
                let id = channel(script);
                if let Some(channel) = self.machine.channel_mut(id) {
                    channel.finish();
                }
            }
            15 => self.machine.forget_channel(channel(script)),
            16 => self.machine.pause(now),
            17 => self.machine.resume(now),
            18 => self.machine.retry_now(now),
            19 => self.machine.handle_network_change(now),
            20 => {
                let link = self.link(script);
                self.machine.handle_path_activity(link, now);
            }
            21 => {
                let id = channel(script);
                if let Some(channel) = self.machine.channel_mut(id) {
                    channel.discard_incoming();
                }
            }
            22 => match script.pick(4) {
                0 => self.machine.connect_in_background(now),
                1 => self.machine.cancel_connect(),
                _ => self.machine.connect(now),
            },
            _ => match script.pick(16) {
                0 => self.machine.close(now),
                1 => self.machine.evict(),
                _ => {
                    let link = LinkId(self.links.saturating_sub(1));
                    let failure = DialFailure {
                        reason: "no such luck".into(),
                        retry: match script.pick(3) {
                            0 => DialRetry::Never,
                            1 => DialRetry::Later,
                            _ => DialRetry::After(Duration::from_millis(100)),
                        },
                    };
                    self.machine.handle_dial_failed(link, failure, now);
                }
            },
        }
    }

    fn pass_time(&mut self, script: &mut Script<'_>) {
        match (script.flag(), self.machine.poll_timeout()) {
            (true, Some(due)) => self.now = due.at.max(self.now),
            _ => self.now += script.duration(),
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Dial { link } => {
                self.links = link.0 + 1;
                self.peer.on_new_link();
            }
            Action::OpenStream { link, options } => {
                let stream = StreamId(self.next_stream % 8);
                self.next_stream += 1;
                let event = LinkEvent::StreamOpened {
                    stream,
                    options,
                    by: OpenedBy::Local,
                };
                self.feed(link, event);
            }
            Action::CloseStream { .. } | Action::AbandonLink { .. } | Action::FinishLink { .. } => {
            }
        }
    }

    fn drain_channel(&mut self, id: ChannelId, trace: &mut Trace) {
        let Some(channel) = self.machine.channel_mut(id) else {
            return;
        };
        while let Some(event) = channel.poll_event() {
            trace.push(&event);
        }
    }

    fn on_event(&mut self, event: &ConnectionEvent) {
        match event {
            ConnectionEvent::StateChanged { from, to } => {
                assert_eq!(*from, self.told, "events skip a state");
                assert!(from.can_become(*to), "{from} does not become {to}");
                self.told = *to;
            }
            ConnectionEvent::Failed { .. } | ConnectionEvent::Closed { .. } => self.ended += 1,
            _ => {}
        }
    }
}

fn arrival(link: u64) -> Arrival {
    Arrival {
        link: LinkId(link),
        control: CONTROL,
        info: LINK,
    }
}

fn message(stream: StreamId, payload: Bytes) -> LinkEvent {
    LinkEvent::StreamMessage {
        stream,
        kind: MessageKind::Binary,
        payload,
    }
}

fn text(script: &mut Script<'_>) -> Message {
    match script.pick(8) {
        0 => vec![0; usize::from(script.byte()) * 8].into(),
        _ => script.bytes(40).into(),
    }
}

impl Machine for Subject {
    fn step(&mut self, script: &mut Script<'_>) {
        match script.pick(16) {
            0..=2 => {
                let link = self.link(script);
                let event = link_event(script);
                let newest = LinkId(self.links.saturating_sub(1));
                let late = link != newest && self.machine.live_link() != Some(link);
                let before = (self.machine.state(), self.machine.poll_timeout());
                self.feed(link, event);
                if late {
                    let after = (self.machine.state(), self.machine.poll_timeout());
                    assert_eq!(before, after, "a late fact changes something");
                }
            }
            3..=7 => self.advance(script),
            8 if script.pick(4) == 0 => self.greet(script),
            8..=12 => self.use_application(script),
            _ => self.pass_time(script),
        }
    }

    fn drain(&mut self, trace: &mut Trace) {
        loop {
            let mut moved = false;
            while let Some(action) = self.machine.poll_action() {
                trace.push(&action);
                self.act(action);
                moved = true;
            }
            // This may ask for an action, so there is another round.
            while let Some(transmit) = self.machine.poll_transmit(self.now) {
                trace.push(&transmit);
                self.peer.on_transmit(&transmit, CONTROL.0);
                moved = true;
            }
            while let Some(event) = self.machine.poll_event() {
                trace.push(&event);
                self.on_event(&event);
                moved = true;
            }
            while let Some(id) = self.machine.poll_touched() {
                self.drain_channel(id, trace);
            }
            if let Some(action) = self.machine.poll_action() {
                trace.push(&action);
                self.act(action);
                moved = true;
            }
            if !moved {
                break;
            }
        }
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn handle_timeout(&mut self) {
        self.machine.handle_timeout(self.now);
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.machine.poll_timeout()
    }

    fn is_over(&self) -> bool {
        self.machine.state().is_final()
    }

    fn check(&self) {
        assert_eq!(self.told, self.machine.state(), "events do not replay");
        assert_eq!(
            u32::from(self.is_over()),
            self.ended,
            "the end is told once"
        );
        for parity in 0..2 {
            let count = self.machine.channels().filter(|channel| {
                channel.id().0 % 2 == parity && channel.state() != DurableChannelState::Closed
            });
            assert!(count.count() <= 2 * CHANNELS_MAX, "too many channels");
        }
        for channel in self.machine.channels() {
            let held = channel.held_bytes();
            assert!(held <= HELD_MAX, "{held} bytes held by a channel");
        }
    }
}

const MESSAGE_MAX: u64 = 2000;
const CHANNELS_MAX: usize = 4;
const QUEUE_BYTES_MAX: usize = 4000;
/// Queued, sent and not confirmed, received.
const HELD_MAX: u64 =
    2 * (QUEUE_BYTES_MAX as u64 + 2 * MESSAGE_MAX + 1024) + held_max(1024, MESSAGE_MAX);
const LINK: LinkInfo = LinkInfo {
    message_bytes_max: 64 * 1024,
    ..LinkInfo::UNKNOWN
};
const SEEDS: Seeds = Seeds {
    session: SessionId(1),
    incarnation: Incarnation(3),
    rng: 5,
};
