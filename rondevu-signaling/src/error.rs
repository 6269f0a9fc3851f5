//! Why a signaling request failed, and whether trying again would help.

use core::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// Why a request to the signaling server failed.
///
/// [`retry`](Self::retry) tells what to do about it. Texts that come from a server are cut to 200
/// characters and hold no control characters; they are for people, not for programs.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignalingError {
    // What the caller can mend.
    /// The request breaks a limit of the protocol and was not sent.
    #[error("the request cannot be sent: {reason}")]
    Invalid {
        /// Which limit.
        reason: String,
    },
    /// The username belongs to another key.
    #[error(
        "the username belongs to another key: choose another name or use the key that claimed it"
    )]
    UsernameTaken,
    /// The username must be claimed before a service can be published under it.
    #[error("the username is not claimed: claim it, then publish again")]
    UsernameNotClaimed,
    /// The server does not accept the signature: another key, a clock that is more than five
    /// minutes off, or a signature that was used before.
    #[error("the server refuses the signature, check the key and this machine's clock: {message}")]
    SignatureRefused {
        /// What the server says.
        message: String,
    },
    /// The offer is protected by a secret, and the answer named another or none.
    #[error("the offer needs a secret: ask its owner for it")]
    SecretRefused,
    /// The server refuses the request for another reason.
    #[error("the server refuses the request with status {status}: {message}")]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// What the server says.
        message: String,
    },
    /// There is a server, but not one that speaks this protocol.
    #[error("this is no rondevu signaling server, check its address: {reason}")]
    NotRondevu {
        /// What it answered instead.
        reason: String,
    },

    // What other peers did in the meantime.
    /// There is no such service: never published, expired, withdrawn, or (of a service id) not
    /// this peer's.
    #[error("there is no such service: look it up by its name again")]
    ServiceNotFound,
    /// No service has this uuid any more; it may have been published again under another one.
    #[error("no service has this uuid any more: look it up by its name again")]
    ServiceMoved,
    /// The service is there, but all its offers are taken.
    #[error("the service has no free offer: try again in a moment")]
    NoOffers,
    /// The offer expired, was deleted, or is not this peer's.
    #[error("the offer is gone: take the next one")]
    OfferGone,
    /// Another peer answered the offer first.
    #[error("the offer is already answered: take the next one")]
    OfferAlreadyAnswered,

    // What the world does.
    /// The server could not be reached, or the connection to it broke.
    #[error("the signaling server cannot be reached: try again later")]
    Unreachable {
        /// What failed.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
    /// The server took too long.
    #[error("the signaling server did not answer within {after:?}: try again later")]
    Timeout {
        /// How long the request was waited for.
        after: Duration,
    },
    /// The server has forgotten this peer, which has registered anew; the offers and services that
    /// it had on the server are lost, links are not.
    #[error("the signaling server lost this peer's offers and services: publish again")]
    Forgotten,
    /// The server does not know this peer, not even after registering anew.
    #[error("the signaling server does not accept this peer's credentials: {message}")]
    Unauthorized {
        /// What the server says.
        message: String,
    },
    /// The server asks for fewer requests, or a limit of it is reached.
    #[error("the signaling server asks to slow down: {message}")]
    RateLimited {
        /// How long to wait, if the server says so; at most an hour.
        retry_after: Option<Duration>,
        /// What the server says.
        message: String,
    },
    /// The server keeps one offer for each description and has one with this description.
    #[error("the server has an offer with this description already: make a new one")]
    DescriptionKnown,
    /// The server failed (status 5xx).
    #[error("the signaling server failed with status {status}: {message}")]
    ServerFailed {
        /// The HTTP status.
        status: u16,
        /// How long to wait, if the server says so; at most an hour.
        retry_after: Option<Duration>,
        /// What the server says.
        message: String,
    },
    /// The server's answer breaks the protocol.
    #[error("the signaling server's answer makes no sense: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system gave no random numbers.
    #[error("the operating system gives no random numbers")]
    NoRandomness,
}

/// Whether and when to try again after a [`SignalingError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Retry {
    /// The same request will fail again; somebody has to change something.
    Never,
    /// Look the service up and take its next offer, at once with a little jitter. With
    /// [`SignalingError::NoOffers`] back off if it happens repeatedly.
    NextOffer,
    /// Look the service up by its name again, at once. Whoever knows only the uuid can do nothing.
    LookUp,
    /// Make a new offer and send that instead, at once.
    NewDescription,
    /// Claim the username, then do the same again.
    AfterClaim,
    /// Publish the service again, then create its further offers again.
    AfterPublish,
    /// The same request may succeed after this time.
    After(Duration),
    /// The same request may succeed; wait longer after each failure.
    Backoff,
}

impl SignalingError {
    /// Whether trying again would help, and when.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Invalid { .. }
            | Self::UsernameTaken
            | Self::SignatureRefused { .. }
            | Self::SecretRefused
            | Self::Rejected { .. }
            | Self::NotRondevu { .. } => Retry::Never,
            Self::UsernameNotClaimed => Retry::AfterClaim,
            Self::Forgotten => Retry::AfterPublish,
            Self::ServiceMoved => Retry::LookUp,
            Self::DescriptionKnown => Retry::NewDescription,
            Self::NoOffers | Self::OfferGone | Self::OfferAlreadyAnswered => Retry::NextOffer,
            Self::RateLimited {
                retry_after: Some(after),
                ..
            }
            | Self::ServerFailed {
                retry_after: Some(after),
                ..
            } => Retry::After(*after),
            Self::ServiceNotFound
            | Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Unauthorized { .. }
            | Self::RateLimited {
                retry_after: None, ..
            }
            | Self::ServerFailed {
                retry_after: None, ..
            }
            | Self::Malformed { .. }
            | Self::NoRandomness => Retry::Backoff,
        }
    }

    /// Whether the server itself is the trouble, so that no request of any kind would succeed now.
    ///
    /// A service that sees this keeps its connections and reports that its signaling is down.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Unauthorized { .. }
            | Self::ServerFailed { .. }
            | Self::Malformed { .. }
            | Self::NotRondevu { .. } => true,
            Self::Invalid { .. }
            | Self::UsernameTaken
            | Self::UsernameNotClaimed
            | Self::SignatureRefused { .. }
            | Self::SecretRefused
            | Self::Rejected { .. }
            | Self::ServiceNotFound
            | Self::ServiceMoved
            | Self::DescriptionKnown
            | Self::NoOffers
            | Self::OfferGone
            | Self::OfferAlreadyAnswered
            | Self::Forgotten
            | Self::RateLimited { .. }
            | Self::NoRandomness => false,
        }
    }
}

/// A stranger's text made fit for an error message or a log: one line, at most 200 characters.
pub(crate) fn printable(text: &str) -> String {
    let visible = |c: char| !c.is_control() && !is_format_character(c);
    text.chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|&c| visible(c))
        .take(TEXT_CHARS_MAX)
        .collect()
}

/// Characters that are invisible themselves but reorder or hide what stands around them.
fn is_format_character(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Enough for every text of the protocol, and a log line stays a line.
const TEXT_CHARS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_strangers_are_cut_and_cleaned() {
        assert_eq!(printable("a\r\nb\x1b[31m\u{202e}c\u{0}"), "a  b[31mc");
        assert_eq!(printable(&"ä".repeat(1000)).chars().count(), 200);
    }

    #[test]
    fn a_limit_with_a_time_is_waited_for_and_one_without_backs_off() {
        let limited = |retry_after| SignalingError::RateLimited {
            retry_after,
            message: String::new(),
        };
        let second = Duration::from_secs(1);
        assert_eq!(limited(Some(second)).retry(), Retry::After(second));
        assert_eq!(limited(None).retry(), Retry::Backoff);
    }
}
