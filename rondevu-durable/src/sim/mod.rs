//! A simulator that hunts for lost messages: whole worlds in virtual time, drawn from a seed.
//!
//! A world has one service and some dialers, each a process that can die and come back, a
//! signaling server with moods, and links that are cut, swallow messages or are late. [`Op`]s
//! happen to it. After each step the laws must hold that every machine obeys; when everything is
//! healed ([`Op::Calm`], and once at the end) everything that was accepted must have been delivered
//! once and in order, or reported with the right count to those who can know, within a stated time.
//!
//! ```
//! use rondevu_durable::sim::{self, FastFabric};
//!
//! let run = sim::run_seed::<FastFabric>(7);
//! assert_eq!(run.broken, None);
//! ```

mod apply;
mod calm;
mod conn;
mod coverage;
mod draw;
mod drive;
mod fabric;
mod fast;
mod frames;
mod greeting;
mod hear;
mod host;
mod hunt;
mod laws;
mod ledger;
mod op;
mod proof;
mod run;
mod setup;
mod signaling;
mod stranger;
mod world;

pub use coverage::Coverage;
pub use fabric::{
    Description, Direction, EndId, Fabric, FabricEvent, Fault, Lost, Node, Told, Write,
};
pub use fast::FastFabric;
pub use hunt::{Bag, Hunt, Tables, explain, hunt};
pub use op::{At, Kind, Op, Process, Server, Size};
pub use run::{Run, check, run, run_logged, run_seed, shrink, test_source};
pub use setup::{Proofs, Setup};
pub use stranger::Manners;
pub use world::Broken;
