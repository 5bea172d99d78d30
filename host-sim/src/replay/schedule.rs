//! Virtual time: what is due, and when.
//!
//! Each exchange and each plugin that ticks has at most one valid entry, and remembers its number.
//! An obsolete entry stays in the heap and is skipped when it is due, which is cheaper than to find
//! and remove it. Entries with the same time are due in the order in which they were added, so that
//! runs are repeatable.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// The step that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wake {
    /// The next step of the exchange in this slot.
    Exchange(u32),
    /// A tick of a plugin of this worker.
    Tick(u32),
    /// The response to the plugin's call in this slot.
    Call(u32),
}

/// The number of an entry, which is never reused; the default, 0, is not a valid entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Entry(u64);

#[derive(Debug, Default)]
pub(super) struct Schedule {
    heap: BinaryHeap<Reverse<(Duration, Entry, Wake)>>,
    entries: u64,
}

impl Schedule {
    pub(super) fn push(&mut self, at: Duration, wake: Wake) -> Entry {
        self.entries += 1;
        let entry = Entry(self.entries);
        self.heap.push(Reverse((at, entry, wake)));
        entry
    }

    /// When the next entry is due.
    pub(super) fn next_at(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    pub(super) fn pop(&mut self) -> Option<(Duration, Entry, Wake)> {
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}
