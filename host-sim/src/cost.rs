//! What the guest of a VM has cost: counts that repeat exactly, unlike times.

use std::ops::Sub;

/// The work of a guest so far. The difference of two values is the work between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cost {
    /// Callbacks that the guest exports and the host called.
    pub callbacks: u64,
    /// Host functions that the guest called.
    pub host_calls: u64,
    /// Instructions of the guest. A host call counts as 100. Always 0 with
    /// [`Limits::callback_deadline`](crate::Limits::callback_deadline).
    pub instructions: u64,
}

impl Sub for Cost {
    type Output = Cost;

    fn sub(self, before: Cost) -> Cost {
        Cost {
            callbacks: self.callbacks - before.callbacks,
            host_calls: self.host_calls - before.host_calls,
            instructions: self.instructions - before.instructions,
        }
    }
}
