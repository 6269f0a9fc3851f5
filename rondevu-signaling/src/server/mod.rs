//! The signaling server: the protocol over HTTP, on top of a registry in memory or in a file.
//!
//! [`Server`] is the whole of it. To make it part of another server, put [`Hub::router`] there.
//!
//! | file | holds |
//! | --- | --- |
//! | `serve` | the socket, its connections, orderly shutdown |
//! | `hub` | what all requests share, and the router |
//! | `routes` | each endpoint |
//! | `body` | request bodies: size, time, JSON, one field after the other |
//! | `parameters` | what stands in the address of a request |
//! | `credentials` | who a peer is, without remembering it |
//! | `rate` | how many requests an address or a peer may make |
//! | `client_address` | whom a request is counted under |
//! | `metrics` | what is counted, for Prometheus |
//! | `tls` | the certificate (feature `tls`) |
//! | `refused` | errors as the protocol writes them |
//!
//! ```
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use rondevu_signaling::server::{Server, ServerConfig};
//!
//! let server = Server::bind("127.0.0.1:0", ServerConfig::default()).await?;
//! println!("listening at {}", server.url());
//! let running = server.spawn();
//! running.shutdown().await;
//! # std::io::Result::Ok(()) }).unwrap();
//! ```

mod body;
mod client_address;
mod config;
mod credentials;
mod hub;
mod metrics;
mod parameters;
mod rate;
mod refused;
mod routes;
mod serve;
#[cfg(feature = "tls")]
mod tls;

pub use config::{ClientAddress, Cors, ServerConfig, Storage, UnknownStorage, UnreadableOrigin};
pub use hub::Hub;
pub use ipnet::IpNet;
pub use rate::{RateLimit, UnreadableRate};
pub use serve::{RunningServer, Server};
#[cfg(feature = "tls")]
pub use tls::{TlsError, TlsIdentity};
