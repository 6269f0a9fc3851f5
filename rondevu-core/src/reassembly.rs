//! Puts the fragments of messages together, in whatever order they come.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use bytes::Bytes;

use crate::frame::{Part, fragment_cost};
use crate::{InboxViolation, Message, MessageKind, Seq};

/// The fragments of messages that are not complete.
///
/// Fragments with consecutive numbers of one message form a *run*; a new fragment joins the runs
/// before and behind it. A run with both ends is a message and leaves. Joining moves the shorter
/// run, so no order of arrival makes it expensive.
#[derive(Clone, Debug)]
pub(crate) struct Reassembly {
    runs: BTreeMap<Seq, Run>,
    message_bytes_max: u64,
    /// What a message may cost: many tiny fragments take more memory than their payload.
    message_cost_max: u64,
    cost: u64,
}

#[derive(Clone, Debug)]
struct Run {
    end: Seq,
    part: Part,
    kind: MessageKind,
    bytes: u64,
    cost: u64,
    pieces: VecDeque<Bytes>,
}

/// A message that has become complete.
#[derive(Debug)]
pub(crate) struct Complete {
    pub(crate) message: Message,
    /// The cost of all its fragments.
    pub(crate) cost: u64,
}

impl Reassembly {
    pub(crate) fn new(message_bytes_max: u64, window: u64) -> Self {
        Self {
            runs: BTreeMap::new(),
            message_bytes_max,
            message_cost_max: message_bytes_max.saturating_mul(2).saturating_add(window),
            cost: 0,
        }
    }

    /// Adds a fragment that was not added before; the message, if that completes one.
    pub(crate) fn insert(
        &mut self,
        seq: Seq,
        part: Part,
        kind: MessageKind,
        payload: Bytes,
    ) -> Result<Option<Complete>, InboxViolation> {
        if payload.is_empty() && !part.ends() {
            return Err(InboxViolation::EmptyFragment);
        }
        let end = seq.advance(1);
        self.check_neighbours(seq, end, part)?;
        let (bytes, cost) = (payload.len() as u64, fragment_cost(payload.len()));
        self.check_size(bytes, cost)?;
        if part == Part::Whole {
            let message = Message::from_parts(kind, payload);
            let message = message.map_err(|_| InboxViolation::NotUtf8)?;
            return Ok(Some(Complete { message, cost }));
        }
        let run = Run {
            end,
            part,
            kind,
            bytes,
            cost,
            pieces: VecDeque::from_iter([payload]),
        };
        let (start, run) = self.join(seq, run)?;
        self.check_size(run.bytes, run.cost)?;
        match run.part {
            Part::Whole => run.complete().map(Some),
            Part::First | Part::Middle | Part::Last => {
                self.cost += run.cost;
                // On a lossy channel nothing keeps a peer from sending a fragment twice.
                if let Some(replaced) = self.runs.insert(start, run) {
                    self.cost -= replaced.cost;
                }
                Ok(None)
            }
        }
    }

    fn check_size(&self, bytes: u64, cost: u64) -> Result<(), InboxViolation> {
        if bytes > self.message_bytes_max || cost > self.message_cost_max {
            return Err(InboxViolation::MessageTooLarge {
                max: self.message_bytes_max,
            });
        }
        Ok(())
    }

    /// Whether the runs that touch `[start, end)` leave room for a message that starts or ends
    /// there.
    fn check_neighbours(&self, start: Seq, end: Seq, part: Part) -> Result<(), InboxViolation> {
        let before = self.before(start).map(|(_, run)| run.part.ends());
        let behind = self.runs.get(&end).map(|run| run.part.starts());
        let fits = before.is_none_or(|ends| ends == part.starts())
            && behind.is_none_or(|starts| starts == part.ends());
        fits.then_some(()).ok_or(InboxViolation::BrokenMessage)
    }

    /// Checks that no message lies across `[from, to)`.
    pub(crate) fn check_gap(&self, from: Seq, to: Seq) -> Result<(), InboxViolation> {
        self.check_neighbours(from, to, Part::Whole)
    }

    /// The run that ends where `start` begins.
    fn before(&self, start: Seq) -> Option<(Seq, &Run)> {
        let (first, run) = self.runs.range(..start).next_back()?;
        (run.end == start).then_some((*first, run))
    }

    /// Takes out the runs that belong to the same message and joins them.
    fn join(&mut self, seq: Seq, run: Run) -> Result<(Seq, Run), InboxViolation> {
        let (mut start, mut run) = (seq, run);
        if !run.part.starts()
            && let Some((first, _)) = self.before(start)
        {
            let before = self.take(first).expect("it was just found");
            run = before.joined(run)?;
            start = first;
        }
        if !run.part.ends()
            && let Some(behind) = self.take(run.end)
        {
            run = run.joined(behind)?;
        }
        Ok((start, run))
    }

    fn take(&mut self, start: Seq) -> Option<Run> {
        let run = self.runs.remove(&start)?;
        self.cost -= run.cost;
        Some(run)
    }

    /// Checks that what lies below `next`, where no fragment is missing, can still become messages:
    /// at most one may be incomplete there, and it must go on at `next`.
    pub(crate) fn check_below(&self, next: Seq) -> Result<(), InboxViolation> {
        let mut below = self.runs.range(..next);
        let sound = match (below.next(), below.next()) {
            (None, _) => true,
            (Some((_, run)), None) => run.part.starts() && run.end >= next,
            (Some(_), Some(_)) => false,
        };
        sound.then_some(()).ok_or(InboxViolation::BrokenMessage)
    }

    /// Drops the fragments of the oldest incomplete messages until at most `cost_max` is left.
    pub(crate) fn drop_oldest(&mut self, cost_max: u64) {
        while self.cost > cost_max
            && let Some((_, run)) = self.runs.pop_first()
        {
            self.cost -= run.cost;
        }
    }

    /// Drops all fragments.
    pub(crate) fn clear(&mut self) {
        self.runs.clear();
        self.cost = 0;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The cost of all fragments.
    pub(crate) fn cost(&self) -> u64 {
        self.cost
    }
}

impl Run {
    /// This run and the one that follows it.
    fn joined(mut self, mut next: Self) -> Result<Self, InboxViolation> {
        if self.kind != next.kind {
            return Err(InboxViolation::BrokenMessage);
        }
        if self.pieces.len() >= next.pieces.len() {
            self.pieces.append(&mut next.pieces);
        } else {
            while let Some(piece) = self.pieces.pop_back() {
                next.pieces.push_front(piece);
            }
            self.pieces = next.pieces;
        }
        Ok(Self {
            end: next.end,
            part: Part::new(self.part.starts(), next.part.ends()),
            kind: self.kind,
            bytes: self.bytes + next.bytes,
            cost: self.cost + next.cost,
            pieces: self.pieces,
        })
    }

    fn complete(mut self) -> Result<Complete, InboxViolation> {
        let payload = match self.pieces.len() {
            1 => self.pieces.pop_front().unwrap_or_default(),
            _ => {
                let mut whole = Vec::with_capacity(self.bytes as usize);
                self.pieces
                    .iter()
                    .for_each(|piece| whole.extend_from_slice(piece));
                whole.into()
            }
        };
        let message =
            Message::from_parts(self.kind, payload).map_err(|_| InboxViolation::NotUtf8)?;
        Ok(Complete {
            message,
            cost: self.cost,
        })
    }
}

#[cfg(test)]
mod tests;
