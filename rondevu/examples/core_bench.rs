//! What our own machines cost beside the WebRTC engine below them, in one run: time for a message
//! of 1 KiB, memory of an idle session. `cargo xtask bench core` runs it.

use std::alloc::System;
use std::collections::VecDeque;
use std::mem::size_of;
use std::net::SocketAddr;
use std::time::{Duration, Instant as Clock};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use rondevu_core::frame::{CONTROL_LABEL, CONTROL_PROTOCOL, ChannelFrame, ControlFrame};
use rondevu_core::{
    Inbox, Incarnation, Instant, Keeping, LinkEvent, LinkId, LinkInfo, Message, MessageKind,
    OpenedBy, Order, Outbox, QueueLimits, SessionId, StreamId, StreamOptions,
};
use rondevu_durable::{
    Action, Arrival, ChannelConfig, ChannelMachine, ConnectionConfig, ConnectionMachine, Role,
    Seeds, Trust,
};
use rondevu_transport::rtc::{RtcConfig, RtcFactory};
use rondevu_transport::{Transport, TransportFactory, Written};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const MESSAGE_BYTES: usize = 1024;
const OURS: u32 = 400_000;
const ENGINES: u32 = 40_000;
const ROUNDS: usize = 5;
const SESSIONS: usize = 100;

fn main() -> Result<()> {
    // Alternating, so that a busy machine slows both; the fastest round counts.
    let mut ours = Duration::MAX;
    let mut engine = Duration::MAX;
    let mut links = Links::connect()?;
    for _ in 0..ROUNDS {
        ours = ours.min(through_our_machines()? / OURS);
        engine = engine.min(links.carry(ENGINES)? / ENGINES);
    }
    let share = ours.as_secs_f64() / engine.as_secs_f64() * 100.0;
    println!("1 KiB through outbox, frame and inbox   {ours:>10.1?}");
    println!("1 KiB through two str0m links           {engine:>10.1?}");
    println!("our share of it                         {share:>9.1} %   (target < 5 %)");
    println!(
        "idle session with one channel, one side {:>10} B   (target < 4096 B)",
        idle_session_bytes()?
    );
    println!(
        "of which: the connection itself {} B, a channel itself {} B",
        size_of::<ConnectionMachine>(),
        size_of::<ChannelMachine>()
    );
    Ok(())
}

/// A message from `push` to `pop`, through its encoded frame, acknowledgements included.
fn through_our_machines() -> Result<Duration> {
    let window = 1024 * 1024;
    let keeping = Keeping::UntilAcked(Order::Ordered);
    let mut outbox = Outbox::new(keeping, QueueLimits::default(), 16 * 1024, window);
    let mut inbox = Inbox::new(Order::Ordered, window, 16 * 1024 * 1024);
    let (next, credit) = inbox.cursor();
    outbox.on_attach(next, credit)?;
    let payload = Bytes::from(vec![7; MESSAGE_BYTES]);
    let start = Clock::now();
    for _ in 0..OURS {
        let now = Instant::from_origin(start.elapsed());
        if outbox.push(Message::Binary(payload.clone()), now).is_err() {
            bail!("the outbox is full");
        }
        let frame = outbox.next_frame(64 * 1024).context("credit")?;
        let mut out = Vec::with_capacity(MESSAGE_BYTES + 32);
        frame.encode(&mut out);
        let mut bytes = Bytes::from(out);
        let ChannelFrame::Data {
            seq,
            part,
            kind,
            payload,
        } = ChannelFrame::decode(&mut bytes)?
        else {
            bail!("a message travels as data");
        };
        inbox.on_data(seq, part, kind, payload, now)?;
        inbox.pop().context("the message")?;
        if let Some((next, credit)) = inbox.poll_ack(now) {
            outbox.on_ack(next, credit)?;
        }
    }
    Ok(start.elapsed())
}

/// Two links of the engine, joined without sockets.
struct Links {
    start: Clock,
    service: Box<dyn Transport>,
    dialer: Box<dyn Transport>,
    stream: StreamId,
    received: u32,
}

impl Links {
    fn connect() -> Result<Self> {
        let start = Clock::now();
        let factory = RtcFactory::new(RtcConfig::default(), start)?;
        let (here, there): (SocketAddr, SocketAddr) =
            ("192.0.2.1:5000".parse()?, "192.0.2.2:6000".parse()?);
        let now = Instant::ORIGIN;
        let options = StreamOptions::reliable("bench", "");
        let offer = factory.create_offer(&[here.into()], options, now)?;
        let answer = factory.create_answer(&offer.description, &[there.into()], now)?;
        let mut service = offer.transport;
        service.accept_answer(&answer.description, now)?;
        let mut links = Self {
            start,
            service,
            dialer: answer.transport,
            stream: offer.stream,
            received: 0,
        };
        while links.write()? == Written::Full || links.received == 0 {
            links.exchange();
            if start.elapsed() > Duration::from_secs(10) {
                bail!("the two links do not connect");
            }
        }
        Ok(links)
    }

    fn write(&mut self) -> Result<Written> {
        let now = Instant::from_origin(self.start.elapsed());
        let payload = [7; MESSAGE_BYTES];
        match self
            .service
            .write(self.stream, MessageKind::Binary, &payload, now)
        {
            Ok(written) => Ok(written),
            // Not open yet.
            Err(_) if self.received == 0 => Ok(Written::Full),
            Err(error) => Err(error.into()),
        }
    }

    /// Moves datagrams both ways until none is left.
    fn exchange(&mut self) {
        let now = Instant::from_origin(self.start.elapsed());
        self.service.handle_timeout(now);
        self.dialer.handle_timeout(now);
        loop {
            let mut moved = carry(&mut *self.service, &mut *self.dialer, now);
            moved |= carry(&mut *self.dialer, &mut *self.service, now);
            while self.service.poll_event().is_some() {}
            while let Some(event) = self.dialer.poll_event() {
                self.received += u32::from(matches!(event, LinkEvent::StreamMessage { .. }));
            }
            if !moved {
                break;
            }
        }
    }

    fn carry(&mut self, messages: u32) -> Result<Duration> {
        let begin = Clock::now();
        let until = self.received + messages;
        let mut sent = 0;
        while self.received < until {
            while sent < messages && self.write()? == Written::Accepted {
                sent += 1;
            }
            self.exchange();
            if begin.elapsed() > Duration::from_secs(120) {
                bail!("the two links stand still");
            }
        }
        Ok(begin.elapsed())
    }
}

/// Moves the datagrams of one side; whether there were any.
fn carry(from: &mut dyn Transport, to: &mut dyn Transport, now: Instant) -> bool {
    let mut moved = false;
    while let Some(datagram) = from.poll_transmit() {
        to.handle_datagram(datagram.as_received(), now);
        moved = true;
    }
    moved
}

/// The memory of one side, on the heap and in the machine itself.
fn idle_session_bytes() -> Result<usize> {
    let mut sides = Vec::with_capacity(SESSIONS);
    let held = || {
        let stats = ALLOCATOR.stats();
        stats.bytes_allocated - stats.bytes_deallocated
    };
    let before = held();
    for n in 0..SESSIONS as u64 {
        sides.push(session(n)?);
    }
    let after = held();
    let each = (after - before) / SESSIONS;
    drop(sides);
    Ok(each + size_of::<ConnectionMachine>())
}

/// The dialer of a session that has carried a message each way, and waits.
fn session(n: u64) -> Result<ConnectionMachine> {
    let (config, trust) = (ConnectionConfig::default(), Trust::default());
    let seeds = Seeds {
        session: SessionId(n.into()),
        incarnation: Incarnation(n),
        rng: n,
    };
    let mut dialer = ConnectionMachine::dialer(config.clone(), trust.clone(), seeds);
    let mut acceptor: Option<ConnectionMachine> = None;
    let chat = dialer.open_channel("chat", &ChannelConfig::default())?;
    let now = Instant::ORIGIN;
    dialer.connect(now);
    let (link, control, chat_stream) = (LinkId(0), StreamId(0), StreamId(1));
    let info = LinkInfo {
        message_bytes_max: 64 * 1024,
        ..LinkInfo::UNKNOWN
    };
    let opened = |stream, options, by| LinkEvent::StreamOpened {
        stream,
        options,
        by,
    };
    dialer.handle_link_event(link, LinkEvent::Connected(info), now);
    let offered = StreamOptions::reliable(CONTROL_LABEL, CONTROL_PROTOCOL);
    dialer.handle_link_event(link, opened(control, offered, OpenedBy::Remote), now);
    dialer
        .channel_mut(chat)
        .context("the channel")?
        .send("hello".into(), now)?;
    let mut way: VecDeque<(Role, LinkEvent)> = VecDeque::new();
    for turn in 0..200u64 {
        let now = Instant::from_origin(Duration::from_millis(turn));
        for role in [Role::Dialer, Role::Acceptor] {
            let machine = match role {
                Role::Dialer => Some(&mut dialer),
                Role::Acceptor => acceptor.as_mut(),
            };
            let Some(machine) = machine else { continue };
            machine.handle_timeout(now);
            while let Some(action) = machine.poll_action() {
                if let Action::OpenStream { options, .. } = action {
                    let local = opened(chat_stream, options.clone(), OpenedBy::Local);
                    machine.handle_link_event(link, local, now);
                    way.push_back((other(role), opened(chat_stream, options, OpenedBy::Remote)));
                }
            }
            while let Some(transmit) = machine.poll_transmit(now) {
                let (stream, kind) = (transmit.stream, transmit.kind);
                let payload = transmit.payload;
                let message = LinkEvent::StreamMessage {
                    stream,
                    kind,
                    payload,
                };
                way.push_back((other(role), message));
            }
            while machine.poll_event().is_some() {}
            while machine.poll_touched().is_some() {}
            if let Some(channel) = machine.channel_mut(chat) {
                while let Some(delivery) = channel.recv() {
                    let echo = delivery.into_message().context("a message")?;
                    if role == Role::Acceptor {
                        channel.send(echo, now)?;
                    }
                }
                while channel.poll_event().is_some() {}
            }
        }
        while let Some((to, event)) = way.pop_front() {
            match (to, &mut acceptor) {
                (Role::Dialer, _) => dialer.handle_link_event(link, event, now),
                (Role::Acceptor, Some(acceptor)) => acceptor.handle_link_event(link, event, now),
                (Role::Acceptor, none) => {
                    let LinkEvent::StreamMessage { mut payload, .. } = event else {
                        continue;
                    };
                    let ControlFrame::Hello(hello) = ControlFrame::decode(&mut payload)? else {
                        bail!("a dialer says hello first");
                    };
                    let arrival = Arrival {
                        link,
                        control,
                        info,
                    };
                    let (config, trust) = (config.clone(), trust.clone());
                    *none = Some(ConnectionMachine::acceptor(
                        config, trust, arrival, hello, seeds, now,
                    )?);
                }
            }
        }
    }
    let settled = dialer
        .channel(chat)
        .context("the channel")?
        .outbox()
        .is_settled();
    if !settled || dialer.live_link().is_none() {
        bail!("the session is not idle");
    }
    Ok(dialer)
}

fn other(role: Role) -> Role {
    match role {
        Role::Dialer => Role::Acceptor,
        Role::Acceptor => Role::Dialer,
    }
}
