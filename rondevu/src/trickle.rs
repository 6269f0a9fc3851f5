//! Candidates that travel through signaling while a link looks for its path.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rondevu_core::{
    IceCandidate, Instant, LinkEvent, MessageKind, OfferId, SessionDescription, StreamId,
    StreamOptions,
};
use rondevu_durable::{PollEnd, ServiceRetry, TrickleAction, TrickleMachine};
use rondevu_signaling::{RemoteCandidate, Retry, Signaling, SignalingError, UnixMillis};
use rondevu_transport::{
    Datagram, Fingerprints, LinkPath, LinkStage, LocalCandidate, NamedCandidate, Received,
    Transport, TransportError, Written,
};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::client::seeds;
use crate::clock::Clock;
use crate::mdns::Mdns;

#[cfg(test)]
mod tests;

/// A transport that passes its candidates on and takes those of its peer, until it has a path.
pub(crate) struct Trickling {
    transport: Box<dyn Transport>,
    exchange: Option<Exchange>,
}

/// The task that talks to the server, and the way to it. Ends with this value.
struct Exchange {
    local: mpsc::Sender<IceCandidate>,
    remote: mpsc::Receiver<IceCandidate>,
    task: JoinHandle<()>,
    names: Option<Names>,
    /// When to see whether candidates of the peer have come in.
    look_at: Instant,
}

/// Finds out the addresses behind the names that the peer tells, while this lives.
struct Names {
    mdns: Mdns,
    found: mpsc::Sender<IceCandidate>,
    searches: JoinSet<()>,
}

impl Names {
    fn find(&mut self, named: NamedCandidate) {
        while self.searches.try_join_next().is_some() {}
        let (mdns, found) = (self.mdns.clone(), self.found.clone());
        self.searches.spawn(async move {
            if let Some(address) = mdns.resolve(named.name()).await {
                // The link may have done without.
                let _ = found.send(named.with_address(address)).await;
            }
        });
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Trickling {
    /// Begins to exchange candidates for `offer`, whose answer both sides have or are about to, and
    /// to ask for those that have a name in place of an address.
    pub(crate) fn start(
        transport: Box<dyn Transport>,
        signaling: Arc<dyn Signaling>,
        offer: OfferId,
        mdns: Option<&Mdns>,
        clock: Clock,
    ) -> Self {
        let (local, from_transport) = mpsc::channel(CANDIDATES_MAX);
        let (to_transport, remote) = mpsc::channel(CANDIDATES_MAX);
        let names = mdns.map(|mdns| Names {
            mdns: mdns.clone(),
            found: to_transport.clone(),
            searches: JoinSet::new(),
        });
        let work = exchange(signaling, offer, clock, from_transport, to_transport);
        let exchange = Exchange {
            local,
            remote,
            task: tokio::spawn(work),
            names,
            look_at: clock.now(),
        };
        Self {
            transport,
            exchange: Some(exchange),
        }
    }

    /// Moves candidates between transport and task.
    fn trickle(&mut self, now: Instant) {
        let Some(exchange) = &mut self.exchange else {
            return;
        };
        exchange.look_at = now + LOOK_INTERVAL;
        while let Some(candidate) = self.transport.poll_candidate() {
            // A transport with more than the server keeps, or a task that has ended.
            if exchange.local.try_send(candidate).is_err() {
                tracing::debug!("a candidate is not passed on");
            }
        }
        while let Some(named) = self.transport.poll_named_candidate() {
            if let Some(names) = &mut exchange.names {
                names.find(named);
            }
        }
        while let Ok(candidate) = exchange.remote.try_recv() {
            if let Err(error) = self.transport.add_remote_candidate(&candidate, now) {
                tracing::debug!(%error, "a candidate of the peer is ignored");
            }
        }
    }
}

impl fmt::Debug for Trickling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trickling")
            .field("transport", &self.transport)
            .field("exchanges", &self.exchange.is_some())
            .finish_non_exhaustive()
    }
}

impl Transport for Trickling {
    fn accept_answer(
        &mut self,
        answer: &SessionDescription,
        now: Instant,
    ) -> Result<(), TransportError> {
        self.transport.accept_answer(answer, now)
    }

    fn add_remote_candidate(
        &mut self,
        candidate: &IceCandidate,
        now: Instant,
    ) -> Result<(), TransportError> {
        self.transport.add_remote_candidate(candidate, now)
    }

    fn add_local_candidate(&mut self, candidate: LocalCandidate, now: Instant) {
        self.transport.add_local_candidate(candidate, now);
    }

    fn remove_local_candidate(&mut self, candidate: LocalCandidate, now: Instant) {
        self.transport.remove_local_candidate(candidate, now);
    }

    fn open_stream(
        &mut self,
        options: StreamOptions,
        now: Instant,
    ) -> Result<StreamId, TransportError> {
        self.transport.open_stream(options, now)
    }

    fn write(
        &mut self,
        stream: StreamId,
        kind: MessageKind,
        payload: &[u8],
        now: Instant,
    ) -> Result<Written, TransportError> {
        self.transport.write(stream, kind, payload, now)
    }

    fn close_stream(&mut self, stream: StreamId, now: Instant) {
        self.transport.close_stream(stream, now);
    }

    fn close(&mut self, now: Instant) {
        self.exchange = None;
        self.transport.close(now);
    }

    fn handle_datagram(&mut self, datagram: Received<'_>, now: Instant) {
        self.transport.handle_datagram(datagram, now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.trickle(now);
        if self.transport.poll_timeout().is_some_and(|at| at <= now) {
            self.transport.handle_timeout(now);
        }
    }

    fn poll_transmit(&mut self) -> Option<Datagram> {
        self.transport.poll_transmit()
    }

    fn poll_event(&mut self) -> Option<LinkEvent> {
        let event = self.transport.poll_event();
        if let Some(LinkEvent::Connected(_) | LinkEvent::Closed { .. }) = event {
            self.exchange = None;
        }
        event
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let transport = self.transport.poll_timeout()?;
        let look = self.exchange.as_ref().map(|exchange| exchange.look_at);
        Some(look.map_or(transport, |look| look.min(transport)))
    }

    fn local_username_fragment(&self) -> &str {
        self.transport.local_username_fragment()
    }

    fn max_message_bytes(&self) -> usize {
        self.transport.max_message_bytes()
    }

    fn stage(&self) -> LinkStage {
        self.transport.stage()
    }

    fn path(&self) -> Option<LinkPath> {
        self.transport.path()
    }

    fn fingerprints(&self) -> Option<Fingerprints> {
        self.transport.fingerprints()
    }
}

/// What a request came to.
enum Outcome {
    Posted(Result<(), SignalingError>),
    Fetched(Result<(Vec<RemoteCandidate>, PollEnd), SignalingError>),
}

/// Talks to the server until the link has a path, has ended, or the server has lost the offer.
async fn exchange(
    signaling: Arc<dyn Signaling>,
    offer: OfferId,
    clock: Clock,
    mut local: mpsc::Receiver<IceCandidate>,
    remote: mpsc::Sender<IceCandidate>,
) {
    let Ok(seeds) = seeds() else { return };
    let mut machine = TrickleMachine::new(seeds.rng, clock.now());
    let mut since = None;
    let mut requests = JoinSet::new();
    while let Some(deadline) = next(&machine, &requests) {
        let sleep = clock.sleep_until(deadline);
        tokio::select! {
            candidate = local.recv() => {
                let Some(candidate) = candidate else { return };
                machine.handle_local_candidate(candidate, clock.now());
            }
            Some(outcome) = requests.join_next() => {
                if let Ok(outcome) = outcome {
                    on_outcome(&mut machine, &mut since, outcome, clock.now());
                }
            }
            () = sleep => {}
        }
        while let Some(candidate) = machine.poll_candidate() {
            if remote.send(candidate).await.is_err() {
                return;
            }
        }
        while let Some(action) = machine.poll_action(clock.now()) {
            let (signaling, offer) = (Arc::clone(&signaling), offer.clone());
            match action {
                TrickleAction::Post { candidates } => requests.spawn(async move {
                    Outcome::Posted(signaling.add_candidates(&offer, &candidates).await)
                }),
                TrickleAction::Fetch => requests
                    .spawn(async move { Outcome::Fetched(fetch(signaling, offer, since).await) }),
            };
        }
    }
}

/// When to act without being called; `None` after the end.
fn next(machine: &TrickleMachine, requests: &JoinSet<Outcome>) -> Option<Option<Instant>> {
    let deadline = machine.poll_timeout().map(|deadline| deadline.at);
    match machine.is_over() && requests.is_empty() {
        true => None,
        false => Some(deadline),
    }
}

async fn fetch(
    signaling: Arc<dyn Signaling>,
    offer: OfferId,
    since: Option<UnixMillis>,
) -> Result<(Vec<RemoteCandidate>, PollEnd), SignalingError> {
    let end = match signaling.supports_wait().await {
        Ok(true) => PollEnd::Waited,
        Ok(false) | Err(_) => PollEnd::AtOnce,
    };
    Ok((signaling.candidates(&offer, since, WAIT).await?, end))
}

fn on_outcome(
    machine: &mut TrickleMachine,
    since: &mut Option<UnixMillis>,
    outcome: Outcome,
    now: Instant,
) {
    match outcome {
        Outcome::Posted(Ok(())) => machine.handle_posted(now),
        Outcome::Posted(Err(error)) => machine.handle_post_failed(retry(&error), now),
        Outcome::Fetched(Ok((candidates, end))) => {
            // Only servers whose cursors lose nothing look at it.
            *since = candidates
                .iter()
                .map(|c| Some(c.created_at))
                .fold(*since, Option::max);
            let candidates = candidates.into_iter().map(|one| one.candidate);
            machine.handle_fetched(candidates, end, now);
        }
        Outcome::Fetched(Err(error)) => machine.handle_fetch_failed(retry(&error), now),
    }
}

fn retry(error: &SignalingError) -> ServiceRetry {
    tracing::debug!(%error, "candidates not exchanged");
    match error.retry() {
        Retry::After(pause) => ServiceRetry::After(pause),
        Retry::Backoff => ServiceRetry::Backoff,
        _ => ServiceRetry::Never,
    }
}

/// What servers keep for each side of an offer.
const CANDIDATES_MAX: usize = 64;
/// How soon a link hears of a candidate; ICE itself takes about as long between two checks.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How long a request for candidates stays open on the server; attempts take no longer.
const WAIT: Duration = Duration::from_secs(10);
