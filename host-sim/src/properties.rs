//! Properties that come from outside: a path of names and the bytes behind it.

/// Values by path, as the embedder supplies them or a guest stores them.
///
/// A path is a list of names; guests send it joined by zero bytes, which is how it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// Sorted by path.
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    bytes: usize,
}

impl Properties {
    /// No properties.
    pub fn new() -> Properties {
        Properties::default()
    }

    /// The same with one more value; the last one under a path counts.
    #[must_use]
    pub fn with<S: AsRef<[u8]>>(mut self, path: &[S], value: impl Into<Vec<u8>>) -> Properties {
        self.set(&join(path), value.into());
        self
    }

    /// The value under this path.
    pub fn value<S: AsRef<[u8]>>(&self, path: &[S]) -> Option<&[u8]> {
        self.find(&join(path))
    }

    /// Every path, its names joined by zero bytes, and its value, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|(path, value)| (path.as_slice(), value.as_slice()))
    }

    pub(crate) fn find(&self, path: &[u8]) -> Option<&[u8]> {
        let index = self.entries.binary_search_by(|(key, _)| key.as_slice().cmp(path)).ok()?;
        Some(&self.entries[index].1)
    }

    /// Whether some path begins with all the names of this one.
    pub(crate) fn has_below(&self, path: &[u8]) -> bool {
        let from = self.entries.partition_point(|(key, _)| key.as_slice() <= path);
        // Zero is the smallest byte, so what lies below a path follows it at once.
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

    /// Bytes of all paths and values.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }
}

/// A path as guests send it.
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
