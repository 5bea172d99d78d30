//! Why a configuration is refused: a place, and one of a closed set of problems, each of which says what was found and what
//! was expected there.

use std::fmt;

use super::span::Span;

/// Why a configuration was refused; `Display` is one sentence, `place: found and expected`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct ConfigError {
    /// Where, as `routes[2].timeouts.request`; `configuration` when it is the document as a whole.
    pub place: String,
    /// What is wrong there. Boxed, because every reader hands this type on and few ever fill it.
    pub problem: Box<Problem>,
}

/// One mistake in a configuration. Fields named `found` carry what was written, quoted and cut for display.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The document exceeds the limit.
    #[error("{found} bytes; expected at most {limit}")]
    TooLarge {
        /// Bytes.
        found: usize,
        /// Bytes.
        limit: usize,
    },
    /// Nothing, or nothing but white space.
    #[error("empty; the smallest configuration is {{\"version\":1}}")]
    Empty,
    /// The document is not text.
    #[error("not valid UTF-8 at byte {at}; expected JSON text")]
    NotUtf8 {
        /// Position of the first bad byte.
        at: usize,
    },
    /// The document is not JSON.
    #[error("not valid JSON at line {line}, column {column}: {reason}")]
    NotJson {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What the JSON reader found.
        reason: String,
    },
    /// A value of another type, or outside a closed set.
    #[error("found {found}, expected {expected}")]
    Unexpected {
        /// The value.
        found: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// A value outside a closed set of words.
    #[error("found {found}, expected one of {}", Listed(.known))]
    UnknownWord {
        /// The value.
        found: String,
        /// The words.
        known: &'static [&'static str],
    },
    /// A field that this version does not know.
    #[error("unknown field; known here: {}", Listed(.known))]
    UnknownField {
        /// The fields that the object may have.
        known: &'static [&'static str],
    },
    /// A key that stands twice in one object.
    #[error("written twice in one object; expected once")]
    RepeatedField,
    /// A field that must be there.
    #[error("missing; expected {expected}")]
    Missing {
        /// What belongs there.
        expected: &'static str,
    },
    /// A field that asks for something a filter cannot do.
    #[error("{reason}")]
    NotOurs {
        /// Why, and where it belongs instead.
        reason: &'static str,
    },
    /// A number without a unit where a duration belongs.
    #[error("{found} has no unit; write \"{digits}s\"")]
    NoUnit {
        /// The text.
        found: String,
        /// The number in it.
        digits: String,
    },
    /// A unit other than `ms`, `s`, `m`, `h`.
    #[error("{found} has the unknown unit {unit}; expected ms, s, m or h")]
    UnknownUnit {
        /// The text.
        found: String,
        /// The unit.
        unit: String,
    },
    /// A duration outside its limits.
    #[error("{found} is out of range; expected a duration from {min} to {max}")]
    DurationOutOfRange {
        /// The text.
        found: String,
        /// The shortest one allowed.
        min: Span,
        /// The longest one allowed.
        max: Span,
    },
    /// A number outside its limits.
    #[error("{found} is out of range; expected {expected}")]
    OutOfRange {
        /// The value.
        found: String,
        /// The limits in words.
        expected: &'static str,
    },
    /// A regular expression that does not compile.
    #[error("{found} is not a regular expression that works here: {reason}")]
    BadRegex {
        /// The pattern.
        found: String,
        /// What the compiler of regular expressions says.
        reason: String,
    },
    /// A name that must be unique.
    #[error("{found} is also the name of {first}; expected a name of its own")]
    DuplicateName {
        /// The name.
        found: String,
        /// The place of its first owner.
        first: String,
    },
    /// A name that refers to no route.
    #[error("{found} is not the name of a route of this configuration")]
    NoSuchRoute {
        /// The name.
        found: String,
    },
    /// An object that must have exactly one of some fields.
    #[error("{found} conditions given; expected exactly one of {}", Listed(.known))]
    NotExactlyOne {
        /// How many are there.
        found: usize,
        /// The fields to choose from.
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
