//! The Ed25519 identity of a peer: its key pair, and what it signs to own a username.

mod key_file;
mod key_pair;
mod proof;
mod public_key;
mod signed;

pub use key_pair::{KeyError, KeyPair};
pub use public_key::{BadSignature, KeyTextError, PublicKey, Signature};
pub use signed::{SignedClaim, SignedPublish};
