//! Virtual time: what is due when.
//!
//! Each exchange and each ticking plugin has at most one entry that counts, and remembers its number;
//! entries that were overtaken are skipped when their time comes, which is cheaper than to search for
//! them. Entries of the same time come out in the order in which they went in, so that a run is
//! repeatable.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wake {
    /// Something of the exchange in this slot.
    Exchange(u32),
    /// A tick of one of this worker's plugins.
    Tick(u32),
    /// The answer to a call of a plugin.
    Call(u32),
}

/// The number of an entry, never used twice; 0 is no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Entry(u64);

/// The schedule of a run.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    heap: BinaryHeap<Reverse<(Duration, Entry, Wake)>>,
    entries: u64,
}

impl Schedule {
    /// Adds an entry.
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

    /// Takes the next entry.
    pub(super) fn pop(&mut self) -> Option<(Duration, Entry, Wake)> {
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}
