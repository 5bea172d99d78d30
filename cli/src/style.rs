//! How the program's output looks: colours where somebody looks, and durations that can be read.

use std::fmt::{self, Display};
use std::time::Duration;

/// Colours, or none where the output is no terminal or the user wants none (`NO_COLOR`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    colours: bool,
}

impl Style {
    /// The style for an output that is a terminal or not.
    pub(crate) fn new(terminal: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colours: terminal && !refused }
    }

    /// Good news.
    pub(crate) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Bad news.
    pub(crate) fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// What stands back.
    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// What stands out.
    pub(crate) fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self.colours && !text.is_empty() {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// A duration with at most three digits behind the point: `250ms`, `1.5s`, `2m5s`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Short(pub(crate) Duration);

impl Display for Short {
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

/// `value / unit` with three decimals, without zeros at the end.
fn decimal(value: u128, unit: u128) -> String {
    let thousandths = value * 1000 / unit;
    let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Text that comes from traces, filters and proxies, with its control characters written out: a row stays a row,
/// and nobody else's escapes reach the terminal.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for char in text.chars() {
        match char.is_control() {
            true => printable.extend(char.escape_default()),
            false => printable.push(char),
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        for (nanoseconds, text) in [
            (0, "0ms"),
            (1_500, "1.5µs"),
            (250_000_000, "250ms"),
            (15_000_000_000, "15s"),
            (1_234_567_890, "1.234s"),
            (125_000_000_000, "2m5s"),
            (600_000_000_000, "10m"),
        ] {
            assert_eq!(Short(Duration::from_nanos(nanoseconds)).to_string(), text);
        }
    }

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(printable("/a\0b\n\u{1b}[31m é"), "/a\\u{0}b\\n\\u{1b}[31m é");
    }
}
