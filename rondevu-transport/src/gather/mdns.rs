//! Asks the local network for the address behind a name: multicast DNS (RFC 6762).

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::time::Duration;

use rondevu_core::Instant;
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, QCLASS, QTYPE, Question, TYPE};
use tracing::debug;

use super::host::{Include, is_link_local};

/// Where questions are sent to and whoever listens has bound: the group and port of multicast DNS
/// (RFC 6762, section 3).
pub const MDNS_GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 251), 5353);

/// Finds the addresses of names that end in `.local`: a machine without sockets, threads or a clock.
///
/// The embedder sends each [question](Self::poll_transmit) to [`MDNS_GROUP`] in each network that it
/// wants to ask, and gives what it hears there to [`handle_datagram`](Self::handle_datagram). A name is
/// asked for at once, after 1 s and after 3 s, and given up after 5 s. Nothing is remembered: a name
/// that is asked for again is asked for in the network.
///
/// Questions stand alone in their datagrams: Chromium does not answer others.
#[derive(Debug)]
pub struct MdnsResolver {
    policy: MdnsPolicy,
    searches: Vec<Search>,
    transmits: VecDeque<Vec<u8>>,
    events: VecDeque<MdnsEvent>,
}

/// Which addresses are asked for, and taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MdnsPolicy {
    /// Those of IPv4. Default yes.
    pub ipv4: Include,
    /// Those of IPv6. Default yes.
    pub ipv6: Include,
    /// `127.0.0.1` and `::1`, which no peer elsewhere has. Default no.
    pub loopback: Include,
}

impl Default for MdnsPolicy {
    fn default() -> Self {
        Self {
            ipv4: Include::Yes,
            ipv6: Include::Yes,
            loopback: Include::No,
        }
    }
}

/// What became of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MdnsEvent {
    /// Somebody has answered.
    Found {
        /// In lower case.
        name: String,
        /// The first address that was answered and that checks can be sent to.
        address: IpAddr,
    },
    /// Nobody has answered in time.
    NotFound {
        /// In lower case.
        name: String,
    },
}

#[derive(Debug)]
struct Search {
    name: String,
    begun: Instant,
    /// How often it has been asked for since then.
    asked: usize,
    /// No question before.
    not_before: Instant,
}

impl Search {
    /// When to ask again or to give up.
    fn next_at(&self) -> Instant {
        let end = self.begun + PATIENCE;
        let planned = ASK_AFTER.get(self.asked);
        planned.map_or(end, |after| {
            (self.begun + *after).max(self.not_before).min(end)
        })
    }
}

impl MdnsResolver {
    /// One that asks for addresses as `policy` says.
    pub fn new(policy: MdnsPolicy) -> Self {
        Self {
            policy,
            searches: Vec::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Begins to ask for a name, as of a [`NamedCandidate`](crate::NamedCandidate); begins anew if it
    /// is asked for already. One [`MdnsEvent`] follows, unless the search is
    /// [cancelled](Self::cancel).
    ///
    /// `false`, and no event, if too many are asked for or this can be no name.
    pub fn resolve(&mut self, name: &str, now: Instant) -> bool {
        // Names are the same in all cases (RFC 6762, section 16).
        let name = name.to_ascii_lowercase();
        if let Some(search) = self.searches.iter_mut().find(|search| search.name == name) {
            (search.begun, search.asked) = (now, 0);
        } else {
            let is_name = Name::new(&name).is_ok_and(|parsed| parsed.is_valid_hostname());
            if !is_name || self.searches.len() >= SEARCHES_MAX {
                return false;
            }
            self.searches.push(Search {
                name,
                begun: now,
                asked: 0,
                not_before: now,
            });
        }
        self.handle_timeout(now);
        true
    }

    /// Stops to ask for a name that nobody waits for any more.
    pub fn cancel(&mut self, name: &str) {
        self.searches
            .retain(|search| !search.name.eq_ignore_ascii_case(name));
    }

    /// Takes what was heard in a network, whatever it is. Only datagrams that were sent to the group,
    /// from its port, are to be given: all others may come from anywhere (RFC 6762, section 11).
    pub fn handle_datagram(&mut self, payload: &[u8]) {
        if self.searches.is_empty() || !is_answer(payload) {
            return;
        }
        let Ok(packet) = Packet::parse(payload) else {
            return debug!("what is heard is no DNS message");
        };
        for record in packet.answers.iter().chain(&packet.additional_records) {
            let address: IpAddr = match &record.rdata {
                RData::A(a) => Ipv4Addr::from(a.address).into(),
                RData::AAAA(aaaa) => Ipv6Addr::from(aaaa.address).into(),
                _ => continue,
            };
            // A browser withdraws a name by a time of 0.
            if record.ttl == 0 || record.class != CLASS::IN || !self.is_wanted(address) {
                continue;
            }
            let name = record.name.to_string().to_ascii_lowercase();
            let found = self.searches.extract_if(.., |search| search.name == name);
            self.events.extend(found.map(|search| MdnsEvent::Found {
                name: search.name,
                address,
            }));
        }
    }

    /// Asks again and gives up, as is due at `now`; calling early is a no-op.
    pub fn handle_timeout(&mut self, now: Instant) {
        let is_over = |search: &mut Search| now >= search.begun + PATIENCE;
        let over = self.searches.extract_if(.., is_over);
        self.events
            .extend(over.map(|search| MdnsEvent::NotFound { name: search.name }));
        for search in &mut self.searches {
            if search.asked < ASK_AFTER.len() && search.next_at() <= now {
                search.asked += 1;
                search.not_before = now + ASK_INTERVAL;
                self.transmits.extend(questions(&search.name, self.policy));
            }
        }
    }

    /// The next question for [`MDNS_GROUP`], to be sent with a time to live of 255 hops.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmits.pop_front()
    }

    /// The next thing that happened, in order.
    pub fn poll_event(&mut self) -> Option<MdnsEvent> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout); `None` while nothing is asked for.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.searches.iter().map(Search::next_at).min()
    }

    /// Whether what somebody has answered may be the address of a peer. Anybody may answer anything.
    fn is_wanted(&self, address: IpAddr) -> bool {
        let family = match address {
            IpAddr::V4(_) => self.policy.ipv4,
            IpAddr::V6(_) => self.policy.ipv6,
        };
        let address = address.to_canonical();
        let names_one = !address.is_unspecified()
            && !address.is_multicast()
            && address != IpAddr::V4(Ipv4Addr::BROADCAST);
        let is_allowed = self.policy.loopback == Include::Yes || !address.is_loopback();
        family == Include::Yes && names_one && is_allowed && !is_link_local(address)
    }
}

/// Whether a header is that of an answer without an error (RFC 6762, section 18), and does not count
/// more records than there is room for.
fn is_answer(payload: &[u8]) -> bool {
    let Some((header, body)) = payload.split_first_chunk::<12>() else {
        return false;
    };
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let is_answer = word(2) & 0xf80f == 0x8000;
    let questions = usize::from(word(4)) * QUESTION_BYTES_MIN;
    let records = [6, 8, 10].map(|at| usize::from(word(at)) * RECORD_BYTES_MIN);
    is_answer && questions + records.iter().sum::<usize>() <= body.len()
}

/// One for each kind of address. The id is not looked at (RFC 6762, section 18.1).
fn questions(name: &str, policy: MdnsPolicy) -> impl Iterator<Item = Vec<u8>> {
    let kinds = [(policy.ipv4, TYPE::A), (policy.ipv6, TYPE::AAAA)];
    let kinds = kinds
        .into_iter()
        .filter(|(wanted, _)| *wanted == Include::Yes);
    kinds.filter_map(move |(_, kind)| {
        let name = Name::new(name).ok()?;
        let question = Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false);
        let mut packet = Packet::new_query(0);
        packet.questions.push(question);
        packet.build_bytes_vec().ok()
    })
}

/// After so long each question is asked; whoever is there answers within a tenth of a second, unless a
/// datagram is lost or it has just answered others (RFC 6762, section 6).
const ASK_AFTER: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(3),
];
/// Nobody answers more often (RFC 6762, section 6).
const ASK_INTERVAL: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);
/// So many may be asked for at the same time.
const SEARCHES_MAX: usize = 64;
/// An empty name, a kind and a class.
const QUESTION_BYTES_MIN: usize = 5;
/// The same, a time to live and the length of nothing.
const RECORD_BYTES_MIN: usize = 11;

#[cfg(test)]
mod tests {
    use simple_dns::rdata::{A, AAAA};
    use simple_dns::{PacketFlag, ResourceRecord};

    use super::*;

    const NAME: &str = "d5d4a2f0-6bb5-4f23-9d8c-2d6d2b0d3d5d.local";

    fn resolver() -> MdnsResolver {
        MdnsResolver::new(MdnsPolicy::default())
    }

    fn at(millis: u64) -> Instant {
        Instant::from_origin(Duration::from_millis(millis))
    }

    fn answer(name: &str, ttl: u32, addresses: &[&str]) -> Vec<u8> {
        let mut packet = Packet::new_reply(0);
        for address in addresses {
            let data = match address.parse().unwrap() {
                IpAddr::V4(v4) => RData::A(A { address: v4.into() }),
                IpAddr::V6(v6) => RData::AAAA(AAAA { address: v6.into() }),
            };
            let record = ResourceRecord::new(Name::new(name).unwrap(), CLASS::IN, ttl, data);
            packet.answers.push(record.with_cache_flush(true));
        }
        packet.build_bytes_vec().unwrap()
    }

    fn asked(resolver: &mut MdnsResolver) -> Vec<(String, QTYPE)> {
        let datagrams = std::iter::from_fn(|| resolver.poll_transmit());
        let datagrams: Vec<_> = datagrams.collect();
        let questions = datagrams.iter().map(|datagram| {
            let packet = Packet::parse(datagram).unwrap();
            assert_eq!(packet.questions.len(), 1);
            let question = &packet.questions[0];
            (question.qname.to_string(), question.qtype)
        });
        questions.collect()
    }

    #[test]
    fn a_name_is_asked_for_three_times_and_given_up() {
        let mut resolver = resolver();
        assert_eq!(resolver.poll_timeout(), None);
        assert!(resolver.resolve(NAME, at(0)));
        let mut times = Vec::new();
        while let Some(due) = resolver.poll_timeout() {
            resolver.handle_timeout(due);
            let questions = asked(&mut resolver);
            times.push((due, questions.len()));
            let all = [QTYPE::TYPE(TYPE::A), QTYPE::TYPE(TYPE::AAAA)];
            for ((name, kind), expected) in questions.iter().zip(all.iter().cycle()) {
                assert_eq!((name.as_str(), kind), (NAME, expected));
            }
        }
        assert_eq!(times, [(at(1000), 4), (at(3000), 2), (at(5000), 0)]);
        let name = NAME.to_owned();
        assert_eq!(resolver.poll_event(), Some(MdnsEvent::NotFound { name }));
        assert_eq!(resolver.poll_event(), None);
    }

    #[test]
    fn the_first_answer_of_use_counts_once() {
        let mut resolver = resolver();
        assert!(resolver.resolve(NAME, at(0)));
        assert!(resolver.resolve(&NAME.to_uppercase(), at(10)));
        assert_eq!(asked(&mut resolver).len(), 2);
        for of_no_use in [
            answer("another.local", 120, &["192.0.2.7"]),
            answer(NAME, 0, &["192.0.2.7"]),
            answer(
                NAME,
                120,
                &[
                    "127.0.0.1",
                    "0.0.0.0",
                    "::",
                    "::1",
                    "224.0.0.1",
                    "ff02::1",
                    "fe80::1",
                    "169.254.0.1",
                    "255.255.255.255",
                    "::ffff:127.0.0.1",
                ],
            ),
            asked_again(),
            too_many_records(),
            b"no DNS message".to_vec(),
            Vec::new(),
        ] {
            resolver.handle_datagram(&of_no_use);
            assert_eq!(resolver.poll_event(), None);
        }
        let addresses = ["127.0.0.1", "2001:db8::7", "192.0.2.7"];
        resolver.handle_datagram(&answer(&NAME.to_uppercase(), 120, &addresses));
        let found = MdnsEvent::Found {
            name: NAME.into(),
            address: "2001:db8::7".parse().unwrap(),
        };
        assert_eq!(resolver.poll_event(), Some(found));
        assert_eq!(
            (resolver.poll_event(), resolver.poll_timeout()),
            (None, None)
        );
    }

    /// The question that the resolver itself hears, which holds the address that is known already.
    fn asked_again() -> Vec<u8> {
        let answer = answer(NAME, 120, &["192.0.2.7"]);
        let mut packet = Packet::parse(&answer).unwrap();
        packet.remove_flags(PacketFlag::RESPONSE);
        packet.build_bytes_vec().unwrap()
    }

    /// An answer of 1 record that counts 65,535.
    fn too_many_records() -> Vec<u8> {
        let mut answer = answer(NAME, 120, &["192.0.2.7"]);
        answer[6..8].fill(0xff);
        answer
    }

    #[test]
    fn whoever_joins_a_search_begins_it_anew_without_asking_too_often() {
        let mut resolver = resolver();
        assert!(resolver.resolve(NAME, at(0)));
        assert_eq!(asked(&mut resolver).len(), 2);
        assert!(resolver.resolve(NAME, at(400)));
        assert!(resolver.resolve(NAME, at(500)));
        assert_eq!(asked(&mut resolver).len(), 0);
        let mut times = Vec::new();
        while let Some(due) = resolver.poll_timeout() {
            resolver.handle_timeout(due);
            times.push((due, asked(&mut resolver).len()));
        }
        let expected = [(1000, 2), (2000, 2), (3500, 2), (5500, 0)];
        assert_eq!(times, expected.map(|(millis, count)| (at(millis), count)));
    }

    #[test]
    fn a_name_that_nobody_waits_for_is_asked_for_no_more() {
        let mut resolver = resolver();
        assert!(resolver.resolve(NAME, at(0)));
        resolver.cancel(&NAME.to_uppercase());
        assert_eq!(resolver.poll_timeout(), None);
        resolver.handle_datagram(&answer(NAME, 120, &["192.0.2.7"]));
        assert_eq!(resolver.poll_event(), None);
    }

    #[test]
    fn only_the_kinds_of_addresses_that_are_of_use_are_asked_for_and_taken() {
        let mut resolver = MdnsResolver::new(MdnsPolicy {
            ipv6: Include::No,
            ..MdnsPolicy::default()
        });
        assert!(resolver.resolve(NAME, at(0)));
        let questions = asked(&mut resolver);
        assert_eq!(questions, [(NAME.to_owned(), QTYPE::TYPE(TYPE::A))]);
        resolver.handle_datagram(&answer(NAME, 120, &["2001:db8::7"]));
        assert_eq!(resolver.poll_event(), None);
        resolver.handle_datagram(&answer(NAME, 120, &["192.0.2.7"]));
        assert!(resolver.poll_event().is_some());
    }

    #[test]
    fn what_can_be_no_name_or_is_too_much_is_not_asked_for() {
        let mut resolver = resolver();
        for name in ["", "a b.local", &"a".repeat(300)] {
            assert!(!resolver.resolve(name, at(0)), "{name}");
        }
        for n in 0..SEARCHES_MAX {
            assert!(resolver.resolve(&format!("name-{n}.local"), at(0)));
        }
        assert!(!resolver.resolve("one-more.local", at(0)));
        assert!(resolver.resolve("name-0.local", at(0)));
    }

    #[test]
    fn addresses_of_this_machine_count_where_they_are_wanted() {
        let mut resolver = MdnsResolver::new(MdnsPolicy {
            loopback: Include::Yes,
            ..MdnsPolicy::default()
        });
        assert!(resolver.resolve(NAME, at(0)));
        resolver.handle_datagram(&answer(NAME, 120, &["127.0.0.1"]));
        assert!(matches!(
            resolver.poll_event(),
            Some(MdnsEvent::Found { address, .. }) if address.is_loopback()
        ));
    }
}
