//! Finds the addresses under which a peer may reach this process.

mod host;

pub use host::{HostPolicy, Include, Interface, interfaces, usable_addresses};
