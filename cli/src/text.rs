//! Text that several commands print: short durations, counted nouns, and foreign text that is safe
//! to print.

use std::fmt::{self, Display};
use std::time::Duration;

/// A duration with at most three decimals: `250ms`, `1.5s`, `2m5s`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShortDuration(pub(crate) Duration);

impl Display for ShortDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanoseconds = self.0.as_nanos();
        let (text, unit) = match nanoseconds {
            0 => return f.pad("0ms"),
            1..1_000_000 => (decimal(nanoseconds, 1_000), "µs"),
            1_000_000..1_000_000_000 => (decimal(nanoseconds, 1_000_000), "ms"),
            1_000_000_000..60_000_000_000 => (decimal(nanoseconds, 1_000_000_000), "s"),
            _ => {
                let seconds = self.0.as_secs();
                return f.pad(&match seconds % 60 {
                    0 => format!("{}m", seconds / 60),
                    rest => format!("{}m{rest}s", seconds / 60),
                });
            }
        };
        f.pad(&format!("{text}{unit}"))
    }
}

/// `value / unit` with three decimals and without trailing zeros.
fn decimal(value: u128, unit: u128) -> String {
    let thousandths = value * 1000 / unit;
    let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Escapes control characters in text from traces, filters and proxies. A row stays one row, and no
/// foreign escape sequence reaches the terminal.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for char in text.chars() {
        match char.is_control() || is_direction(char) {
            true => printable.extend(char.escape_default()),
            false => printable.push(char),
        }
    }
    printable
}

/// Whether a character changes the direction of the text around it (Unicode TR 9), which can hide or
/// reorder text.
fn is_direction(char: char) -> bool {
    matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// At most `width` characters; `…` stands for the rest.
pub(crate) fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// The lines of a text, of at most `width` characters. Lines break at spaces, and in words that are
/// longer than a line.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some((limit, next)) = rest.char_indices().nth(width.max(1)) {
        let space = match next {
            ' ' => Some(limit),
            _ => rest[..limit].rfind(' ').filter(|at| *at > 0),
        };
        let (end, start) = space.map_or((limit, limit), |at| (at, at + 1));
        lines.push(&rest[..end]);
        rest = &rest[start..];
    }
    lines.push(rest);
    lines
}

/// A number with its noun: `1 request`, `2 requests`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// [`count`] for the length of a list.
pub(crate) fn count_items(number: usize, noun: &str) -> String {
    count(number as u64, noun)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_at_most_three_decimals() {
        for (nanoseconds, text) in [
            (0, "0ms"),
            (1_500, "1.5µs"),
            (250_000_000, "250ms"),
            (15_000_000_000, "15s"),
            (1_234_567_890, "1.234s"),
            (125_000_000_000, "2m5s"),
            (600_000_000_000, "10m"),
        ] {
            assert_eq!(ShortDuration(Duration::from_nanos(nanoseconds)).to_string(), text);
        }
    }

    #[test]
    fn long_text_is_shortened() {
        let cases = [(4, "äöüß"), (3, "äö…"), (1, "…"), (0, "…")];
        for (width, expected) in cases {
            assert_eq!(shortened("äöüß", width), expected);
        }
    }

    #[test]
    fn text_is_wrapped_at_spaces() {
        for (width, expected) in [
            (100, &["ein größerer Satz"][..]),
            (12, &["ein größerer", "Satz"]),
            (11, &["ein", "größerer", "Satz"]),
            (4, &["ein", "größ", "erer", "Satz"]),
        ] {
            assert_eq!(wrapped("ein größerer Satz", width), expected, "{width}");
        }
        assert_eq!(wrapped("", 5), [""]);
        assert_eq!(wrapped(" äb", 2), [" ä", "b"]);
        assert_eq!(wrapped("äb", 0), ["ä", "b"]);
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable("/a\0b\n\u{1b}[31m é"), "/a\\u{0}b\\n\\u{1b}[31m é");
        assert_eq!(printable("a\u{202e}b\u{2066}"), "a\\u{202e}b\\u{2066}");
    }

    #[test]
    fn counts_other_than_one_are_plural() {
        assert_eq!([0, 1, 2].map(|n| count(n, "row")), ["0 rows", "1 row", "2 rows"]);
    }
}
