//! The proofs of `docs/protocol-vectors.json` with real keys.

use bytes::Bytes;
use rondevu_core::frame::{ControlFrame, Hello, Welcome};
use rondevu_core::proof::{hello_transcript, welcome_transcript};
use rondevu_core::{Fingerprints, Identity};
use rondevu_signaling::KeyPair;
use serde_json::Value;

fn proofs() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol-vectors.json");
    let text = std::fs::read_to_string(path).expect("the vectors are there");
    let vectors: Value = serde_json::from_str(&text).expect("the vectors are JSON");
    vectors["proofs"].clone()
}

fn bytes(value: &Value, name: &str) -> Vec<u8> {
    let hex = value[name].as_str().expect("text").as_bytes();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("hexadecimal digits");
        u8::from_str_radix(pair, 16).expect("hexadecimal digits")
    };
    hex.chunks(2).map(byte).collect()
}

fn fixed<const N: usize>(value: &Value, name: &str) -> [u8; N] {
    bytes(value, name).try_into().expect("of this size")
}

fn fingerprints(proofs: &Value) -> Fingerprints {
    Fingerprints {
        local: fixed(proofs, "dialer_fingerprint"),
        remote: fixed(proofs, "acceptor_fingerprint"),
    }
}

fn hello(proofs: &Value) -> Hello {
    match ControlFrame::decode(&mut Bytes::from(bytes(&proofs["hello"], "bytes"))) {
        Ok(ControlFrame::Hello(hello)) => hello,
        other => panic!("not a hello: {other:?}"),
    }
}

fn welcome(proofs: &Value) -> Welcome {
    match ControlFrame::decode(&mut Bytes::from(bytes(&proofs["welcome"], "bytes"))) {
        Ok(ControlFrame::Welcome(welcome)) => welcome,
        other => panic!("not a welcome: {other:?}"),
    }
}

#[test]
fn both_transcripts_and_their_signatures_are_those_of_the_vectors() {
    let proofs = proofs();
    let (hello, welcome) = (hello(&proofs), welcome(&proofs));
    let seen = fingerprints(&proofs);
    let transcripts = [
        ("hello", hello_transcript(&hello, &seen), hello.proof),
        (
            "welcome",
            welcome_transcript(&self::hello(&proofs), &welcome, &seen),
            welcome.proof,
        ),
    ];
    for (name, transcript, proof) in transcripts {
        let vector = &proofs[name];
        assert_eq!(transcript, bytes(vector, "transcript"), "{name}");
        let keys = KeyPair::from_seed(&fixed(vector, "seed"));
        let proof = proof.expect("it is signed");
        assert_eq!(proof.public_key, Identity::public_key(&keys));
        assert_eq!(proof.signature, keys.sign(&transcript), "{name}");
        let signature = proof.signature.as_slice().try_into().expect("64 bytes");
        assert!(keys.verify(&proof.public_key, &transcript, signature));
    }
}

#[test]
fn the_same_signatures_do_not_fit_another_link() {
    let proofs = proofs();
    let (hello, mut seen) = (hello(&proofs), fingerprints(&proofs));
    seen.remote[31] ^= 1;
    let transcript = hello_transcript(&hello, &seen);
    let proof = hello.proof.expect("it is signed");
    let keys = KeyPair::from_seed(&[0; 32]);
    let signature = proof.signature.as_slice().try_into().expect("64 bytes");
    assert!(!keys.verify(&proof.public_key, &transcript, signature));
}
