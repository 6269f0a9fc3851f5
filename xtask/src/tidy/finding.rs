//! A place where a rule is broken, and what to do about it.

use std::fmt;

/// Prints as `path:line: what is wrong; what to do`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Relative to the root of the workspace.
    pub(crate) path: String,
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) wrong: String,
    pub(crate) remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}; {}",
            self.path, self.line, self.wrong, self.remedy
        )
    }
}

/// All findings of a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// These make the task fail.
    pub(crate) violations: Vec<Finding>,
    /// These are only printed.
    pub(crate) warnings: Vec<Finding>,
}
