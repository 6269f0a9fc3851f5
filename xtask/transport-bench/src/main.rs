//! Links and channels beside other stacks, in one run and one process, over loopback.
//!
//! The figures of a run compare with each other; they say little about another machine.
//! `cargo xtask bench transport` builds and runs it. Arguments are parts of the names of the stacks to
//! measure; without any, all are.

mod bare;
mod durable;
mod far;
mod link;
mod machine;
mod measure;
mod plain;
mod pump;
mod quic;
mod ratios;
mod stack;
mod table;
mod udp;
mod webrtc_rs;
mod wire;

use std::alloc::System;

use anyhow::{Result, bail};
use rondevu::Engine;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use crate::bare::Bare;
use crate::durable::Durable;
use crate::link::Links;
use crate::measure::{Subject, measure};
use crate::plain::Plain;
use crate::pump::Sending;
use crate::quic::Quic;
use crate::udp::Udp;
use crate::webrtc_rs::WebrtcRs;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() -> Result<()> {
    let (near, far) = (far::runtime()?, far::runtime()?);
    far::set(&far);
    // The thread of `main` belongs to neither end.
    near.block_on(async { tokio::spawn(run()).await? })
}

async fn run() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let batched = Sending::Batched;
    let (str0m, composed) = (Engine::Str0m, Engine::Composed);
    let mut subjects = vec![
        Subject::new("UDP", Box::new(Udp)),
        Subject::new("quinn", Box::new(Quic::new()?)),
        Subject::new("webrtc-rs", Box::new(WebrtcRs::new()?)),
        Subject::new("str0m", Box::new(Bare::new(Plain::new()?, Sending::Single))),
        Subject::new(
            "str0m with GSO",
            Box::new(Bare::new(Plain::new()?, batched)),
        ),
        Subject::new(
            "link str0m",
            Box::new(Bare::new(Links::new(str0m)?, batched)),
        ),
        Subject::new(
            "link composed",
            Box::new(Bare::new(Links::new(composed)?, batched)),
        ),
        Subject::new("durable str0m", Box::new(Durable::new(str0m).await?)),
        Subject::new("durable composed", Box::new(Durable::new(composed).await?)),
    ];
    let is_wanted = |name: &str| wanted.iter().any(|part| name.contains(part.as_str()));
    subjects.retain(|subject| wanted.is_empty() || is_wanted(subject.name));
    if subjects.is_empty() {
        bail!("no stack has such a name");
    }
    measure(&mut subjects).await;
    table::print(&subjects);
    ratios::print(&subjects);
    Ok(())
}

/// Bytes on the heap at the moment.
fn held_bytes() -> usize {
    let stats = ALLOCATOR.stats();
    stats
        .bytes_allocated
        .saturating_sub(stats.bytes_deallocated)
}
