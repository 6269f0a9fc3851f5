//! The acceptor's half of a connection: which hello begins or resumes its session.

use std::vec::Vec;

use rondevu_core::frame::{ControlFrame, Hello, PROTOCOL_VERSION, Welcome};
use rondevu_core::proof::{hello_transcript, welcome_transcript};
use rondevu_core::{Instant, RejectReason};

use super::ladder::Urgency;
use super::{Arrival, ConnectionMachine, Durability, PeerMemory, Role, Seeds, Trust};
use crate::config::ConnectionConfig;

impl ConnectionMachine {
    /// The acceptor of the session that `hello` begins.
    ///
    /// # Errors
    ///
    /// [`RejectReason`] if no session can begin with this hello; tell the dialer so.
    pub fn acceptor(
        config: ConnectionConfig,
        trust: Trust,
        arrival: Arrival,
        hello: Hello,
        seeds: Seeds,
        now: Instant,
    ) -> Result<Self, RejectReason> {
        if hello.peer_incarnation.is_some() {
            return Err(RejectReason::UnknownSession);
        }
        let mut machine = Self::with_role(Role::Acceptor, config, trust, hello.session, seeds);
        machine.handle_hello(arrival, hello, now)?;
        Ok(machine)
    }

    /// A dialer says hello on a link that no session has used yet: attaches the link, or says why
    /// not. A newer generation supersedes the present link at once.
    ///
    /// # Errors
    ///
    /// [`RejectReason`], and nothing has changed; tell the dialer so.
    pub fn handle_hello(
        &mut self,
        arrival: Arrival,
        mut hello: Hello,
        now: Instant,
    ) -> Result<(), RejectReason> {
        let key = self.check_hello(&arrival, &hello)?;
        let resumed = self.peer.memory.is_some();
        // First the old link stops being read, then the cursors are taken.
        if let Some(old) = self.live.take() {
            self.reconnector.on_link_lost(now);
            self.abandon(old.id);
        }
        self.detach_all();
        self.generation = hello.generation;
        self.peer.durability = Some(Durability::Session);
        self.peer.key = self.peer.key.or(key);
        self.peer.memory = Some(PeerMemory {
            incarnation: hello.incarnation,
            limits: hello.limits,
        });
        let cursors = core::mem::take(&mut hello.channels);
        match self.attach(arrival, cursors, None, now) {
            Ok(()) => self.send_welcome(arrival, &hello, resumed),
            Err(violation) => {
                self.detach_all();
                self.violation(arrival.link, violation, now);
                self.abandon(arrival.link);
                self.without_link(Urgency::Backoff, now);
            }
        }
        Ok(())
    }

    /// Whether this hello may attach its link, and the key that it proves.
    fn check_hello(
        &self,
        arrival: &Arrival,
        hello: &Hello,
    ) -> Result<Option<[u8; 32]>, RejectReason> {
        if hello.version < PROTOCOL_VERSION {
            return Err(RejectReason::Version);
        }
        if self.state.is_final() || hello.session != self.session {
            return Err(RejectReason::UnknownSession);
        }
        let transcript = arrival
            .info
            .fingerprints
            .map(|seen_here| hello_transcript(hello, &seen_here.swapped()));
        let key = self
            .check_proof(hello.proof.as_ref(), transcript)
            .map_err(|failure| {
                tracing::warn!(%failure, "a dialer was refused");
                RejectReason::NotAuthorised
            })?;
        let other_self = hello
            .peer_incarnation
            .is_some_and(|known| known != self.incarnation);
        let other_peer = self
            .peer
            .memory
            .is_some_and(|peer| peer.incarnation != hello.incarnation);
        if other_self || other_peer {
            return Err(RejectReason::IncarnationMismatch);
        }
        if hello.generation <= self.generation {
            return Err(RejectReason::Superseded);
        }
        // A session that began without a key has no owner to prove.
        Ok(key.filter(|_| self.peer.memory.is_none()))
    }

    fn send_welcome(&mut self, arrival: Arrival, hello: &Hello, resumed: bool) {
        let mut nonce = [0; 16];
        self.rng.fill(&mut nonce);
        let mut welcome = Welcome {
            version: PROTOCOL_VERSION,
            generation: self.generation,
            incarnation: self.incarnation,
            resumed,
            limits: self.config.limits(),
            channels: self.cursors(),
            nonce,
            proof: None,
            extensions: Vec::new(),
        };
        let transcript = arrival
            .info
            .fingerprints
            .map(|seen_here| welcome_transcript(hello, &welcome, &seen_here.swapped()));
        welcome.proof = self.prove(transcript);
        let frame = ControlFrame::Welcome(welcome);
        self.transmit_control(arrival.link, arrival.control, &frame);
    }
}
