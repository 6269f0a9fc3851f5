//! Both roles of a connection whose links, peer and application do anything.

pub mod events;
mod peer;
mod subject;

use rondevu_durable::Role;

use crate::hold_for;
use subject::Subject;

/// The laws hold for a dialer.
pub(crate) fn dialer(input: &[u8]) {
    hold_for(|script| Subject::new(Role::Dialer, script), input);
}

/// The laws hold for an acceptor.
pub(crate) fn acceptor(input: &[u8]) {
    hold_for(|script| Subject::new(Role::Acceptor, script), input);
}
