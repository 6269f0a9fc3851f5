//! The fully qualified name of a service.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// A fully qualified service name (FQN) with its version: `com.example.chat@1.0.0`.
///
/// The name is a reverse domain name with at least one dot, 3 to 128 characters; the version is
/// `major.minor.patch` with an optional `-prerelease`.
///
/// ```
/// use rondevu_core::ServiceName;
///
/// let chat = ServiceName::parse("com.example.chat@1.0.0")?;
/// assert_eq!(chat.name(), "com.example.chat");
/// assert_eq!(chat.version(), "1.0.0");
/// # Ok::<(), rondevu_core::ServiceNameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName {
    fqn: String,
    at: usize,
}

impl ServiceName {
    /// The fewest characters that the part before the `@` may have.
    pub const NAME_LEN_MIN: usize = 3;
    /// The most characters that the part before the `@` may have.
    pub const NAME_LEN_MAX: usize = 128;
    /// The most characters that the version may have. The signaling protocol sets no limit; this
    /// one keeps a name from growing without bound.
    pub const VERSION_LEN_MAX: usize = 64;

    /// Checks `fqn` and wraps it.
    ///
    /// # Errors
    ///
    /// [`ServiceNameError`] says which rule `fqn` breaks.
    pub fn parse(fqn: &str) -> Result<Self, ServiceNameError> {
        let (name, version) = fqn.split_once('@').ok_or(ServiceNameError::NoVersion)?;
        if !(Self::NAME_LEN_MIN..=Self::NAME_LEN_MAX).contains(&name.len()) {
            return Err(ServiceNameError::Length { len: name.len() });
        }
        if !name.contains('.') {
            return Err(ServiceNameError::NoDot);
        }
        if !name.split('.').all(is_label) {
            return Err(ServiceNameError::Label);
        }
        if version.len() > Self::VERSION_LEN_MAX || !is_version(version) {
            return Err(ServiceNameError::Version);
        }
        Ok(Self {
            at: name.len(),
            fqn: fqn.into(),
        })
    }

    /// The whole name with its version, as it travels on the wire.
    pub fn as_str(&self) -> &str {
        &self.fqn
    }

    /// The part before the `@`.
    pub fn name(&self) -> &str {
        &self.fqn[..self.at]
    }

    /// The part after the `@`.
    pub fn version(&self) -> &str {
        &self.fqn[self.at + 1..]
    }
}

fn is_label(label: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !label.is_empty()
        && label.chars().all(allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_version(version: &str) -> bool {
    let (numbers, prerelease) = match version.split_once('-') {
        Some((numbers, prerelease)) => (numbers, Some(prerelease)),
        None => (version, None),
    };
    let is_number = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
    numbers.split('.').count() == 3
        && numbers.split('.').all(is_number)
        && prerelease.is_none_or(|tail| !tail.is_empty() && tail.chars().all(allowed))
}

impl FromStr for ServiceName {
    type Err = ServiceNameError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::parse(s)
    }
}

impl TryFrom<String> for ServiceName {
    type Error = ServiceNameError;

    fn try_from(s: String) -> Result<Self, Self::Error> {
        Self::parse(&s)
    }
}

impl From<ServiceName> for String {
    fn from(name: ServiceName) -> Self {
        name.fqn
    }
}

impl AsRef<str> for ServiceName {
    fn as_ref(&self) -> &str {
        &self.fqn
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fqn)
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceName({})", self.fqn)
    }
}

/// Why a text is no service name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceNameError {
    /// No `@version` at the end.
    #[error("a service name ends with its version, as in com.example.chat@1.0.0")]
    NoVersion,
    /// Too short or too long.
    #[error("the name before the '@' has 3 to 128 characters, this one has {len}")]
    Length {
        /// How many bytes the part before the `@` has.
        len: usize,
    },
    /// Only one label.
    #[error("a service name has at least one dot, as in example.chat@1.0.0")]
    NoDot,
    /// A label that is empty, starts or ends with a dash, or holds another character.
    #[error("each label consists of a-z, 0-9 and inner '-'")]
    Label,
    /// The version is not `major.minor.patch[-prerelease]`.
    #[error("the version is three numbers with an optional prerelease, as in 1.0.0 or 1.0.0-rc.1")]
    Version,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_are_taken_apart() {
        for (fqn, name, version) in [
            ("com.example.chat@1.0.0", "com.example.chat", "1.0.0"),
            ("a.b@0.0.0", "a.b", "0.0.0"),
            ("a-1.b@10.20.30-rc.1-x", "a-1.b", "10.20.30-rc.1-x"),
        ] {
            let parsed = ServiceName::parse(fqn).unwrap();
            assert_eq!(
                (parsed.name(), parsed.version(), parsed.as_str()),
                (name, version, fqn)
            );
        }
    }

    #[test]
    fn each_rule_has_its_error() {
        use ServiceNameError::*;
        for (fqn, error) in [
            ("com.example.chat", NoVersion),
            ("ab@1.0.0", Length { len: 2 }),
            ("chat@1.0.0", NoDot),
            ("com..chat@1.0.0", Label),
            ("com.-a@1.0.0", Label),
            ("com.A@1.0.0", Label),
            ("com.a@1.0", Version),
            ("com.a@1.0.0-", Version),
            ("com.a@1.0.0@2", Version),
            ("com.a@1.0.x", Version),
        ] {
            assert_eq!(ServiceName::parse(fqn), Err(error), "{fqn}");
        }
    }
}
