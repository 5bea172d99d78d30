//! The secret that opens an admin path. It comes from a file or from the environment, never from the command line, which
//! every user of the machine can read; and no output or error repeats it.

use std::path::{Path, PathBuf};

use thiserror::Error;
use ureq::http::HeaderValue;

use crate::files::{self, FileError};

/// The variable of the environment that may hold it.
pub(crate) const VARIABLE: &str = "SLUICE_TOKEN";

/// The longest file that is read for one, in bytes; a request with more would be refused anyway.
const LONGEST: u64 = 16 * 1024;

/// A token, in the form in which a request carries it.
#[derive(Debug, Clone)]
pub(crate) struct Token(HeaderValue);

/// Why there is no token.
#[derive(Debug, Error)]
pub(crate) enum TokenError {
    /// Its file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is nothing in its place.
    #[error("{place}: found nothing, expected a token")]
    Empty {
        /// A file or a variable.
        place: String,
    },
    /// What is there cannot be sent.
    #[error("{place}: found more than one line of plain ASCII text, expected a token")]
    Unfit {
        /// A file or a variable.
        place: String,
    },
}

impl Token {
    /// The token in `file`, or else in the environment; `None` when nobody names one.
    pub(crate) fn find(file: Option<&Path>) -> Result<Option<Self>, TokenError> {
        let found = match file {
            Some(path) => Some((path.display().to_string(), files::read_at_most(path, LONGEST)?)),
            // An empty variable is how scripts unset one.
            None => std::env::var_os(VARIABLE)
                .filter(|value| !value.is_empty())
                .map(|value| (VARIABLE.to_owned(), value.into_encoded_bytes())),
        };
        found.map(|(place, bytes)| Self::read(place, &bytes)).transpose()
    }

    /// The value of the request's `authorization`.
    pub(crate) fn header(&self) -> &HeaderValue {
        &self.0
    }

    fn read(place: String, bytes: &[u8]) -> Result<Self, TokenError> {
        // Editors and `echo` end a file with a line end.
        let token = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let token = token.strip_suffix(b"\r").unwrap_or(token);
        if token.is_empty() {
            return Err(TokenError::Empty { place });
        }
        let plain = token.iter().all(|byte| matches!(byte, b' '..=b'~'));
        let header = HeaderValue::from_bytes(&[b"Bearer ", token].concat());
        match header {
            Ok(mut header) if plain => {
                // So that nothing which prints a request prints it.
                header.set_sensitive(true);
                Ok(Self(header))
            }
            _ => Err(TokenError::Unfit { place }),
        }
    }
}

/// What the command line says about the token.
#[derive(Debug, clap::Args)]
pub(crate) struct TokenArguments {
    /// The file that holds the admin path's token; without it the environment does, in SLUICE_TOKEN
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl TokenArguments {
    /// The token, if somebody names one.
    pub(crate) fn find(&self) -> Result<Option<Token>, TokenError> {
        Token::find(self.token_file.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<String, String> {
        let token = Token::read("token".to_owned(), bytes).map_err(|error| error.to_string())?;
        assert!(!format!("{token:?}").contains("sesame"));
        Ok(token.header().to_str().expect("plain text").to_owned())
    }

    #[test]
    fn one_line_of_plain_text_is_a_token() {
        for file in [&b"open sesame"[..], b"open sesame\n", b"open sesame\r\n"] {
            assert_eq!(read(file).as_deref(), Ok("Bearer open sesame"));
        }
        for file in [&b""[..], b"\n", b"open\nsesame", b"sesame\0", b"s\xc3\xa9same", b"\xff"] {
            let error = read(file).expect_err("no token");
            assert!(error.starts_with("token: found "), "{error}");
            assert!(!error.contains("same"), "{error}");
        }
    }
}
