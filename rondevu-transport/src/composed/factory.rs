//! Makes WebRTC links of the composed engine, which share one certificate.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dimpl::DtlsCertificate;
use dimpl::certificate::{calculate_fingerprint, generate_self_signed_certificate};
use rondevu_core::{DescriptionKind, Instant, SessionDescription, StreamOptions};

use super::ice::{Ice, Role};
use super::link::ComposedLink;
use super::path_mtu::BASE_BYTES;
use super::sctp::SctpConfig;
use crate::rtc::RtcConfig;
use crate::rtc::credentials::Credentials;
use crate::rtc::epoch::Epoch;
use crate::rtc::locals::Locals;
use crate::rtc::remote_sdp::RemoteSdp;
use crate::rtc::sdp_text::{IceLite, SdpText, Setup};
use crate::{Answered, LocalCandidate, Offered, TransportError, TransportFactory};

/// Makes links over WebRTC data channels, with the engine that is fast.
///
/// All of them present the same certificate, made by [`new`](Self::new) and gone with the factory:
/// who must not be recognised from one link to the next needs a factory for each.
pub struct ComposedFactory {
    shared: Arc<Shared>,
    credentials: Credentials,
}

/// What all links of a factory have in common.
pub(super) struct Shared {
    pub(super) config: RtcConfig,
    pub(super) epoch: Epoch,
    pub(super) certificate: DtlsCertificate,
    /// SHA-256 of the certificate.
    pub(super) fingerprint: [u8; 32],
    pub(super) dtls: Arc<dimpl::Config>,
    pub(super) sctp: SctpConfig,
    /// Until then paths are not asked for large datagrams, in nanoseconds from the origin.
    narrow_until: AtomicU64,
}

impl Shared {
    /// The largest datagram that new links may ask their path for.
    pub(super) fn datagram_bytes_max(&self, now: Instant) -> usize {
        let until = Duration::from_nanos(self.narrow_until.load(Ordering::Relaxed));
        match now.since_origin() < until {
            true => BASE_BYTES,
            false => self.config.datagram_bytes_max,
        }
    }

    /// A link has ended since its path no longer carried its datagrams. Its successor may begin on the same
    /// path and be led to the same place.
    pub(super) fn on_narrow_path(&self, now: Instant) {
        let until = (now + NARROW_TIME).since_origin();
        let nanos = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        self.narrow_until.fetch_max(nanos, Ordering::Relaxed);
    }

    /// How many bytes of messages a link buffers.
    pub(super) fn buffer_bytes(&self) -> usize {
        self.config.buffer_bytes_or(BUFFER_BYTES)
    }
}

impl ComposedFactory {
    /// A factory for links whose time is counted from `epoch`: what the embedder's clock showed
    /// at [`Instant::ORIGIN`].
    ///
    /// Makes a certificate, which takes about 50 ms in a fresh process.
    ///
    /// # Errors
    ///
    /// [`TransportError::Engine`] if no certificate can be made.
    pub fn new(config: RtcConfig, epoch: std::time::Instant) -> Result<Self, TransportError> {
        let engine = |error: &dyn fmt::Display| TransportError::Engine(error.to_string());
        let certificate = generate_self_signed_certificate().map_err(|error| engine(&error))?;
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(&calculate_fingerprint(&certificate.certificate)[..32]);
        let dtls = dimpl::Config::builder()
            .mtu(BASE_BYTES)
            // ICE has shown that the peer is where it says.
            .use_server_cookie(false)
            .handshake_timeout(HANDSHAKE_TIME)
            .build()
            .map_err(|error| engine(&error))?;
        let sctp = SctpConfig::new(config.receive_message_bytes_max);
        Ok(Self {
            credentials: Credentials::from_private_key(&certificate.private_key),
            shared: Arc::new(Shared {
                config,
                epoch: Epoch(epoch),
                certificate,
                fingerprint,
                dtls: Arc::new(dtls),
                sctp,
                narrow_until: AtomicU64::new(0),
            }),
        })
    }

    /// A search for a path that knows `local`, and its candidate lines.
    fn ice(&self, local: &[LocalCandidate]) -> Result<(Ice, Vec<String>), TransportError> {
        let mut ice = Ice::new(self.credentials.draw(), &self.shared.config);
        let candidates = ice.add_local(local);
        match candidates.is_empty() {
            true => Err(TransportError::NoAddress),
            false => Ok((ice, candidates)),
        }
    }

    fn describe(&self, ice: &Ice, mid: &str, setup: Setup, candidates: &[String]) -> String {
        let credentials = ice.credentials();
        SdpText {
            mid,
            ufrag: &credentials.ufrag,
            password: &credentials.pass,
            lite: IceLite::Full,
            fingerprint: &self.shared.fingerprint,
            setup,
            message_bytes_max: self.shared.config.receive_message_bytes_max,
            candidates,
        }
        .to_string()
    }
}

impl TransportFactory for ComposedFactory {
    fn create_offer(
        &self,
        local: &[LocalCandidate],
        stream: StreamOptions,
        _now: Instant,
    ) -> Result<Offered, TransportError> {
        let (ice, candidates) = self.ice(local)?;
        let text = self.describe(&ice, MID, Setup::ActPass, &candidates);
        let locals = Locals::new(local, MID.into());
        let mut link = ComposedLink::offering(Arc::clone(&self.shared), ice, locals);
        let stream = link.add_stream(stream)?;
        Ok(Offered {
            transport: Box::new(link),
            description: SessionDescription::offer(text),
            stream,
        })
    }

    fn create_answer(
        &self,
        offer: &SessionDescription,
        local: &[LocalCandidate],
        now: Instant,
    ) -> Result<Answered, TransportError> {
        let mut remote = RemoteSdp::parse(offer, DescriptionKind::Offer)?;
        remote.leave_handshake_to_answerer();
        let setup = match remote.setup() {
            Setup::Active => Setup::Passive,
            Setup::Passive | Setup::ActPass => Setup::Active,
        };
        let (ice, candidates) = self.ice(local)?;
        let text = self.describe(&ice, remote.mid(), setup, &candidates);
        let locals = Locals::new(local, remote.mid().to_owned());
        let mut link = ComposedLink::offering(Arc::clone(&self.shared), ice, locals);
        link.begin(&remote, Role::Answerer, now);
        Ok(Answered {
            transport: Box::new(link),
            description: SessionDescription::answer(text),
        })
    }
}

impl fmt::Debug for ComposedFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComposedFactory")
            .field("config", &self.shared.config)
            .finish_non_exhaustive()
    }
}

/// The tag of the only media section.
pub(super) const MID: &str = "0";
/// Networks change with the places where people are.
const NARROW_TIME: Duration = Duration::from_secs(10 * 60);
/// A link without a word from the peer for so long is given up by those who wait for it anyway.
const HANDSHAKE_TIME: Duration = Duration::from_secs(40);
/// What a link buffers if nobody says otherwise.
const BUFFER_BYTES: usize = 512 * 1024;
