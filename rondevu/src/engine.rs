//! What carries the links of a client.

use std::sync::Arc;
use std::time::Instant;

use rondevu_transport::rtc::{RtcConfig, RtcFactory};
use rondevu_transport::{TransportError, TransportFactory};

/// A WebRTC engine. All of them speak the same on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Engine {
    /// The engine str0m: in use for years, and small in memory.
    #[default]
    Str0m,
    /// The ICE and DTLS of str0m with the SCTP of webrtc-rs: several times as fast with large
    /// messages.
    #[cfg(feature = "engine-composed")]
    Composed,
}

impl Engine {
    /// What makes its links, whose time is counted from `epoch`.
    pub(crate) fn factory(
        self,
        epoch: Instant,
    ) -> Result<Arc<dyn TransportFactory>, TransportError> {
        let config = RtcConfig::default();
        Ok(match self {
            Self::Str0m => Arc::new(RtcFactory::new(config, epoch)?),
            #[cfg(feature = "engine-composed")]
            Self::Composed => Arc::new(rondevu_transport::composed::ComposedFactory::new(
                config, epoch,
            )?),
        })
    }
}
