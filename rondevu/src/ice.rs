//! How a client finds the addresses under which peers may reach it.

use std::time::Duration;

use rondevu_transport::gather::{IceServer, IceTransportPolicy};

/// The servers that help, and which kinds of addresses are told.
#[derive(Clone, Debug, Default)]
pub(crate) struct IceConfig {
    pub(crate) servers: Vec<IceServer>,
    pub(crate) policy: IceTransportPolicy,
}

/// So long a description waits for addresses; those found later are passed on one by one.
pub(crate) const GATHERING_TIME: Duration = Duration::from_millis(100);
