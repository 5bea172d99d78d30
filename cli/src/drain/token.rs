//! The bearer token of an admin path.
//!
//! It comes from a file or from the environment. Arguments are not an option, because every user of
//! the machine can read them. No output and no error contains the token.

use std::path::{Path, PathBuf};

use thiserror::Error;
use ureq::http::HeaderValue;

use crate::files::{self, FileError};

/// The environment variable that may hold the token.
pub(crate) const VARIABLE: &str = "SLUICE_TOKEN";

/// The longest token file that is read, in bytes. No proxy accepts a longer header.
const MAX_FILE: u64 = 16 * 1024;

/// The value of the header `authorization`.
#[derive(Debug, Clone)]
pub(crate) struct Token(HeaderValue);

/// Why a token could not be read. `place` is a file or the variable.
#[derive(Debug, Error)]
pub(crate) enum TokenError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{place}: empty, expected a token")]
    Empty { place: String },
    #[error("{place}: expected a token, which is one line of printable ASCII characters")]
    NotPlainText { place: String },
}

#[derive(Debug, clap::Args)]
pub(crate) struct TokenArguments {
    /// File with the bearer token of the admin path [default: the environment variable
    /// SLUICE_TOKEN]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl TokenArguments {
    /// Reads the token; `None` if neither the argument nor the variable is set.
    pub(crate) fn read(&self) -> Result<Option<Token>, TokenError> {
        Token::read(self.token_file.as_deref())
    }
}

impl Token {
    fn read(file: Option<&Path>) -> Result<Option<Self>, TokenError> {
        let found = match file {
            Some(path) => Some((path.display().to_string(), files::read_limited(path, MAX_FILE)?)),
            // Some scripts set a variable to nothing to unset it.
            None => std::env::var_os(VARIABLE)
                .filter(|value| !value.is_empty())
                .map(|value| (VARIABLE.to_owned(), value.into_encoded_bytes())),
        };
        found.map(|(place, bytes)| Self::parse(place, &bytes)).transpose()
    }

    pub(crate) fn header(&self) -> &HeaderValue {
        &self.0
    }

    fn parse(place: String, bytes: &[u8]) -> Result<Self, TokenError> {
        // Editors and `echo` end a file with a line break.
        let token = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let token = token.strip_suffix(b"\r").unwrap_or(token);
        if token.is_empty() {
            return Err(TokenError::Empty { place });
        }
        let is_plain = token.iter().all(|byte| matches!(byte, b' '..=b'~'));
        let header = HeaderValue::from_bytes(&[b"Bearer ", token].concat());
        match header {
            Ok(mut header) if is_plain => {
                // Keeps the token out of debug output.
                header.set_sensitive(true);
                Ok(Self(header))
            }
            _ => Err(TokenError::NotPlainText { place }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<String, TokenError> {
        let token = Token::parse("token".to_owned(), bytes)?;
        assert!(!format!("{token:?}").contains("sesame"));
        Ok(token.header().to_str().expect("plain text").to_owned())
    }

    #[test]
    fn one_line_of_plain_text_is_a_token() {
        for file in [&b"open sesame"[..], b"open sesame\n", b"open sesame\r\n"] {
            assert_eq!(parse(file).expect("a token"), "Bearer open sesame");
        }
    }

    #[test]
    fn errors_do_not_contain_the_token() {
        for file in [&b""[..], b"\n", b"open\nsesame", b"sesame\0", b"s\xc3\xa9same", b"\xff"] {
            let error = parse(file).expect_err("not a token").to_string();
            assert!(error.starts_with("token: ") && error.contains("expected a token"), "{error}");
            assert!(!error.contains("same"), "{error}");
        }
    }
}
