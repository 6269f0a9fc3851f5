//! ICE user names and passwords that nobody can guess.

use std::sync::atomic::{AtomicU64, Ordering};

use is::IceCreds;
use sha2::{Digest, Sha256};

/// Draws ICE credentials for one factory.
///
/// The engine would draw them from a generator that is not made for secrets, and whoever knows the
/// password of a link can answer for the peer. These are digests of a counter under a secret; they
/// say nothing about each other.
pub(crate) struct Credentials {
    secret: [u8; 32],
    drawn: AtomicU64,
}

impl Credentials {
    /// Takes the secret from `private_key`, which nobody else knows and which is never reused.
    pub(crate) fn from_private_key(private_key: &[u8]) -> Self {
        let digest = Sha256::new()
            .chain_update(b"rondevu ice credentials")
            .chain_update(private_key);
        Self {
            secret: digest.finalize().into(),
            drawn: AtomicU64::new(0),
        }
    }

    /// New credentials, different each time.
    pub(crate) fn draw(&self) -> IceCreds {
        let number = self.drawn.fetch_add(1, Ordering::Relaxed);
        IceCreds {
            ufrag: self.text(number, b'u', UFRAG_CHARS),
            pass: self.text(number, b'p', PASSWORD_CHARS),
        }
    }

    fn text(&self, number: u64, purpose: u8, chars: usize) -> String {
        let digest = Sha256::new()
            .chain_update(self.secret)
            .chain_update(number.to_be_bytes())
            .chain_update([purpose])
            .finalize();
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
        let one = Credentials::from_private_key(b"one");
        let two = Credentials::from_private_key(b"two");
        let drawn = [one.draw(), one.draw(), two.draw()];
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
