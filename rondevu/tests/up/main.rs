//! The program `rondevu up` as a process of its own: what it keeps, what it refuses, how it ends.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something unexpected happens"
)]

mod ending;
mod kept;
mod links;
mod program;
mod refusing;
mod secure;
