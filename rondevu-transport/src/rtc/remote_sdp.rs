//! What of a peer's session description is believed.

use rondevu_core::{DescriptionKind, SDP_LEN_MAX, SessionDescription};

#[cfg(any(feature = "str0m", test))]
use super::sdp_text::SdpText;
use super::sdp_text::{IceLite, SCTP_PORT, Setup};
use crate::TransportError;

/// A peer's description, reduced to what a link of data channels needs.
///
/// It came through a server that nobody has to trust. So each value is read and checked here, and
/// the engine only sees a text that is written anew from them ([`to_text`](Self::to_text)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemoteSdp {
    mid: String,
    ufrag: String,
    password: String,
    lite: IceLite,
    /// SHA-256 of the peer's certificate.
    pub(crate) fingerprint: [u8; 32],
    setup: Setup,
    /// The largest message that the peer takes.
    pub(crate) message_bytes_max: u32,
    /// Candidate lines without `a=`, not yet checked, at most [`CANDIDATES_MAX`].
    pub(crate) candidates: Vec<String>,
}

impl RemoteSdp {
    /// Reads an offer or an answer.
    pub(crate) fn parse(
        description: &SessionDescription,
        expected: DescriptionKind,
    ) -> Result<Self, TransportError> {
        if description.kind != expected {
            return Err(TransportError::NotExpected("offer and answer confused"));
        }
        if description.sdp.len() > SDP_LEN_MAX {
            return Err(refused("too long"));
        }
        Lines::collect(&description.sdp)?.into_sdp(expected)
    }

    /// The tag of the media section.
    pub(crate) fn mid(&self) -> &str {
        &self.mid
    }

    /// Takes the passive part if it is open, so that the answering side opens the handshake.
    ///
    /// The answering side does not control ICE: it knows of the chosen path last, and when its
    /// first handshake message arrives the other side is ready for it.
    pub(crate) fn leave_handshake_to_answerer(&mut self) {
        if self.setup == Setup::ActPass {
            self.setup = Setup::Passive;
        }
    }

    /// Whether the peer only answers checks.
    #[cfg(feature = "engine-composed")]
    pub(crate) fn is_lite(&self) -> bool {
        self.lite == IceLite::Lite
    }

    /// Who opens the handshake.
    #[cfg(feature = "engine-composed")]
    pub(crate) fn setup(&self) -> Setup {
        self.setup
    }

    /// What the peer's checks are made with.
    #[cfg(feature = "engine-composed")]
    pub(crate) fn credentials(&self) -> is::IceCreds {
        is::IceCreds {
            ufrag: self.ufrag.clone(),
            pass: self.password.clone(),
        }
    }

    /// The description as str0m gets to see it, without candidates.
    #[cfg(any(feature = "str0m", test))]
    pub(crate) fn to_text(&self) -> String {
        SdpText {
            mid: &self.mid,
            ufrag: &self.ufrag,
            password: &self.password,
            lite: self.lite,
            fingerprint: &self.fingerprint,
            setup: self.setup,
            message_bytes_max: self.message_bytes_max,
            candidates: &[],
        }
        .to_string()
    }
}

/// The lines of a description that matter, the first of each kind.
#[derive(Default)]
struct Lines<'a> {
    sections: usize,
    mid: Option<&'a str>,
    ufrag: Option<&'a str>,
    password: Option<&'a str>,
    lite: bool,
    fingerprint: Option<[u8; 32]>,
    setup: Option<&'a str>,
    sctp_port: Option<&'a str>,
    message_bytes_max: Option<&'a str>,
    candidates: Vec<String>,
}

impl<'a> Lines<'a> {
    fn collect(sdp: &'a str) -> Result<Self, TransportError> {
        let mut lines = Self::default();
        for line in sdp.lines().map(str::trim_end) {
            if let Some(media) = line.strip_prefix("m=") {
                lines.on_section(media)?;
            } else if let Some(attribute) = line.strip_prefix("a=") {
                lines.on_attribute(attribute);
            }
        }
        Ok(lines)
    }

    fn on_section(&mut self, media: &str) -> Result<(), TransportError> {
        self.sections += 1;
        let mut words = media.split(' ');
        if self.sections > 1 || words.next() != Some("application") {
            return Err(refused("there is more than data channels in it"));
        }
        // Port 0 refuses a section (RFC 3264, section 6).
        if words.next() == Some("0") {
            return Err(refused("the peer refuses data channels"));
        }
        Ok(())
    }

    fn on_attribute(&mut self, attribute: &'a str) {
        let (key, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        match key {
            "mid" => keep_first(&mut self.mid, value),
            "ice-ufrag" => keep_first(&mut self.ufrag, value),
            "ice-pwd" => keep_first(&mut self.password, value),
            "ice-lite" => self.lite = true,
            "fingerprint" => {
                if let (None, Some(digest)) = (self.fingerprint, parse_sha256(value)) {
                    self.fingerprint = Some(digest);
                }
            }
            "setup" => keep_first(&mut self.setup, value),
            "sctp-port" => keep_first(&mut self.sctp_port, value),
            "max-message-size" => keep_first(&mut self.message_bytes_max, value),
            "candidate" if self.candidates.len() < CANDIDATES_MAX => {
                self.candidates.push(attribute.into());
            }
            // Descriptions hold much that says nothing to us.
            _ => {}
        }
    }

    fn into_sdp(self, kind: DescriptionKind) -> Result<RemoteSdp, TransportError> {
        if self.sections == 0 {
            return Err(refused("no data channels in it"));
        }
        if self.sctp_port.is_some_and(|port| port != SCTP_PORT) {
            return Err(refused("unusual SCTP port"));
        }
        let mid = self.mid.filter(|mid| is_mid(mid));
        let ufrag = self.ufrag.filter(|ufrag| is_ice_text(ufrag, 4));
        let password = self.password.filter(|password| is_ice_text(password, 22));
        Ok(RemoteSdp {
            mid: mid.ok_or_else(|| refused("no mid"))?.into(),
            ufrag: ufrag.ok_or_else(|| refused("no ICE user name"))?.into(),
            password: password.ok_or_else(|| refused("no ICE password"))?.into(),
            lite: match self.lite {
                true => IceLite::Lite,
                false => IceLite::Full,
            },
            fingerprint: self
                .fingerprint
                .ok_or_else(|| refused("no SHA-256 fingerprint"))?,
            setup: parse_setup(self.setup, kind)?,
            message_bytes_max: parse_message_bytes_max(self.message_bytes_max)?,
            candidates: self.candidates,
        })
    }
}

fn keep_first<'a>(slot: &mut Option<&'a str>, value: &'a str) {
    slot.get_or_insert(value);
}

fn parse_setup(setup: Option<&str>, kind: DescriptionKind) -> Result<Setup, TransportError> {
    match (setup, kind) {
        (Some("actpass"), DescriptionKind::Offer) => Ok(Setup::ActPass),
        (Some("active"), _) => Ok(Setup::Active),
        (Some("passive"), _) => Ok(Setup::Passive),
        // RFC 4145, section 4: an offer without the line means active, and then so does an answer
        // to our actpass.
        (None, _) => Ok(Setup::Active),
        (Some(_), _) => Err(refused("unknown DTLS setup")),
    }
}

fn parse_message_bytes_max(value: Option<&str>) -> Result<u32, TransportError> {
    match value {
        // RFC 8841, section 6.1: 64 kB when absent; 0 means any size.
        None => Ok(64 * 1024),
        Some("0") => Ok(u32::MAX),
        Some(digits) if digits.len() > 10 => Ok(u32::MAX),
        Some(digits) => match digits.parse::<u64>() {
            Ok(bytes) => Ok(u32::try_from(bytes).unwrap_or(u32::MAX)),
            Err(_) => Err(refused("maximum message size is no number")),
        },
    }
}

/// Reads `sha-256 AB:CD:…`, `None` if it is anything else.
fn parse_sha256(value: &str) -> Option<[u8; 32]> {
    let (algorithm, digest) = value.split_once(' ')?;
    if !algorithm.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let mut bytes = [0; 32];
    let mut pairs = digest.split(':');
    for byte in &mut bytes {
        let pair = pairs.next()?;
        if pair.len() != 2 || !pair.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    pairs.next().is_none().then_some(bytes)
}

fn is_mid(mid: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=16).contains(&mid.len()) && mid.bytes().all(allowed)
}

fn is_ice_text(text: &str, len_min: usize) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_');
    (len_min..=256).contains(&text.len()) && text.bytes().all(allowed)
}

fn refused(why: &str) -> TransportError {
    TransportError::Description(why.into())
}

/// Each candidate is an address that we send checks to because somebody said so.
const CANDIDATES_MAX: usize = 32;

#[cfg(test)]
mod tests;
