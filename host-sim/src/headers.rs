//! Header maps: names and values in order, repeated names kept apart.
//!
//! A map crosses the boundary as a count, the lengths of all names and values, then their bytes with
//! a zero after each. The map keeps its bytes in exactly that form all the time, so that handing it
//! to a guest is one copy of the lengths and one of the bytes, and a header costs no allocation of
//! its own. The price is paid where it is rare: removing a header moves the bytes behind it.

use std::fmt;
use std::ops::Range;

/// Bytes of memory that a map keeps when it is cleared.
const KEPT_BYTES: usize = 16 << 10;

/// Names and values of HTTP headers, trailers or gRPC metadata, in the order in which they came.
///
/// Names are compared without regard to ASCII case. Pseudo-headers (`:path`, `:status`, …) are
/// entries like all others. Values are bytes; HTTP does not promise UTF-8.
#[derive(Default)]
pub struct HeaderMap {
    /// Length of name and value of each entry.
    lengths: Vec<[u32; 2]>,
    /// `name \0 value \0` of each entry, without gaps.
    bytes: Vec<u8>,
    /// Whether some name may hold an upper case letter.
    upper: bool,
}

impl HeaderMap {
    /// An empty map.
    pub fn new() -> HeaderMap {
        HeaderMap::default()
    }

    /// An empty map with room for `entries` headers of `bytes` bytes of names and values in all.
    pub fn with_capacity(entries: usize, bytes: usize) -> HeaderMap {
        HeaderMap {
            lengths: Vec::with_capacity(entries),
            bytes: Vec::with_capacity(bytes + 2 * entries),
            upper: false,
        }
    }

    /// Number of entries, repeated names counted each.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Bytes of all names and values together, which is what Envoy calls the size of a map.
    pub fn byte_size(&self) -> usize {
        self.bytes.len() - 2 * self.lengths.len()
    }

    /// Removes every entry. Memory is kept, unless it is more than most maps need.
    pub fn clear(&mut self) {
        if self.bytes.capacity() > KEPT_BYTES {
            *self = HeaderMap::new();
            return;
        }
        self.lengths.clear();
        self.bytes.clear();
        self.upper = false;
    }

    /// Adds an entry at the end, whether or not the name is there already.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let (name, value) = (name.as_ref(), value.as_ref());
        self.lengths.push([name.len() as u32, value.len() as u32]);
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
        self.bytes.extend_from_slice(value);
        self.bytes.push(0);
        self.upper |= name.iter().any(u8::is_ascii_uppercase);
    }

    /// The first value under this name.
    pub fn find(&self, name: impl AsRef<[u8]>) -> Option<&[u8]> {
        self.place_of(name.as_ref()).map(|place| self.at(place))
    }

    /// Where the first value under this name lies; see [`at`](Self::at).
    pub(crate) fn place_of(&self, name: &[u8]) -> Option<Range<usize>> {
        let (_, entry) = self.position(name, 0, 0)?;
        Some(entry.value..entry.end)
    }

    /// The value in a place that [`place_of`](Self::place_of) gave.
    pub(crate) fn at(&self, place: Range<usize>) -> &[u8] {
        &self.bytes[place]
    }

    /// The first value under this name, if it is text.
    pub fn text(&self, name: impl AsRef<[u8]>) -> Option<&str> {
        std::str::from_utf8(self.find(name)?).ok()
    }

    /// Makes `value` the only value under this name, at the place of the first one if there is any.
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

    /// Removes every entry under this name; says whether there was one.
    pub fn remove(&mut self, name: impl AsRef<[u8]>) -> bool {
        self.remove_from(name.as_ref(), 0, 0)
    }

    /// All entries, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut offset = 0;
        self.lengths.iter().map(move |&[name, value]| {
            let entry = Entry::at(offset, [name, value]);
            offset = entry.end + 1;
            (&self.bytes[entry.start..entry.value - 1], &self.bytes[entry.value..entry.end])
        })
    }

    /// Turns all names into lower case, as Envoy does with whatever enters it.
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

    /// Length of the map's serialized form; an empty map is empty bytes.
    pub(crate) fn serialized_len(&self) -> usize {
        if self.is_empty() { 0 } else { 4 + 8 * self.lengths.len() + self.bytes.len() }
    }

    /// Writes the serialized form over `out`, which is [`serialized_len`](Self::serialized_len) long.
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

    /// Reads a serialized map. `None` if the bytes contradict themselves; an empty map may be
    /// written as no bytes or as zeroes.
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

    fn position(&self, name: &[u8], from: usize, offset: usize) -> Option<(usize, Entry)> {
        let mut offset = offset;
        for (index, &lengths) in self.lengths.iter().enumerate().skip(from) {
            let entry = Entry::at(offset, lengths);
            if lengths[0] as usize == name.len()
                && self.bytes[entry.start..entry.value - 1].eq_ignore_ascii_case(name)
            {
                return Some((index, entry));
            }
            offset = entry.end + 1;
        }
        None
    }

    fn remove_from(&mut self, name: &[u8], mut from: usize, mut offset: usize) -> bool {
        let mut removed = false;
        while let Some((index, entry)) = self.position(name, from, offset) {
            self.bytes.drain(entry.start..=entry.end);
            self.lengths.remove(index);
            (from, offset, removed) = (index, entry.start, true);
        }
        removed
    }
}

/// Where an entry lies in the bytes.
struct Entry {
    start: usize,
    value: usize,
    /// End of the value; the zero after it follows.
    end: usize,
}

impl Entry {
    fn at(start: usize, [name, value]: [u32; 2]) -> Entry {
        let value_start = start + name as usize + 1;
        Entry { start, value: value_start, end: value_start + value as usize }
    }
}

/// Two maps are equal if they hold the same names, letter case included, and values in the same order.
impl PartialEq for HeaderMap {
    fn eq(&self, other: &HeaderMap) -> bool {
        self.lengths == other.lengths && self.bytes == other.bytes
    }
}

impl Eq for HeaderMap {}

/// By hand, so that copying over an old map uses its memory, and a new copy has room for the few
/// headers that a filter adds.
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

    fn same(name: &str) -> impl Fn(&(String, String)) -> bool {
        move |(other, _)| other.eq_ignore_ascii_case(name)
    }

    #[derive(Clone, Debug)]
    enum Change {
        Push(String, String),
        Set(String, String),
        Remove(String),
        Lower,
    }

    /// Few names, so that they meet.
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
        /// The map does what a plain list of pairs does, and survives its own serialized form.
        #[test]
        fn a_map_is_a_list_of_pairs(changes in proptest::collection::vec(change(), 0..24)) {
            let (mut map, mut list) = (HeaderMap::new(), Entries::new());
            for change in changes {
                match change {
                    Change::Push(name, value) => {
                        map.push(&name, &value);
                        list.push((name, value));
                    }
                    Change::Set(name, value) => {
                        map.set(&name, &value);
                        match list.iter().position(same(&name)) {
                            None => list.push((name, value)),
                            Some(first) => {
                                list[first].1 = value;
                                let mut index = 0;
                                list.retain(|entry| {
                                    index += 1;
                                    index <= first + 1 || !same(&name)(entry)
                                });
                            }
                        }
                    }
                    Change::Remove(name) => {
                        let removed = list.iter().any(same(&name));
                        prop_assert_eq!(map.remove(&name), removed);
                        list.retain(|entry| !same(&name)(entry));
                    }
                    Change::Lower => {
                        map.lower_names();
                        list.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
                    }
                }
                prop_assert_eq!(entries(&map), list.clone());
                for name in ["a", "B", "ab"] {
                    let first = list.iter().find(|entry| same(name)(entry));
                    prop_assert_eq!(map.text(name), first.map(|(_, value)| value.as_str()));
                }
            }
            let mut bytes = vec![0; map.serialized_len()];
            map.serialize_into(&mut bytes);
            prop_assert_eq!(HeaderMap::parse(&bytes), Some(map));
        }

        /// Whatever bytes a guest calls a map, reading them ends.
        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = HeaderMap::parse(&bytes);
        }
    }
}
