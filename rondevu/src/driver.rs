//! The task of one connection: moves facts and messages between the machine and its links.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, MutexGuard};
use std::task::Poll;
use std::time::Duration;

use rondevu_core::{DurableConnectionState, Instant, LinkClosed, LinkEvent, LinkId};
use rondevu_durable::{Action, DialFailure, Role};
use rondevu_signaling::PublicKey;
use rondevu_transport::LinkPath;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use crate::addresses::Present;
use crate::clock::Alarm;
use crate::dial::{Dialed, Dialer};
use crate::greeting::{Membership, Presence};
use crate::known_keys::FirstUse;
use crate::link::{Link, arrival};
use crate::measure::{self, Living};
use crate::shared::{Core, Shared, lock};

/// Drives one connection until it has ended and its last link is closed.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    links: Vec<Link>,
    /// Links that are kept until the peer has closed them, at the latest until then.
    finishing: Vec<(LinkId, Instant)>,
    way: Way,
    noted: Option<Presence>,
    dialing: Option<Dialing>,
    /// Of a dialer: the addresses of this machine.
    addresses: Option<watch::Receiver<Present>>,
    /// Until the first link is up.
    first_use: Option<FirstUse>,
    alarm: Alarm,
    _living: Living,
}

/// How the connection comes by its links.
enum Way {
    /// It dials.
    Dialing(Dialer),
    /// They are handed over by the service, which keeps an account of its sessions.
    Accepting(Membership),
}

struct Dialing {
    link: LinkId,
    task: JoinHandle<Result<Dialed, DialFailure>>,
}

impl Drop for Dialing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a turn wants next.
enum Next {
    Again,
    Wait(Option<Instant>),
    Over,
}

impl Driver {
    /// A driver that dials.
    pub(crate) fn dialing(
        shared: Arc<Shared>,
        dialer: Dialer,
        addresses: watch::Receiver<Present>,
        first_use: Option<FirstUse>,
    ) -> Self {
        Self {
            addresses: Some(addresses),
            ..Self::new(shared, Way::Dialing(dialer), first_use, Role::Dialer)
        }
    }

    /// A driver of a service's session.
    pub(crate) fn accepting(shared: Arc<Shared>, membership: Membership) -> Self {
        Self::new(shared, Way::Accepting(membership), None, Role::Acceptor)
    }

    fn new(shared: Arc<Shared>, way: Way, first_use: Option<FirstUse>, role: Role) -> Self {
        Self {
            alarm: Alarm::new(shared.clock),
            shared,
            links: Vec::new(),
            finishing: Vec::new(),
            way,
            noted: None,
            dialing: None,
            addresses: None,
            first_use,
            _living: Living::begin(role),
        }
    }

    pub(crate) async fn run(mut self) {
        loop {
            if self.hear() {
                self.let_answer().await;
            }
            let more = self.speak();
            // Encrypting is most of the work, and the handles need not wait for it.
            for link in &mut self.links {
                link.flush().await;
            }
            match self.settle(more) {
                Next::Over => return,
                // Whatever is ready is taken; the deadline, which has passed, keeps it from waiting.
                Next::Again => self.wait(Some(Instant::ORIGIN)).await,
                Next::Wait(deadline) => self.wait(deadline).await,
            }
        }
    }

    /// Lets the other tasks run. Whoever was told of a message may answer at once: what the machine and the
    /// transport say by themselves then shares a datagram with the answer.
    async fn let_answer(&mut self) {
        step_aside().await;
        // What was done until now is seen when the machine is locked next, and needs no turn of its own.
        let mut woken = pin!(self.shared.wake.notified());
        woken.as_mut().enable();
    }

    /// Takes what has come in; whether it was little, with a message for the application.
    fn hear(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let now = shared.clock.now();
        let mut fed = 0;
        for link in &mut self.links {
            fed += link.feed(now);
            // Encrypting what the peer has made room for takes long: not while handles wait.
            link.work();
            link.handle_timeout(now);
        }
        let mut core = self.lock(&shared);
        if core
            .machine
            .poll_timeout()
            .is_some_and(|deadline| deadline.at <= now)
        {
            for link in &self.links {
                if let Some(why) = link.explain() {
                    core.machine.handle_hindrance(link.id, why);
                }
            }
            core.machine.handle_timeout(now);
        }
        let heard = self.hear_links(&mut core, now);
        // Who hears of the end may end the process: the last word has to be on its way then.
        let has_message = heard && !core.machine.state().is_final() && self.publish(&mut core);
        has_message && fed <= FEW
    }

    /// Locks, and takes the links that greetings have handed over: what the machine says of a link is not
    /// to come before the link.
    fn lock<'a>(&mut self, shared: &'a Shared) -> MutexGuard<'a, Core> {
        let mut core = lock(&shared.core);
        self.links.append(&mut core.handovers);
        core
    }

    /// Writes what there is, within a budget; whether there is more to do.
    fn speak(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let links = self.links.len();
        let mut core = self.lock(&shared);
        let is_joined = self.links.len() > links;
        let now = shared.clock.now();
        // A greeting may have put a new link in the place of the old one meanwhile.
        self.act_all(&mut core, now);
        let more = self.write(&mut core, now);
        if !core.machine.state().is_final() {
            self.publish(&mut core);
        }
        more || is_joined
    }

    /// Hears what came of sending, and says what is next.
    fn settle(&mut self, more: bool) -> Next {
        let shared = Arc::clone(&self.shared);
        let now = shared.clock.now();
        let mut core = self.lock(&shared);
        let heard = self.hear_links(&mut core, now);
        let more = more || heard;
        // A last word may be left, or have come of what was heard: it leaves in the next turn.
        if !more || !core.machine.state().is_final() {
            self.publish(&mut core);
        }
        if !more {
            self.drop_closed();
        }
        let next = self.next(&core, more, now);
        let presence = Presence::of(&core, now);
        drop(core);
        // That a link is still there is no news; what waits without one may have grown.
        let known = matches!(
            (self.noted, presence),
            (Some(Presence::Attached(_)), Some(Presence::Attached(_)))
        );
        if let (Way::Accepting(member), Some(presence), false) = (&self.way, presence, known) {
            member.registry().note(presence);
            self.noted = Some(presence);
        }
        next
    }

    /// Tells everybody what has changed; whether there is a message for the application.
    fn publish(&mut self, core: &mut Core) -> bool {
        core.path = self.live_path(core);
        let state = core.machine.state();
        if state == DurableConnectionState::Connected
            && let Some(first_use) = self.first_use.take()
            && let Some(key) = core.machine.peer_key()
        {
            first_use.remember(PublicKey::from_bytes(key));
        }
        if let (Way::Accepting(membership), true) = (&mut self.way, state.is_final()) {
            membership.end();
        }
        self.shared.publish(core)
    }

    fn next(&self, core: &Core, more: bool, now: Instant) -> Next {
        if core.machine.state().is_final() && self.finishing.is_empty() && self.links.is_empty() {
            return Next::Over;
        }
        let links = self
            .links
            .iter()
            .filter_map(|link| link.transport.poll_timeout());
        let finishing = self.finishing.iter().map(|(_, at)| *at);
        let machine = core.machine.poll_timeout().map(|deadline| deadline.at);
        let deadline = links.chain(finishing).chain(machine).min();
        if more || deadline.is_some_and(|at| at <= now) {
            return Next::Again;
        }
        Next::Wait(deadline)
    }

    /// Tells the machine what its links report, and does what it asks for; whether there was
    /// anything.
    fn hear_links(&mut self, core: &mut Core, now: Instant) -> bool {
        let mut heard = false;
        for link in &mut self.links {
            if link.take_activity() {
                core.machine.handle_path_activity(link.id, now);
            }
            while let Some(event) = link.poll_event() {
                if let LinkEvent::Closed { reason } = &event {
                    tracing::debug!(link = link.id.0, %reason, "link closed");
                    if let (LinkClosed::NoPath, Some(why)) = (reason, link.explain()) {
                        core.machine.handle_hindrance(link.id, why);
                    }
                    self.finishing.retain(|(id, _)| *id != link.id);
                }
                core.machine.handle_link_event(link.id, event, now);
                heard = true;
            }
        }
        for (id, _) in self.finishing.extract_if(.., |(_, at)| *at <= now) {
            if let Some(link) = self.links.iter_mut().find(|link| link.id == id) {
                link.transport.close(now);
            }
        }
        self.act_all(core, now) || heard
    }

    /// Does what the machine asks for; whether there was anything.
    fn act_all(&mut self, core: &mut Core, now: Instant) -> bool {
        let mut acted = false;
        while let Some(action) = core.machine.poll_action() {
            self.act(action, now);
            acted = true;
        }
        acted
    }

    /// Writes messages while the live link takes them; whether the budget ended before the messages.
    fn write(&mut self, core: &mut Core, now: Instant) -> bool {
        for link in &mut self.links {
            link.unblock(now);
        }
        for _ in 0..WRITES_MAX {
            let live = core.machine.live_link();
            let blocked = self
                .links
                .iter()
                .any(|l| Some(l.id) == live && l.is_blocked());
            let transmit = if blocked {
                core.machine.poll_control()
            } else {
                core.machine.poll_transmit(now)
            };
            let Some(transmit) = transmit else {
                return false;
            };
            if let Some(link) = self.link(transmit.link) {
                link.write_as(transmit.stream, transmit.kind, transmit.payload, now);
            }
        }
        true
    }

    fn act(&mut self, action: Action, now: Instant) {
        match action {
            Action::Dial { link } => {
                if let Way::Dialing(dialer) = &self.way {
                    let span = tracing::debug_span!("link", id = link.0);
                    let task = tokio::spawn(dialer.clone().dial(link).instrument(span));
                    self.dialing = Some(Dialing { link, task });
                }
            }
            Action::OpenStream { link, options } => {
                if let Some(link) = self.link(link)
                    && let Err(error) = link.transport.open_stream(options, now)
                {
                    tracing::debug!(%error, link = link.id.0, "stream not opened");
                    link.transport.close(now);
                }
            }
            Action::CloseStream { link, stream } => {
                if let Some(link) = self.link(link) {
                    link.close_stream(stream, now);
                }
            }
            Action::AbandonLink { link } => {
                self.dialing.take_if(|dialing| dialing.link == link);
                if let Some(link) = self.link(link) {
                    link.transport.close(now);
                }
            }
            Action::FinishLink { link } => {
                if self.link(link).is_some() {
                    self.finishing.push((link, now + FINISH_TIME));
                }
            }
        }
    }

    fn live_path(&self, core: &Core) -> Option<LinkPath> {
        let live = core.machine.live_link()?;
        let link = self.links.iter().find(|link| link.id == live)?;
        link.transport.path()
    }

    fn link(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.iter_mut().find(|link| link.id == id)
    }

    /// Forgets links that have ended, once they have nothing more to say to anybody.
    fn drop_closed(&mut self) {
        let finishing = &self.finishing;
        self.links.retain(|link| {
            link.transport.poll_timeout().is_some()
                || finishing.iter().any(|(id, _)| *id == link.id)
        });
    }

    /// Waits until there is something to do. Everything is armed anew on each call, so there is no
    /// wake-up to lose; the alarm keeps an earlier time by itself.
    async fn wait(&mut self, deadline: Option<Instant>) {
        let dialed = async {
            match &mut self.dialing {
                Some(dialing) => (&mut dialing.task).await,
                None => std::future::pending().await,
            }
        };
        let moved = async {
            let changed = match &mut self.addresses {
                Some(addresses) => addresses.changed().await,
                None => std::future::pending().await,
            };
            if changed.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = self.shared.wake.notified() => {}
            () = moved => self.on_moved(),
            () = self.alarm.wait_until(deadline) => {}
            () = arrival(&mut self.links) => {}
            result = dialed => self.on_dialed(result),
        }
    }

    /// The addresses of this machine have changed. A link that has lost one of them is replaced at
    /// once, and who has no link looks for one at once.
    fn on_moved(&mut self) {
        let Some(addresses) = &mut self.addresses else {
            return;
        };
        let present = addresses.borrow_and_update().all.clone();
        let stranded = self
            .links
            .iter()
            .any(|link| link.has_lost_address(&present));
        if stranded || self.links.is_empty() && self.dialing.is_none() {
            tracing::debug!("the addresses of this machine have changed");
            let now = self.shared.clock.now();
            lock(&self.shared.core).machine.handle_network_change(now);
        }
    }

    fn on_dialed(&mut self, result: Result<Result<Dialed, DialFailure>, tokio::task::JoinError>) {
        let Some(dialing) = self.dialing.take() else {
            return;
        };
        let failure = match result {
            Ok(Ok(dialed)) => {
                if dialed.announced {
                    let mut core = lock(&self.shared.core);
                    core.machine.handle_announcement(dialing.link);
                }
                return self.links.push(dialed.link);
            }
            Ok(Err(failure)) => failure,
            Err(error) => DialFailure {
                reason: format!("the attempt ended early: {error}"),
                retry: rondevu_durable::DialRetry::Later,
            },
        };
        tracing::debug!(reason = failure.reason, "dialing failed");
        measure::dial_failed();
        let now = self.shared.clock.now();
        lock(&self.shared.core)
            .machine
            .handle_dial_failed(dialing.link, failure, now);
    }
}

/// Of more datagrams at once a stream of messages consists, whose reader keeps up by itself.
const FEW: usize = 4;
/// Lets the tasks run that are ready. Unlike [`tokio::task::yield_now`] it does not ask the system for what has
/// come in meanwhile, which would cost each message a system call.
async fn step_aside() {
    let mut has_stepped = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_stepped, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Messages of 16 KiB, so about what the transport's buffer takes at once.
const WRITES_MAX: usize = 16;
/// How long the last message of a connection may take to reach the peer.
const FINISH_TIME: Duration = Duration::from_secs(1);
