//! What to do with a path whose other end has moved away.

use std::net::SocketAddr;
use std::time::Duration;

use rondevu_core::Instant;

/// Notices that the peer speaks from another address while the one in use is silent.
///
/// The side that does not choose paths sends by the best that the peer has ever chosen, until its
/// checks on it have failed for long. A peer that has moved chooses another, which need not be
/// better: then the old address has to be given up for the new one to be used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Succession {
    in_use: Option<InUse>,
}

#[derive(Clone, Copy, Debug)]
struct InUse {
    remote: SocketAddr,
    /// Since when the peer chooses another, while this one is silent.
    challenged_at: Option<Instant>,
}

impl Succession {
    /// A message was sent to `remote`.
    pub(crate) fn on_sent(&mut self, remote: SocketAddr) {
        if self.in_use.is_none_or(|used| used.remote != remote) {
            self.in_use = Some(InUse {
                remote,
                challenged_at: None,
            });
        }
    }

    /// Whether it matters that the peer speaks from `source`, so that what seems to come from there should
    /// be looked at closely.
    pub(crate) fn doubts(&self, source: SocketAddr) -> bool {
        self.in_use
            .is_some_and(|used| used.remote == source && used.challenged_at.is_some())
    }

    /// The address that was [doubted](Self::doubts) is the peer's still.
    pub(crate) fn on_heard(&mut self) {
        if let Some(used) = &mut self.in_use {
            used.challenged_at = None;
        }
    }

    /// The peer chooses the path from `source`; which address is to be given up for it, if one is.
    pub(crate) fn on_chosen(&mut self, source: SocketAddr, now: Instant) -> Option<SocketAddr> {
        let used = self.in_use.as_mut().filter(|used| used.remote != source)?;
        // A network that was gone for a while may bring back the worse path first.
        let since = *used.challenged_at.get_or_insert(now);
        let is_dead = now.saturating_since(since) >= SILENCE;
        let remote = used.remote;
        is_dead.then(|| {
            self.in_use = None;
            remote
        })
    }
}

/// An idle link hears an answer to a check every 2.5 s, and 250 ms later if one is lost.
const SILENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_given_up_once_it_is_silent_and_another_is_chosen() {
        let at = |millis| Instant::from_origin(Duration::from_millis(millis));
        let address = |port| SocketAddr::from(([192, 0, 2, 1], port));
        let (old, new) = (address(1), address(2));
        let mut succession = Succession::default();
        assert_eq!(succession.on_chosen(new, at(9_000)), None);
        succession.on_sent(old);
        assert_eq!(succession.on_chosen(old, at(15_000)), None);
        assert!(!succession.doubts(old));
        // Both were silent until now.
        assert_eq!(succession.on_chosen(new, at(16_000)), None);
        assert!(succession.doubts(old) && !succession.doubts(new));
        succession.on_sent(old);
        assert!(succession.doubts(old));
        succession.on_heard();
        assert!(!succession.doubts(old));
        assert_eq!(succession.on_chosen(new, at(17_000)), None);
        assert_eq!(succession.on_chosen(new, at(19_999)), None);
        assert_eq!(succession.on_chosen(new, at(20_000)), Some(old));
        assert_eq!(succession.on_chosen(new, at(21_000)), None);
        succession.on_sent(new);
        assert_eq!(succession.on_chosen(new, at(30_000)), None);
    }
}
