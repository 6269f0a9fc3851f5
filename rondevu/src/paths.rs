//! The ways of datagrams into and out of a service, or of one attempt to connect: UDP sockets, and
//! beyond them the TURN servers that lend addresses.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rondevu_transport::LocalCandidate;
use rondevu_transport::gather::{GatherFailure, IceTransportPolicy};
use tokio::sync::watch;

use self::gathering::Gathering;
use crate::batch::Batch;
use crate::burst::Burst;
use crate::cable::Cable;
use crate::clock::Clock;
use crate::ice::{GATHERING_TIME, IceConfig};
use crate::sockets::{Followed, Readers, Sockets};

mod gathering;
mod streams;

/// Bound sockets and what is found from them. Everything ends with this value; what servers have
/// lent is given back.
#[derive(Debug)]
pub(crate) struct Paths {
    sockets: Arc<Sockets>,
    search: Search,
    found: watch::Receiver<Found>,
    readers: Readers,
}

/// How addresses are found.
#[derive(Debug)]
enum Search {
    /// Those of the machine itself, nothing else.
    Hosts(watch::Sender<Found>),
    /// With the help of servers.
    Gathering(Gathering),
}

/// The addresses known at the moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) candidates: Vec<LocalCandidate>,
    /// Whether no more are to be expected soon.
    settled: bool,
    failures: Vec<(String, GatherFailure)>,
}

impl Found {
    /// The addresses of the machine itself, and no more.
    fn hosts(sockets: &Sockets) -> Self {
        let hosts = sockets.addresses().into_iter().map(LocalCandidate::Host);
        Self {
            candidates: hosts.collect(),
            settled: true,
            failures: Vec::new(),
        }
    }
}

/// There is no address that a peer could be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct NoCandidates(Vec<(String, GatherFailure)>);

impl fmt::Display for NoCandidates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no address to tell the peer")?;
        write_failures(f, &self.0)
    }
}

fn write_failures(f: &mut dyn fmt::Write, failures: &[(String, GatherFailure)]) -> fmt::Result {
    failures
        .iter()
        .try_for_each(|(url, failure)| write!(f, "; {url}: {failure}"))
}

impl Paths {
    /// Binds `at` (an unspecified address means each usable address of the machine), begins to
    /// read, and to look for addresses; `deliver` gets each datagram for a link.
    pub(crate) async fn open(
        at: SocketAddr,
        cable: Cable,
        ice: &IceConfig,
        clock: Clock,
        deliver: impl Fn(Burst) + Clone + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let sockets = Arc::new(Sockets::bind(at, cable.clone()).await?);
        if ice.servers.is_empty() && ice.policy == IceTransportPolicy::All {
            let (tell, found) = watch::channel(Found::hosts(&sockets));
            return Ok(Self {
                readers: sockets.read(deliver),
                sockets,
                search: Search::Hosts(tell),
                found,
            });
        }
        let gathering = Gathering::start(Arc::clone(&sockets), cable, ice, clock, deliver.clone())?;
        let sort = gathering.sorter(deliver);
        Ok(Self {
            readers: sockets.read(sort),
            found: gathering.found(),
            sockets,
            search: Search::Gathering(gathering),
        })
    }

    /// Uses the addresses by which the machine reaches others now, if each of them was asked for.
    ///
    /// Cancellation: may have done a part; the next call does the rest.
    pub(crate) async fn follow(&self, usable: &[IpAddr]) -> Followed {
        let followed = self.sockets.follow(usable, &self.readers).await;
        if followed.changed {
            match &self.search {
                Search::Hosts(tell) => drop(tell.send_replace(Found::hosts(&self.sockets))),
                Search::Gathering(gathering) => gathering.handle_bases(&self.sockets.addresses()),
            }
        }
        followed
    }

    fn gathering(&self) -> Option<&Gathering> {
        match &self.search {
            Search::Hosts(_) => None,
            Search::Gathering(gathering) => Some(gathering),
        }
    }

    /// The addresses for a description: what is found in the first moments, or the first that is
    /// found later.
    pub(crate) async fn candidates(&self) -> Result<Vec<LocalCandidate>, NoCandidates> {
        if let Some(gathering) = self.gathering() {
            let until = gathering.started_at() + GATHERING_TIME;
            let settled = gathering.settled();
            let _ = tokio::time::timeout_at(until, settled).await;
        }
        let mut found = self.found.clone();
        let some = found.wait_for(|found| found.settled || !found.candidates.is_empty());
        // The sender lives as long as the gathering, which this value owns.
        let Ok(found) = some.await else {
            return Err(NoCandidates(Vec::new()));
        };
        match found.candidates.is_empty() {
            true => Err(NoCandidates(found.failures.clone())),
            false => Ok(found.candidates.clone()),
        }
    }

    /// Watches the addresses.
    pub(crate) fn watch(&self) -> watch::Receiver<Found> {
        self.found.clone()
    }

    /// The servers that do not help, and why, for people; empty if all do.
    pub(crate) fn complaints(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = write_failures(&mut text, &self.found.borrow().failures);
        text
    }

    /// Whether the machine has lost an address that a socket is bound to.
    pub(crate) fn has_lost_address(&self, present: &[IpAddr]) -> bool {
        let mut bound = self.sockets.addresses().into_iter();
        bound.any(|address| !present.contains(&address.ip()))
    }

    /// Sends datagrams of a link, by the server that has lent their source address if one has.
    pub(crate) async fn send(&self, batch: &Batch) {
        match self.gathering() {
            Some(gathering) if !self.sockets.has(batch.source()) => gathering.relay(batch).await,
            Some(_) | None => self.sockets.send(batch).await,
        }
    }

    /// The only link has its path: what is not needed for it is given back.
    pub(crate) fn release_unused(&self) {
        if let Some(gathering) = self.gathering() {
            gathering.release_unused();
        }
    }
}
