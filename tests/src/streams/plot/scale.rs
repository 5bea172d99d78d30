//! The axes: both are logarithmic, one in what is left of the events, the other in time.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;

/// The named shares of the events.
const SHARES: [(f64, &str); 7] = [
    (0.0, "0"),
    (0.5, "median"),
    (0.9, "90 %"),
    (0.99, "99 %"),
    (0.999, "99.9 %"),
    (0.9999, "99.99 %"),
    (0.99999, "99.999 %"),
];

/// An axis with named places.
pub(super) struct Scale {
    range: Range<f64>,
    names: Vec<(f64, String)>,
}

impl Scale {
    /// Shares of the events, up to a [`place`].
    pub(super) fn of_shares(end: f64) -> Self {
        let names = SHARES.map(|(share, name)| (place(share), name.to_owned()));
        Self::new(0.0..end, names)
    }

    /// Times between these logarithms of microseconds, of which 1, 2 and 5 of each power are named.
    pub(super) fn of_times(range: Range<f64>) -> Self {
        let powers = range.start.floor() as i32..=range.end.ceil() as i32;
        let times = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10f64.powi(power)));
        Self::new(range, times.map(|time| (time.log10(), shown(time))))
    }

    fn new(range: Range<f64>, names: impl IntoIterator<Item = (f64, String)>) -> Self {
        let within = |(place, _): &(f64, String)| (range.start..=range.end).contains(place);
        let names = names.into_iter().filter(within).collect();
        Self { range, names }
    }
}

/// Where on the axis the events that are slower than this share of them begin.
pub(super) fn place(share: f64) -> f64 {
    -(1.0 - share).log10()
}

fn shown(microseconds: f64) -> String {
    match microseconds {
        short if short < 1e3 => format!("{short:.0} µs"),
        long if long < 1e6 => format!("{:.0} ms", long / 1e3),
        endless => format!("{:.0} s", endless / 1e6),
    }
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        RangedCoordf64::from(self.range.clone()).map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.names.iter().map(|&(place, _)| place).collect()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Scale {
    #[expect(clippy::float_cmp, reason = "the axis asks for its own key points")]
    fn format_ext(&self, value: &f64) -> String {
        let named = self.names.iter().find(|(place, _)| place == value);
        named.map(|(_, name)| name.clone()).unwrap_or_default()
    }
}
