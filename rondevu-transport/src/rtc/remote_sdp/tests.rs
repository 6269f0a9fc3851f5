//! Descriptions as browsers write them, and as somebody may have tampered with them.

use super::*;

/// An answer in the form that Chromium gives.
const CHROMIUM: &str = "v=0\r
o=- 4611731400430051336 2 IN IP4 127.0.0.1\r
s=-\r
t=0 0\r
a=group:BUNDLE 0\r
a=extmap-allow-mixed\r
a=msid-semantic: WMS\r
m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r
c=IN IP4 0.0.0.0\r
a=candidate:1 1 udp 2113937151 d5d4a2f0-6bb5-4f23-9d8c-2d6d2b0d3d5d.local 51234 typ host generation 0\r
a=candidate:2 1 udp 2113939711 ::1 51235 typ host generation 0 network-cost 999\r
a=ice-ufrag:4ZcD\r
a=ice-pwd:2/1muCWoOi3uLifh0NuRHlBV\r
a=ice-options:trickle\r
a=fingerprint:sha-256 7B:8B:F0:65:5F:78:E2:51:3B:AC:6F:F3:3F:46:1B:35:DC:B8:5F:64:1A:24:C2:43:F0:A1:58:D0:A1:2C:19:08\r
a=setup:active\r
a=mid:0\r
a=sctp-port:5000\r
a=max-message-size:262144\r
";

fn answer(sdp: &str) -> Result<RemoteSdp, TransportError> {
    RemoteSdp::parse(&SessionDescription::answer(sdp), DescriptionKind::Answer)
}

#[test]
fn a_browsers_answer_is_understood() {
    let sdp = answer(CHROMIUM).unwrap();
    assert_eq!(sdp.mid(), "0");
    assert_eq!(sdp.message_bytes_max, 262_144);
    assert_eq!(sdp.fingerprint[..3], [0x7b, 0x8b, 0xf0]);
    assert_eq!(sdp.candidates.len(), 2);
    assert!(sdp.to_text().contains("a=setup:active\r\n"));
}

#[test]
fn what_is_written_reads_the_same() {
    let sdp = answer(CHROMIUM).unwrap();
    let again = answer(&sdp.to_text()).unwrap();
    let without_candidates = RemoteSdp {
        candidates: Vec::new(),
        ..sdp
    };
    assert_eq!(again, without_candidates);
}

#[test]
fn the_answerer_opens_the_handshake_unless_told_otherwise() {
    let offer = CHROMIUM.replace("setup:active", "setup:actpass");
    let offer = SessionDescription::offer(offer);
    let mut sdp = RemoteSdp::parse(&offer, DescriptionKind::Offer).unwrap();
    sdp.leave_handshake_to_answerer();
    assert!(sdp.to_text().contains("a=setup:passive\r\n"));
    let mut sdp = answer(CHROMIUM).unwrap();
    sdp.leave_handshake_to_answerer();
    assert!(sdp.to_text().contains("a=setup:active\r\n"));
}

#[test]
fn message_sizes_follow_the_rfc() {
    for (line, bytes) in [
        ("", 65_536),
        ("a=max-message-size:0\r\n", u32::MAX),
        ("a=max-message-size:1200\r\n", 1_200),
        ("a=max-message-size:4294967296\r\n", u32::MAX),
        ("a=max-message-size:99999999999999999999999\r\n", u32::MAX),
    ] {
        let sdp = CHROMIUM.replace("a=max-message-size:262144\r\n", line);
        assert_eq!(answer(&sdp).unwrap().message_bytes_max, bytes, "{line}");
    }
}

#[test]
fn each_defect_is_refused() {
    let defects = [
        ("m=application 9", "m=audio 9"),
        ("m=application 9", "m=application 0"),
        ("m=application", "x=application"),
        ("a=ice-ufrag:4ZcD", "a=ice-ufrag:4Zc"),
        ("a=ice-ufrag:4ZcD", "a=ice-ufrag:4Zc D"),
        ("a=ice-pwd:2/1muCWoOi3u", "a=ice-pwd:2"),
        ("fingerprint:sha-256", "fingerprint:sha-1"),
        ("7B:8B", "7B8B"),
        ("19:08", "19:08:00"),
        ("7B:8B", "+B:8B"),
        ("setup:active", "setup:actpass"),
        ("a=mid:0", "a=mid:0123456789abcdef0"),
        ("sctp-port:5000", "sctp-port:5001"),
        ("size:262144", "size:many"),
    ];
    for (good, bad) in defects {
        let sdp = CHROMIUM.replace(good, bad);
        assert_ne!(sdp, CHROMIUM, "{good} occurs");
        let refused = answer(&sdp);
        assert!(
            matches!(refused, Err(TransportError::Description(_))),
            "{bad}"
        );
    }
    let two = format!("{CHROMIUM}m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n");
    assert!(answer(&two).is_err());
    assert!(answer(&format!("{CHROMIUM}{}", " ".repeat(SDP_LEN_MAX))).is_err());
}

#[test]
fn an_offer_is_no_answer() {
    let offer = SessionDescription::offer(CHROMIUM);
    assert!(matches!(
        RemoteSdp::parse(&offer, DescriptionKind::Answer),
        Err(TransportError::NotExpected(_))
    ));
}

#[test]
fn candidates_are_bounded() {
    let line = "a=candidate:1 1 udp 2113937151 192.0.2.1 9 typ host\r\n";
    let sdp = answer(&format!("{CHROMIUM}{}", line.repeat(500))).unwrap();
    assert_eq!(sdp.candidates.len(), CANDIDATES_MAX);
}
