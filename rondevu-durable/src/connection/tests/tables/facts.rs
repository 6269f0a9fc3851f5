//! All that can happen to a connection, and what comes of it.

use rondevu_core::frame::{
    CONTROL_LABEL, CONTROL_PROTOCOL, ChannelFrame, Limits, PROTOCOL_VERSION, Part, Welcome,
    channel_protocol,
};
use rondevu_core::{LinkClosed, MessageKind, OpenedBy, RejectReason, Seq};

use super::states::{self, Stand};
use super::*;

/// Something that happens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fact {
    Connect,
    ConnectInBackground,
    CancelConnect,
    OpenChannel,
    ForgetChannel,
    Close,
    Abort,
    Evict,
    RetryNow,
    Pause,
    Resume,
    NetworkChange,
    PathActivity(On),
    DialFailed(On, DialRetry),
    Hindrance,
    Announcement,
    Hello(HelloOf),
    /// The earliest deadline has come.
    Timeout,
    Link(On, LinkFact),
}

/// Which link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    Live,
    Attempt,
    Other,
}

/// Which hello comes on a new link.
#[derive(Clone, Copy, Debug)]
pub(super) enum HelloOf {
    NextGeneration,
    SameGeneration,
    OtherLife,
    OtherSession,
}

/// What a link says.
#[derive(Clone, Copy, Debug)]
pub(super) enum LinkFact {
    Connected,
    ControlOpened,
    ChannelOpened,
    PageOpened,
    OwnOpened,
    Welcome,
    WelcomeOfOther,
    Reject(RejectReason),
    Ping,
    Pong,
    Bye,
    Finish,
    Finished,
    Hello,
    Data,
    Hole,
    Garbage,
    Writable,
    ControlClosed,
    ChannelClosed,
    Lost,
    ClosedByPeer,
}

impl Fact {
    /// The function that takes it.
    pub(super) const fn method(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::ConnectInBackground => "connect_in_background",
            Self::CancelConnect => "cancel_connect",
            Self::OpenChannel => "open_channel",
            Self::ForgetChannel => "forget_channel",
            Self::Close => "close",
            Self::Abort => "abort",
            Self::Evict => "evict",
            Self::RetryNow => "retry_now",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::NetworkChange => "handle_network_change",
            Self::PathActivity(_) => "handle_path_activity",
            Self::DialFailed(..) => "handle_dial_failed",
            Self::Hindrance => "handle_hindrance",
            Self::Announcement => "handle_announcement",
            Self::Hello(_) => "handle_hello",
            Self::Timeout => "handle_timeout",
            Self::Link(..) => "handle_link_event",
        }
    }
}

/// Every fact with its name.
pub(super) fn all_facts() -> Vec<(&'static str, Fact)> {
    let mut facts = Vec::from([
        ("connect", Fact::Connect),
        ("connect in the background", Fact::ConnectInBackground),
        ("stop connecting", Fact::CancelConnect),
        ("open a channel", Fact::OpenChannel),
        ("forget a channel", Fact::ForgetChannel),
        ("close", Fact::Close),
        ("abort", Fact::Abort),
        ("evict", Fact::Evict),
        ("retry now", Fact::RetryNow),
        ("pause", Fact::Pause),
        ("resume", Fact::Resume),
        ("the network changes", Fact::NetworkChange),
        ("path activity", Fact::PathActivity(On::Live)),
        (
            "dial failed: never",
            Fact::DialFailed(On::Attempt, DialRetry::Never),
        ),
        (
            "dial failed: later",
            Fact::DialFailed(On::Attempt, DialRetry::Later),
        ),
        (
            "dial failed: soon",
            Fact::DialFailed(On::Attempt, DialRetry::After(Duration::from_millis(50))),
        ),
        (
            "late: dial failed",
            Fact::DialFailed(On::Other, DialRetry::Never),
        ),
        ("the attempt is hindered", Fact::Hindrance),
        ("the protocol is announced", Fact::Announcement),
        (
            "hello of the next generation",
            Fact::Hello(HelloOf::NextGeneration),
        ),
        (
            "hello of the same generation",
            Fact::Hello(HelloOf::SameGeneration),
        ),
        ("hello of another life", Fact::Hello(HelloOf::OtherLife)),
        (
            "hello of another session",
            Fact::Hello(HelloOf::OtherSession),
        ),
        ("the deadline comes", Fact::Timeout),
    ]);
    for (name, fact) in link_facts() {
        facts.push((name, Fact::Link(On::Live, fact)));
    }
    for (name, fact) in link_facts() {
        let name = &*String::leak(std::format!("attempt: {name}"));
        facts.push((name, Fact::Link(On::Attempt, fact)));
    }
    facts.push(("late: a message", Fact::Link(On::Other, LinkFact::Bye)));
    facts.push(("late: lost", Fact::Link(On::Other, LinkFact::Lost)));
    facts
}

fn link_facts() -> [(&'static str, LinkFact); 25] {
    use RejectReason::*;
    let busy = Busy { retry_after_ms: 1 };
    [
        ("connected", LinkFact::Connected),
        ("control stream opened", LinkFact::ControlOpened),
        ("channel's stream opened", LinkFact::ChannelOpened),
        ("page's stream opened", LinkFact::PageOpened),
        ("own stream opened", LinkFact::OwnOpened),
        ("Welcome", LinkFact::Welcome),
        ("Welcome to another", LinkFact::WelcomeOfOther),
        ("Reject: unknown session", LinkFact::Reject(UnknownSession)),
        ("Reject: superseded", LinkFact::Reject(Superseded)),
        ("Reject: busy", LinkFact::Reject(busy)),
        ("Reject: not authorised", LinkFact::Reject(NotAuthorised)),
        ("Ping", LinkFact::Ping),
        ("Pong", LinkFact::Pong),
        ("Bye", LinkFact::Bye),
        ("Finish", LinkFact::Finish),
        ("Finished", LinkFact::Finished),
        ("Hello", LinkFact::Hello),
        ("Data", LinkFact::Data),
        ("Data with a hole before it", LinkFact::Hole),
        ("garbage", LinkFact::Garbage),
        ("writable", LinkFact::Writable),
        ("control stream closed", LinkFact::ControlClosed),
        ("channel's stream closed", LinkFact::ChannelClosed),
        ("lost", LinkFact::Lost),
        ("closed by the peer", LinkFact::ClosedByPeer),
    ]
}

/// Does a fact; what came of it, or none if it cannot happen here.
pub(super) fn effect(stand: Stand, fact: Fact) -> Option<String> {
    let links = Links::of(&stand.machine);
    let before = phase::of(&stand.machine);
    let Stand {
        mut machine,
        now,
        chat,
    } = stand;
    let mut said = Vec::new();
    match fact {
        Fact::Connect => machine.connect(now),
        Fact::ConnectInBackground => machine.connect_in_background(now),
        Fact::CancelConnect => machine.cancel_connect(),
        Fact::OpenChannel => {
            let opened = machine.open_channel("more", &ChannelConfig::default());
            said.extend(opened.err().map(|error| std::format!("refused: {error}")));
        }
        Fact::ForgetChannel => machine.forget_channel(chat?),
        Fact::Close => machine.close(now),
        Fact::Abort => machine.abort(ByeReason::ShuttingDown),
        Fact::Evict => machine.evict(),
        Fact::RetryNow => machine.retry_now(now),
        Fact::Pause => machine.pause(now),
        Fact::Resume => machine.resume(now),
        Fact::NetworkChange => machine.handle_network_change(now),
        Fact::PathActivity(on) => machine.handle_path_activity(links.get(on)?, now),
        Fact::DialFailed(on, retry) => {
            let reason = "why not".into();
            machine.handle_dial_failed(links.get(on)?, DialFailure { reason, retry }, now);
        }
        Fact::Hindrance => machine.handle_hindrance(links.get(On::Attempt)?, "a wall".into()),
        Fact::Announcement => machine.handle_announcement(links.get(On::Attempt)?),
        Fact::Hello(of) => {
            // Only an acceptor is told of one.
            (machine.role == Role::Acceptor).then_some(())?;
            let refused = say_hello(&mut machine, of, now).err();
            said.extend(refused.map(|reason| std::format!("refused: {reason}")));
        }
        Fact::Timeout => machine.handle_timeout(machine.poll_timeout()?.at),
        Fact::Link(on, link_fact) => {
            let event = event(&machine, chat, link_fact)?;
            machine.handle_link_event(links.get(on)?, event, now);
        }
    }
    let after = phase::of(&machine);
    let mut effects = Vec::new();
    if after != before {
        effects.push(std::format!("→ {after}"));
    }
    effects.append(&mut said);
    effects.extend(outputs(&mut machine, &links, now));
    // What was handed over may have been all that closing waited for.
    let end = phase::of(&machine);
    if end != after {
        effects.push(std::format!("then → {end}"));
    }
    Some(effects.join("; "))
}

/// The links before a fact, by their names.
struct Links {
    live: Option<LinkId>,
    attempt: Option<LinkId>,
}

impl Links {
    fn of(machine: &ConnectionMachine) -> Self {
        Self {
            live: machine.live_link(),
            attempt: machine.attempt.as_ref().map(|attempt| attempt.link),
        }
    }

    fn get(&self, on: On) -> Option<LinkId> {
        match on {
            On::Live => self.live,
            On::Attempt => self.attempt,
            On::Other => Some(LinkId(999)),
        }
    }

    fn name(&self, link: LinkId) -> &'static str {
        if self.live == Some(link) {
            "the link"
        } else if self.attempt == Some(link) {
            "the attempt"
        } else {
            "another link"
        }
    }
}

fn say_hello(
    machine: &mut ConnectionMachine,
    of: HelloOf,
    now: Instant,
) -> Result<(), RejectReason> {
    let known = machine.peer.memory.map(|peer| peer.incarnation);
    let known = known.unwrap_or(Incarnation(0));
    let next = Generation(machine.generation.0 + 1);
    let (session, generation, incarnation) = match of {
        HelloOf::NextGeneration => (machine.session, next, known),
        HelloOf::SameGeneration => (machine.session, machine.generation, known),
        HelloOf::OtherLife => (machine.session, next, Incarnation(77)),
        HelloOf::OtherSession => (SessionId(77), next, known),
    };
    let hello = Hello {
        session,
        generation,
        incarnation,
        ..hello()
    };
    let arrival = Arrival {
        link: LinkId(500),
        control: CONTROL,
        info: LinkInfo::UNKNOWN,
    };
    machine.handle_hello(arrival, hello, now)
}

fn limits() -> Limits {
    ConnectionConfig::default().limits()
}

/// What the link says; none if the machine has nothing that this could be about.
fn event(
    machine: &ConnectionMachine,
    chat: Option<ChannelId>,
    fact: LinkFact,
) -> Option<LinkEvent> {
    let stream = || machine.channel(chat?)?.stream();
    let data = |seq| ChannelFrame::Data {
        seq: Seq(seq),
        part: Part::Whole,
        kind: MessageKind::Text,
        payload: Bytes::from_static(b"news"),
    };
    let parity = 1 - machine.own_parity();
    Some(match fact {
        LinkFact::Connected => states::connected(),
        LinkFact::ControlOpened => opened(CONTROL, CONTROL_LABEL, CONTROL_PROTOCOL.into()),
        LinkFact::ChannelOpened => {
            let protocol = channel_protocol(ChannelId(20 + parity));
            opened(StreamId(20), "news", protocol)
        }
        LinkFact::PageOpened => opened(StreamId(30), "other page", String::new()),
        LinkFact::OwnOpened => LinkEvent::StreamOpened {
            stream: StreamId(40),
            options: StreamOptions::reliable(CONTROL_LABEL, CONTROL_PROTOCOL),
            by: OpenedBy::Local,
        },
        LinkFact::Welcome => on_control(&welcome(machine)?),
        LinkFact::WelcomeOfOther => {
            let ControlFrame::Welcome(mut welcome) = welcome(machine)? else {
                return None;
            };
            welcome.generation = Generation(99);
            on_control(&ControlFrame::Welcome(welcome))
        }
        LinkFact::Reject(reason) => on_control(&ControlFrame::Reject { reason }),
        LinkFact::Ping => on_control(&ControlFrame::Ping { id: 9 }),
        LinkFact::Pong => on_control(&ControlFrame::Pong { id: 9 }),
        LinkFact::Bye => on_control(&ControlFrame::Bye {
            reason: ByeReason::Closed,
        }),
        LinkFact::Finish => on_control(&ControlFrame::Finish { channel: chat? }),
        LinkFact::Finished => on_control(&ControlFrame::Finished { channel: chat? }),
        LinkFact::Hello => on_control(&ControlFrame::Hello(hello())),
        LinkFact::Data => on_channel(stream()?, &data(1)),
        LinkFact::Hole => on_channel(stream()?, &data(5)),
        LinkFact::Garbage => message(CONTROL, Bytes::from_static(&[0xff; 9])),
        LinkFact::Writable => LinkEvent::Writable,
        LinkFact::ControlClosed => LinkEvent::StreamClosed { stream: CONTROL },
        LinkFact::ChannelClosed => LinkEvent::StreamClosed { stream: stream()? },
        LinkFact::Lost => states::lost(),
        LinkFact::ClosedByPeer => LinkEvent::Closed {
            reason: LinkClosed::Remote,
        },
    })
}

/// The welcome that the last hello asks for; whatever else is welcome to nobody.
fn welcome(machine: &ConnectionMachine) -> Option<ControlFrame> {
    let generation = match machine.attempt.as_ref().map(|attempt| &attempt.stage) {
        Some(Stage::Greeting(greeting)) => greeting.hello.generation,
        Some(Stage::Dialing) | None => machine.generation,
    };
    let known = machine.peer.memory.map(|peer| peer.incarnation);
    let channels = match machine.attempt.as_ref().map(|attempt| &attempt.stage) {
        Some(Stage::Greeting(greeting)) => greeting.hello.channels.clone(),
        Some(Stage::Dialing) | None => Vec::new(),
    };
    Some(ControlFrame::Welcome(Welcome {
        version: PROTOCOL_VERSION,
        generation,
        incarnation: known.unwrap_or(Incarnation(5)),
        resumed: true,
        limits: limits(),
        channels: channels
            .into_iter()
            .map(|cursor| rondevu_core::frame::Cursor {
                recv_next: machine
                    .channel(cursor.channel)
                    .map_or(Seq::ZERO, |_| cursor.recv_next),
                ..cursor
            })
            .collect(),
        nonce: [0; 16],
        proof: None,
        extensions: Vec::new(),
    }))
}

fn opened(stream: StreamId, label: &str, protocol: String) -> LinkEvent {
    LinkEvent::StreamOpened {
        stream,
        options: StreamOptions::reliable(label, protocol),
        by: OpenedBy::Remote,
    }
}

fn message(stream: StreamId, payload: Bytes) -> LinkEvent {
    LinkEvent::StreamMessage {
        stream,
        kind: MessageKind::Binary,
        payload,
    }
}

/// A message with this frame on the control stream.
pub(super) fn on_control(frame: &ControlFrame) -> LinkEvent {
    let mut payload = Vec::new();
    frame.encode(&mut payload);
    message(CONTROL, payload.into())
}

fn on_channel(stream: StreamId, frame: &ChannelFrame) -> LinkEvent {
    let mut payload = Vec::new();
    frame.encode(&mut payload);
    message(stream, payload.into())
}

/// What the machine asks for, sends, delivers and tells.
fn outputs(machine: &mut ConnectionMachine, links: &Links, now: Instant) -> Vec<String> {
    let mut out = Vec::new();
    let actions = core::iter::from_fn(|| machine.poll_action());
    out.extend(actions.map(|action| in_words(&action, links)));
    while let Some(transmit) = machine.poll_transmit(now) {
        let to = links.name(transmit.link);
        out.push(std::format!("sends {} on {to}", frames(&transmit)));
    }
    let actions = core::iter::from_fn(|| machine.poll_action());
    out.extend(actions.map(|action| in_words(&action, links)));
    let taken = machine.channels.values_mut().filter_map(|c| c.recv());
    out.extend(taken.map(|_| "delivers".into()));
    let events = core::iter::from_fn(|| machine.poll_event());
    out.extend(events.filter_map(|event| told(&event)));
    out
}

fn in_words(action: &Action, links: &Links) -> String {
    match action {
        Action::Dial { .. } => "dials".into(),
        Action::OpenStream { options, .. } => std::format!("opens a stream for {}", options.label),
        Action::CloseStream { .. } => "closes a stream".into(),
        Action::AbandonLink { link } => std::format!("abandons {}", links.name(*link)),
        Action::FinishLink { link } => std::format!("finishes {}", links.name(*link)),
    }
}

fn frames(transmit: &Transmit) -> String {
    let mut payload = transmit.payload.clone();
    let mut names = Vec::new();
    let is_control = transmit.stream == CONTROL;
    while !payload.is_empty() {
        let name = match is_control {
            true => ControlFrame::decode(&mut payload)
                .ok()
                .map(|frame| match frame {
                    ControlFrame::Hello(hello) => match hello.peer_incarnation {
                        Some(_) => "Hello",
                        None => "Hello for a new session",
                    },
                    ControlFrame::Welcome(_) => "Welcome",
                    ControlFrame::Reject { .. } => "Reject",
                    ControlFrame::Ping { .. } => "Ping",
                    ControlFrame::Pong { .. } => "Pong",
                    ControlFrame::Bye { .. } => "Bye",
                    ControlFrame::Finish { .. } => "Finish",
                    ControlFrame::Finished { .. } => "Finished",
                }),
            false => ChannelFrame::decode(&mut payload)
                .ok()
                .map(|frame| match frame {
                    ChannelFrame::Data { .. } => "Data",
                    ChannelFrame::Skip { .. } => "Skip",
                    ChannelFrame::Ack { .. } => "Ack",
                    ChannelFrame::Fin { .. } => "Fin",
                    ChannelFrame::FinAck => "FinAck",
                }),
        };
        let Some(name) = name else { break };
        names.push(name);
    }
    names.join(" + ")
}

fn told(event: &ConnectionEvent) -> Option<String> {
    Some(match event {
        // The phases show it.
        ConnectionEvent::StateChanged { .. } => return None,
        ConnectionEvent::Connected { .. } => "tells Connected".into(),
        ConnectionEvent::Reconnecting { attempt, .. } => {
            std::format!("tells Reconnecting, attempt {attempt}")
        }
        ConnectionEvent::Disconnected => "tells Disconnected".into(),
        ConnectionEvent::IncomingChannel { .. } => "tells IncomingChannel".into(),
        ConnectionEvent::SessionReset { .. } => "tells SessionReset".into(),
        ConnectionEvent::ProtocolViolation(violation) => {
            std::format!("tells ProtocolViolation: {violation}")
        }
        ConnectionEvent::Failed { failure, .. } => std::format!("tells Failed: {failure}"),
        ConnectionEvent::Closed { reason, .. } => std::format!("tells Closed: {reason:?}"),
    })
}
