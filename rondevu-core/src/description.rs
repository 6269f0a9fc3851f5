//! What two peers exchange through signaling before they have a link.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

/// The largest SDP that signaling carries, in bytes.
pub const SDP_LEN_MAX: usize = 64 * 1024;

/// A session description in SDP (RFC 8866), an offer or an answer.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionDescription {
    /// Offer or answer.
    pub kind: DescriptionKind,
    /// The SDP text.
    pub sdp: String,
}

impl SessionDescription {
    /// An offer with this SDP.
    pub fn offer(sdp: impl Into<String>) -> Self {
        Self {
            kind: DescriptionKind::Offer,
            sdp: sdp.into(),
        }
    }

    /// An answer with this SDP.
    pub fn answer(sdp: impl Into<String>) -> Self {
        Self {
            kind: DescriptionKind::Answer,
            sdp: sdp.into(),
        }
    }
}

impl fmt::Debug for SessionDescription {
    /// Shows kind and size: an SDP holds addresses and the ICE password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({} bytes)", self.kind, self.sdp.len())
    }
}

/// The role of a [`SessionDescription`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescriptionKind {
    /// Made first, in Rondevu by the service.
    Offer,
    /// The reply to an offer, in Rondevu made by the dialer.
    Answer,
}

/// An ICE candidate as browsers write it (`RTCIceCandidateInit`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IceCandidate {
    /// The candidate line without `a=`; empty marks the end of candidates.
    pub candidate: String,
    /// The media section by its identification tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sdp_mid: Option<String>,
    /// The media section by its index.
    #[serde(
        default,
        rename = "sdpMLineIndex",
        skip_serializing_if = "Option::is_none"
    )]
    pub sdp_m_line_index: Option<u16>,
    /// The ICE user name fragment of the side that has this candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_fragment: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_reads_and_writes_the_browsers_form() {
        let json = r#"{"candidate":"candidate:1 1 udp 1 10.0.0.1 9 typ host","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"abcd"}"#;
        let candidate: IceCandidate = serde_json::from_str(json).unwrap();
        assert_eq!(candidate.sdp_m_line_index, Some(0));
        assert_eq!(serde_json::to_string(&candidate).unwrap(), json);
    }
}
