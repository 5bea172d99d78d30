//! Compressed traces and recordings, which are recognized by their first bytes.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use flate2::read::MultiGzDecoder;

/// The first bytes of a gzip member (RFC 1952, section 2.3.1).
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// An input that is decompressed if it has to be.
pub(crate) enum Decompressed<R: Read> {
    Plain(Chain<Cursor<Vec<u8>>, R>),
    Gzip(Box<MultiGzDecoder<Chain<Cursor<Vec<u8>>, R>>>),
}

impl<R: Read> Decompressed<R> {
    /// Reads the first bytes of `input`. Concatenated gzip members are one input, as log rotation
    /// creates them.
    pub(crate) fn new(mut input: R) -> io::Result<Self> {
        let mut start = Vec::new();
        (&mut input).take(MAGIC.len() as u64).read_to_end(&mut start)?;
        let is_gzip = start == MAGIC;
        let input = Cursor::new(start).chain(input);
        Ok(match is_gzip {
            true => Self::Gzip(Box::new(MultiGzDecoder::new(input))),
            false => Self::Plain(input),
        })
    }

    /// The same input with a buffer.
    pub(crate) fn buffered(self) -> impl BufRead {
        BufReader::new(self)
    }
}

impl<R: Read> Read for Decompressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(input) => input.read(buffer),
            Self::Gzip(input) => input.read(buffer).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    io::Error::new(error.kind(), "the gzip data ends too early")
                }
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                    io::Error::new(error.kind(), "the gzip data is damaged")
                }
                _ => error,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn compressed(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).expect("memory");
        encoder.finish().expect("memory")
    }

    fn read(bytes: &[u8]) -> io::Result<String> {
        let mut text = String::new();
        Decompressed::new(bytes)?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn plain_and_compressed_inputs_read_the_same() {
        let members = [compressed("one\n"), compressed("two\n")].concat();
        for (bytes, text) in [
            (&b""[..], ""),
            (b"x", "x"),
            (b"plain\n", "plain\n"),
            (&compressed(""), ""),
            (&members, "one\ntwo\n"),
        ] {
            assert_eq!(read(bytes).expect("valid"), text);
        }
    }

    #[test]
    fn damaged_data_is_an_error() {
        let whole = compressed("a longer text, so that the data can be cut anywhere");
        for length in 2..whole.len() {
            let error = read(&whole[..length]).expect_err("cut").to_string();
            assert_eq!(error, "the gzip data ends too early", "{length}");
        }
        let mut damaged = whole.clone();
        damaged[20] ^= 0xff;
        assert!(read(&damaged).is_err());
    }
}
