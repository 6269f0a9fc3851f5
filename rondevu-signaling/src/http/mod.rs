//! The client of a signaling server.
//!
//! | file | holds |
//! | --- | --- |
//! | `client` | [`HttpSignaling`] and its settings |
//! | `connections` | what the requests of all peers of a client share |
//! | `endpoints` | each request of the protocol: path, body, answer |
//! | `session` | who this peer is to the server, and what to do when the server forgot it |
//! | `exchange` | one request over the network: time limit, size limit, redirects |
//! | `error_table` | what each status and text of a server means |

mod client;
mod connections;
mod endpoints;
mod error_table;
mod exchange;
mod session;

pub use client::{HttpSignaling, HttpSignalingBuilder};
