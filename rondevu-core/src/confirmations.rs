//! What became of the messages that somebody asked about.

use alloc::collections::BTreeMap;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The peer's process has it.
    Delivered,
    /// It never left this process whole: the peer does not have it.
    Undelivered,
    /// It left, and whether it arrived can no longer be found out.
    Unknown,
}

/// The messages by their numbers whose outcome somebody waits for.
///
/// Holds one entry for each number from [`watch`](Self::watch) until [`take`](Self::take) or
/// [`forget`](Self::forget), so it is as large as the number of those who wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Confirmations(BTreeMap<u64, Watched>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watched {
    Waiting,
    /// It left whole in a session that is over: nobody can say any more that the peer does not
    /// have it.
    HasLeft,
    Settled(Outcome),
}

impl Confirmations {
    pub(crate) fn watch(&mut self, number: u64) {
        self.0.insert(number, Watched::Waiting);
    }

    /// The message has an outcome. Only the first counts.
    pub(crate) fn settle(&mut self, number: u64, outcome: Outcome) {
        let Some(entry) = self.0.get_mut(&number) else {
            return;
        };
        *entry = match (*entry, outcome) {
            (Watched::Waiting, outcome) => Watched::Settled(outcome),
            (Watched::HasLeft, Outcome::Undelivered | Outcome::Unknown) => {
                Watched::Settled(Outcome::Unknown)
            }
            (Watched::HasLeft, Outcome::Delivered) => Watched::Settled(Outcome::Delivered),
            (Watched::Settled(first), _) => Watched::Settled(first),
        };
    }

    /// The message has left whole, and its session is over.
    pub(crate) fn has_left(&mut self, number: u64) {
        if let Some(entry @ Watched::Waiting) = self.0.get_mut(&number) {
            *entry = Watched::HasLeft;
        }
    }

    /// The outcome, once there is one; it is not kept then.
    pub(crate) fn take(&mut self, number: u64) -> Option<Outcome> {
        let Watched::Settled(outcome) = *self.0.get(&number)? else {
            return None;
        };
        self.0.remove(&number);
        Some(outcome)
    }

    /// Nobody waits for it any more.
    pub(crate) fn forget(&mut self, number: u64) {
        self.0.remove(&number);
    }
}
