//! Checks the lines of a trace that a program writes.

use super::error::TraceError;
use super::read::Lines;

/// Checks one line after the other, as a reader of the trace would.
#[derive(Debug)]
pub struct LineChecker {
    name: String,
    lines: Lines,
    number: u32,
}

impl LineChecker {
    /// Errors name the trace as `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), lines: Lines::default(), number: 0 }
    }

    /// Checks the next line.
    ///
    /// # Errors
    /// The mistake on the line.
    pub fn check(&mut self, line: &str) -> Result<(), TraceError> {
        self.number = self.number.saturating_add(1);
        match self.lines.parse(self.number, line) {
            Ok(_) => Ok(()),
            Err(mistake) => {
                Err(TraceError { trace: self.name.clone(), line: self.number, mistake })
            }
        }
    }
}
