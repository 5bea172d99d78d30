//! Properties that the embedder supplies or a guest stores: values by path.

/// Bytes charged for an entry in addition to its path and value.
const ENTRY_BYTES: usize = 128;

/// Property values by path.
///
/// A path is a list of names, such as `["xds", "node", "id"]`. Guests send the names joined by zero
/// bytes, and the map stores them in that form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// Sorted by path.
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    bytes: usize,
}

impl Properties {
    /// Creates an empty map.
    pub fn new() -> Properties {
        Properties::default()
    }

    /// Adds a value, or replaces the value at this path.
    #[must_use]
    pub fn with<S: AsRef<[u8]>>(mut self, path: &[S], value: impl Into<Vec<u8>>) -> Properties {
        self.set(&join(path), value.into());
        self
    }

    /// Adds the values of `other`, which replace those at the same paths.
    pub(crate) fn extend(&mut self, other: &Properties) {
        for (path, value) in &other.entries {
            self.set(path, value.clone());
        }
    }

    /// The value at this path.
    pub fn value<S: AsRef<[u8]>>(&self, path: &[S]) -> Option<&[u8]> {
        self.find(&join(path))
    }

    /// All paths, their names joined by zero bytes, with their values; sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|(path, value)| (path.as_slice(), value.as_slice()))
    }

    pub(crate) fn find(&self, path: &[u8]) -> Option<&[u8]> {
        let index = self.entries.binary_search_by(|(key, _)| key.as_slice().cmp(path)).ok()?;
        Some(&self.entries[index].1)
    }

    /// Whether a longer path begins with all the names of this one.
    pub(crate) fn has_children(&self, path: &[u8]) -> bool {
        let from = self.entries.partition_point(|(key, _)| key.as_slice() <= path);
        // Zero is the smallest byte, so the children of a path follow it directly.
        let next = self.entries.get(from).and_then(|(key, _)| key.strip_prefix(path));
        next.is_some_and(|rest| rest.first() == Some(&0))
    }

    pub(crate) fn set(&mut self, path: &[u8], value: Vec<u8>) {
        match self.entries.binary_search_by(|(key, _)| key.as_slice().cmp(path)) {
            Ok(index) => {
                self.bytes = self.bytes - self.entries[index].1.len() + value.len();
                self.entries[index].1 = value;
            }
            Err(index) => {
                self.bytes += path.len() + value.len();
                self.entries.insert(index, (path.to_vec(), value));
            }
        }
    }

    /// The bytes that the map would count against a limit with one more entry. Entries cost memory
    /// also if they are empty.
    pub(crate) fn cost_with(&self, path: &[u8], value: &[u8]) -> usize {
        self.cost() + path.len() + value.len() + ENTRY_BYTES
    }

    /// The bytes that the map counts against a limit.
    pub(crate) fn cost(&self) -> usize {
        self.bytes + self.entries.len() * ENTRY_BYTES
    }
}

/// Joins the names of a path by zero bytes.
pub(crate) fn join<S: AsRef<[u8]>>(path: &[S]) -> Vec<u8> {
    let mut joined = Vec::new();
    for (index, name) in path.iter().enumerate() {
        if index > 0 {
            joined.push(0);
        }
        joined.extend_from_slice(name.as_ref());
    }
    joined
}
