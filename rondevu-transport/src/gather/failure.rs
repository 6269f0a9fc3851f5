//! Why a server lends no address.

/// Why a STUN or TURN server lends no address at the moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GatherFailure {
    /// Its name has no address.
    #[error("its name cannot be resolved: {0}")]
    Name(String),
    /// It does not answer. Nothing is there, or something in between lets no UDP through.
    #[error("it does not answer")]
    Unreachable,
    /// No connection over TCP or TLS.
    #[error("no connection: {0}")]
    Connection(String),
    /// It knows no such user, or the password is another.
    #[error("it refuses the credentials")]
    Unauthorized,
    /// It refuses for another reason, by the number of the error (RFC 8656, section 19).
    #[error("it refuses to relay (error {0})")]
    Refused(u16),
    /// It lent an address and then stopped to.
    #[error("it relays no more")]
    Lost,
    /// No address of this machine can be used with it: none of its kind (IPv4 or IPv6) is bound.
    #[error("no local address fits it")]
    NoBase,
}
