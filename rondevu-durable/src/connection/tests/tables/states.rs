//! How each state comes about.

use rondevu_core::{LinkClosed, RejectReason};

use super::*;

/// A machine in some state, with all that it said on the way taken off.
pub(super) struct Stand {
    pub(super) machine: ConnectionMachine,
    pub(super) now: Instant,
    /// A channel of either side, with the stream that it has on the link that is up.
    pub(super) chat: Option<ChannelId>,
}

impl Stand {
    fn new(mut machine: ConnectionMachine, now: Instant, chat: Option<ChannelId>) -> Self {
        while machine.poll_action().is_some() || machine.poll_transmit(now).is_some() {}
        while machine.poll_event().is_some() {}
        Self { machine, now, chat }
    }
}

/// Makes a machine in some state.
pub(super) type Make = fn() -> Stand;

pub(super) fn of_dialer() -> Vec<Make> {
    Vec::from([
        idle as Make,
        dialing,
        announced,
        || after_dialing(&[connected()]),
        || announced().with(|m, now| m.handle_link_event(LinkId(0), connected(), now)),
        || after_dialing(&[connected(), control()]),
        || after_dialing(&[connected(), control(), reject(RejectReason::UnknownSession)]),
        || after_dialing(&[lost()]).with_retry(),
        paused_at_once,
        up,
        || suspect(&[]),
        || suspect(&[]).with(|m, now| m.retry_now(now)),
        || suspect(&[connected(), control()]),
        || suspect(&[connected(), control(), reject(RejectReason::UnknownSession)]),
        || up().with(|m, now| m.handle_link_event(LinkId(0), lost(), now)),
        redialing,
        || redialing().with(greet_again),
        || up().with(|m, now| m.pause(now)),
        || busy().with(|m, now| m.close(now)),
        || {
            let cut = busy().with(|m, now| m.close(now));
            cut.with(|m, now| m.handle_link_event(LinkId(0), lost(), now))
        },
        plain,
        || plain().with(|m, now| m.handle_link_event(LinkId(0), lost(), now)),
        || up().with(|m, _| m.abort(ByeReason::Closed)),
        failed,
    ])
}

pub(super) fn of_acceptor() -> Vec<Make> {
    Vec::from([
        welcoming as Make,
        answered,
        || {
            answered()
                .with(|m, now| m.handle_timeout(now + Duration::from_secs(5)))
                .later(Duration::from_secs(60))
        },
        || answered().with(|m, now| m.handle_link_event(LinkId(0), lost(), now)),
        || answering_busy().with(|m, now| m.close(now)),
        || {
            let cut = answering_busy().with(|m, now| m.close(now));
            cut.with(|m, now| m.handle_link_event(LinkId(0), lost(), now))
        },
        plain_answered,
        || answered().with(|m, _| m.abort(ByeReason::Closed)),
    ])
}

impl Stand {
    /// The same after something has happened.
    fn with(mut self, happen: impl FnOnce(&mut ConnectionMachine, Instant)) -> Self {
        happen(&mut self.machine, self.now);
        Self::new(self.machine, self.now, self.chat)
    }

    /// The same when its deadlines within this time have passed.
    fn later(mut self, time: Duration) -> Self {
        let end = self.now + time;
        while let Some(due) = self.machine.poll_timeout().filter(|due| due.at <= end) {
            self.now = self.now.max(due.at);
            self.machine.handle_timeout(self.now);
            if self.machine.resume_by.is_some() {
                break;
            }
        }
        Self::new(self.machine, self.now, self.chat)
    }

    fn with_retry(self) -> Self {
        assert_ne!(self.machine.retry, Retry::None);
        self
    }
}

fn patient() -> ConnectionConfig {
    ConnectionConfig {
        // A first attempt that is lost is followed by others.
        first_attempt: crate::config::FirstAttempt::KeepTrying,
        ..ConnectionConfig::default()
    }
}

fn idle() -> Stand {
    let machine = ConnectionMachine::dialer(patient(), Trust::default(), seeds(1));
    Stand::new(machine, Instant::ORIGIN, None)
}

fn dialing() -> Stand {
    idle().with(|m, now| m.connect(now))
}

fn announced() -> Stand {
    dialing().with(|m, _| m.handle_announcement(LinkId(0)))
}

/// What the first link says, one after the other.
fn after_dialing(events: &[LinkEvent]) -> Stand {
    dialing().with(|m, now| tell(m, LinkId(0), events, now))
}

fn tell(m: &mut ConnectionMachine, link: LinkId, events: &[LinkEvent], now: Instant) {
    for event in events {
        m.handle_link_event(link, event.clone(), now);
    }
}

pub(super) fn connected() -> LinkEvent {
    LinkEvent::Connected(LinkInfo {
        message_bytes_max: 64 * 1024,
        ..LinkInfo::UNKNOWN
    })
}

pub(super) fn control() -> LinkEvent {
    use rondevu_core::frame::{CONTROL_LABEL, CONTROL_PROTOCOL};
    LinkEvent::StreamOpened {
        stream: CONTROL,
        options: StreamOptions::reliable(CONTROL_LABEL, CONTROL_PROTOCOL),
        by: OpenedBy::Remote,
    }
}

pub(super) fn lost() -> LinkEvent {
    LinkEvent::Closed {
        reason: LinkClosed::NoPath,
    }
}

pub(super) fn reject(reason: RejectReason) -> LinkEvent {
    facts::on_control(&ControlFrame::Reject { reason })
}

fn paused_at_once() -> Stand {
    dialing().with(|m, now| m.pause(now))
}

/// A dialer and its acceptor with one channel and a message each way that was confirmed.
fn joined() -> (Pair, ChannelId) {
    let mut pair = Pair::connected(patient());
    let chat = channel(&mut pair);
    pair.settle();
    assert!(pair.send(Role::Dialer, chat, "ping"));
    pair.settle();
    assert!(pair.send(Role::Acceptor, chat, "pong"));
    pair.wait(Duration::from_millis(100));
    (pair, chat)
}

fn up() -> Stand {
    let (pair, chat) = joined();
    Stand::new(pair.dialer, pair.now, Some(chat))
}

/// Connected, with a message on its way that nobody confirms.
fn busy() -> Stand {
    let (mut pair, chat) = joined();
    assert!(pair.send(Role::Dialer, chat, "unconfirmed"));
    Stand::new(pair.dialer, pair.now, Some(chat))
}

/// The link is silent; what the next link says, if it is dialed.
fn suspect(next: &[LinkEvent]) -> Stand {
    let stand = up().with(|m, now| m.handle_network_change(now));
    // That has dialed at once.
    let stand = stand.with(|m, now| match next.is_empty() {
        true => {
            let failure = DialFailure {
                reason: "down".into(),
                retry: DialRetry::Later,
            };
            m.handle_dial_failed(LinkId(1), failure, now);
        }
        false => tell(m, LinkId(1), next, now),
    });
    assert!(stand.machine.state == State::Reconnecting);
    stand
}

fn redialing() -> Stand {
    let cut = up().with(|m, now| m.handle_link_event(LinkId(0), lost(), now));
    cut.with(|m, now| m.retry_now(now))
}

fn greet_again(m: &mut ConnectionMachine, now: Instant) {
    tell(m, LinkId(1), &[connected(), control()], now);
}

fn page() -> LinkEvent {
    LinkEvent::StreamOpened {
        stream: StreamId(10),
        options: StreamOptions::reliable("page", ""),
        by: OpenedBy::Remote,
    }
}

fn plain() -> Stand {
    after_dialing(&[connected(), page()])
}

fn failed() -> Stand {
    after_dialing(&[connected(), control(), reject(RejectReason::Version)])
}

/// An acceptor that has sent its welcome and heard nothing.
fn welcoming() -> Stand {
    let mut pair = Pair::new(patient());
    while pair.acceptor.is_none() {
        pair.pump();
        pair.deliver_some();
    }
    let acceptor = pair.acceptor.expect("it is there now");
    Stand::new(acceptor, pair.now, None)
}

fn answered() -> Stand {
    let (pair, chat) = joined();
    Stand::new(
        pair.acceptor.expect("both are connected"),
        pair.now,
        Some(chat),
    )
}

fn answering_busy() -> Stand {
    let (mut pair, chat) = joined();
    assert!(pair.send(Role::Acceptor, chat, "unconfirmed"));
    Stand::new(
        pair.acceptor.expect("both are connected"),
        pair.now,
        Some(chat),
    )
}

fn plain_answered() -> Stand {
    let LinkEvent::Connected(info) = connected() else {
        unreachable!("that is what it is")
    };
    let (link, now) = (LinkId(0), Instant::ORIGIN);
    let trust = Trust::default();
    let machine =
        ConnectionMachine::plain_acceptor(patient(), trust, link, CONTROL, info, seeds(2), now);
    Stand::new(machine.expect("plain peers are accepted"), now, None)
}
