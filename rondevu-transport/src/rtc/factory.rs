//! Makes WebRTC links that share one certificate.

use std::fmt;
use std::sync::Arc;

use rondevu_core::{DescriptionKind, Instant, SessionDescription, StreamOptions};
use str0m::Rtc;
use str0m::change::SdpOffer;
use str0m::config::DtlsCert;
use str0m::crypto::CryptoProvider;

use super::RtcConfig;
use super::candidate::local_candidate;
use super::config::MESSAGE_BYTES_MAX;
use super::credentials::Credentials;
use super::epoch::Epoch;
use super::link::RtcLink;
use super::locals::Locals;
use super::negotiated::Negotiated;
use super::remote_sdp::RemoteSdp;
use super::translate::channel_config;
use crate::{Answered, LocalCandidate, Offered, TransportError, TransportFactory};

/// Makes links over WebRTC data channels.
///
/// All of them present the same certificate, made by [`new`](Self::new) and gone with the factory:
/// who must not be recognised from one link to the next needs a factory for each.
pub struct RtcFactory {
    config: RtcConfig,
    epoch: Epoch,
    crypto: Arc<CryptoProvider>,
    certificate: DtlsCert,
    credentials: Credentials,
}

impl RtcFactory {
    /// A factory for links whose time is counted from `epoch`: what the embedder's clock showed
    /// at [`Instant::ORIGIN`].
    ///
    /// Makes a certificate, which takes about 50 ms in a fresh process.
    ///
    /// # Errors
    ///
    /// [`TransportError::Engine`] if no certificate can be made.
    pub fn new(config: RtcConfig, epoch: std::time::Instant) -> Result<Self, TransportError> {
        let crypto = str0m::crypto::from_feature_flags();
        let certificate = crypto
            .dtls_provider
            .generate_certificate()
            .ok_or_else(|| TransportError::Engine("no certificate could be made".into()))?;
        Ok(Self {
            config,
            epoch: Epoch(epoch),
            credentials: Credentials::from_private_key(&certificate.private_key),
            crypto: Arc::new(crypto),
            certificate,
        })
    }

    /// An engine that knows `local` as its candidates, and its ICE user name fragment.
    fn engine(&self, local: &[LocalCandidate], now: Instant) -> Result<Engine, TransportError> {
        let credentials = self.credentials.draw();
        let ufrag = credentials.ufrag.clone();
        let mut config = str0m::RtcConfig::new()
            .set_crypto_provider(Arc::clone(&self.crypto))
            .set_dtls_cert(self.certificate.clone())
            .set_local_ice_credentials(credentials)
            .set_sctp_max_buffered_amount(
                self.config
                    .buffer_bytes_or(BUFFER_BYTES)
                    .max(MESSAGE_BYTES_MAX),
            )
            .set_sctp_max_message_size(self.config.receive_message_bytes_max)
            .clear_codecs();
        config.set_initial_stun_rto(self.config.first_probe_after);
        config.set_max_stun_rto(self.config.probe_interval_max);
        config.set_max_stun_retransmits(self.config.probes());
        let mut rtc = Box::new(config.build(self.epoch.to_std(now)));

        let usable = local
            .iter()
            .filter_map(|&candidate| local_candidate(candidate).ok());
        let added = usable
            .take(LOCAL_ADDRESSES_MAX)
            .filter_map(|candidate| rtc.add_local_candidate(candidate).map(drop))
            .count();
        if added == 0 {
            return Err(TransportError::NoAddress);
        }
        Ok(Engine { rtc, ufrag })
    }
}

struct Engine {
    rtc: Box<Rtc>,
    ufrag: String,
}

impl TransportFactory for RtcFactory {
    fn create_offer(
        &self,
        local: &[LocalCandidate],
        stream: StreamOptions,
        now: Instant,
    ) -> Result<Offered, TransportError> {
        let channel = channel_config(&stream)?;
        let Engine { mut rtc, ufrag } = self.engine(local, now)?;
        let mut changes = rtc.sdp_api();
        let channel = changes.add_channel_with_config(channel);
        let (offer, pending) = changes
            .apply()
            .ok_or_else(|| TransportError::Engine("no offer could be made".into()))?;
        let description = SessionDescription::offer(offer.to_sdp_string());
        // Read back for the tag of its media section, which an answer must repeat.
        let own = RemoteSdp::parse(&description, DescriptionKind::Offer)?;
        let mid = own.mid().to_owned();
        let locals = Locals::new(local, mid.clone());
        let mut link =
            RtcLink::offering(&self.config, self.epoch, ufrag, locals, rtc, pending, mid);
        let stream = link.add_first_stream(channel, stream);
        Ok(Offered {
            transport: Box::new(link),
            description,
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
        let Engine { mut rtc, ufrag } = self.engine(local, now)?;
        let offer = SdpOffer::from_sdp_string(&remote.to_text())
            .map_err(|error| TransportError::Description(error.to_string()))?;
        let answer = rtc
            .sdp_api()
            .accept_offer(offer)
            .map_err(|error| TransportError::Description(error.to_string()))?;
        let negotiated = Negotiated::new(rtc, &remote);
        let locals = Locals::new(local, remote.mid().to_owned());
        let mut link = RtcLink::answering(&self.config, self.epoch, ufrag, locals, negotiated);
        link.start(now);
        Ok(Answered {
            transport: Box::new(link),
            description: SessionDescription::answer(answer.to_sdp_string()),
        })
    }
}

impl fmt::Debug for RtcFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RtcFactory")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// More addresses than that are of no use to a peer: each is tried with each of its own.
const LOCAL_ADDRESSES_MAX: usize = 16;
/// The engine gets slower with larger ones.
pub(super) const BUFFER_BYTES: usize = 128 * 1024;
