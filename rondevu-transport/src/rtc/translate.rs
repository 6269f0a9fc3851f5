//! Between this crate's words and the engine's.

use std::time::Duration;

use rondevu_core::{Reliability, StreamOptions};
use str0m::channel::{ChannelConfig, Reliability as RtcReliability};

use crate::TransportError;

/// What the engine needs to open a stream with `options`.
pub(super) fn channel_config(options: &StreamOptions) -> Result<ChannelConfig, TransportError> {
    if options.label.len() + options.protocol.len() > NAMES_BYTES_MAX {
        return Err(TransportError::Options(
            "label and protocol have more than 1,024 bytes together",
        ));
    }
    let reliability = match options.reliability {
        Reliability::Reliable => RtcReliability::Reliable,
        Reliability::MaxRetransmits(retransmits) => RtcReliability::MaxRetransmits { retransmits },
        Reliability::MaxPacketLifetime(lifetime) => RtcReliability::MaxPacketLifetime {
            lifetime: u16::try_from(lifetime.as_millis())
                .map_err(|_| TransportError::Options("lifetime above 65,535 ms"))?,
        },
    };
    Ok(ChannelConfig {
        label: options.label.clone(),
        ordered: options.ordered,
        reliability,
        negotiated: None,
        protocol: options.protocol.clone(),
    })
}

/// What a stream was opened with, in our words.
pub(super) fn stream_options(config: &ChannelConfig) -> StreamOptions {
    StreamOptions {
        label: config.label.clone(),
        protocol: config.protocol.clone(),
        ordered: config.ordered,
        reliability: match config.reliability {
            RtcReliability::Reliable => Reliability::Reliable,
            RtcReliability::MaxRetransmits { retransmits } => {
                Reliability::MaxRetransmits(retransmits)
            }
            RtcReliability::MaxPacketLifetime { lifetime } => {
                Reliability::MaxPacketLifetime(Duration::from_millis(lifetime.into()))
            }
        },
    }
}

/// The engine writes the opening message of a stream into 1,500 bytes and panics if it is longer.
const NAMES_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_survive_the_way_there_and_back() {
        for reliability in [
            Reliability::Reliable,
            Reliability::MaxRetransmits(3),
            Reliability::MaxPacketLifetime(Duration::from_millis(65_535)),
        ] {
            for ordered in [true, false] {
                let options = StreamOptions {
                    label: "label".into(),
                    protocol: "protocol".into(),
                    ordered,
                    reliability,
                };
                let config = channel_config(&options).unwrap();
                assert_eq!(stream_options(&config), options);
            }
        }
    }

    #[test]
    fn options_that_do_not_fit_are_refused() {
        let long = StreamOptions::reliable("l".repeat(1000), "p".repeat(25));
        assert!(channel_config(&long).is_err());
        let mut slow = StreamOptions::reliable("l", "");
        slow.reliability = Reliability::MaxPacketLifetime(Duration::from_secs(66));
        assert!(channel_config(&slow).is_err());
    }
}
