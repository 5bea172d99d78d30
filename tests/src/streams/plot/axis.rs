//! The axes. Both are logarithmic: one in the share of slower events, the other in time.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;

/// The labeled shares of faster events.
const SHARES: [(f64, &str); 7] = [
    (0.0, "0"),
    (0.5, "median"),
    (0.9, "90 %"),
    (0.99, "99 %"),
    (0.999, "99.9 %"),
    (0.9999, "99.99 %"),
    (0.99999, "99.999 %"),
];

/// An axis with labeled positions.
pub(super) struct Axis {
    range: Range<f64>,
    labels: Vec<(f64, String)>,
}

impl Axis {
    /// An axis of shares, up to a [`position`].
    pub(super) fn of_shares(end: f64) -> Self {
        let labels = SHARES.map(|(share, name)| (position(share), name.to_owned()));
        Self::new(0.0..end, labels)
    }

    /// An axis of times between these logarithms of microseconds; 1, 2 and 5 of each power of ten
    /// are labeled.
    pub(super) fn of_times(range: Range<f64>) -> Self {
        let powers = range.start.floor() as i32..=range.end.ceil() as i32;
        let times = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)));
        Self::new(range, times.map(|time| (time.log10(), shown(time))))
    }

    fn new(range: Range<f64>, labels: impl IntoIterator<Item = (f64, String)>) -> Self {
        let within = |(at, _): &(f64, String)| (range.start..=range.end).contains(at);
        let labels = labels.into_iter().filter(within).collect();
        Self { range, labels }
    }
}

/// The position on the axis of the events that are slower than this share.
pub(super) fn position(share: f64) -> f64 {
    -(1.0 - share).log10()
}

fn shown(microseconds: f64) -> String {
    match microseconds {
        short if short < 1e3 => format!("{short:.0} µs"),
        long if long < 1e6 => format!("{:.0} ms", long / 1e3),
        seconds => format!("{:.0} s", seconds / 1e6),
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        RangedCoordf64::from(self.range.clone()).map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.labels.iter().map(|&(at, _)| at).collect()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Axis {
    #[expect(clippy::float_cmp, reason = "the values are the key points themselves")]
    fn format_ext(&self, value: &f64) -> String {
        let label = self.labels.iter().find(|(at, _)| at == value);
        label.map(|(_, text)| text.clone()).unwrap_or_default()
    }
}
