//! Finds the link that a datagram belongs to when many share one UDP socket.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::net::SocketAddr;

use self::record::{Progress, Record};
use crate::stun::{Class, Stun, Transaction};
use crate::{Datagram, Received};

/// Maps datagrams to links; `K` is the embedder's name for a link.
///
/// It asks no link anything and costs the same for one link as for ten thousand. What it knows, it
/// knows from the links themselves: tell it of each datagram that a link sends
/// ([`sent`](Self::sent)), and it finds the link for each that comes in ([`route`](Self::route)).
/// Nothing that comes in changes anything, so strangers cannot take a link over or fill a table.
///
/// | datagram | goes to |
/// | --- | --- |
/// | STUN request | the link whose user name fragment stands before the colon in USERNAME |
/// | STUN response | the link that sent the request, by its transaction number |
/// | DTLS | the links that have accepted checks from, or sent DTLS to, that address |
/// | anything else | nobody |
///
/// # Several links between the same two sockets
///
/// DTLS 1.2 records do not say which association they belong to. If several links use the same
/// pair of addresses, the router goes by how far each has come, as its own records show:
/// plaintext handshake records go to the newest link that has not finished its handshake, all
/// others to each link that has begun to encrypt. A link ignores records that it cannot
/// authenticate once its own handshake is over, so an old link and its successor can live side by
/// side. Two handshakes **at the same time** between the same two sockets may spoil each other,
/// and an attempt that was given up on one side only is such a handshake. Therefore let each
/// attempt of a dialer use a socket of its own; a service can serve all its links with one.
///
/// # Limits
///
/// For each link 16 addresses and 64 requests are remembered, for each pair of addresses 8 links;
/// the oldest give way, and links that are still in their handshake before the others.
#[derive(Debug)]
pub struct Router<K> {
    links: HashMap<K, Link>,
    by_username_fragment: HashMap<String, K>,
    by_transaction: HashMap<Transaction, K>,
    by_path: HashMap<Path, Vec<Tenant<K>>>,
    registrations: u64,
}

/// What is remembered for a link so that it can be forgotten again.
#[derive(Debug)]
struct Link {
    username_fragment: String,
    /// Later links have larger numbers.
    number: u64,
    paths: VecDeque<Path>,
    transactions: VecDeque<Transaction>,
}

/// Both ends of what datagrams travel on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Path {
    local: SocketAddr,
    remote: SocketAddr,
}

/// A link on a path.
#[derive(Clone, Copy, Debug)]
struct Tenant<K> {
    key: K,
    number: u64,
    progress: Progress,
}

impl<K: Copy + Eq + Hash> Router<K> {
    /// A router that knows no link.
    pub fn new() -> Self {
        Self {
            links: HashMap::new(),
            by_username_fragment: HashMap::new(),
            by_transaction: HashMap::new(),
            by_path: HashMap::new(),
            registrations: 0,
        }
    }

    /// Makes a link known by its
    /// [`local_username_fragment`](crate::Transport::local_username_fragment).
    ///
    /// A key or a fragment that is known already is forgotten first: the later one counts.
    pub fn register(&mut self, key: K, username_fragment: &str) {
        self.unregister(key);
        if let Some(&other) = self.by_username_fragment.get(username_fragment) {
            self.unregister(other);
        }
        self.registrations += 1;
        let link = Link {
            username_fragment: username_fragment.into(),
            number: self.registrations,
            paths: VecDeque::new(),
            transactions: VecDeque::new(),
        };
        self.links.insert(key, link);
        let fragment = username_fragment.into();
        self.by_username_fragment.insert(fragment, key);
    }

    /// Forgets a link and everything learned from it.
    pub fn unregister(&mut self, key: K) {
        let Some(link) = self.links.remove(&key) else {
            return;
        };
        self.by_username_fragment.remove(&link.username_fragment);
        for transaction in &link.transactions {
            self.by_transaction.remove(transaction);
        }
        for path in link.paths {
            self.leave(path, key);
        }
    }

    /// Takes note of a datagram that the link `key` sends. Costs next to nothing for all but the
    /// first few.
    pub fn sent(&mut self, key: K, datagram: &Datagram) {
        let path = Path {
            local: datagram.source,
            remote: datagram.destination,
        };
        if let Some(progress) = record::furthest_progress(&datagram.payload) {
            return self.enter(path, key, progress);
        }
        let Some(stun) = Stun::parse(&datagram.payload) else {
            return;
        };
        match stun.class() {
            Class::Request => self.expect_response(key, stun.transaction()),
            // The link only answers who knows its password.
            Class::Success => self.enter(path, key, Progress::Handshaking),
            Class::Indication | Class::Failure => {}
        }
    }

    /// The links that `datagram` may belong to: in most cases one or none. Offer it to each.
    pub fn route(&self, datagram: Received<'_>) -> Routes<K> {
        if let Some(record) = Record::first(datagram.payload) {
            let path = Path {
                local: datagram.destination,
                remote: datagram.source,
            };
            let tenants = self.by_path.get(&path).map_or(&[][..], Vec::as_slice);
            return choose(tenants, record);
        }
        let Some(stun) = Stun::parse(datagram.payload) else {
            return Routes::none();
        };
        let key = match stun.class() {
            Class::Request => stun
                .receiver_username_fragment()
                .and_then(|fragment| self.by_username_fragment.get(fragment)),
            Class::Success | Class::Failure => self.by_transaction.get(&stun.transaction()),
            Class::Indication => None,
        };
        key.map_or_else(Routes::none, |&key| Routes::one(key))
    }

    /// Tells which datagrams go wherever `first` goes, as can be seen without a look into any table: what is
    /// said of the first in [`route`](Self::route) and [`sent`](Self::sent) need not be said of them.
    ///
    /// So it is with nearly all datagrams that come in, or are sent, one right after the other.
    pub fn goes_with(first: Received<'_>) -> impl Fn(Received<'_>) -> bool + use<K> {
        let is_encrypted = |it: Received<'_>| Record::first(it.payload) == Some(Record::Encrypted);
        let path = is_encrypted(first).then_some((first.source, first.destination));
        move |second| path == Some((second.source, second.destination)) && is_encrypted(second)
    }

    fn expect_response(&mut self, key: K, transaction: Transaction) {
        let Some(link) = self.links.get_mut(&key) else {
            return;
        };
        link.transactions.push_back(transaction);
        if link.transactions.len() > TRANSACTIONS_MAX
            && let Some(oldest) = link.transactions.pop_front()
        {
            self.by_transaction.remove(&oldest);
        }
        self.by_transaction.insert(transaction, key);
    }

    fn enter(&mut self, path: Path, key: K, progress: Progress) {
        let Some(link) = self.links.get_mut(&key) else {
            return;
        };
        let tenants = self.by_path.entry(path).or_default();
        if let Some(tenant) = tenants.iter_mut().find(|tenant| tenant.key == key) {
            tenant.progress = tenant.progress.max(progress);
            return;
        }
        if tenants.len() >= TENANTS_MAX {
            let weakest = (0..tenants.len()).min_by_key(|&i| tenants[i].rank());
            weakest.map(|i| tenants.remove(i));
        }
        tenants.push(Tenant {
            key,
            number: link.number,
            progress,
        });
        link.paths.retain(|known| *known != path);
        link.paths.push_back(path);
        if link.paths.len() > PATHS_MAX
            && let Some(oldest) = link.paths.pop_front()
        {
            self.leave(oldest, key);
        }
    }

    fn leave(&mut self, path: Path, key: K) {
        let Some(tenants) = self.by_path.get_mut(&path) else {
            return;
        };
        tenants.retain(|tenant| tenant.key != key);
        if tenants.is_empty() {
            self.by_path.remove(&path);
        }
    }
}

impl<K: Copy + Eq + Hash> Default for Router<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> Tenant<K> {
    /// Who stays when there are too many: the one that has come further, then the newer.
    fn rank(&self) -> (Progress, u64) {
        (self.progress, self.number)
    }
}

/// Which of the links on one path a record is offered to.
fn choose<K: Copy>(tenants: &[Tenant<K>], record: Record) -> Routes<K> {
    if let [tenant] = tenants {
        return Routes::one(tenant.key);
    }
    match record {
        Record::Handshake => {
            let unfinished = tenants
                .iter()
                .filter(|tenant| tenant.progress < Progress::Established);
            let newest = unfinished.max_by_key(|tenant| tenant.number);
            let newest = newest.or_else(|| tenants.iter().max_by_key(|tenant| tenant.number));
            newest.map_or_else(Routes::none, |tenant| Routes::one(tenant.key))
        }
        Record::Encrypted => {
            let encrypting = |tenant: &&Tenant<K>| tenant.progress > Progress::Handshaking;
            match tenants.iter().any(|tenant| encrypting(&tenant)) {
                true => Routes::several(tenants.iter().filter(encrypting)),
                false => Routes::several(tenants.iter()),
            }
        }
    }
}

/// The links that a datagram is offered to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes<K> {
    keys: [Option<K>; TENANTS_MAX],
    taken: usize,
}

impl<K: Copy> Routes<K> {
    fn none() -> Self {
        Self {
            keys: [None; TENANTS_MAX],
            taken: 0,
        }
    }

    fn one(key: K) -> Self {
        let mut routes = Self::none();
        routes.keys[0] = Some(key);
        routes
    }

    fn several<'a>(tenants: impl Iterator<Item = &'a Tenant<K>>) -> Self
    where
        K: 'a,
    {
        let mut routes = Self::none();
        for (slot, tenant) in routes.keys.iter_mut().zip(tenants) {
            *slot = Some(tenant.key);
        }
        routes
    }
}

impl<K: Copy> Iterator for Routes<K> {
    type Item = K;

    fn next(&mut self) -> Option<K> {
        let key = *self.keys.get(self.taken)?;
        self.taken += 1;
        key
    }
}

/// A checklist has up to a hundred pairs of addresses, but few that answer.
const PATHS_MAX: usize = 16;
/// Checks go out every 50 ms at most, and eight probes in a second; 64 cover a round trip of two.
const TRANSACTIONS_MAX: usize = 64;
/// One link, its successor, and those of a peer that tries too often.
const TENANTS_MAX: usize = 8;

mod record;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod with_links;
