//! The statements that a key signs to own a username and to publish under it.

use std::time::Duration;

use rondevu_core::{ServiceName, Username};

use super::{BadSignature, PublicKey, Signature};
use crate::UnixMillis;

/// A key's statement that it wants to own a username.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedClaim {
    /// The username.
    pub username: Username,
    /// The key that claims it.
    pub public_key: PublicKey,
    /// When the statement was signed, by the signer's clock.
    pub signed_at: UnixMillis,
    /// The signature over [`message`](Self::message).
    pub signature: Signature,
}

impl SignedClaim {
    /// How far the signer's clock may be from the server's.
    pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(300);

    /// The text that was signed.
    pub fn message(&self) -> String {
        Self::message_for(&self.username, self.signed_at)
    }

    /// The text to sign for a claim of `username` at `signed_at`.
    pub fn message_for(username: &Username, signed_at: UnixMillis) -> String {
        format!("claim:{username}:{signed_at}")
    }

    /// Checks the signature. The age is the server's to judge.
    ///
    /// # Errors
    ///
    /// [`BadSignature`] if it does not fit.
    pub fn verify(&self) -> Result<(), BadSignature> {
        self.public_key
            .verify(self.message().as_bytes(), self.signature.as_bytes())
    }
}

/// A key's statement that it publishes a service, good for one publication.
///
/// Which service and whose stands beside it, in the [`Publication`](crate::Publication).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedPublish {
    /// When the statement was signed, by the signer's clock.
    pub signed_at: UnixMillis,
    /// The signature over [`message`](Self::message).
    pub signature: Signature,
}

impl SignedPublish {
    /// The text that was signed.
    pub fn message(&self, username: &Username, service: &ServiceName) -> String {
        Self::message_for(username, service, self.signed_at)
    }

    /// The text to sign for publishing `service` under `username` at `signed_at`.
    pub fn message_for(
        username: &Username,
        service: &ServiceName,
        signed_at: UnixMillis,
    ) -> String {
        format!("publish:{username}:{service}:{signed_at}")
    }

    /// Checks that the owner of `key` made the signature. The age is the server's to judge.
    ///
    /// # Errors
    ///
    /// [`BadSignature`] if it does not fit.
    pub fn verify(
        &self,
        username: &Username,
        service: &ServiceName,
        key: &PublicKey,
    ) -> Result<(), BadSignature> {
        key.verify(
            self.message(username, service).as_bytes(),
            self.signature.as_bytes(),
        )
    }
}
