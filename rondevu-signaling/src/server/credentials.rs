//! Who a peer is, proved by a secret that the server can compute and need not remember.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use rondevu_core::PeerId;
use sha2::Sha256;
use zeroize::Zeroizing;

/// Makes and checks secrets: the secret of a peer is a keyed hash (HMAC-SHA-256) of its id.
pub(super) struct Credentials {
    key: Zeroizing<[u8; 32]>,
}

impl Credentials {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self {
            key: Zeroizing::new(key),
        }
    }

    /// The secret that proves to be `peer`.
    pub(super) fn secret(&self, peer: &PeerId) -> String {
        STANDARD.encode(self.hash(peer).finalize().into_bytes())
    }

    /// The peer that an `Authorization` header proves to be.
    pub(super) fn check(&self, header: Option<&str>) -> Result<PeerId, NotAuthorized> {
        let header = header.ok_or(NotAuthorized::Missing)?;
        let credentials = header
            .strip_prefix("Bearer ")
            .ok_or(NotAuthorized::Header)?;
        let (peer, secret) = credentials.split_once(':').ok_or(NotAuthorized::Format)?;
        if peer.len() != PEER_ID_LEN {
            return Err(NotAuthorized::Wrong);
        }
        let peer = PeerId::new(peer).map_err(|_| NotAuthorized::Wrong)?;
        let secret = STANDARD.decode(secret).map_err(|_| NotAuthorized::Wrong)?;
        // In constant time.
        let checked = self.hash(&peer).verify_slice(&secret);
        checked.map(|()| peer).map_err(|_| NotAuthorized::Wrong)
    }

    fn hash(&self, peer: &PeerId) -> Hmac<Sha256> {
        let mut hash = Hmac::<Sha256>::new_from_slice(&*self.key).expect("any key length will do");
        hash.update(b"rondevu peer 1:");
        hash.update(peer.as_str().as_bytes());
        hash
    }
}

/// Why a header proves nothing; displayed as the protocol has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotAuthorized {
    #[error("Missing Authorization header")]
    Missing,
    #[error("Invalid Authorization header format. Expected: Bearer {{peerId}}:{{secret}}")]
    Header,
    #[error("Invalid credentials format. Expected: {{peerId}}:{{secret}}")]
    Format,
    #[error("Invalid credentials")]
    Wrong,
}

/// 16 bytes in hex.
const PEER_ID_LEN: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_of_getting_it_wrong_has_its_text() {
        let credentials = Credentials::new([1; 32]);
        let peer = PeerId::new("0".repeat(32)).unwrap();
        let secret = credentials.secret(&peer);
        let good = format!("Bearer {peer}:{secret}");
        assert_eq!(credentials.check(Some(&good)), Ok(peer.clone()));
        let other_peer = format!("Bearer {}:{secret}", "1".repeat(32));
        let long_peer = format!("Bearer {}:{secret}", "1".repeat(300));
        for (header, error) in [
            (None, NotAuthorized::Missing),
            (Some("Basic x"), NotAuthorized::Header),
            (Some("Bearer x"), NotAuthorized::Format),
            (Some("Bearer x:y"), NotAuthorized::Wrong),
            (Some(&*other_peer), NotAuthorized::Wrong),
            (Some(&*long_peer), NotAuthorized::Wrong),
        ] {
            assert_eq!(credentials.check(header), Err(error), "{header:?}");
        }
        let other_server = Credentials::new([2; 32]);
        assert_eq!(other_server.check(Some(&good)), Err(NotAuthorized::Wrong));
        assert_eq!(
            NotAuthorized::Format.to_string(),
            "Invalid credentials format. Expected: {peerId}:{secret}"
        );
    }
}
