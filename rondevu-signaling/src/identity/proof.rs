//! The key pair as the identity that peers prove to each other.

use rondevu_core::Identity;

use super::{KeyPair, PublicKey};

impl Identity for KeyPair {
    fn public_key(&self) -> [u8; 32] {
        *KeyPair::public_key(self).as_bytes()
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        KeyPair::sign(self, message)
    }

    fn verify(&self, public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        let key = PublicKey::from_bytes(*public_key);
        key.verify(message, signature).is_ok()
    }
}
