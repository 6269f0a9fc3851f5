//! A session description for data channels, written down.

use std::fmt;

/// What a description says (RFC 8866, RFC 8841); displayed as its text.
///
/// The values are written as they are: whoever makes one has checked them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SdpText<'a> {
    /// The tag of the media section.
    pub(crate) mid: &'a str,
    pub(crate) ufrag: &'a str,
    pub(crate) password: &'a str,
    pub(crate) lite: IceLite,
    /// SHA-256 of the certificate.
    pub(crate) fingerprint: &'a [u8; 32],
    pub(crate) setup: Setup,
    /// The largest message that this side takes.
    pub(crate) message_bytes_max: u32,
    /// Candidate lines without `a=`.
    pub(crate) candidates: &'a [String],
}

/// Whether a side only answers checks and makes none of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IceLite {
    Full,
    Lite,
}

/// Who opens the DTLS handshake (RFC 8842).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setup {
    ActPass,
    Active,
    Passive,
}

impl fmt::Display for SdpText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mid = self.mid;
        write!(
            f,
            "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {mid}\r\n"
        )?;
        if self.lite == IceLite::Lite {
            f.write_str("a=ice-lite\r\n")?;
        }
        f.write_str("m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n")?;
        for candidate in self.candidates {
            write!(f, "a={candidate}\r\n")?;
        }
        write!(f, "a=mid:{mid}\r\n")?;
        write!(f, "a=ice-ufrag:{}\r\n", self.ufrag)?;
        write!(f, "a=ice-pwd:{}\r\n", self.password)?;
        let digest = self.fingerprint.map(|byte| format!("{byte:02X}"));
        write!(f, "a=fingerprint:sha-256 {}\r\n", digest.join(":"))?;
        write!(f, "a=setup:{}\r\n", self.setup)?;
        write!(f, "a=sctp-port:{SCTP_PORT}\r\n")?;
        write!(f, "a=max-message-size:{}\r\n", self.message_bytes_max)
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ActPass => "actpass",
            Self::Active => "active",
            Self::Passive => "passive",
        })
    }
}

/// What every WebRTC implementation uses (RFC 8831 leaves the choice).
pub(crate) const SCTP_PORT: &str = "5000";
