//! The parsers of what came through a server or from the network.

use std::net::SocketAddr;
use std::time::Duration;

use rondevu_core::Instant;
use rondevu_signaling::KeyPair;
use rondevu_transport::gather::{MdnsEvent, MdnsPolicy, MdnsResolver};
use rondevu_transport::{Datagram, Router};

use crate::Script;

/// Descriptions, candidate lines, STUN messages and DTLS records. The first byte chooses.
pub(crate) fn transport_parsers(input: &[u8]) {
    let Some((which, rest)) = input.split_first() else {
        return;
    };
    match which % 3 {
        0 => {
            let text = String::from_utf8_lossy(rest);
            rondevu_transport::fuzzing::description(&text);
        }
        1 => {
            let text = String::from_utf8_lossy(rest);
            rondevu_transport::fuzzing::candidate(&text);
        }
        _ => {
            rondevu_transport::fuzzing::stun(rest);
            route(rest);
        }
    }
}

/// The messages that open a data channel.
pub(crate) fn dcep(input: &[u8]) {
    rondevu_transport::fuzzing::dcep(input);
}

/// Each name that is asked for gets one answer in time, whatever is heard meanwhile, and no address that
/// names nobody.
pub(crate) fn mdns(input: &[u8]) {
    let mut script = Script::new(input);
    let mut resolver = MdnsResolver::new(MdnsPolicy::default());
    let mut now = Instant::ORIGIN;
    let mut wanted: Vec<&str> = Vec::new();
    while !script.is_empty() {
        match script.pick(8) {
            3 => {
                resolver.cancel("b.local");
                wanted.retain(|name| *name != "b.local");
            }
            0 | 1 => {
                let name = ["a.local", "b.local"][script.pick(2)];
                assert!(resolver.resolve(name, now));
                if !wanted.contains(&name) {
                    wanted.push(name);
                }
            }
            2 => {
                now += Duration::from_millis(script.number().min(10_000));
                resolver.handle_timeout(now);
            }
            _ => resolver.handle_datagram(script.bytes(200)),
        }
        while resolver.poll_transmit().is_some() {}
        answer(&mut resolver, &mut wanted);
        let due = resolver.poll_timeout();
        assert_eq!(due.is_some(), !wanted.is_empty());
        assert!(due.is_none_or(|at| at > now), "a time in the past");
    }
    resolver.handle_timeout(now + Duration::from_secs(5));
    answer(&mut resolver, &mut wanted);
    assert!(wanted.is_empty(), "no answer for {wanted:?}");
}

fn answer(resolver: &mut MdnsResolver, wanted: &mut Vec<&str>) {
    while let Some(event) = resolver.poll_event() {
        let name = match event {
            MdnsEvent::Found { name, address } => {
                let address = address.to_canonical();
                assert!(!address.is_loopback() && !address.is_multicast());
                assert!(!address.is_unspecified());
                name
            }
            MdnsEvent::NotFound { name } => name,
        };
        let asked = wanted.iter().position(|wanted| *wanted == name);
        wanted.swap_remove(asked.expect("an answer that nobody asked for"));
    }
}

/// A router only names links that it knows, whatever they sent and whatever comes in.
fn route(input: &[u8]) {
    let mut script = Script::new(input);
    let mut router = Router::new();
    let address = |n: u8| SocketAddr::from(([192, 0, 2, n], 9));
    let mut known = [false; 4];
    while !script.is_empty() {
        let key = script.pick(4);
        let datagram = Datagram {
            source: address(script.byte() % 3),
            destination: address(script.byte() % 3),
            payload: datagram(&mut script),
        };
        match script.pick(6) {
            0 => {
                let fragment = ["abcd", "efgh"][script.pick(2)];
                router.register(key, fragment);
                known[key] = true;
            }
            1 => {
                router.unregister(key);
                known[key] = false;
            }
            2 | 3 => router.sent(key, &datagram),
            _ => {
                let routes = router.route(datagram.as_received());
                for key in routes {
                    assert!(known[key], "a link that was never registered");
                }
            }
        }
    }
}

/// With the beginning of a STUN message or of a DTLS record, and anything behind it.
fn datagram(script: &mut Script<'_>) -> Vec<u8> {
    let mut payload = Vec::new();
    match script.pick(3) {
        0 => {
            let kind = [0x0001u16, 0x0101, 0x0111, 0x0011][script.pick(4)];
            let body = script.bytes(40);
            let len = body.len() / 4 * 4;
            payload.extend(kind.to_be_bytes());
            payload.extend((len as u16).to_be_bytes());
            payload.extend([0x21, 0x12, 0xa4, 0x42]);
            payload.extend([script.byte() % 4; 12]);
            payload.extend(&body[..len]);
        }
        1 => {
            let body = script.bytes(40);
            payload.extend([20 + script.byte() % 4, 0xfe, 0xfd, 0, script.byte() % 2]);
            payload.extend([0; 6]);
            payload.extend((body.len() as u16).to_be_bytes());
            payload.extend(body);
        }
        _ => payload.extend(script.bytes(60)),
    }
    payload
}

/// The bodies of the signaling protocol and the texts of keys. The first byte chooses.
pub(crate) fn signaling_parsers(input: &[u8]) {
    let Some((which, rest)) = input.split_first() else {
        return;
    };
    match which % 2 {
        0 => rondevu_signaling::fuzzing::bodies(rest),
        _ => {
            let text = String::from_utf8_lossy(rest);
            for keys in [
                KeyPair::from_pkcs8_pem(&text),
                KeyPair::from_seed_base64(&text),
            ]
            .into_iter()
            .flatten()
            {
                let again = keys.to_pkcs8_pem().expect("a key can be written");
                assert_eq!(KeyPair::from_pkcs8_pem(&again).expect("and read"), keys);
            }
        }
    }
}
