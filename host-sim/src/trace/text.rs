//! The scalars of a trace: borrowed strings, and durations with a unit.
//!
//! serde's own types do not fit: it copies each `Cow` inside a list, and it reads a `Duration` as
//! an object with two numbers.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::time::{Duration, UNIX_EPOCH};

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// The latest time that the clock of a host can have, in nanoseconds of 64 bits.
const MAX_TIME: Duration = Duration::from_nanos(u64::MAX);

/// Parses a time in RFC 3339, such as `2026-01-01T00:00:00Z`, to the duration since the Unix epoch.
/// Rejects the Unix epoch itself: no clock of a proxy is zero.
///
/// # Errors
/// If the text is not such a time, or the clock of a host cannot have it.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let since =
        humantime::parse_rfc3339(text).ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    match since {
        Some(since) if !since.is_zero() && since < MAX_TIME - MAX_DURATION => Ok(since),
        _ => Err(format!(
            "invalid time {text:?}, expected a time between 1970 and 2522 such as \"2026-01-01T00:00:00Z\""
        )),
    }
}

/// A string that borrows from the trace unless it contains escapes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Text<'a>(pub Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// The longest duration in a trace, about 31 years: longer than any recording, and short enough
/// that sums of durations do not overflow.
const MAX_DURATION: Duration = Duration::from_secs(1_000_000_000);

/// Parses a duration with a unit, such as `250ms` or `1m30s`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    if let Some(duration) = one_unit(text) {
        return Ok(duration);
    }
    let trimmed = text.trim();
    if trimmed.starts_with('-') {
        return Err(format!("{text:?} is negative; write a duration such as \"250ms\""));
    }
    if !trimmed.is_empty() && trimmed.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("{text:?} has no unit; write \"{trimmed}s\" or \"{trimmed}ms\""));
    }
    match humantime::parse_duration(trimmed) {
        Ok(duration) if duration <= MAX_DURATION => Ok(duration),
        Ok(_) => Err(format!("{text:?} is too long; expected at most {}s", MAX_DURATION.as_secs())),
        Err(_) => {
            Err(format!("{text:?} is not a duration; write one such as \"250ms\" or \"1m30s\""))
        }
    }
}

/// The common durations, digits and one unit, without a general parser.
fn one_unit(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at(digits);
    // More digits could exceed the longest duration.
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    let number = digits.bytes().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    match unit {
        "s" => Some(Duration::from_secs(number)),
        "ms" => Some(Duration::from_millis(number)),
        "us" => Some(Duration::from_micros(number)),
        "ns" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// Deserializes a duration with a unit.
pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    struct DurationVisitor;
    impl Visitor<'_> for DurationVisitor {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration with a unit, such as \"250ms\"")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
            parse_duration(text).map_err(E::custom)
        }
    }
    deserializer.deserialize_str(DurationVisitor)
}

/// Deserializes a time as [`parse_time`] does, for a field that may be absent.
pub(crate) fn optional_time<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = Option::<Text<'de>>::deserialize(deserializer)?;
    text.map(|text| parse_time(&text).map_err(D::Error::custom)).transpose()
}

/// As [`duration`], for a field that may be absent.
pub(crate) fn optional_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    #[derive(serde::Deserialize)]
    struct WithUnit(#[serde(deserialize_with = "duration")] Duration);
    Ok(Option::<WithUnit>::deserialize(deserializer)?.map(|WithUnit(duration)| duration))
}

#[cfg(test)]
mod tests {
    use super::{one_unit, parse_duration};

    #[test]
    fn common_durations_are_parsed_as_the_general_parser_does() {
        for text in ["0s", "5ms", "007us", "999999999s", "123456789ns"] {
            let general = humantime::parse_duration(text).expect(text);
            assert_eq!((one_unit(text), parse_duration(text)), (Some(general), Ok(general)));
        }
        for text in ["1m", "1.5s", " 5ms", "5ms ", "1s500ms", "1234567890s", "ms", "5", "5S"] {
            assert_eq!(one_unit(text), None, "{text}");
        }
    }
}
