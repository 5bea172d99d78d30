//! Why a document is refused: a place, and one of a closed set of problems. Each problem states
//! what was found and what was expected, and the fix where there is one.

use std::fmt;

use super::span::Span;

/// The first mistake in a document, as one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The place as a JSON path, such as `routes[2].timeouts.request`; `configuration` for the
    /// whole document.
    pub place: String,
    /// The quoted name of the route that contains the place. People know their routes by name.
    pub route: Option<Box<str>>,
    /// The mistake at that place. Boxed, because many functions return this type and few create it.
    pub problem: Box<Problem>,
}

impl ConfigError {
    /// Adds the name of the route that contains the place.
    pub(super) fn in_route(self, name: &str) -> Self {
        Self { route: Some(quoted(name).into()), ..self }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_place(f, &self.place, self.route.as_deref())?;
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for ConfigError {}

/// Writes `routes[2] "reports": timeouts.request` for a place in a route whose name is known, else
/// the place.
pub(crate) fn write_place(
    f: &mut fmt::Formatter<'_>,
    place: &str,
    route: Option<&str>,
) -> fmt::Result {
    let Some(route) = route else { return f.write_str(place) };
    match place.split_once("].") {
        Some((index, field)) => write!(f, "{index}] {route}: {field}"),
        None => write!(f, "{place} {route}"),
    }
}

/// The longest part of a string that an error shows, in characters.
const SHOWN: usize = 48;

/// A string as an error shows it: in quotes, with escapes, cut if long.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// One mistake in a document. `found` is the text that was written, or a description of it if a
/// secret must not appear.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The document exceeds the limit.
    #[error("found {found} bytes, expected at most {limit}")]
    TooLarge {
        /// Bytes.
        found: usize,
        /// Bytes.
        limit: usize,
    },
    /// The document is empty or white space.
    #[error("found no text, expected JSON; the smallest configuration is {{\"version\":1}}")]
    Empty,
    /// The document is not text.
    #[error("found invalid UTF-8 at byte {at}, expected JSON text")]
    NotUtf8 {
        /// The position of the first invalid byte.
        at: usize,
    },
    /// The document is not JSON.
    #[error("not valid JSON at line {line}, column {column}: {reason}")]
    NotJson {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// The parser's message.
        reason: String,
    },
    /// A value of another type, or out of range.
    #[error("found {found}, expected {expected}{}", Fix(.fix))]
    Unexpected {
        /// The value.
        found: String,
        /// The valid values.
        expected: &'static str,
        /// The probably intended value, as JSON.
        fix: Option<String>,
    },
    /// A string outside a closed set.
    #[error("found {found}, expected one of {}", Listed(.known))]
    UnknownWord {
        /// The value.
        found: String,
        /// The valid strings.
        known: &'static [&'static str],
    },
    /// A field that this version does not have.
    #[error("unknown field, expected one of {}", Listed(.known))]
    UnknownField {
        /// The valid fields.
        known: &'static [&'static str],
    },
    /// A field that occurs twice in one object.
    #[error("found twice in one object, expected once")]
    RepeatedField,
    /// A required field.
    #[error("missing, expected {expected}")]
    Missing {
        /// The valid values.
        expected: &'static str,
    },
    /// A field that is valid elsewhere or in other circumstances.
    #[error("{reason}")]
    Misplaced {
        /// The mistake and the fix.
        reason: &'static str,
    },
    /// A duration without a unit.
    #[error("found {found}, expected a duration with a unit; write \"{digits}s\"")]
    NoUnit {
        /// The value.
        found: String,
        /// The number in it.
        digits: String,
    },
    /// A unit other than `ms`, `s`, `m`, `h`.
    #[error("found {found} with the unit {unit}, expected ms, s, m or h")]
    UnknownUnit {
        /// The value.
        found: String,
        /// The unit.
        unit: String,
    },
    /// A duration out of range.
    #[error("found {found}, expected a duration from {min} to {max}")]
    DurationOutOfRange {
        /// The value.
        found: String,
        /// The shortest valid duration.
        min: Span,
        /// The longest valid duration.
        max: Span,
    },
    /// A regular expression that does not compile.
    #[error("{found} is not a valid regular expression: {reason}")]
    BadRegex {
        /// The pattern.
        found: String,
        /// The compiler's message.
        reason: String,
    },
    /// A name that must be unique.
    #[error("found {found}, already the name of {first}; expected a unique name")]
    DuplicateName {
        /// The name.
        found: String,
        /// The place of the first route with this name.
        first: String,
    },
    /// More hosts than an index can hold at a reasonable cost.
    #[error(
        "found {found} hosts in all routes together, expected at most {limit}; write a pattern such as \"*.example.com\", or use separate plugins"
    )]
    TooManyHosts {
        /// The number of hosts.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A name that no route has.
    #[error("found {found}, expected the name of a route in this configuration")]
    NoSuchRoute {
        /// The name.
        found: String,
    },
    /// An object that must have exactly one of some fields.
    #[error("found {found} conditions, expected exactly one of {}", Listed(.known))]
    NotExactlyOne {
        /// The number of these fields in the object.
        found: usize,
        /// The fields.
        known: &'static [&'static str],
    },
}

struct Listed<'a>(&'a &'static [&'static str]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(index, word)| {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{word}")
        })
    }
}

struct Fix<'a>(&'a Option<String>);

impl fmt::Display for Fix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |fix| write!(f, "; write {fix}"))
    }
}
