//! Keys that are quick to check and hold off nobody: the machines only need to see right and wrong.

use rondevu_core::Identity;

/// A toy key.
#[derive(Debug)]
pub(super) struct ToyKey(pub(super) u8);

impl Identity for ToyKey {
    fn public_key(&self) -> [u8; 32] {
        [self.0; 32]
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        seal(&self.public_key(), message)
    }

    fn verify(&self, public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
        seal(public_key, message) == *signature
    }
}

/// FNV-1a over key and message, eight times.
fn seal(key: &[u8; 32], message: &[u8]) -> [u8; 64] {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in key.iter().chain(message) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    }
    let mut out = [0; 64];
    for chunk in out.chunks_exact_mut(8) {
        chunk.copy_from_slice(&hash.to_be_bytes());
    }
    out
}
