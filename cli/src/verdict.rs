//! The result of a command that ran. A command that could not run returns a
//! [`CliError`](crate::error::CliError) instead.

use std::process::ExitCode;

/// Whether everything happened as expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed,
}

impl Verdict {
    pub(crate) fn from_failures(failures: usize) -> Self {
        if failures == 0 { Self::Passed } else { Self::Failed }
    }
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Passed => Self::SUCCESS,
            Verdict::Failed => Self::from(1),
        }
    }
}
