//! ICE user names and passwords that nobody can guess.

use std::sync::atomic::{AtomicU64, Ordering};

use str0m::IceCreds;
use str0m::crypto::CryptoProvider;

/// Draws ICE credentials for one factory.
///
/// The engine would draw them from a generator that is not made for secrets, and whoever knows the
/// password of a link can answer for the peer. These are digests of a counter under a secret; they
/// say nothing about each other.
pub(super) struct Credentials {
    secret: [u8; 32],
    drawn: AtomicU64,
}

impl Credentials {
    /// Takes the secret from `private_key`, which nobody else knows and which is never reused.
    pub(super) fn from_private_key(private_key: &[u8], crypto: &CryptoProvider) -> Self {
        let mut input = b"rondevu ice credentials".to_vec();
        input.extend_from_slice(private_key);
        Self {
            secret: crypto.sha256_provider.sha256(&input),
            drawn: AtomicU64::new(0),
        }
    }

    /// New credentials, different each time.
    pub(super) fn draw(&self, crypto: &CryptoProvider) -> IceCreds {
        let number = self.drawn.fetch_add(1, Ordering::Relaxed);
        IceCreds {
            ufrag: self.text(number, b'u', UFRAG_CHARS, crypto),
            pass: self.text(number, b'p', PASSWORD_CHARS, crypto),
        }
    }

    fn text(&self, number: u64, purpose: u8, chars: usize, crypto: &CryptoProvider) -> String {
        let mut input = self.secret.to_vec();
        input.extend_from_slice(&number.to_be_bytes());
        input.push(purpose);
        let digest = crypto.sha256_provider.sha256(&input);
        let letters = digest.iter().map(|byte| ICE_CHARS[usize::from(byte % 64)]);
        letters.take(chars).map(char::from).collect()
    }
}

/// Six bits for each character: 96 bits, so that two links of a process never share one.
const UFRAG_CHARS: usize = 16;
/// 192 bits, where RFC 8445 asks for 128.
const PASSWORD_CHARS: usize = 32;
/// The `ice-char` of RFC 8839, of which there are exactly 64.
const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_alike() {
        let crypto = str0m::crypto::from_feature_flags();
        let one = Credentials::from_private_key(b"one", &crypto);
        let two = Credentials::from_private_key(b"two", &crypto);
        let drawn = [one.draw(&crypto), one.draw(&crypto), two.draw(&crypto)];
        assert_eq!(drawn[0].ufrag.len(), 16);
        assert_eq!(drawn[0].pass.len(), 32);
        for (i, a) in drawn.iter().enumerate() {
            for b in &drawn[i + 1..] {
                assert_ne!(a.ufrag, b.ufrag);
                assert_ne!(a.pass, b.pass);
            }
        }
    }
}
