//! A peer's Ed25519 key pair: how it is made, kept and used.

use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use ed25519_dalek::{Signer, SigningKey};
use rondevu_core::{ServiceName, Username};
use zeroize::Zeroizing;

use super::public_key::decode_base64_into;
use super::{PublicKey, Signature, SignedClaim, SignedPublish, key_file};
use crate::UnixMillis;

/// The Ed25519 key pair that owns a username.
///
/// Whoever has it can publish under the name; whoever loses it loses the name. The private half is
/// wiped from memory on drop and is never part of `Debug`.
///
/// ```
/// use rondevu_signaling::{KeyPair, UnixMillis};
///
/// let keys = KeyPair::generate()?;
/// let claim = keys.sign_claim(&"alice".parse()?, UnixMillis::now());
/// claim.verify()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    signing: SigningKey,
}

impl KeyPair {
    /// Makes a new key pair from the operating system's randomness.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoRandomness`] if there is none.
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(|_| KeyError::NoRandomness)?;
        Ok(Self::from_seed(&seed))
    }

    /// The key pair that belongs to a 32-byte seed, the private key in RFC 8032.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self {
            signing: SigningKey::from_bytes(seed),
        }
    }

    /// The key pair that belongs to a seed in base64, as the TypeScript client keeps it.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotAKey`] if it is not base64 of 32 bytes.
    pub fn from_seed_base64(text: &str) -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        decode_base64_into(text, &mut seed).map_err(|_| KeyError::NotAKey)?;
        Ok(Self::from_seed(&seed))
    }

    /// The seed in base64, as the TypeScript client keeps it. Secret.
    pub fn seed_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.signing.as_bytes()))
    }

    /// Reads a private key in PKCS#8 PEM, as OpenSSL and this crate write it.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotAKey`] if it is something else.
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, KeyError> {
        let signing = SigningKey::from_pkcs8_pem(pem).map_err(|_| KeyError::NotAKey)?;
        Ok(Self { signing })
    }

    /// The private key in PKCS#8 PEM. Secret.
    ///
    /// # Errors
    ///
    /// [`KeyError::NotAKey`] if it cannot be encoded, which does not happen to a valid key.
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        self.signing
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|_| KeyError::NotAKey)
    }

    /// Reads a key pair from a file: PKCS#8 PEM, or the seed in base64.
    ///
    /// Blocks on the file system.
    ///
    /// # Errors
    ///
    /// [`KeyError::TooOpen`] if others than the owner may read or write the file (on Unix),
    /// [`KeyError::NotAKey`] if it holds something else, [`KeyError::Io`] if it cannot be read.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, KeyError> {
        let text = key_file::read(path.as_ref())?;
        match text.trim_start().starts_with("-----BEGIN") {
            true => Self::from_pkcs8_pem(&text),
            false => Self::from_seed_base64(text.trim()),
        }
    }

    /// Writes the key pair to a file in PKCS#8 PEM, readable by its owner only.
    ///
    /// Replaces a file that is there. The file is complete from the moment it exists, and nobody
    /// else can read it at any time. Blocks on the file system.
    ///
    /// # Errors
    ///
    /// [`KeyError::Io`] if it cannot be written; an existing file is then unchanged.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), KeyError> {
        key_file::replace(path.as_ref(), &self.to_pkcs8_pem()?)
    }

    /// Writes the key pair to a file as the seed in base64, as the TypeScript client keeps it.
    ///
    /// Otherwise like [`save`](Self::save).
    ///
    /// # Errors
    ///
    /// [`KeyError::Io`] if it cannot be written; an existing file is then unchanged.
    pub fn save_seed(&self, path: impl AsRef<Path>) -> Result<(), KeyError> {
        key_file::replace(path.as_ref(), &self.seed_base64())
    }

    /// Reads a key pair from a file, or makes one and writes it there if there is no file.
    ///
    /// If several processes do so at once, all get the same key. Blocks on the file system.
    ///
    /// # Errors
    ///
    /// Those of [`load`](Self::load), [`generate`](Self::generate) and [`save`](Self::save).
    pub fn load_or_generate(path: impl AsRef<Path>) -> Result<Self, KeyError> {
        let path = path.as_ref();
        match Self::load(path) {
            Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let keys = Self::generate()?;
        key_file::create_unless_there(path, &keys.to_pkcs8_pem()?)?;
        Self::load(path)
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::from_bytes(self.signing.verifying_key().to_bytes())
    }

    /// Signs any bytes.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }

    /// Signs a claim of `username`; `now` must be within five minutes of the server's clock.
    pub fn sign_claim(&self, username: &Username, now: UnixMillis) -> SignedClaim {
        let message = SignedClaim::message_for(username, now);
        SignedClaim {
            username: username.clone(),
            public_key: self.public_key(),
            signed_at: now,
            signature: Signature::from_bytes(self.sign(message.as_bytes())),
        }
    }

    /// Signs one publication of `service` under `username`; `now` must be within five minutes of
    /// the server's clock and differ from that of other publications of the same service.
    pub fn sign_publish(
        &self,
        username: &Username,
        service: &ServiceName,
        now: UnixMillis,
    ) -> SignedPublish {
        let message = SignedPublish::message_for(username, service, now);
        SignedPublish {
            signed_at: now,
            signature: Signature::from_bytes(self.sign(message.as_bytes())),
        }
    }
}

impl fmt::Debug for KeyPair {
    /// Shows the public key only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair")
            .field("public_key", &self.public_key())
            .finish_non_exhaustive()
    }
}

/// Why there is no key pair.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is no Ed25519 private key.
    #[error("this is no ed25519 private key: give pkcs#8 pem, or base64 of the 32-byte seed")]
    NotAKey,
    /// Others than the file's owner may use it.
    #[error("others can read the key file: run `chmod 600 {}`", path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("the key file {} cannot be used", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// The operating system gave no random numbers.
    #[error("the operating system gives no random numbers")]
    NoRandomness,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1, test 1.
    const SEED: [u8; 32] = [
        0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c,
        0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae,
        0x7f, 0x60,
    ];

    #[test]
    fn the_seed_of_rfc_8032_gives_its_key_and_signature() {
        let keys = KeyPair::from_seed(&SEED);
        assert_eq!(keys.public_key().as_bytes()[..4], [0xd7, 0x5a, 0x98, 0x01]);
        assert_eq!(keys.sign(b"")[..4], [0xe5, 0x56, 0x43, 0x00]);
        assert_eq!(keys.public_key().verify(b"", &keys.sign(b"")), Ok(()));
        assert!(keys.public_key().verify(b"x", &keys.sign(b"")).is_err());
    }

    #[test]
    fn both_text_forms_give_the_same_key_back() {
        let keys = KeyPair::generate().unwrap();
        let pem = keys.to_pkcs8_pem().unwrap();
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
        assert_eq!(KeyPair::from_pkcs8_pem(&pem).unwrap(), keys);
        assert_eq!(
            KeyPair::from_seed_base64(&keys.seed_base64()).unwrap(),
            keys
        );
    }

    #[test]
    fn a_key_that_openssl_made_is_read() {
        let pem = "-----BEGIN PRIVATE KEY-----\n\
                   MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
                   -----END PRIVATE KEY-----\n";
        assert_eq!(
            KeyPair::from_pkcs8_pem(pem).unwrap(),
            KeyPair::from_seed(&SEED)
        );
    }

    #[test]
    fn what_holds_the_private_key_wipes_it() {
        fn is_wiped_on_drop<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        let keys = KeyPair::generate().unwrap();
        is_wiped_on_drop(&keys.signing);
        is_wiped_on_drop(&keys.seed_base64());
        is_wiped_on_drop(&keys.to_pkcs8_pem().unwrap());
    }

    #[test]
    fn debug_shows_the_public_key_and_no_other() {
        let keys = KeyPair::from_seed(&SEED);
        let shown = format!("{keys:?} {keys:#?}");
        assert!(shown.contains(&keys.public_key().to_string()));
        assert!(!shown.contains(keys.seed_base64().as_str()));
        assert!(!shown.contains("157, 97"));
    }

    #[test]
    fn statements_have_the_protocols_words_and_verify() {
        let keys = KeyPair::from_seed(&SEED);
        let alice = Username::parse("alice").unwrap();
        let chat = ServiceName::parse("com.example.chat@1.0.0").unwrap();
        let claim = keys.sign_claim(&alice, UnixMillis(1_700_000_000_000));
        assert_eq!(claim.message(), "claim:alice:1700000000000");
        assert_eq!(claim.verify(), Ok(()));
        let publish = keys.sign_publish(&alice, &chat, UnixMillis(1_700_000_000_000));
        assert_eq!(
            publish.message(&alice, &chat),
            "publish:alice:com.example.chat@1.0.0:1700000000000"
        );
        assert_eq!(publish.verify(&alice, &chat, &keys.public_key()), Ok(()));
        let bob = Username::parse("bob").unwrap();
        assert!(publish.verify(&bob, &chat, &keys.public_key()).is_err());
    }
}
