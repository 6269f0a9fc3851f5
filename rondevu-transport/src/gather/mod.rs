//! Finds the addresses under which a peer may reach this process.
//!
//! ```text
//! host          which of the machine's own addresses are worth telling
//! ice_server    the servers that help, as WebRTC names them
//! gatherer      asks them all, for the sockets of a service or of one attempt
//!  ├─ server      one URL and the addresses of its name
//!  ├─ reflexive   STUN: how a socket looks from beyond a NAT
//!  └─ relay       TURN: an address that a server lends
//! mdns          asks the local network for the address behind a peer's name
//! ```

mod failure;
mod gatherer;
mod host;
mod ice_server;
mod mdns;
mod reflexive;
mod relay;
mod server;

pub use failure::GatherFailure;
pub use gatherer::{GatherAction, GatherEvent, Gatherer, RelayedDatagram, check_servers};
pub use host::{HostPolicy, Include, Interface, interfaces, usable_addresses};
pub use ice_server::{IceServer, IceServerError, IceTransportPolicy};
pub use mdns::{MDNS_GROUP, MdnsEvent, MdnsPolicy, MdnsResolver};
