//! The laws that every machine obeys, checked along any list of operations.
//!
//! - **Determinism**: the same operations give the same outputs.
//! - **Deadlines**: after `handle_timeout(now)` no deadline lies at or before `now`.
//! - **Spurious time-outs**: before the deadline `handle_timeout` changes nothing; neither does a
//!   second call.
//! - **Terminal states absorb**: nothing comes out of a machine that has ended, and it stays ended.
//! - **Bounds** and **events replay to the state**: as [`Machine::check`] says.

use std::fmt::{self, Debug, Write};

use rondevu_core::{Deadline, Instant};

use crate::Script;

/// A machine under any list of operations.
pub trait Machine {
    /// Takes one operation from the script and does it.
    fn step(&mut self, script: &mut Script<'_>);

    /// Polls everything that comes out.
    fn drain(&mut self, trace: &mut Trace);

    /// The present time of the script.
    fn now(&self) -> Instant;

    /// Does what is due.
    fn handle_timeout(&mut self);

    /// The machine's deadline.
    fn poll_timeout(&self) -> Option<Deadline>;

    /// Whether nothing can happen any more.
    fn is_over(&self) -> bool;

    /// Panics if a bound is exceeded or the events do not add up to the state.
    fn check(&self);
}

/// What came out of a machine, as a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    digest: u64,
    entries: u64,
    /// The outputs themselves, where a message may want to name them.
    lines: Option<Vec<String>>,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            digest: 0xcbf2_9ce4_8422_2325,
            entries: 0,
            lines: None,
        }
    }
}

impl Trace {
    /// A trace that keeps the outputs.
    fn in_words() -> Self {
        Self {
            lines: Some(Vec::new()),
            ..Self::default()
        }
    }

    /// Adds one output.
    pub fn push(&mut self, output: &dyn Debug) {
        self.entries += 1;
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{output:?}"));
        }
        write!(self, "{output:?};").expect("a digest takes everything");
    }

    /// How many outputs there were.
    pub fn len(&self) -> u64 {
        self.entries
    }

    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }
}

impl Write for Trace {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}

/// Runs the script on a machine and panics if a law is broken.
pub fn hold_for<M: Machine>(make: impl Fn(&mut Script<'_>) -> M, input: &[u8]) {
    let calm = run(&make, input, Embedder::Calm);
    assert_eq!(calm, run(&make, input, Embedder::Calm), "not deterministic");
    let nervous = run(&make, input, Embedder::Nervous);
    assert_eq!(calm, nervous, "a spurious time-out changes something");
}

/// Who calls `handle_timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Embedder {
    /// When it is due.
    Calm,
    /// After each step, and twice.
    Nervous,
}

fn run<M: Machine>(make: impl Fn(&mut Script<'_>) -> M, input: &[u8], embedder: Embedder) -> Trace {
    let mut script = Script::new(input);
    let mut machine = make(&mut script);
    let mut trace = Trace::default();
    machine.drain(&mut trace);
    for _ in 0..STEPS_MAX {
        if script.is_empty() {
            break;
        }
        let was_over = machine.is_over();
        let before = trace.len();
        machine.step(&mut script);
        machine.drain(&mut trace);
        if was_over {
            assert!(machine.is_over(), "a terminal state was left");
            assert_eq!(trace.len(), before, "something comes after the end");
            assert_eq!(machine.poll_timeout(), None, "a deadline after the end");
        }
        do_what_is_due(&mut machine, &mut trace);
        if embedder == Embedder::Nervous {
            call_in_vain(&mut machine);
        }
        machine.check();
    }
    trace
}

fn do_what_is_due<M: Machine>(machine: &mut M, trace: &mut Trace) {
    let now = machine.now();
    if machine.poll_timeout().is_some_and(|due| due.at <= now) {
        machine.handle_timeout();
        machine.drain(trace);
    }
    let due = machine.poll_timeout();
    assert!(
        due.is_none_or(|due| due.at > now),
        "a deadline in the past: {due:?} at {now:?}"
    );
}

fn call_in_vain<M: Machine>(machine: &mut M) {
    let due = machine.poll_timeout();
    for _ in 0..2 {
        let mut nothing = Trace::in_words();
        machine.handle_timeout();
        machine.drain(&mut nothing);
        let effects = nothing.lines.unwrap_or_default();
        assert!(effects.is_empty(), "a spurious time-out did {effects:?}");
        assert_eq!(machine.poll_timeout(), due, "it moved the deadline");
    }
}

/// Longer scripts find nothing that shorter ones do not.
const STEPS_MAX: usize = 400;
