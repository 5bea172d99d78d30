//! The names of a trace: connections, and the ids of exchanges.
//!
//! A trace can have many millions of them. Names that are in use are kept. Of the others, only the
//! most recent are remembered, as hashes, so that the memory does not grow with the trace.

use std::hash::{DefaultHasher, Hash, Hasher};

use rustc_hash::FxHashMap;

use super::error::FieldError;
use super::event::ConnectionIndex;

/// The number of names in a generation. Two generations are remembered. A hash table of this
/// size has no unused half.
const GENERATION: usize = 7 << 16;

/// The names of the connections so far.
#[derive(Debug, Default)]
pub(super) struct ConnectionNames {
    open: FxHashMap<Box<str>, ConnectionIndex>,
    closed: RecentNames,
    next: usize,
}

impl ConnectionNames {
    /// A connection without a name of its own.
    pub(super) fn unnamed(&mut self) -> ConnectionIndex {
        let index = ConnectionIndex(self.next);
        self.next += 1;
        index
    }

    /// Adds a connection whose name is not in use.
    pub(super) fn open(&mut self, name: &str) -> Result<ConnectionIndex, FieldError> {
        if self.open.contains_key(name) {
            let message = format!("{name:?} is already open; expected a name that is not in use");
            return Err(FieldError::new("connection", message));
        }
        Ok(self.insert(name))
    }

    /// The connection of a request, which opens one if the name is new.
    pub(super) fn of_request(&mut self, name: &str) -> Result<ConnectionIndex, FieldError> {
        match self.open.get(name) {
            Some(index) => Ok(*index),
            None if self.closed.line(name).is_none() => Ok(self.insert(name)),
            None => Err(self.not_open(name)),
        }
    }

    /// Removes a connection that the event on `line` closes.
    pub(super) fn close(&mut self, name: &str, line: u32) -> Result<ConnectionIndex, FieldError> {
        let index = self.open.remove(name).ok_or_else(|| self.not_open(name))?;
        self.closed.insert(name, line);
        Ok(index)
    }

    fn insert(&mut self, name: &str) -> ConnectionIndex {
        let index = self.unnamed();
        self.open.insert(name.into(), index);
        index
    }

    fn not_open(&self, name: &str) -> FieldError {
        let message = match self.closed.line(name) {
            Some(line) => {
                format!("{name:?} was closed on line {line}; expected an open connection")
            }
            None => {
                format!("{name:?} is unknown; expected a connection that was opened or used before")
            }
        };
        FieldError::new("connection", message)
    }
}

/// The lines of the most recent names: at least [`GENERATION`] of them, and at most twice as many.
#[derive(Debug, Default)]
pub(super) struct RecentNames {
    current: FxHashMap<u64, u32>,
    previous: FxHashMap<u64, u32>,
}

impl RecentNames {
    /// The line on which the name was inserted last.
    pub(super) fn line(&self, name: &str) -> Option<u32> {
        let hash = hash(name);
        self.current.get(&hash).or_else(|| self.previous.get(&hash)).copied()
    }

    pub(super) fn insert(&mut self, name: &str, line: u32) {
        if self.current.len() == GENERATION {
            self.previous = std::mem::take(&mut self.current);
        }
        self.current.insert(hash(name), line);
    }
}

fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::{GENERATION, RecentNames};

    #[test]
    fn recent_names_are_remembered_and_old_ones_forgotten() {
        let mut names = RecentNames::default();
        let last = 3 * GENERATION as u32;
        for line in 1..=last {
            names.insert(&line.to_string(), line);
        }
        for recent in [last, last - GENERATION as u32] {
            assert_eq!(names.line(&recent.to_string()), Some(recent));
        }
        assert_eq!(names.line("1"), None);
        assert!(names.current.len() + names.previous.len() <= 2 * GENERATION);
    }
}
