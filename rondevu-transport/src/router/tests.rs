//! Links that share sockets, strangers, and limits.

use super::record::fixture as record;
use super::*;
use crate::stun;

const SOCKET: ([u8; 4], u16) = ([192, 0, 2, 1], 5000);
const PEER: ([u8; 4], u16) = ([192, 0, 2, 2], 6000);
const STRANGER: ([u8; 4], u16) = ([203, 0, 113, 9], 7000);

const HANDSHAKE: u8 = 22;
const APPLICATION: u8 = 23;

struct Fixture(Router<u32>);

impl Fixture {
    /// A router that knows the links `0..links`, whose fragments are `frag0`, `frag1` and so on.
    fn with(links: u32) -> Self {
        let mut router = Router::new();
        (0..links).for_each(|key| router.register(key, &format!("frag{key}")));
        Self(router)
    }

    fn sent(&mut self, key: u32, destination: ([u8; 4], u16), payload: Vec<u8>) {
        let datagram = Datagram {
            source: SOCKET.into(),
            destination: destination.into(),
            payload,
        };
        self.0.sent(key, &datagram);
    }

    fn route(&self, source: ([u8; 4], u16), payload: &[u8]) -> Vec<u32> {
        let received = Received {
            source: source.into(),
            destination: SOCKET.into(),
            payload,
        };
        self.0.route(received).collect()
    }
}

#[test]
fn a_check_finds_its_link_by_the_user_name() {
    let router = Fixture::with(3);
    let check = stun::request("frag1:other", [1; 12]);
    assert_eq!(router.route(PEER, &check), [1]);
    let stray = stun::request("frag9:other", [1; 12]);
    assert_eq!(router.route(PEER, &stray), []);
}

#[test]
fn a_response_finds_the_link_that_asked() {
    let mut router = Fixture::with(2);
    router.sent(1, PEER, stun::request("other:frag1", [5; 12]));
    assert_eq!(router.route(PEER, &stun::success([5; 12])), [1]);
    assert_eq!(router.route(PEER, &stun::success([6; 12])), []);
}

#[test]
fn dtls_is_routed_once_the_link_accepted_a_check() {
    let mut router = Fixture::with(2);
    let hello = record(HANDSHAKE, 0);
    assert_eq!(router.route(PEER, &hello), []);
    // A check that merely came in, or goes out, proves nothing.
    router.route(PEER, &stun::request("frag0:other", [1; 12]));
    router.sent(0, PEER, stun::request("other:frag0", [2; 12]));
    assert_eq!(router.route(PEER, &hello), []);
    router.sent(0, PEER, stun::success([1; 12]));
    assert_eq!(router.route(PEER, &hello), [0]);
    assert_eq!(router.route(STRANGER, &hello), []);
}

#[test]
fn a_successor_on_the_same_path_gets_the_handshake_and_both_get_the_rest() {
    let mut router = Fixture::with(2);
    router.sent(0, PEER, record(APPLICATION, 1));
    router.sent(1, PEER, stun::success([1; 12]));
    assert_eq!(router.route(PEER, &record(HANDSHAKE, 0)), [1]);
    assert_eq!(router.route(PEER, &record(APPLICATION, 1)), [0]);
    // The successor's last flight: plaintext first, then its Finished.
    router.sent(1, PEER, [record(20, 0), record(HANDSHAKE, 1)].concat());
    assert_eq!(router.route(PEER, &record(HANDSHAKE, 1)), [1]);
    assert_eq!(router.route(PEER, &record(APPLICATION, 1)), [0, 1]);
    router.0.unregister(0);
    assert_eq!(router.route(PEER, &record(APPLICATION, 1)), [1]);
}

#[test]
fn what_goes_with_another_goes_where_it_goes() {
    let mut router = Fixture::with(2);
    router.sent(0, PEER, record(APPLICATION, 1));
    router.sent(1, PEER, stun::success([1; 12]));
    router.sent(1, STRANGER, record(APPLICATION, 1));
    let payloads = [
        record(APPLICATION, 1),
        record(HANDSHAKE, 0),
        record(HANDSHAKE, 1),
        stun::request("frag1:other", [1; 12]),
        vec![0xff; 20],
    ];
    let of = |source: ([u8; 4], u16)| {
        payloads.iter().map(move |payload| Received {
            source: source.into(),
            destination: SOCKET.into(),
            payload,
        })
    };
    let all: Vec<_> = of(PEER).chain(of(STRANGER)).collect();
    let goes_with = |first, second| Router::<u32>::goes_with(first)(second);
    assert!(goes_with(all[0], all[0]));
    for (first, second) in all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b))) {
        if goes_with(first, second) {
            assert_eq!(router.0.route(first), router.0.route(second));
        }
    }
    assert!(!goes_with(all[0], of(STRANGER).next().unwrap()));
}

#[test]
fn two_ends_of_one_link_in_one_process_are_told_apart() {
    let mut router = Router::new();
    router.register("service", "svc");
    router.register("dialer", "dia");
    let (a, b) = (SOCKET.into(), PEER.into());
    let datagram = |source, destination| Datagram {
        source,
        destination,
        payload: record(APPLICATION, 1),
    };
    router.sent("service", &datagram(a, b));
    router.sent("dialer", &datagram(b, a));
    let routed: Vec<_> = router.route(datagram(a, b).as_received()).collect();
    assert_eq!(routed, ["dialer"]);
}

#[test]
fn an_attackers_links_do_not_push_out_an_established_one() {
    let mut router = Fixture::with(100);
    router.sent(0, PEER, record(APPLICATION, 1));
    for key in 1..100 {
        router.sent(key, PEER, stun::success([1; 12]));
    }
    let routes = router.route(PEER, &record(APPLICATION, 1));
    assert_eq!(routes, [0]);
    assert_eq!(router.route(PEER, &record(HANDSHAKE, 0)), [99]);
}

#[test]
fn nothing_is_left_of_a_link_that_was_forgotten() {
    let mut router = Fixture::with(1);
    for n in 0..100u8 {
        router.sent(0, ([192, 0, 2, n], 1), stun::success([n; 12]));
        router.sent(0, ([192, 0, 2, n], 1), stun::request("a:frag0", [n; 12]));
    }
    assert_eq!(router.0.by_path.len(), PATHS_MAX);
    assert_eq!(router.0.by_transaction.len(), TRANSACTIONS_MAX);
    router.0.unregister(0);
    let Router {
        links,
        by_username_fragment,
        by_transaction,
        by_path,
        ..
    } = router.0;
    assert!(links.is_empty() && by_username_fragment.is_empty());
    assert!(by_transaction.is_empty() && by_path.is_empty());
}

#[test]
fn a_fragment_belongs_to_who_registered_it_last() {
    let mut router = Fixture::with(1);
    router.0.register(7, "frag0");
    let check = stun::request("frag0:other", [1; 12]);
    assert_eq!(router.route(PEER, &check), [7]);
    router.0.unregister(0);
    assert_eq!(router.route(PEER, &check), [7]);
}

#[test]
fn garbage_goes_nowhere() {
    let router = Fixture::with(1);
    for payload in [
        &[][..],
        &[0],
        &[22],
        &[200; 40],
        &[0; 20],
        b"GET / HTTP/1.1",
    ] {
        assert_eq!(router.route(STRANGER, payload), []);
    }
}
