//! What two machines say to each other over two links.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use rondevu_core::frame::{CONTROL_LABEL, CONTROL_PROTOCOL, ChannelFrame, ControlFrame};
use rondevu_core::{
    ChannelId, DurableConnectionState, Incarnation, Instant, LinkClosed, LinkEvent, LinkId,
    LinkInfo, OpenedBy, SessionId, StreamId, StreamOptions,
};
use rondevu_durable::{
    Action, Arrival, ChannelConfig, ConnectionConfig, ConnectionMachine, Role, Seeds, Trust,
};
use serde_json::{Value, json};

use crate::json::{channel_frame, control_frame, hex};

const CONTROL: StreamId = StreamId(0);
const LINK: LinkInfo = LinkInfo {
    message_bytes_max: 64 * 1024,
    ..LinkInfo::UNKNOWN
};

/// One text each way, one lost with its link and sent again, the end of the channel, the end.
pub(crate) fn record() -> Vec<Value> {
    let mut exchange = Exchange::begin();
    exchange.deliver_all();
    exchange.send(Role::Dialer, "first");
    exchange.send(Role::Acceptor, "answer");
    exchange.deliver_all();
    exchange.wait(Duration::from_millis(25));
    exchange.send(Role::Dialer, "lost with its link");
    exchange.send(Role::Dialer, "and so is this");
    exchange.cut();
    exchange.wait(Duration::from_millis(500));
    exchange.wait(Duration::from_millis(25));
    let (chat, now) = (exchange.chat, exchange.now);
    if let Some(channel) = exchange.dialer.channel_mut(chat) {
        channel.finish();
    }
    exchange.deliver_all();
    exchange.dialer.close(now);
    exchange.deliver_all();
    assert_eq!(
        exchange.got,
        ["first", "answer", "lost with its link", "and so is this"]
    );
    assert_eq!(exchange.dialer.state(), DurableConnectionState::Closed);
    exchange.record
}

struct Exchange {
    now: Instant,
    dialer: ConnectionMachine,
    acceptor: Option<ConnectionMachine>,
    chat: ChannelId,
    links: u64,
    streams: u32,
    greeted: bool,
    way: VecDeque<(Role, LinkId, LinkEvent)>,
    got: Vec<String>,
    record: Vec<Value>,
}

fn seeds(n: u64) -> Seeds {
    Seeds {
        session: SessionId(n.into()),
        incarnation: Incarnation(n),
        rng: n,
    }
}

impl Exchange {
    fn begin() -> Self {
        let config = ConnectionConfig::default();
        let mut dialer = ConnectionMachine::dialer(config, Trust::default(), seeds(1));
        let chat = dialer
            .open_channel("chat", &ChannelConfig::default())
            .expect("there is room for a channel");
        dialer.connect(Instant::ORIGIN);
        Self {
            now: Instant::ORIGIN,
            dialer,
            acceptor: None,
            chat,
            links: 0,
            streams: 1,
            greeted: false,
            way: VecDeque::new(),
            got: Vec::new(),
            record: Vec::new(),
        }
    }

    fn machine(&mut self, role: Role) -> Option<&mut ConnectionMachine> {
        match role {
            Role::Dialer => Some(&mut self.dialer),
            Role::Acceptor => self.acceptor.as_mut(),
        }
    }

    fn send(&mut self, from: Role, text: &str) {
        let (chat, now) = (self.chat, self.now);
        let machine = self.machine(from).expect("both are there");
        let channel = machine.channel_mut(chat).expect("both have the channel");
        channel.send(text.into(), now).expect("there is room");
        self.pump();
    }

    fn wait(&mut self, by: Duration) {
        self.now += by;
        let now = self.now;
        for role in [Role::Dialer, Role::Acceptor] {
            if let Some(machine) = self.machine(role) {
                machine.handle_timeout(now);
            }
        }
        self.deliver_all();
    }

    /// The link is lost with all that is on its way.
    fn cut(&mut self) {
        let link = LinkId(self.links - 1);
        for (_, _, event) in std::mem::take(&mut self.way) {
            if matches!(event, LinkEvent::StreamMessage { .. }) {
                let lost = self.record.len() - 1;
                self.record[lost]["lost"] = true.into();
            }
        }
        let now = self.now;
        for role in [Role::Dialer, Role::Acceptor] {
            let reason = LinkClosed::NoPath;
            if let Some(machine) = self.machine(role) {
                machine.handle_link_event(link, LinkEvent::Closed { reason }, now);
            }
        }
    }

    fn deliver_all(&mut self) {
        self.pump();
        while let Some((to, link, event)) = self.way.pop_front() {
            self.deliver(to, link, event);
            self.read();
            self.pump();
        }
    }

    fn read(&mut self) {
        let chat = self.chat;
        for role in [Role::Dialer, Role::Acceptor] {
            let machine = self.machine(role);
            let Some(channel) = machine.and_then(|machine| machine.channel_mut(chat)) else {
                continue;
            };
            let texts: Vec<String> = std::iter::from_fn(|| channel.recv())
                .filter_map(|delivery| Some(delivery.into_message()?.as_text()?.to_owned()))
                .collect();
            self.got.extend(texts);
        }
    }

    fn deliver(&mut self, to: Role, link: LinkId, event: LinkEvent) {
        let now = self.now;
        if to == Role::Acceptor && !self.greeted {
            let LinkEvent::StreamMessage { mut payload, .. } = event else {
                return;
            };
            let Ok(ControlFrame::Hello(hello)) = ControlFrame::decode(&mut payload) else {
                return;
            };
            self.greeted = true;
            let (control, info) = (CONTROL, LINK);
            let arrival = Arrival {
                link,
                control,
                info,
            };
            match &mut self.acceptor {
                Some(acceptor) => acceptor
                    .handle_hello(arrival, hello, now)
                    .expect("it is resumed"),
                None => {
                    let (config, trust) = (ConnectionConfig::default(), Trust::default());
                    let acceptor =
                        ConnectionMachine::acceptor(config, trust, arrival, hello, seeds(2), now);
                    self.acceptor = Some(acceptor.expect("a first hello is welcome"));
                }
            }
        } else if let Some(machine) = self.machine(to) {
            machine.handle_link_event(link, event, now);
        }
    }

    fn pump(&mut self) {
        let now = self.now;
        for role in [Role::Dialer, Role::Acceptor] {
            while let Some(machine) = self.machine(role) {
                if let Some(action) = machine.poll_action() {
                    self.act(role, action);
                } else if let Some(transmit) = machine.poll_transmit(now) {
                    self.write_down(role, transmit.link, transmit.stream, &transmit.payload);
                    let (stream, kind) = (transmit.stream, transmit.kind);
                    let event = LinkEvent::StreamMessage {
                        stream,
                        kind,
                        payload: transmit.payload,
                    };
                    self.way.push_back((other(role), transmit.link, event));
                } else {
                    break;
                }
            }
        }
    }

    fn act(&mut self, by: Role, action: Action) {
        match action {
            Action::Dial { link } => {
                (self.links, self.streams, self.greeted) = (link.0 + 1, 1, false);
                let options = StreamOptions::reliable(CONTROL_LABEL, CONTROL_PROTOCOL);
                let (stream, by) = (CONTROL, OpenedBy::Remote);
                let opened = LinkEvent::StreamOpened {
                    stream,
                    options,
                    by,
                };
                self.way
                    .push_back((Role::Dialer, link, LinkEvent::Connected(LINK)));
                self.way.push_back((Role::Dialer, link, opened));
            }
            Action::OpenStream { link, options } => {
                let stream = StreamId(self.streams);
                self.streams += 1;
                let opened = |options, by| LinkEvent::StreamOpened {
                    stream,
                    options,
                    by,
                };
                let local = opened(options.clone(), OpenedBy::Local);
                let now = self.now;
                if let Some(machine) = self.machine(by) {
                    machine.handle_link_event(link, local, now);
                }
                self.way
                    .push_back((other(by), link, opened(options, OpenedBy::Remote)));
            }
            Action::CloseStream { .. } | Action::AbandonLink { .. } | Action::FinishLink { .. } => {
            }
        }
    }

    fn write_down(&mut self, from: Role, link: LinkId, stream: StreamId, payload: &Bytes) {
        let mut rest = payload.clone();
        let mut frames = Vec::new();
        while !rest.is_empty() {
            frames.push(match stream {
                CONTROL => control_frame(&ControlFrame::decode(&mut rest).expect("our frame")),
                _ => channel_frame(&ChannelFrame::decode(&mut rest).expect("our frame")),
            });
        }
        self.record.push(json!({
            "at_ms": self.now.since_origin().as_millis() as u64,
            "link": link.0 + 1,
            "from": format!("{from:?}").to_lowercase(),
            "stream": match stream { CONTROL => "control", _ => "chat" },
            "lost": false,
            "frames": frames,
            "bytes": hex(payload),
        }));
    }
}

fn other(role: Role) -> Role {
    match role {
        Role::Dialer => Role::Acceptor,
        Role::Acceptor => Role::Dialer,
    }
}
