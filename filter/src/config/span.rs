//! A span of time as the configuration writes it: digits with a unit, `250ms`, `3s`, `1m30s`. A bare number is refused, because
//! nobody who reads `10` later knows whether somebody meant milliseconds.

use std::fmt;

use serde::{Serialize, Serializer};

use super::error::{ConfigError, Problem};
use super::json::{Node, quoted};
use super::read::{Place, Read, text};

/// A duration with a resolution of a millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    ms: u64,
}

/// Units from the longest to the shortest, which is also the order in which they may follow each other.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// No limit of a request is longer than a day; a longer one is a mistake in the unit.
const DAY: Span = Span { ms: 24 * 3_600_000 };

impl Span {
    /// A span of `ms` milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self { ms }
    }

    /// The span in milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.ms
    }
}

impl fmt::Display for Span {
    /// The shortest text that reads back as this span.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ms == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.ms;
        UNITS.iter().try_for_each(|(unit, length)| {
            let count = rest / length;
            rest %= length;
            if count == 0 { Ok(()) } else { write!(f, "{count}{unit}") }
        })
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Read for Span {
    const EXPECTED: &'static str = "a duration with a unit, such as \"10s\" or \"250ms\"";

    /// Any span from `0s` to a day.
    fn read(node: &Node, at: &Place<'_>) -> Result<Self, ConfigError> {
        let written = text(node, at, Self::EXPECTED)?;
        let found = || quoted(written);
        let too_long =
            || Problem::DurationOutOfRange { found: found(), min: Self { ms: 0 }, max: DAY };
        let mut rest = written;
        let mut ms = 0_u64;
        let mut units = UNITS.iter();
        while !rest.is_empty() || written.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            if digits == 0 {
                return at.unexpected(found(), Self::EXPECTED);
            }
            let (number, tail) = rest.split_at(digits);
            let letters =
                tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
            let (unit, tail) = tail.split_at(letters);
            if unit.is_empty() && tail.is_empty() {
                return at.refuse(Problem::NoUnit { found: found(), digits: number.to_owned() });
            }
            if unit.is_empty() {
                return at
                    .unexpected(found(), "whole numbers, each with a unit, such as \"1m30s\"");
            }
            if !UNITS.iter().any(|(name, _)| *name == unit) {
                let unit = quoted(unit);
                return at.refuse(Problem::UnknownUnit { found: found(), unit });
            }
            let Some((_, length)) = units.find(|(name, _)| *name == unit) else {
                return at
                    .unexpected(found(), "each unit once, the longest first, such as \"1m30s\"");
            };
            let part = number.parse::<u64>().ok().and_then(|count| count.checked_mul(*length));
            match part.and_then(|part| ms.checked_add(part)) {
                Some(sum) => ms = sum,
                None => return at.refuse(too_long()),
            }
            rest = tail;
        }
        let span = Self { ms };
        if span > DAY { at.refuse(too_long()) } else { Ok(span) }
    }
}

/// A [`Span`] between `MIN` and `MAX` milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SpanWithin<const MIN: u64, const MAX: u64>(Span);

impl<const MIN: u64, const MAX: u64> SpanWithin<MIN, MAX> {
    /// The span.
    pub const fn span(self) -> Span {
        self.0
    }
}

/// How long a drain may spread its closes: from 1ms, because nothing spreads over no time, to a day.
pub type Window = SpanWithin<1, 86_400_000>;

/// How often workers look at the drain record: often enough to matter, not so often that the look costs.
pub type Refresh = SpanWithin<10, 60_000>;

/// How often a control store is asked.
pub type Interval = SpanWithin<100, 3_600_000>;

/// How long a control store may take to answer.
pub type Timeout = SpanWithin<1, 60_000>;

impl<const MIN: u64, const MAX: u64> Read for SpanWithin<MIN, MAX> {
    const EXPECTED: &'static str = Span::EXPECTED;

    fn read(node: &Node, at: &Place<'_>) -> Result<Self, ConfigError> {
        let span = Span::read(node, at)?;
        if (MIN..=MAX).contains(&span.ms) {
            return Ok(Self(span));
        }
        at.refuse(Problem::DurationOutOfRange {
            found: node.to_string(),
            min: Span { ms: MIN },
            max: Span { ms: MAX },
        })
    }
}

#[cfg(feature = "schema")]
mod schema {
    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    use super::{Span, SpanWithin};

    impl JsonSchema for Span {
        fn schema_name() -> Cow<'static, str> {
            "Span".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({
                "type": "string",
                "description": "A duration: whole numbers, each with a unit, the longest first, such as 250ms, 3s, 1m30s.",
                "pattern": "^(?=.)([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"
            })
        }
    }

    impl<const MIN: u64, const MAX: u64> JsonSchema for SpanWithin<MIN, MAX> {
        fn inline_schema() -> bool {
            true
        }

        fn schema_name() -> Cow<'static, str> {
            Span::schema_name()
        }

        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            generator.subschema_for::<Span>()
        }
    }
}
