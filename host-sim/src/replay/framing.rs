//! The length that a message announces in `content-length`, and what becomes of a body that has
//! another length. Measured on Envoy 1.40; `tests/tests/envoy/host_calls/lengths.rs` compares both
//! hosts.

/// A body, counted against the length that its headers announce.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Length {
    announced: Option<u64>,
    counted: u64,
}

impl Length {
    /// The length of a message with these values of `content-length`.
    ///
    /// # Errors
    /// If there is more than one value, or one that is not a number.
    pub(super) fn parse<'v>(values: impl Iterator<Item = &'v [u8]>) -> Result<Self, ()> {
        let mut announced = None;
        for value in values {
            let digits = std::str::from_utf8(value).map_err(|_| ())?.trim();
            let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            if announced.is_some() || !is_number {
                return Err(());
            }
            announced = Some(digits.parse().map_err(|_| ())?);
        }
        Ok(Self { announced, counted: 0 })
    }

    /// Counts a chunk. Truncates it to the announced length; returns whether that dropped bytes.
    pub(super) fn count(&mut self, chunk: &mut Vec<u8>) -> bool {
        let len = chunk.len() as u64;
        let fits = self.announced.map_or(len, |announced| len.min(announced - self.counted));
        chunk.truncate(fits as usize);
        self.counted += fits;
        fits < len
    }

    /// Whether bytes are missing.
    pub(super) fn is_short(self) -> bool {
        self.announced.is_some_and(|announced| self.counted < announced)
    }

    /// Whether all announced bytes have been counted.
    pub(super) fn is_full(self) -> bool {
        self.announced == Some(self.counted)
    }
}

#[cfg(test)]
mod tests {
    use super::Length;

    #[test]
    fn one_number_is_a_length() {
        let parse = |values: &[&str]| Length::parse(values.iter().map(|value| value.as_bytes()));
        assert_eq!(parse(&[]), Ok(Length::default()));
        assert!(parse(&["0"]).unwrap().is_full());
        for wrong in [&["5", "5"][..], &["a"], &[""], &["-1"], &["+1"], &["5, 5"]] {
            assert_eq!(parse(wrong), Err(()), "{wrong:?}");
        }
    }

    #[test]
    fn bytes_beyond_the_length_are_dropped() {
        let mut length = Length::parse(std::iter::once(&b"5"[..])).unwrap();
        let mut chunk = b"abc".to_vec();
        assert!(!length.count(&mut chunk));
        assert!(length.is_short());
        let mut chunk = b"defg".to_vec();
        assert!(length.count(&mut chunk));
        assert_eq!((chunk.as_slice(), length.is_full()), (&b"de"[..], true));
    }
}
