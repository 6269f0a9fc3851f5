//! Public keys and signatures, and their base64 form.

use core::fmt;
use core::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// An Ed25519 public key; written as base64 of its 32 bytes.
///
/// Any 32 bytes can be held; bytes that are no point on the curve verify nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Wraps the key's bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Checks that `signature` was made for `message` by the owner of this key.
    ///
    /// Strict: keys and signatures of small order, which fit many messages, are refused.
    ///
    /// # Errors
    ///
    /// [`BadSignature`] if it was not, or if this is no key at all.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), BadSignature> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(&self.0).map_err(|_| BadSignature)?;
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        key.verify_strict(message, &signature)
            .map_err(|_| BadSignature)
    }
}

/// An Ed25519 signature; written as base64 of its 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Signature([u8; 64]);

impl Signature {
    /// Wraps the signature's bytes.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The signature's bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

/// The signature was not made for this message by this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not fit the message and the key")]
pub struct BadSignature;

/// A text that is not base64 of the right number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected base64 of {len} bytes")]
pub struct KeyTextError {
    /// How many bytes there should be.
    pub len: usize,
}

/// Reads standard base64 with padding of exactly `N` bytes.
pub(crate) fn decode_base64<const N: usize>(text: &str) -> Result<[u8; N], KeyTextError> {
    let mut bytes = [0; N];
    decode_base64_into(text, &mut bytes)?;
    Ok(bytes)
}

/// The same into a buffer, which is left in any state on an error: a secret leaves no copy behind.
pub(crate) fn decode_base64_into<const N: usize>(
    text: &str,
    bytes: &mut [u8; N],
) -> Result<(), KeyTextError> {
    let error = KeyTextError { len: N };
    // Checked first, so that a long text costs nothing.
    if text.len() != N.div_ceil(3) * 4 {
        return Err(error);
    }
    match STANDARD.decode_slice(text, bytes) {
        Ok(len) if len == N => Ok(()),
        Ok(_) | Err(_) => Err(error),
    }
}

macro_rules! base64_text {
    ($name:ident, $debug:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&STANDARD.encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $debug, self)
            }
        }

        impl FromStr for $name {
            type Err = KeyTextError;

            fn from_str(text: &str) -> Result<Self, KeyTextError> {
                decode_base64(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = KeyTextError;

            fn try_from(text: String) -> Result<Self, KeyTextError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}

base64_text!(PublicKey, "PublicKey({})");
base64_text!(Signature, "Signature({})");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text_form() {
        let key = PublicKey::from_bytes([7; 32]);
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!(key.to_string().len(), 44);
    }

    #[test]
    fn texts_of_another_length_or_alphabet_are_refused() {
        let long = "A".repeat(1000);
        let urlsafe = format!("{}=", "_".repeat(43));
        let no_padding = "A".repeat(43);
        for bad in ["", "AAAA", &long, &urlsafe, &no_padding] {
            assert_eq!(bad.parse::<PublicKey>(), Err(KeyTextError { len: 32 }));
        }
    }

    #[test]
    fn a_key_of_small_order_verifies_nothing() {
        // The neutral element: with it, a signature of zeros would fit every message.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        let key = PublicKey::from_bytes(neutral);
        assert_eq!(key.verify(b"anything", &signature), Err(BadSignature));
    }
}
