//! Header fields in one buffer, in the form in which proxy-wasm hosts deliver them. Reading them
//! copies nothing.
//!
//! The buffer begins with the number of fields. The lengths of each name and value follow, and then
//! the names and values themselves, each with a zero byte at its end. All numbers have four bytes,
//! least significant first.

/// Header fields in their order, pseudo headers (`:method`, `:path`, `:authority`) included. Names
/// are in lower case, as hosts deliver them. Values are bytes, because HTTP does not guarantee
/// UTF-8.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers {
    bytes: Vec<u8>,
}

impl Headers {
    /// The fields. They end early if the buffer is malformed.
    pub fn iter(&self) -> Fields<'_> {
        let (lengths, text) = self
            .bytes
            .split_first_chunk::<4>()
            .and_then(|(count, rest)| {
                let lengths = (u32::from_le_bytes(*count) as usize).checked_mul(8)?;
                rest.split_at_checked(lengths)
            })
            .unwrap_or_default();
        Fields { lengths, text }
    }

    /// The values of the fields with this name (in lower case), in their order.
    pub fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let named = self.iter().filter(move |(found, _)| *found == name.as_bytes());
        named.map(|(_, value)| value)
    }

    /// The buffer, which a host overwrites.
    pub fn buffer_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The buffer, as a host reads it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = Fields<'a>;

    fn into_iter(self) -> Fields<'a> {
        self.iter()
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let (mut count, mut lengths, mut text) = (0_u32, Vec::new(), Vec::new());
        for (name, value) in fields {
            count += 1;
            for part in [name.as_ref(), value.as_ref()] {
                lengths.extend((part.len() as u32).to_le_bytes());
                text.extend_from_slice(part);
                text.push(0);
            }
        }
        Self { bytes: [&count.to_le_bytes()[..], &lengths, &text].concat() }
    }
}

/// The fields of [`Headers`]: name and value.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    /// The lengths of the fields that are left.
    lengths: &'a [u8],
    /// Their names and values.
    text: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Reads the next `length` bytes and the zero byte behind them.
    fn part(&mut self, length: [u8; 4]) -> Option<&'a [u8]> {
        let (part, rest) = self.text.split_at_checked(u32::from_le_bytes(length) as usize)?;
        self.text = rest.split_first()?.1;
        Some(part)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let ([a, b, c, d, e, f, g, h], rest) = self.lengths.split_first_chunk()?;
        self.lengths = rest;
        Some((self.part([*a, *b, *c, *d])?, self.part([*e, *f, *g, *h])?))
    }
}
