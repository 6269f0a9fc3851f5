//! What is known of the peer: what it speaks, what it remembers, which key it has proved.

use std::sync::Arc;
use std::vec::Vec;

use rondevu_core::frame::{Limits, Proof};
use rondevu_core::{Identity, Incarnation};

use super::ConnectionMachine;
use crate::error::ProofFailure;

/// Who this side is, and who the peer has to be.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Signs this side's proofs and checks the peer's. Without it this side proves nothing, and a
    /// peer that must prove its key is refused.
    pub identity: Option<Arc<dyn Identity>>,
    /// What the peer has to prove.
    pub peer: RequiredProof,
}

/// What a peer has to prove about its key.
///
/// A proof that comes without being required must still be right, and once a key was proved in a
/// session, each later link of the session must prove the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RequiredProof {
    /// Nothing.
    #[default]
    Nothing,
    /// That it holds a key, whichever.
    AnyKey,
    /// That it holds this key.
    Key([u8; 32]),
}

/// How a conversation with the peer survives the loss of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It speaks the session protocol: each message arrives once.
    Session,
    /// It does not: what is on its way when a link is lost is lost, what waits is sent later.
    Plain,
}

/// What is known of the peer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peer {
    pub(super) durability: Option<Durability>,
    pub(super) memory: Option<PeerMemory>,
    /// The key that it has proved in this session.
    pub(super) key: Option<[u8; 32]>,
}

/// What a peer with the session protocol remembers and takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerMemory {
    pub(super) incarnation: Incarnation,
    pub(super) limits: Limits,
}

impl ConnectionMachine {
    /// Signs a transcript, if this side has a key and the link can be named.
    pub(super) fn prove(&self, transcript: Option<Vec<u8>>) -> Option<Proof> {
        let (identity, transcript) = (self.trust.identity.as_ref()?, transcript?);
        Some(Proof {
            public_key: identity.public_key(),
            signature: identity.sign(&transcript).to_vec(),
        })
    }

    /// Checks the peer's proof and says which key it has proved.
    pub(super) fn check_proof(
        &self,
        proof: Option<&Proof>,
        transcript: Option<Vec<u8>>,
    ) -> Result<Option<[u8; 32]>, ProofFailure> {
        let required = match (self.peer.key, self.trust.peer) {
            (Some(key), _) => RequiredProof::Key(key),
            (None, required) => required,
        };
        let checkable = self.trust.identity.as_ref().zip(proof).zip(transcript);
        let Some(((identity, proof), transcript)) = checkable else {
            return match required {
                RequiredProof::Nothing => Ok(None),
                RequiredProof::AnyKey | RequiredProof::Key(_) => Err(ProofFailure::Missing),
            };
        };
        let signature = proof.signature.as_slice().try_into();
        let signature = signature.map_err(|_| ProofFailure::Invalid)?;
        if !identity.verify(&proof.public_key, &transcript, signature) {
            return Err(ProofFailure::Invalid);
        }
        match required {
            RequiredProof::Key(key) if key != proof.public_key => Err(ProofFailure::OtherKey),
            RequiredProof::Nothing | RequiredProof::AnyKey | RequiredProof::Key(_) => {
                Ok(Some(proof.public_key))
            }
        }
    }

    /// Whether a peer without the session protocol may take this connection.
    pub(super) fn accepts_plain_peers(&self) -> bool {
        use crate::config::PlainPeers;
        self.config.plain_peers == PlainPeers::Accept
            && self.trust.peer == RequiredProof::Nothing
            && self.peer.key.is_none()
            && self.peer.durability != Some(Durability::Session)
    }

    /// How the conversation survives the loss of a link; `None` before the peer was met.
    pub fn durability(&self) -> Option<Durability> {
        self.peer.durability
    }

    /// The Ed25519 public key that the peer has proved in this session.
    pub fn peer_key(&self) -> Option<[u8; 32]> {
        self.peer.key
    }
}
