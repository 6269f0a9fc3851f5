//! Identifiers: those that the signaling server hands out, and those of the session protocol.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest identifier that is taken from a signaling server, in bytes.
pub const SERVER_ID_LEN_MAX: usize = 256;

/// A text from a signaling server that is too long, empty or unprintable for an identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an identifier from the server has 1 to 256 printable ASCII characters without spaces")]
pub struct IdError;

macro_rules! server_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks that `id` is short and printable, and wraps it.
            ///
            /// # Errors
            ///
            /// [`IdError`] if it is not.
            pub fn new(id: impl Into<String>) -> Result<Self, IdError> {
                let id = id.into();
                let printable = id.bytes().all(|b| b.is_ascii_graphic());
                if id.is_empty() || id.len() > SERVER_ID_LEN_MAX || !printable {
                    return Err(IdError);
                }
                Ok(Self(id))
            }

            /// The identifier as the server wrote it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(id: &str) -> Result<Self, IdError> {
                Self::new(id)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(id: String) -> Result<Self, IdError> {
                Self::new(id)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

server_id! {
    /// Identifies a peer that registered with the signaling server.
    PeerId
}
server_id! {
    /// Identifies a published service towards its owner.
    ServiceId
}
server_id! {
    /// Identifies a published service towards those who look for it.
    ServiceUuid
}
server_id! {
    /// Identifies an offer that waits for an answer.
    OfferId
}

/// Identifies a session: the long-lived relation between a dialer and a service.
///
/// 128 random bits, drawn by the dialer when the session begins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u128);

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Knowing a session's id is a step towards taking it over: a log shows its start only.
        write!(f, "SessionId({:08x}…)", self.0 >> 96)
    }
}

/// Random number of one life of a side's session memory.
///
/// A side that meets another incarnation than the one it remembers knows that the other side has
/// lost its memory of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

/// Identifies a durable channel within its session: even if the dialer created it, else odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChannelId(pub u32);

/// Identifies a link within one process: one attempt to connect, whatever became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Identifies a stream (a WebRTC data channel) within its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_ids_are_bounded_and_printable() {
        assert!(OfferId::new("ab/c+d=").is_ok());
        for bad in ["", "a b", "a\nb", "ä", &"x".repeat(257)] {
            assert_eq!(OfferId::new(bad), Err(IdError), "{bad:?}");
            assert_eq!(bad.parse::<OfferId>(), Err(IdError), "{bad:?}");
        }
        assert!(serde_json::from_str::<PeerId>("\"a b\"").is_err());
    }
}
