//! The guide: how to use this crate, and how it works.
//!
//! The same chapters stand in the folder `rondevu/guide` of the repository.

#[doc = include_str!("../guide/first-five-minutes.md")]
pub mod first_five_minutes {}

#[doc = include_str!("../guide/durability.md")]
pub mod durability {}

#[doc = include_str!("../guide/guarantees.md")]
pub mod guarantees {}

#[doc = include_str!("../guide/configuration.md")]
pub mod configuration {}

#[doc = include_str!("../guide/deploying.md")]
pub mod deploying {}

#[doc = include_str!("../guide/security.md")]
pub mod security {}

#[doc = include_str!("../guide/from-typescript.md")]
pub mod from_typescript {}

#[doc = include_str!("../guide/embedding.md")]
pub mod embedding {}

#[doc = include_str!("../guide/troubleshooting.md")]
pub mod troubleshooting {}
