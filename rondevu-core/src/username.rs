//! The name under which a peer is found.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// A username: 3 to 32 characters of `a-z`, `0-9` and `-`, with no `-` at either end.
///
/// A username belongs to the Ed25519 key that claimed it on the signaling server.
///
/// ```
/// use rondevu_core::Username;
///
/// let alice = Username::parse("alice")?;
/// assert_eq!(alice.as_str(), "alice");
/// assert!(Username::parse("Alice!").is_err());
/// # Ok::<(), rondevu_core::UsernameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Username(String);

impl Username {
    /// The fewest characters a username may have.
    pub const LEN_MIN: usize = 3;
    /// The most characters a username may have.
    pub const LEN_MAX: usize = 32;

    /// Checks `name` and wraps it.
    ///
    /// # Errors
    ///
    /// [`UsernameError`] says which rule `name` breaks.
    pub fn parse(name: &str) -> Result<Self, UsernameError> {
        let len = name.chars().count();
        if !(Self::LEN_MIN..=Self::LEN_MAX).contains(&len) {
            return Err(UsernameError::Length { len });
        }
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if let Some(character) = name.chars().find(|&c| !allowed(c)) {
            return Err(UsernameError::Character { character });
        }
        if name.starts_with('-') || name.ends_with('-') {
            return Err(UsernameError::EdgeDash);
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Username {
    type Err = UsernameError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::parse(s)
    }
}

impl TryFrom<String> for Username {
    type Error = UsernameError;

    fn try_from(s: String) -> Result<Self, Self::Error> {
        Self::parse(&s)
    }
}

impl From<Username> for String {
    fn from(name: Username) -> Self {
        name.0
    }
}

impl AsRef<str> for Username {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Username({})", self.0)
    }
}

/// Why a text is no username.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UsernameError {
    /// Too short or too long.
    #[error("a username has 3 to 32 characters, this one has {len}")]
    Length {
        /// How many characters the text has.
        len: usize,
    },
    /// A character that may not occur.
    #[error("a username consists of a-z, 0-9 and '-', found {character:?}")]
    Character {
        /// The first such character.
        character: char,
    },
    /// A dash at the start or the end.
    #[error("a username may not start or end with '-'")]
    EdgeDash,
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn names_at_the_limits_are_accepted() {
        for name in ["abc", "a-b", "0-0", &"a".repeat(32)] {
            assert_eq!(Username::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn each_rule_has_its_error() {
        assert_eq!(Username::parse("ab"), Err(UsernameError::Length { len: 2 }));
        assert_eq!(
            Username::parse(&"a".repeat(33)),
            Err(UsernameError::Length { len: 33 })
        );
        assert_eq!(Username::parse("-ab"), Err(UsernameError::EdgeDash));
        assert_eq!(Username::parse("ab-"), Err(UsernameError::EdgeDash));
        assert_eq!(
            Username::parse("aBc"),
            Err(UsernameError::Character { character: 'B' })
        );
        assert_eq!(
            Username::parse("äbc"),
            Err(UsernameError::Character { character: 'ä' })
        );
    }

    #[test]
    fn serde_refuses_what_parse_refuses() {
        assert!(serde_json::from_str::<Username>("\"a\"").is_err());
        let name: Username = serde_json::from_str("\"alice\"").unwrap();
        assert_eq!(serde_json::to_string(&name).unwrap(), "\"alice\"");
        assert_eq!(name.to_string(), "alice");
    }
}
