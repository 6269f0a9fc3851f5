//! The machines without tokio: two threads, each with a UDP socket and nothing else.
//!
//! `cargo run --package rondevu --example embedded_core`
//!
//! A program that has its own way of waiting (a game loop, another runtime, a microcontroller with an
//! operating system) drives the machines itself. One turn is always the same: tell the machine and
//! its link what came in, do what they ask for, send what they have, wait until the next deadline.

use std::net::UdpSocket;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant as Clock};

use anyhow::{Context, Result, ensure};
use rondevu::core::frame::{CONTROL_LABEL, CONTROL_PROTOCOL};
use rondevu::core::{
    ChannelId, Incarnation, Instant, LinkId, SessionDescription, SessionId, StreamId, StreamOptions,
};
use rondevu::transport::rtc::{RtcConfig, RtcFactory};
use rondevu::transport::{LocalCandidate, Received, Transport, TransportFactory, Written};
use rondevu::{ChannelConfig, ConnectionConfig, Delivery, Message};
use rondevu_durable::{
    Action, Arrival, Caller, ConnectionMachine, Reception, Seeds, Transmit, Trust,
};

/// A machine, its one link, and the world as it knows it.
struct Peer {
    epoch: Clock,
    socket: UdpSocket,
    link: Box<dyn Transport>,
    machine: Option<ConnectionMachine>,
    /// What the link had no room for.
    waiting: Option<Transmit>,
}

const LINK: LinkId = LinkId(0);

pub(crate) fn main() -> Result<()> {
    let (offers, offer) = mpsc::channel();
    let (answers, answer) = mpsc::channel();
    let service = thread::spawn(move || serve(&offers, &answer));
    let said = call(&offer, &answers)?;
    println!("the service says {said:?}");
    ensure!(
        said == Message::from("hello, dialer"),
        "another answer came"
    );
    service.join().expect("the service does not panic")
}

/// The two sides hand each other a text; in earnest that is signaling.
fn serve(offers: &mpsc::Sender<String>, answer: &mpsc::Receiver<String>) -> Result<()> {
    let (epoch, socket, factory) = start()?;
    let options = StreamOptions::reliable(CONTROL_LABEL, CONTROL_PROTOCOL);
    let offered = factory.create_offer(
        &[LocalCandidate::Host(socket.local_addr()?)],
        options,
        now(epoch),
    )?;
    offers.send(offered.description.sdp)?;
    let mut link = offered.transport;
    let answer = SessionDescription::answer(answer.recv()?);
    link.accept_answer(&answer, now(epoch))?;
    let mut peer = Peer::new(epoch, socket, link, None);
    let mut reception = Reception::new(offered.stream, Duration::from_secs(20), now(epoch));
    loop {
        peer.turn(Some((&mut reception, offered.stream)))?;
        let Some(machine) = &mut peer.machine else {
            continue;
        };
        if machine.state().is_final() {
            return Ok(());
        }
        for id in [ChannelId(0)] {
            let Some(channel) = machine.channel_mut(id) else {
                continue;
            };
            while let Some(Delivery::Message(message)) = channel.recv() {
                println!("the dialer says {message:?}");
                channel.send("hello, dialer".into(), now(epoch))?;
            }
        }
    }
}

fn call(offer: &mpsc::Receiver<String>, answers: &mpsc::Sender<String>) -> Result<Message> {
    let (epoch, socket, factory) = start()?;
    let mut machine =
        ConnectionMachine::dialer(ConnectionConfig::default(), Trust::default(), seeds(1));
    let chat = machine.open_channel("chat", &ChannelConfig::default())?;
    let channel = machine.channel_mut(chat).context("it was just opened")?;
    channel.send("hello, service".into(), now(epoch))?;
    machine.connect(now(epoch));
    let dial = machine.poll_action();
    ensure!(
        dial == Some(Action::Dial { link: LINK }),
        "the first action is to dial"
    );
    let offer = SessionDescription::offer(offer.recv()?);
    let answered = factory.create_answer(
        &offer,
        &[LocalCandidate::Host(socket.local_addr()?)],
        now(epoch),
    )?;
    answers.send(answered.description.sdp)?;
    let mut peer = Peer::new(epoch, socket, answered.transport, Some(machine));
    let mut said = None;
    loop {
        peer.turn(None)?;
        let machine = peer.machine.as_mut().context("a dialer always has one")?;
        if let Some(channel) = machine.channel_mut(chat)
            && let Some(Delivery::Message(message)) = channel.recv()
        {
            said = Some(message);
            machine.close(now(epoch));
        }
        if machine.state().is_final() {
            peer.turn(None)?;
            return said.context("the connection ended without a word");
        }
    }
}

impl Peer {
    fn new(
        epoch: Clock,
        socket: UdpSocket,
        link: Box<dyn Transport>,
        machine: Option<ConnectionMachine>,
    ) -> Self {
        Self {
            epoch,
            socket,
            link,
            machine,
            waiting: None,
        }
    }

    /// One turn; waits for the next datagram or deadline. A link whose peer is still to say who it is
    /// has a reception and no machine.
    fn turn(&mut self, reception: Option<(&mut Reception, StreamId)>) -> Result<()> {
        let now = now(self.epoch);
        self.link.handle_timeout(now);
        self.hear(reception, now)?;
        if let Some(machine) = &mut self.machine {
            machine.handle_timeout(now);
            while let Some(action) = machine.poll_action() {
                match action {
                    Action::OpenStream { options, .. } => {
                        // Which stream it is the link tells with an event.
                        let _stream = self.link.open_stream(options, now)?;
                    }
                    Action::CloseStream { stream, .. } => self.link.close_stream(stream, now),
                    // With signaling at hand this is the place to dial again.
                    Action::Dial { .. }
                    | Action::AbandonLink { .. }
                    | Action::FinishLink { .. } => {}
                }
            }
            while let Some(next) = self.waiting.take().or_else(|| machine.poll_transmit(now)) {
                if self
                    .link
                    .write(next.stream, next.kind, &next.payload, now)?
                    == Written::Full
                {
                    self.waiting = Some(next);
                    break;
                }
            }
            while machine.poll_event().is_some() {}
            while machine.poll_touched().is_some() {}
        }
        while let Some(datagram) = self.link.poll_transmit() {
            self.socket
                .send_to(&datagram.payload, datagram.destination)?;
        }
        self.wait(now)
    }

    fn hear(&mut self, reception: Option<(&mut Reception, StreamId)>, now: Instant) -> Result<()> {
        let mut reception = reception;
        while let Some(event) = self.link.poll_event() {
            match (&mut self.machine, &mut reception) {
                (Some(machine), _) => machine.handle_link_event(LINK, event, now),
                (None, Some((reception, control))) => {
                    let Some(caller) = reception.handle_link_event(event) else {
                        continue;
                    };
                    let Caller::Session { info, hello } = caller else {
                        continue;
                    };
                    let arrival = Arrival {
                        link: LINK,
                        control: *control,
                        info,
                    };
                    let (config, trust) = (ConnectionConfig::default(), Trust::default());
                    let machine =
                        ConnectionMachine::acceptor(config, trust, arrival, hello, seeds(2), now);
                    self.machine = Some(machine?);
                }
                (None, None) => {}
            }
        }
        Ok(())
    }

    fn wait(&mut self, before: Instant) -> Result<()> {
        let machine = self
            .machine
            .as_ref()
            .and_then(|machine| machine.poll_timeout());
        let deadlines = [
            self.link.poll_timeout(),
            machine.map(|deadline| deadline.at),
        ];
        let next = deadlines.into_iter().flatten().min();
        let wait = next.map_or(LONG, |at| at.saturating_since(before));
        self.socket
            .set_read_timeout(Some(wait.clamp(SHORT, LONG)))?;
        let mut buffer = [0; 2048];
        let Ok((len, source)) = self.socket.recv_from(&mut buffer) else {
            return Ok(());
        };
        let destination = self.socket.local_addr()?;
        let payload = &buffer[..len];
        let received = Received {
            source,
            destination,
            payload,
        };
        self.link.handle_datagram(received, now(self.epoch));
        Ok(())
    }
}

fn start() -> Result<(Clock, UdpSocket, RtcFactory)> {
    let epoch = Clock::now();
    let factory = RtcFactory::new(RtcConfig::default(), epoch)?;
    Ok((epoch, UdpSocket::bind("127.0.0.1:0")?, factory))
}

fn now(epoch: Clock) -> Instant {
    Instant::from_origin(epoch.elapsed())
}

/// In earnest these come from the operating system: a session's id must not be guessed.
fn seeds(n: u64) -> Seeds {
    Seeds {
        session: SessionId(n.into()),
        incarnation: Incarnation(n),
        rng: n,
    }
}

/// No socket waits for no time at all.
const SHORT: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_millis(100);
