//! Who the peer is, and who it is not.

use std::sync::Arc;

use rondevu_core::{Identity, RejectReason};

use super::*;
use crate::error::{ConnectionFailure, ProofFailure};

/// Signs with its public key, which is enough where nobody forges.
#[derive(Debug)]
struct Toy(u8);

impl Identity for Toy {
    fn public_key(&self) -> [u8; 32] {
        [self.0; 32]
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        digest(self.0, message)
    }

    fn verify(&self, public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        *signature == digest(public_key[0], message)
    }
}

fn digest(key: u8, message: &[u8]) -> [u8; 64] {
    let mut out = [key; 64];
    for (i, byte) in message.iter().enumerate() {
        out[i % 64] = out[i % 64].wrapping_mul(31).wrapping_add(*byte);
    }
    out
}

fn holding(key: u8, peer: RequiredProof) -> Trust {
    Trust {
        identity: Some(Arc::new(Toy(key))),
        peer,
    }
}

fn pair(required: RequiredProof) -> Pair {
    let trust = [holding(1, required), holding(2, RequiredProof::Nothing)];
    Pair::trusting(ConnectionConfig::default(), trust)
}

fn failure(pair: &Pair) -> Option<&ConnectionFailure> {
    pair.events.iter().find_map(|event| match event {
        ConnectionEvent::Failed { failure, .. } => Some(failure),
        _ => None,
    })
}

#[test]
fn both_sides_learn_the_key_of_the_other() {
    let mut pair = pair(RequiredProof::Nothing);
    pair.settle();
    assert_eq!(pair.dialer.peer_key(), Some([2; 32]));
    assert_eq!(pair.acceptor.as_ref().unwrap().peer_key(), Some([1; 32]));
}

#[test]
fn swapped_descriptions_are_found_out_and_named() {
    let mut pair = pair(RequiredProof::Key([2; 32]));
    pair.intercepted = true;
    // The interceptor relays every frame as it is, so the acceptor refuses the dialer first.
    pair.settle();
    let refused = ConnectionFailure::Rejected(RejectReason::NotAuthorised);
    assert_eq!(failure(&pair), Some(&refused));
    assert!(pair.acceptor.is_none());
}

#[test]
fn an_acceptor_that_checks_nothing_is_not_taken_for_the_right_one_over_a_swapped_link() {
    let careless = Trust {
        identity: Some(Arc::new(Careless)),
        peer: RequiredProof::Nothing,
    };
    let dialer = holding(1, RequiredProof::Key([2; 32]));
    let mut pair = Pair::trusting(ConnectionConfig::default(), [dialer, careless]);
    pair.intercepted = true;
    pair.settle();
    let failure = failure(&pair).unwrap();
    assert_eq!(
        failure,
        &ConnectionFailure::Untrusted(ProofFailure::Invalid)
    );
    assert!(std::format!("{failure}").contains("signaling server"));
}

/// Signs like key 2 and believes everything.
#[derive(Debug)]
struct Careless;

impl Identity for Careless {
    fn public_key(&self) -> [u8; 32] {
        [2; 32]
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        digest(2, message)
    }

    fn verify(&self, _: &[u8; 32], _: &[u8], _: &[u8; 64]) -> bool {
        true
    }
}

#[test]
fn another_key_than_the_expected_one_is_refused() {
    let mut pair = pair(RequiredProof::Key([9; 32]));
    pair.settle();
    let untrusted = ConnectionFailure::Untrusted(ProofFailure::OtherKey);
    assert_eq!(failure(&pair), Some(&untrusted));
}

#[test]
fn a_peer_without_a_key_is_refused_where_one_is_required() {
    let trust = [holding(1, RequiredProof::AnyKey), Trust::default()];
    let mut pair = Pair::trusting(ConnectionConfig::default(), trust);
    pair.settle();
    let untrusted = ConnectionFailure::Untrusted(ProofFailure::Missing);
    assert_eq!(failure(&pair), Some(&untrusted));
}

#[test]
fn only_the_key_that_began_a_session_can_resume_it() {
    let mut pair = pair(RequiredProof::Nothing);
    let chat = channel(&mut pair);
    pair.settle();
    // A thief who knows everything about the session but the key.
    pair.cut_all();
    pair.dialer.trust = holding(7, RequiredProof::Nothing);
    pair.send(Role::Dialer, chat, "stolen");
    pair.wait(Duration::from_secs(5));
    assert_eq!(pair.received(Role::Acceptor), [""; 0]);
    assert_ne!(pair.dialer.state(), State::Connected);
    // The owner comes back.
    pair.dialer.trust = holding(1, RequiredProof::Nothing);
    pair.wait(Duration::from_secs(60));
    assert_eq!(pair.received(Role::Acceptor), ["stolen"]);
}

#[test]
fn a_session_with_a_proved_peer_survives_an_impostor() {
    let mut pair = pair(RequiredProof::Nothing);
    let chat = channel(&mut pair);
    pair.settle();
    pair.cut_all();
    // Somebody else answers for a while, without a key.
    let acceptor = pair.acceptor.take();
    pair.trust[1] = Trust::default();
    pair.send(Role::Dialer, chat, "not for you");
    pair.wait(Duration::from_secs(4));
    assert_eq!(pair.received(Role::Acceptor), [""; 0]);
    let untrusted = ProtocolViolation::Untrusted(ProofFailure::Missing);
    assert!(
        pair.events
            .contains(&ConnectionEvent::ProtocolViolation(untrusted))
    );
    pair.cut_all();
    pair.acceptor = acceptor;
    pair.wait(Duration::from_secs(60));
    assert_eq!(pair.received(Role::Acceptor), ["not for you"]);
    let reset = |event: &ConnectionEvent| matches!(event, ConnectionEvent::SessionReset { .. });
    assert!(!pair.events.iter().any(reset), "the session is the same");
}
