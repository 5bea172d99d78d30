//! Header maps: an ordered list of names and values.
//!
//! The ABI serializes a map as a count, the lengths of all names and values, and their bytes, each
//! followed by a zero. [`HeaderMap`] always stores its bytes in this form. A map is therefore
//! copied to a guest in two copies, and a header needs no allocation. The cost is that removing a
//! header, which is rare, moves the bytes after it.

use std::fmt;
use std::ops::Range;

/// The capacity, in bytes, up to which `clear` keeps the allocation.
const KEPT_BYTES: usize = 16 << 10;

/// HTTP headers, trailers or gRPC metadata, in order of arrival.
///
/// Names are compared case-insensitively (ASCII). Repeated names are separate entries.
/// Pseudo-headers such as `:path` and `:status` are ordinary entries. Values are bytes, because
/// HTTP does not guarantee UTF-8.
#[derive(Default)]
pub struct HeaderMap {
    /// The lengths of name and value of each entry.
    lengths: Vec<[u32; 2]>,
    /// `name \0 value \0` of each entry, without gaps.
    bytes: Vec<u8>,
    /// Whether a name may contain an upper-case letter.
    upper: bool,
    /// The [`name_bit`] of each name. Bits of removed names may remain.
    names: u64,
}

/// One of 64 bits, the same for equal names. Most lookups are for names that a map does not have, and
/// end after one comparison. For a constant name, the compiler computes the bit.
#[inline]
fn name_bit(name: &[u8]) -> u64 {
    let lower = |byte: Option<&u8>| byte.map_or(0, |byte| usize::from(byte | 0x20));
    let hash = name.len() * 31 + lower(name.first()) * 7 + lower(name.last()) * 3;
    1 << (hash % 64)
}

impl HeaderMap {
    /// Creates an empty map.
    pub fn new() -> HeaderMap {
        HeaderMap::default()
    }

    /// Creates an empty map with capacity for `entries` headers, whose names and values have
    /// `bytes` bytes in total.
    pub fn with_capacity(entries: usize, bytes: usize) -> HeaderMap {
        HeaderMap {
            lengths: Vec::with_capacity(entries),
            bytes: Vec::with_capacity(bytes + 2 * entries),
            upper: false,
            names: 0,
        }
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether the map has no entries.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// The bytes of all names and values. Envoy reports this number as the size of a map.
    pub fn byte_size(&self) -> usize {
        self.bytes.len() - 2 * self.lengths.len()
    }

    /// Removes all entries. Keeps the allocation, unless it is much larger than most maps need.
    pub fn clear(&mut self) {
        if self.bytes.capacity() > KEPT_BYTES {
            *self = HeaderMap::new();
            return;
        }
        self.lengths.clear();
        self.bytes.clear();
        self.upper = false;
        self.names = 0;
    }

    /// Appends an entry, even if the name exists.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let (name, value) = (name.as_ref(), value.as_ref());
        self.lengths.push([name.len() as u32, value.len() as u32]);
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
        self.bytes.extend_from_slice(value);
        self.bytes.push(0);
        self.upper |= name.iter().any(u8::is_ascii_uppercase);
        self.names |= name_bit(name);
    }

    /// Appends an entry; a pseudo-header after the other pseudo-headers, before all other headers.
    pub(crate) fn push_in_order(&mut self, name: &[u8], value: &[u8]) {
        let is_pseudo = |(name, _): &(&[u8], &[u8])| name.first() == Some(&b':');
        let before: usize = match name.first() {
            Some(b':') => self.iter().take_while(is_pseudo).count(),
            _ => self.len(),
        };
        if before == self.len() {
            return self.push(name, value);
        }
        let offset = self.lengths[..before]
            .iter()
            .map(|[name, value]| *name as usize + *value as usize + 2)
            .sum::<usize>();
        let entry = [name, b"\0", value, b"\0"].concat();
        self.bytes.splice(offset..offset, entry);
        self.lengths.insert(before, [name.len() as u32, value.len() as u32]);
        self.upper |= name.iter().any(u8::is_ascii_uppercase);
        self.names |= name_bit(name);
    }

    /// Appends `,` and a value to the first value with this name. Returns false if there is none.
    pub(crate) fn append_to(&mut self, name: &[u8], value: &[u8]) -> bool {
        let Some((index, entry)) = self.position(name, 0, 0) else { return false };
        let appended = std::iter::once(b',').chain(value.iter().copied());
        self.bytes.splice(entry.end..entry.end, appended);
        self.lengths[index][1] += value.len() as u32 + 1;
        true
    }

    /// The first value with this name.
    #[inline]
    pub fn find(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        let name = name.as_ref();
        match self.may_have(name) {
            true => self.value_range(name).map(|range| self.value_at(range)),
            false => None,
        }
    }

    /// The position of the first value with this name, for [`value_at`](Self::value_at).
    pub(crate) fn value_range(&self, name: &[u8]) -> Option<Range<usize>> {
        let (_, entry) = self.position(name, 0, 0)?;
        Some(entry.value..entry.end)
    }

    /// The value at a position that [`value_range`](Self::value_range) returned.
    pub(crate) fn value_at(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// The first value with this name, if it is valid UTF-8.
    #[inline]
    pub fn text(&self, name: impl AsRef<[u8]>) -> Option<&str> {
        std::str::from_utf8(self.find(name)?).ok()
    }

    /// Replaces the first value with this name and removes the others; appends an entry if there is
    /// none.
    pub fn set(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let (name, value) = (name.as_ref(), value.as_ref());
        let Some((index, entry)) = self.position(name, 0, 0) else {
            self.push(name, value);
            return;
        };
        self.bytes.splice(entry.value..entry.end, value.iter().copied());
        self.lengths[index][1] = value.len() as u32;
        self.remove_from(name, index + 1, entry.value + value.len() + 1);
    }

    /// Removes all entries with this name. Returns whether there were any.
    #[inline]
    pub fn remove(&mut self, name: impl AsRef<[u8]>) -> bool {
        let name = name.as_ref();
        self.may_have(name) && self.remove_from(name, 0, 0)
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut offset = 0;
        self.lengths.iter().map(move |&[name, value]| {
            let entry = Entry::at(offset, [name, value]);
            offset = entry.end + 1;
            (&self.bytes[entry.start..entry.value - 1], &self.bytes[entry.value..entry.end])
        })
    }

    /// Converts all names to lower case, as Envoy does with all headers that it receives.
    pub fn lower_names(&mut self) {
        if !std::mem::take(&mut self.upper) {
            return;
        }
        let mut offset = 0;
        for &lengths in &self.lengths {
            let entry = Entry::at(offset, lengths);
            self.bytes[entry.start..entry.value - 1].make_ascii_lowercase();
            offset = entry.end + 1;
        }
    }

    /// The length of the serialized form. An empty map serializes to no bytes.
    pub(crate) fn serialized_len(&self) -> usize {
        if self.is_empty() { 0 } else { 4 + 8 * self.lengths.len() + self.bytes.len() }
    }

    /// Writes the serialized form to `out`, whose length is
    /// [`serialized_len`](Self::serialized_len).
    pub(crate) fn serialize_into(&self, out: &mut [u8]) {
        if self.is_empty() {
            return;
        }
        let (count, rest) = out.split_at_mut(4);
        count.copy_from_slice(&(self.lengths.len() as u32).to_le_bytes());
        let (lengths, bytes) = rest.split_at_mut(8 * self.lengths.len());
        for (out, [name, value]) in lengths.chunks_exact_mut(8).zip(&self.lengths) {
            out[..4].copy_from_slice(&name.to_le_bytes());
            out[4..].copy_from_slice(&value.to_le_bytes());
        }
        bytes.copy_from_slice(&self.bytes);
    }

    /// Parses a serialized map. `None` if the lengths do not match the bytes. An empty map may be
    /// serialized as no bytes or as zeroes.
    pub(crate) fn parse(data: &[u8]) -> Option<HeaderMap> {
        if data.is_empty() || data == [0] {
            return Some(HeaderMap::new());
        }
        let (count, rest) = data.split_first_chunk::<4>()?;
        let count = u32::from_le_bytes(*count) as usize;
        let (lengths, mut bytes) = rest.split_at_checked(count.checked_mul(8)?)?;
        let mut map = HeaderMap::with_capacity(count, bytes.len());
        for pair in lengths.chunks_exact(8) {
            let [name, value] = [&pair[..4], &pair[4..]]
                .map(|half| u32::from_le_bytes([half[0], half[1], half[2], half[3]]) as usize);
            let (name_bytes, rest) = bytes.split_at_checked(name)?;
            let (value_bytes, rest) = rest.split_first()?.1.split_at_checked(value)?;
            bytes = rest.split_first()?.1;
            map.push(name_bytes, value_bytes);
        }
        Some(map)
    }

    /// Whether an entry can have this name. False for most names that the map does not have.
    #[inline]
    fn may_have(&self, name: &[u8]) -> bool {
        self.names & name_bit(name) != 0
    }

    fn position(&self, name: &[u8], from: usize, offset: usize) -> Option<(usize, Entry)> {
        if !self.may_have(name) {
            return None;
        }
        let mut offset = offset;
        for (index, &lengths) in self.lengths.iter().enumerate().skip(from) {
            let entry = Entry::at(offset, lengths);
            if lengths[0] as usize == name.len()
                && is_same_name(&self.bytes[entry.start..entry.value - 1], name)
            {
                return Some((index, entry));
            }
            offset = entry.end + 1;
        }
        None
    }

    /// Removes the entries with this name from the entry `from` on, which starts at `offset`. Moves
    /// each other entry at most once, because a hostile map can have very many entries.
    fn remove_from(&mut self, name: &[u8], from: usize, offset: usize) -> bool {
        let Some((index, first)) = self.position(name, from, offset) else { return false };
        let mut kept = index;
        let (mut read, mut written) = (first.start, first.start);
        for index in index..self.lengths.len() {
            let lengths = self.lengths[index];
            let entry = Entry::at(read, lengths);
            read = entry.end + 1;
            let is_removed = lengths[0] as usize == name.len()
                && is_same_name(&self.bytes[entry.start..entry.value - 1], name);
            if !is_removed {
                self.bytes.copy_within(entry.start..read, written);
                written += read - entry.start;
                self.lengths[kept] = lengths;
                kept += 1;
            }
        }
        self.bytes.truncate(written);
        self.lengths.truncate(kept);
        true
    }
}

/// Compares two names of the same length. Names that differ mostly do so in their first bytes, and
/// equal ones are mostly of lower case.
fn is_same_name(one: &[u8], other: &[u8]) -> bool {
    let first = |name: &[u8]| name.first().map(u8::to_ascii_lowercase);
    first(one) == first(other) && (one == other || one.eq_ignore_ascii_case(other))
}

/// The position of an entry in the bytes.
struct Entry {
    start: usize,
    value: usize,
    /// The end of the value, before its zero.
    end: usize,
}

impl Entry {
    fn at(start: usize, [name, value]: [u32; 2]) -> Entry {
        let value_start = start + name as usize + 1;
        Entry { start, value: value_start, end: value_start + value as usize }
    }
}

/// Maps are equal if they have the same names (case-sensitive) and values in the same order.
impl PartialEq for HeaderMap {
    fn eq(&self, other: &HeaderMap) -> bool {
        self.lengths == other.lengths && self.bytes == other.bytes
    }
}

impl Eq for HeaderMap {}

/// `clone_from` reuses the allocation, and `clone` reserves space for the few headers that filters
/// add.
impl Clone for HeaderMap {
    fn clone(&self) -> HeaderMap {
        let mut copy = HeaderMap::with_capacity(self.len() + 4, self.byte_size() + 120);
        copy.clone_from(self);
        copy
    }

    fn clone_from(&mut self, source: &HeaderMap) {
        self.lengths.clone_from(&source.lengths);
        self.bytes.clone_from(&source.bytes);
        self.upper = source.upper;
        self.names = source.names;
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for HeaderMap {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(entries: I) -> HeaderMap {
        let mut map = HeaderMap::new();
        map.extend(entries);
        map
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> Extend<(N, V)> for HeaderMap {
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, entries: I) {
        for (name, value) in entries {
            self.push(name, value);
        }
    }
}

impl fmt::Debug for HeaderMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        f.debug_list().entries(self.iter().map(|(name, value)| (text(name), text(value)))).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Entries = Vec<(String, String)>;

    fn entries(map: &HeaderMap) -> Entries {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        map.iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    fn has_name(name: &str) -> impl Fn(&(String, String)) -> bool {
        move |(other, _)| other.eq_ignore_ascii_case(name)
    }

    #[derive(Clone, Debug)]
    enum Change {
        Push(String, String),
        Set(String, String),
        Remove(String),
        Lower,
    }

    /// The names are few, so that changes affect the same entries.
    fn change() -> impl Strategy<Value = Change> {
        let name = "[abAB]{1,2}";
        prop_oneof![
            3 => (name, "[a-z]{0,4}").prop_map(|(name, value)| Change::Push(name, value)),
            1 => (name, "[a-z]{0,4}").prop_map(|(name, value)| Change::Set(name, value)),
            1 => name.prop_map(Change::Remove),
            1 => Just(Change::Lower),
        ]
    }

    proptest! {
        /// Serializing and parsing the map must not change it either.
        #[test]
        fn map_behaves_like_a_list_of_pairs(changes in proptest::collection::vec(change(), 0..24)) {
            let (mut map, mut list) = (HeaderMap::new(), Entries::new());
            for change in changes {
                match change {
                    Change::Push(name, value) => {
                        map.push(&name, &value);
                        list.push((name, value));
                    }
                    Change::Set(name, value) => {
                        map.set(&name, &value);
                        match list.iter().position(has_name(&name)) {
                            None => list.push((name, value)),
                            Some(first) => {
                                list[first].1 = value;
                                let mut index = 0;
                                list.retain(|entry| {
                                    index += 1;
                                    index <= first + 1 || !has_name(&name)(entry)
                                });
                            }
                        }
                    }
                    Change::Remove(name) => {
                        let removed = list.iter().any(has_name(&name));
                        prop_assert_eq!(map.remove(&name), removed);
                        list.retain(|entry| !has_name(&name)(entry));
                    }
                    Change::Lower => {
                        map.lower_names();
                        list.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
                    }
                }
                prop_assert_eq!(entries(&map), list.clone());
                for name in ["a", "B", "ab"] {
                    let first = list.iter().find(|entry| has_name(name)(entry));
                    prop_assert_eq!(map.text(name), first.map(|(_, value)| value.as_str()));
                }
            }
            let mut bytes = vec![0; map.serialized_len()];
            map.serialize_into(&mut bytes);
            prop_assert_eq!(HeaderMap::parse(&bytes), Some(map));
        }

        #[test]
        fn parse_accepts_any_bytes_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = HeaderMap::parse(&bytes);
        }
    }
}
