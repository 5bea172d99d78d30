//! The outcome for people and programs: a plot with the figures below it, the figures in Markdown, everything in JSON.

use std::path::Path;
use std::{fs, io};

use comfy_table::{CellAlignment, Table, presets};
use indicatif::HumanCount;
use serde_json::{Value, json};

use super::event::Event;
use super::figures::Figures;
use super::plot;
use super::way::{Memory, Way};

const MIB: f64 = 1024.0 * 1024.0;

/// The delays that are told.
const QUANTILES: [(&str, f64); 4] =
    [("median", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// What the last column tells.
pub(super) const COMPARED: &str = "with the filter";

/// One figure of each way, and how the filter compares.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) ways: [String; Way::ALL.len()],
    pub(super) compared: String,
}

impl Figures {
    /// Writes `streams.svg`, `streams.md` and `streams.json` into a folder.
    ///
    /// # Errors
    /// If that cannot be done.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("streams.svg"), plot::draw(self))?;
        fs::write(
            folder.join("streams.md"),
            format!("# {}\n\n{}\n\n{}\n", self.title(), self.subtitle(), self.table()),
        )?;
        fs::write(folder.join("streams.json"), format!("{:#}\n", self.json()))
    }

    /// What was measured.
    pub(super) fn title(&self) -> String {
        format!(
            "Delay per event, {} server-sent-event streams through one Envoy worker",
            HumanCount(self.plan.streams.into())
        )
    }

    /// How it was measured.
    pub(super) fn subtitle(&self) -> String {
        format!(
            "{} events/s of {} bytes, {} s each way, in turns; from the upstream's write to the client's read, on one machine; ×: median of the turns",
            HumanCount(self.plan.events_a_second()),
            Event::LENGTH,
            self.plan.length.as_secs_f64(),
        )
    }

    /// The figures, row by row.
    pub(super) fn rows(&self) -> Vec<Row> {
        let delays = Way::ALL.map(|way| self.delays(way));
        let quantiles = QUANTILES.map(|(name, quantile)| Row {
            name: format!("delay of an event, {name}"),
            ways: delays
                .each_ref()
                .map(|delays| shown(delays.value_at_quantile(quantile) as f64 / 1e3)),
            compared: format!("{:.2}×", self.ratio(quantile)),
        });
        let memory = |way, of: fn(Memory) -> u64| self.memory(way).map(|memory| of(memory) as f64);
        let streams = f64::from(self.plan.streams);
        let proxies = [
            row("Envoy's processor time for an event", "µs", |way| self.cpu(way)),
            row("Envoy's share of a processor", "%", |way| Some(100.0 * self.load(way)?)),
            row("Envoy's memory with all streams", "MiB", |way| {
                Some(memory(way, |of| of.full)? / MIB)
            }),
            row("… before the first one", "MiB", |way| Some(memory(way, |of| of.empty)? / MIB)),
            row("… for each stream", "KiB", |way| {
                Some(memory(way, |of| of.full.saturating_sub(of.empty))? / streams / 1024.0)
            }),
        ];
        quantiles.into_iter().chain(proxies).collect()
    }

    /// The same in Markdown.
    pub fn table(&self) -> Table {
        let mut table = Table::new();
        let [direct, without, with] = Way::ALL.map(Way::name);
        table.load_style(presets::ASCII_MARKDOWN).set_header(["", direct, without, with, COMPARED]);
        for Row { name, ways: [direct, without, with], compared } in self.rows() {
            table.add_row([name, direct, without, with, compared]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    fn json(&self) -> Value {
        let ways = Way::ALL.map(|way| {
            let memory = self.memory(way);
            json!({
                "way": way.name(),
                "events": self.events(way),
                "events_per_second": self.pace(way),
                "delay_us": quantiles(&self.delays(way)),
                "cpu_us_per_event": self.cpu(way),
                "cpu_share": self.load(way),
                "memory_bytes": memory.map(|memory| memory.full),
                "memory_without_streams_bytes": memory.map(|memory| memory.empty),
                "turns": self.of(way).map(|slice| json!({
                    "turn": slice.turn,
                    "events": slice.events,
                    "delay_us": quantiles(&slice.delays),
                    "cpu_seconds": slice.cpu.map(|cpu| cpu.as_secs_f64()),
                })).collect::<Vec<_>>(),
            })
        });
        json!({
            "streams": self.plan.streams,
            "seconds": self.plan.length.as_secs_f64(),
            "events_per_second": self.plan.events_a_second(),
            "ratio": { "median": self.ratio(0.5), "p99": self.ratio(0.99) },
            "ways": ways,
        })
    }
}

/// A figure that only proxies have.
fn row(name: &str, unit: &str, figure: impl Fn(Way) -> Option<f64>) -> Row {
    let figures = Way::ALL.map(figure);
    let [_, without, with] = figures;
    let difference =
        with.zip(without).map(|(with, without)| format!("{:+.1} {unit}", with - without));
    Row {
        name: name.to_owned(),
        ways: figures
            .map(|figure| figure.map_or_else(String::new, |figure| format!("{figure:.1} {unit}"))),
        compared: difference.unwrap_or_default(),
    }
}

/// A time in microseconds, or in milliseconds where those have too many digits.
fn shown(microseconds: f64) -> String {
    match microseconds {
        short if short < 10_000.0 => format!("{short:.0} µs"),
        long => format!("{:.0} ms", long / 1e3),
    }
}

fn quantiles(delays: &hdrhistogram::Histogram<u64>) -> Value {
    let all = QUANTILES.map(|(name, quantile)| {
        (name.to_owned(), json!(delays.value_at_quantile(quantile) as f64 / 1e3))
    });
    all.into_iter().collect()
}
