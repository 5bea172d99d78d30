//! Ends a replay from outside.
//!
//! The library reads no clock, so the embedder decides when a replay has run for too long.

use std::sync::{Arc, OnceLock};

/// A switch that ends a replay before its next step. Clones refer to the same switch.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<OnceLock<String>>);

impl Interrupt {
    /// Ends the replay. The report has `reason`, a clause without a period, as a problem. The first
    /// reason counts.
    pub fn interrupt(&self, reason: impl Into<String>) {
        // A replay ends once, for the first reason.
        let _ = self.0.set(reason.into());
    }

    /// The reason for which the replay ends; `None` if it goes on.
    pub fn reason(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}
