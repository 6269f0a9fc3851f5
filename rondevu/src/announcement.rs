//! How a service says in its offers that it speaks the session protocol.
//!
//! A line of the description does: everybody else passes over attributes that they do not know (RFC 8866,
//! section 5.13). Without it a dialer takes a service for a plain peer whose first stream is slow to open.

use rondevu_core::SessionDescription;

/// The attribute, with the version of the protocol.
const LINE: &str = "a=rondevu-session:1";
const LINE_END: &str = "\r\n";

/// Adds the announcement to an offer. A text whose last line has no end gets a last line like that.
pub(crate) fn announce(offer: &mut SessionDescription) {
    let sdp = &mut offer.sdp;
    if sdp.ends_with('\n') {
        sdp.push_str(LINE);
        sdp.push_str(LINE_END);
    } else {
        sdp.push_str(LINE_END);
        sdp.push_str(LINE);
    }
}

/// Whether an offer has the announcement. It is taken out, so that other transports than WebRTC read
/// what they wrote.
pub(crate) fn take_announcement(offer: &mut SessionDescription) -> bool {
    let Some(start) = offer.sdp.rfind(LINE) else {
        return false;
    };
    let end = start + LINE.len();
    let is_line = (start == 0 || offer.sdp[..start].ends_with('\n'))
        && (offer.sdp[end..].is_empty() || offer.sdp[end..].starts_with(['\r', '\n']));
    if is_line {
        let (before, after) = (&offer.sdp[..start], &offer.sdp[end..]);
        offer.sdp = match after.split_once('\n') {
            Some((_, rest)) => format!("{before}{rest}"),
            None => before.strip_suffix(LINE_END).unwrap_or(before).to_owned(),
        };
    }
    is_line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_announced_is_taken_out_again() {
        for sdp in ["v=0\r\na=mid:0\r\n", "v=0\n", "no lines", ""] {
            let mut offer = SessionDescription::offer(sdp);
            announce(&mut offer);
            let added = |line: &str| line == "a=rondevu-session:1";
            assert_eq!(offer.sdp.lines().filter(|line| added(line)).count(), 1);
            assert!(take_announcement(&mut offer));
            assert_eq!(offer.sdp, sdp);
            assert!(!take_announcement(&mut offer));
        }
    }

    #[test]
    fn a_line_among_others_is_found_and_no_other_is_taken_for_it() {
        let mut offer = SessionDescription::offer("v=0\na=rondevu-session:1\na=mid:0\n");
        assert!(take_announcement(&mut offer));
        assert_eq!(offer.sdp, "v=0\na=mid:0\n");
        for sdp in ["a=rondevu-session:10\r\n", "s=a=rondevu-session:1\r\n"] {
            let mut offer = SessionDescription::offer(sdp);
            assert!(!take_announcement(&mut offer));
            assert_eq!(offer.sdp, sdp);
        }
    }
}
