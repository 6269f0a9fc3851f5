//! How a client finds the addresses under which peers may reach it.

use std::time::Duration;

use rondevu_transport::gather::{IceServer, IceTransportPolicy};

use crate::mdns::Mdns;

/// The servers that help, and which kinds of addresses are told and believed.
#[derive(Clone, Debug, Default)]
pub(crate) struct IceConfig {
    pub(crate) servers: Vec<IceServer>,
    pub(crate) policy: IceTransportPolicy,
    /// What finds out the addresses of peers that hide them; `None` leaves these alone.
    pub(crate) mdns: Option<Mdns>,
}

impl IceConfig {
    /// What finds out addresses of the local network, where these are of use.
    pub(crate) fn mdns(&self) -> Option<&Mdns> {
        match self.policy {
            IceTransportPolicy::All => self.mdns.as_ref(),
            // Nothing is sent but by the server, which is elsewhere.
            IceTransportPolicy::Relay => None,
        }
    }
}

/// So long a description waits for addresses; those found later are passed on one by one.
pub(crate) const GATHERING_TIME: Duration = Duration::from_millis(100);
