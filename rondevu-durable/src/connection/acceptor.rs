//! The acceptor's half of a connection: which hello begins or resumes its session.

use std::vec::Vec;

use rondevu_core::frame::{ControlFrame, Hello, PROTOCOL_VERSION, Welcome};
use rondevu_core::{Instant, LinkId, RejectReason, StreamId};

use super::{ConnectionMachine, PeerMemory, Role, Seeds};
use crate::config::ConnectionConfig;

impl ConnectionMachine {
    /// The acceptor of the session that `hello` begins on `link`.
    ///
    /// # Errors
    ///
    /// [`RejectReason`] if no session can begin with this hello; tell the dialer so.
    pub fn acceptor(
        config: ConnectionConfig,
        link: LinkId,
        control: StreamId,
        hello: Hello,
        seeds: Seeds,
        now: Instant,
    ) -> Result<Self, RejectReason> {
        if hello.peer_incarnation.is_some() {
            return Err(RejectReason::UnknownSession);
        }
        let mut machine = Self::with_role(Role::Acceptor, config, hello.session, seeds);
        machine.handle_hello(link, control, hello, now)?;
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
        link: LinkId,
        control: StreamId,
        hello: Hello,
        now: Instant,
    ) -> Result<(), RejectReason> {
        self.check_hello(&hello)?;
        let resumed = self.peer.is_some();
        // First the old link stops being read, then the cursors are taken.
        if let Some(old) = self.live.take() {
            self.reconnector.on_link_lost(now);
            self.abandon(old.id);
        }
        for channel in self.channels.values_mut() {
            channel.on_detach();
        }
        self.generation = hello.generation;
        self.peer = Some(PeerMemory {
            incarnation: hello.incarnation,
            limits: hello.limits,
        });
        if let Err(violation) = self.attach(link, control, hello.channels, None, now) {
            self.violation(link, violation, now);
            return Ok(());
        }
        self.send_welcome(link, control, resumed);
        Ok(())
    }

    fn check_hello(&self, hello: &Hello) -> Result<(), RejectReason> {
        if hello.version < PROTOCOL_VERSION {
            return Err(RejectReason::Version);
        }
        if self.state.is_final() || hello.session != self.session {
            return Err(RejectReason::UnknownSession);
        }
        let other_self = hello
            .peer_incarnation
            .is_some_and(|known| known != self.incarnation);
        let other_peer = self
            .peer
            .is_some_and(|peer| peer.incarnation != hello.incarnation);
        if other_self || other_peer {
            return Err(RejectReason::IncarnationMismatch);
        }
        if hello.generation <= self.generation {
            return Err(RejectReason::Superseded);
        }
        Ok(())
    }

    fn send_welcome(&mut self, link: LinkId, control: StreamId, resumed: bool) {
        let mut nonce = [0; 16];
        self.rng.fill(&mut nonce);
        let welcome = Welcome {
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
        self.transmit_control(link, control, &ControlFrame::Welcome(welcome));
    }
}
