//! What two peers sign to show each other who they are.
//!
//! A link is encrypted, but the signaling server that carried the descriptions could have put
//! itself in between: it would give each side its own certificate. So each side signs, with its
//! long-lived key, a transcript that names both certificates as *it* sees them. A transcript that
//! was signed on one link is worth nothing on another.

use alloc::vec::Vec;
use core::fmt;

use crate::frame::{Hello, Welcome};
use crate::link::Fingerprints;

/// Holds a long-lived key and checks the signatures of others: Ed25519 (RFC 8032) outside tests.
///
/// Signing must not need anything but the key: it happens in the middle of a greeting.
pub trait Identity: Send + Sync + fmt::Debug {
    /// The public key.
    fn public_key(&self) -> [u8; 32];

    /// Signs a message.
    fn sign(&self, message: &[u8]) -> [u8; 64];

    /// Whether `signature` over `message` was made with the key that belongs to `public_key`.
    fn verify(&self, public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool;
}

/// What the dialer signs in its `Hello`. `fingerprints` are those of the dialer's end.
///
/// It names no nonce of the acceptor, which has not spoken yet. It need not: only the holder of
/// both the dialer's certificate and the acceptor's can bring about a link with these fingerprints,
/// and the generation makes each greeting between them another.
pub fn hello_transcript(hello: &Hello, fingerprints: &Fingerprints) -> Vec<u8> {
    let mut out = HELLO_CONTEXT.to_vec();
    out.extend_from_slice(&fingerprints.local);
    out.extend_from_slice(&fingerprints.remote);
    append_hello(&mut out, hello);
    out
}

/// What the acceptor signs in its `Welcome`. `fingerprints` are those of the *dialer's* end.
pub fn welcome_transcript(
    hello: &Hello,
    welcome: &Welcome,
    fingerprints: &Fingerprints,
) -> Vec<u8> {
    let mut out = WELCOME_CONTEXT.to_vec();
    out.extend_from_slice(&fingerprints.local);
    out.extend_from_slice(&fingerprints.remote);
    append_hello(&mut out, hello);
    out.extend_from_slice(&welcome.version.to_be_bytes());
    out.extend_from_slice(&welcome.incarnation.0.to_be_bytes());
    out.push(u8::from(welcome.resumed));
    out.extend_from_slice(&welcome.nonce);
    out
}

fn append_hello(out: &mut Vec<u8>, hello: &Hello) {
    out.extend_from_slice(&hello.version.to_be_bytes());
    out.extend_from_slice(&hello.session.0.to_be_bytes());
    out.extend_from_slice(&hello.generation.0.to_be_bytes());
    out.extend_from_slice(&hello.incarnation.0.to_be_bytes());
    out.extend_from_slice(&hello.nonce);
}

impl Fingerprints {
    /// The same pair as the peer sees it.
    #[must_use]
    pub const fn swapped(self) -> Self {
        Self {
            local: self.remote,
            remote: self.local,
        }
    }
}

/// Different for the two roles, so that neither signature can be played back as the other.
const HELLO_CONTEXT: &[u8] = b"rondevu.session.v1 hello\0";
const WELCOME_CONTEXT: &[u8] = b"rondevu.session.v1 welcome\0";
