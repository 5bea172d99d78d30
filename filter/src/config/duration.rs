//! Reads durations. A number without a unit is refused: a reader of `10` cannot know whether it
//! means seconds or milliseconds.

use serde::Serialize;

use super::error::{ConfigError, Problem, quoted};
use super::json::Node;
use super::read::{Place, Read, text};
use super::span::{Span, UNITS};

/// The longest duration that a document can hold. A longer one is most likely a wrong unit.
const DAY: Span = Span::from_millis(24 * 3_600_000);

impl Read for Span {
    const EXPECTED: &'static str = "a duration with a unit, such as \"10s\" or \"250ms\"";

    /// Accepts every duration from `0s` to one day.
    fn read(node: &Node, at: &Place<'_>) -> Result<Self, ConfigError> {
        if let Node::Unsigned(number) = node {
            return at.unexpected_but(number, Self::EXPECTED, format!("\"{number}s\""));
        }
        let written = text(node, at, Self::EXPECTED)?;
        let found = || quoted(written);
        let out_of_range =
            || Problem::DurationOutOfRange { found: found(), min: Span::ZERO, max: DAY };
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
                None => return at.refuse(out_of_range()),
            }
            rest = tail;
        }
        let span = Self::from_millis(ms);
        if span > DAY { at.refuse(out_of_range()) } else { Ok(span) }
    }
}

/// A [`Span`] from `MIN` to `MAX` milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SpanWithin<const MIN: u64, const MAX: u64>(Span);

impl<const MIN: u64, const MAX: u64> SpanWithin<MIN, MAX> {
    /// The duration.
    pub const fn span(self) -> Span {
        self.0
    }
}

/// The time over which a drain spreads the closes; with `0s`, all close at once.
pub type Window = SpanWithin<0, 86_400_000>;

/// The interval at which workers read the drain record. Each read costs a host call, hence the
/// lower limit.
pub type Refresh = SpanWithin<10, 60_000>;

/// The interval at which the leader polls the control store.
pub type Interval = SpanWithin<100, 3_600_000>;

/// The timeout of one request to the control store.
pub type Timeout = SpanWithin<1, 60_000>;

/// How long the rest of a refused upload is received.
pub type LingeringTime = SpanWithin<100, 3_600_000>;

impl<const MIN: u64, const MAX: u64> Read for SpanWithin<MIN, MAX> {
    const EXPECTED: &'static str = Span::EXPECTED;

    fn read(node: &Node, at: &Place<'_>) -> Result<Self, ConfigError> {
        let span = Span::read(node, at)?;
        if (MIN..=MAX).contains(&span.as_millis()) {
            return Ok(Self(span));
        }
        at.refuse(Problem::DurationOutOfRange {
            found: node.to_string(),
            min: Span::from_millis(MIN),
            max: Span::from_millis(MAX),
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
