//! What a task that did not fail has achieved.

/// The result of a task that found nothing wrong.
///
/// What could not be checked is part of the result, so that it is always printed and never passes for checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All was checked and is right.
    Done,
    /// What was checked is right; the text says what was not, and why.
    DoneExcept(String),
    /// Nothing was checked; the text says why.
    Skipped(String),
}

impl Outcome {
    /// What was not checked, if anything.
    pub(crate) fn note(&self) -> Option<&str> {
        match self {
            Self::Done => None,
            Self::DoneExcept(note) | Self::Skipped(note) => Some(note),
        }
    }

    /// Prints what was not checked, if anything.
    pub(crate) fn print_note(&self) {
        if let Some(note) = self.note() {
            println!("\nNOT CHECKED: {note}");
        }
    }
}
