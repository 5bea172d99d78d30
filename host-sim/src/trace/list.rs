//! Lists that take the memory of their elements and no more. serde does not know the length of a
//! JSON list in advance, so its own lists grow in steps, and an open exchange keeps the unused rest.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};

/// The elements that are collected before anything is allocated. Most lists are not longer.
const FIRST: usize = 8;

/// Deserializes a list.
pub(super) fn list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct List<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a sequence")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut first: [Option<T>; FIRST] = [const { None }; FIRST];
            let mut length = 0;
            while length < FIRST {
                let Some(element) = list.next_element()? else { break };
                first[length] = Some(element);
                length += 1;
            }
            let mut elements = Vec::with_capacity(length);
            elements.extend(first.into_iter().flatten());
            if length == FIRST {
                while let Some(element) = list.next_element()? {
                    elements.push(element);
                }
                elements.shrink_to_fit();
            }
            Ok(elements)
        }
    }
    deserializer.deserialize_seq(List(PhantomData))
}

#[cfg(test)]
mod tests {
    use super::{FIRST, list};

    #[test]
    fn lists_of_any_length_have_no_unused_capacity() {
        for length in [0, 1, FIRST - 1, FIRST, FIRST + 1, 3 * FIRST] {
            let numbers: Vec<u32> = (0..length as u32).collect();
            let text = serde_json::to_string(&numbers).unwrap();
            let parsed: Vec<u32> = list(&mut serde_json::Deserializer::from_str(&text)).unwrap();
            assert_eq!((parsed.capacity(), parsed), (length, numbers));
        }
    }
}
