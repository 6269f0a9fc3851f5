//! What an embedder can decide about WebRTC links.

use std::time::Duration;

use crate::DATAGRAM_BYTES_MAX;

/// Settings of an [`RtcFactory`](super::RtcFactory); the defaults suit production.
#[derive(Clone, Debug)]
pub struct RtcConfig {
    pub(crate) first_probe_after: Duration,
    pub(crate) probe_interval_max: Duration,
    pub(crate) probing_time: Duration,
    pub(crate) buffer_bytes: Option<usize>,
    pub(crate) receive_message_bytes_max: u32,
    pub(crate) streams_max: usize,
    pub(crate) datagram_bytes_max: usize,
}

impl RtcConfig {
    /// How long after the first unanswered connectivity check the second follows; the wait then
    /// doubles. Default 50 ms, with which peers that see each other connect in about 55 ms.
    #[must_use]
    pub fn first_probe_after(mut self, wait: Duration) -> Self {
        self.first_probe_after = wait.max(Duration::from_millis(1));
        self
    }

    /// The longest wait between two connectivity checks of one pair of addresses. Default 250 ms:
    /// a network that comes back during an attempt is found that soon. An idle link checks less
    /// often, once in about 2.5 s.
    #[must_use]
    pub fn probe_interval_max(mut self, interval: Duration) -> Self {
        self.probe_interval_max = interval.max(Duration::from_millis(1));
        self
    }

    /// How long a pair of addresses is tried without an answer before it is given up; the link
    /// closes with [`NoPath`](rondevu_core::LinkClosed::NoPath) when the last one is. Default
    /// 15 s. At most 100 checks are made, whatever the interval.
    #[must_use]
    pub fn probing_time(mut self, time: Duration) -> Self {
        self.probing_time = time;
        self
    }

    /// How many bytes of messages a link buffers, sent but unacknowledged ones included: the most
    /// that travels in one round trip. A larger message, up to 256 KiB, is taken when nothing else
    /// is buffered. Default 128 KiB with str0m, which gets slower with larger ones, and 512 KiB with
    /// the composed engine.
    #[must_use]
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = Some(bytes.max(1));
        self
    }

    /// The largest message that the peer is told it may send, in bytes. Default 256 KiB, as in
    /// browsers.
    #[must_use]
    pub fn receive_message_bytes_max(mut self, bytes: u32) -> Self {
        self.receive_message_bytes_max = bytes.max(1);
        self
    }

    /// How many streams a link may have, opened by either side. Default 256. A peer that opens
    /// more finds them closed at once.
    #[must_use]
    pub fn streams_max(mut self, streams: usize) -> Self {
        self.streams_max = streams;
        self
    }

    /// The largest datagram that the composed engine sends, in bytes of what UDP carries, if the path is
    /// found to carry it. Default 1,452 bytes, which fit an Ethernet with IPv6; 2,000 at most, as browsers take
    /// no more. With 1,228 and less the path is not asked, and datagrams have up to 1,228, which each path
    /// carries. The embedder's sockets have to forbid that routers cut datagrams up ("don't fragment"),
    /// as those of quinn-udp do. str0m sends 1,150 bytes at most, whatever is set here.
    #[must_use]
    pub fn datagram_bytes_max(mut self, bytes: usize) -> Self {
        self.datagram_bytes_max = bytes.min(BROWSER_BYTES_MAX);
        self
    }

    /// How many bytes a link buffers, given what is best for the engine.
    pub(crate) fn buffer_bytes_or(&self, default: usize) -> usize {
        self.buffer_bytes.unwrap_or(default)
    }

    /// How often an unanswered check is repeated so that it goes on for `probing_time`.
    pub(crate) fn probes(&self) -> usize {
        let mut wait = self.first_probe_after.min(self.probe_interval_max);
        let mut spent = Duration::ZERO;
        let mut probes = 0;
        while spent < self.probing_time && probes < PROBES_MAX {
            spent += wait;
            wait = (wait * 2).min(self.probe_interval_max);
            probes += 1;
        }
        probes.max(1)
    }
}

impl Default for RtcConfig {
    fn default() -> Self {
        Self {
            first_probe_after: Duration::from_millis(50),
            probe_interval_max: Duration::from_millis(250),
            probing_time: Duration::from_secs(15),
            buffer_bytes: None,
            receive_message_bytes_max: 256 * 1024,
            streams_max: 256,
            datagram_bytes_max: DATAGRAM_BYTES_MAX,
        }
    }
}

/// Chromium has 2,048 bytes for a DTLS record, and drops a larger one.
const BROWSER_BYTES_MAX: usize = 2_000;
/// What RFC 8841 lets everybody send who has not been told otherwise.
pub(crate) const UNNEGOTIATED_BYTES: usize = 64 * 1024;
/// The largest message that is sent, if the peer takes it and the buffer is not larger: what
/// browsers take.
pub(crate) const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// The engine doubles the first wait once for each check in 128-bit milliseconds: beyond 100 of
/// them the arithmetic would overflow.
const PROBES_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_fill_the_probing_time() {
        // 50 + 100 + 200 ms, then 250 ms each.
        assert_eq!(RtcConfig::default().probes(), 62);
        let hasty = RtcConfig::default().probing_time(Duration::ZERO);
        assert_eq!(hasty.probes(), 1);
        let endless = RtcConfig::default().probing_time(Duration::MAX);
        assert_eq!(endless.probes(), PROBES_MAX);
    }
}
