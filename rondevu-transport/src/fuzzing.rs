//! The parsers of what came from outside, for the fuzzer.

use rondevu_core::{DescriptionKind, SessionDescription};

use crate::rtc::remote_sdp::RemoteSdp;
use crate::stun::Stun;

/// What is believed of a description is still believed when it is written anew.
pub fn description(text: &str) {
    for description in [
        SessionDescription::offer(text),
        SessionDescription::answer(text),
    ] {
        let kind: DescriptionKind = description.kind;
        let Ok(read) = RemoteSdp::parse(&description, kind) else {
            continue;
        };
        read.candidates.iter().for_each(|line| candidate(line));
        let written = read.to_text();
        let again = SessionDescription {
            kind,
            sdp: written.clone(),
        };
        let again = RemoteSdp::parse(&again, kind).expect("our own text is well-formed");
        assert_eq!(again.to_text(), written);
        assert_eq!(again.mid(), read.mid());
        if kind == DescriptionKind::Offer {
            str0m::change::SdpOffer::from_sdp_string(&written).expect("the engine reads it");
        } else {
            str0m::change::SdpAnswer::from_sdp_string(&written).expect("the engine reads it");
        }
    }
}

/// A candidate line is used, ignored or refused; a name in it can be replaced by an address.
pub fn candidate(line: &str) {
    use crate::rtc::candidate::RemoteLine;

    let Ok(RemoteLine::Named(named)) = RemoteLine::parse(line) else {
        return;
    };
    let address = [192, 0, 2, 1].into();
    let found = named.with_address(address).candidate;
    assert!(line.contains(named.name()) && found.contains("192.0.2.1"));
    let again = RemoteLine::parse(&found);
    assert!(!matches!(again, Ok(RemoteLine::Named(_))), "{again:?}");
}

/// A datagram is a STUN message or not.
pub fn stun(datagram: &[u8]) {
    if let Some(stun) = Stun::parse(datagram) {
        let _ = (stun.class(), stun.transaction(), stun.username());
        let _ = (stun.receiver_username_fragment(), stun.mapped_address());
    }
}

/// What is understood of a message that opens a channel can be said again.
pub fn dcep(message: &[u8]) {
    use crate::composed::dcep::Dcep;

    let Some(read) = Dcep::parse(message) else {
        return;
    };
    // Longer names than we would send are understood too.
    if let Ok(written) = read.encode() {
        assert_eq!(Dcep::parse(&written), Some(read));
    }
}
