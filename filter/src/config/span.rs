//! A length of time as the configuration writes it: digits with a unit, `250ms`, `3s`, `1m30s`.

use std::fmt;

use serde::{Serialize, Serializer};

/// A duration with a resolution of one millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    ms: u64,
}

/// The units, longest first. A written duration uses them in this order, each at most once.
pub(super) const UNITS: [(&str, u64); 4] =
    [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Span {
    /// The duration zero, which the configuration writes as `0s`.
    pub const ZERO: Self = Self { ms: 0 };

    /// A duration of `ms` milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self { ms }
    }

    /// The number of milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.ms
    }

    /// Whether this is `0s`.
    pub const fn is_zero(self) -> bool {
        self.ms == 0
    }
}

impl fmt::Display for Span {
    /// Writes the shortest text that parses to this duration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
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
