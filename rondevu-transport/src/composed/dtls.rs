//! Encryption: DTLS 1.2 of `dimpl`, with the peer's certificate checked against its description.

use std::sync::Arc;

use dimpl::certificate::calculate_fingerprint;
use dimpl::{Config, DtlsCertificate, Output};

/// One side's DTLS association.
#[derive(Debug)]
pub(super) struct Dtls {
    engine: dimpl::Dtls,
    /// SHA-256 of the certificate that the peer has to present.
    promised: [u8; 32],
    certificate: Certificate,
}

/// What is known of the peer's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Certificate {
    Unseen,
    Right,
}

/// Who opens the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// What the association says next.
#[derive(Debug)]
pub(super) enum Said<'a> {
    /// A datagram for the peer.
    Datagram(&'a [u8]),
    /// The peer has shown that it holds the certificate of its description.
    Secured,
    /// The peer sent this.
    Data(&'a [u8]),
    /// The peer has closed the association.
    Closed,
    /// The association is of no use any more.
    Failed(String),
    /// What comes next needs a buffer of so many bytes.
    Larger(usize),
    /// Nothing that matters; there is more.
    Again,
    /// Nothing before then.
    Nothing(std::time::Instant),
}

impl Dtls {
    pub(super) fn new(
        config: &Arc<Config>,
        certificate: &DtlsCertificate,
        side: Side,
        promised: [u8; 32],
        now: std::time::Instant,
    ) -> Self {
        let mut engine = dimpl::Dtls::new_12(Arc::clone(config), certificate.clone(), now);
        engine.set_active(side == Side::Client);
        Self {
            engine,
            promised,
            certificate: Certificate::Unseen,
        }
    }

    pub(super) fn handle(
        &mut self,
        datagram: &[u8],
        now: std::time::Instant,
    ) -> Result<(), dimpl::Error> {
        self.engine.handle_timeout(now)?;
        self.engine.handle_packet(datagram)
    }

    pub(super) fn handle_timeout(&mut self, now: std::time::Instant) -> Result<(), dimpl::Error> {
        self.engine.handle_timeout(now)
    }

    /// Encrypts `data` for the peer; [`poll`](Self::poll) gives the datagram.
    pub(super) fn send(&mut self, data: &[u8]) -> Result<(), dimpl::Error> {
        self.engine.send_application_data(data).map(drop)
    }

    /// Tells the peer that this was all.
    pub(super) fn close(&mut self) -> Result<(), dimpl::Error> {
        self.engine.close()
    }

    /// To be called until it says [`Said::Nothing`].
    pub(super) fn poll<'a>(&mut self, buffer: &'a mut [u8]) -> Said<'a> {
        match self.engine.poll_output(buffer) {
            Output::Packet(datagram) => Said::Datagram(datagram),
            Output::Timeout(at) => Said::Nothing(at),
            Output::PeerCert(der) if calculate_fingerprint(der) == self.promised => {
                self.certificate = Certificate::Right;
                Said::Again
            }
            Output::Connected if self.certificate == Certificate::Right => Said::Secured,
            Output::PeerCert(_) | Output::Connected => {
                Said::Failed("the peer's certificate is not the promised one".into())
            }
            Output::ApplicationData(data) => Said::Data(data),
            Output::CloseNotify => Said::Closed,
            Output::BufferTooSmall { needed } => Said::Larger(needed),
            // Of media, which there is none.
            _ => Said::Again,
        }
    }
}
