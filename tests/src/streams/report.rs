//! Writes the results: a plot with a table, the table in Markdown, all values in JSON.

use std::path::Path;
use std::{fs, io};

use comfy_table::{CellAlignment, Table, presets};
use indicatif::HumanCount;
use serde_json::{Value, json};

use super::event::Event;
use super::plot;
use super::results::Results;
use super::setup::{Memory, Setup};

const MIB: f64 = 1024.0 * 1024.0;

/// The reported quantiles of the delays.
const QUANTILES: [(&str, f64); 4] =
    [("median", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// The heading of the last column.
pub(super) const COMPARED: &str = "with the filter";

/// One figure for each setup, and the comparison of the setups with and without the filter.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) values: [String; Setup::ALL.len()],
    pub(super) compared: String,
}

impl Results {
    /// Writes `streams.svg`, `streams.md` and `streams.json` into a folder.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("streams.svg"), plot::draw(self))?;
        fs::write(
            folder.join("streams.md"),
            format!("# {}\n\n{}\n\n{}\n", self.title(), self.subtitle(), self.table()),
        )?;
        fs::write(folder.join("streams.json"), format!("{:#}\n", self.json()))
    }

    pub(super) fn title(&self) -> String {
        format!(
            "Delay per event, {} server-sent-event streams through one Envoy worker",
            HumanCount(self.plan.streams.into())
        )
    }

    pub(super) fn subtitle(&self) -> String {
        format!(
            "{} events/s of {} bytes, {} s per setup, in turns; from the upstream's write to the client's read, on one machine; ×: median of the turns",
            HumanCount(self.plan.events_per_second()),
            Event::LENGTH,
            self.plan.length.as_secs_f64(),
        )
    }

    /// The rows of the table.
    pub(super) fn rows(&self) -> Vec<Row> {
        let delays = Setup::ALL.map(|setup| self.delays(setup));
        let quantiles = QUANTILES.map(|(name, quantile)| Row {
            name: format!("delay of an event, {name}"),
            values: delays
                .each_ref()
                .map(|delays| shown(delays.value_at_quantile(quantile) as f64 / 1e3)),
            compared: format!("{:.2}×", self.ratio(quantile)),
        });
        let memory =
            |setup, of: fn(Memory) -> u64| self.memory(setup).map(|memory| of(memory) as f64);
        let streams = f64::from(self.plan.streams);
        let proxies = [
            row("Envoy's processor time per event", "µs", |setup| self.cpu(setup)),
            row("Envoy's share of a processor", "%", |setup| Some(100.0 * self.load(setup)?)),
            row("Envoy's memory with all streams", "MiB", |setup| {
                Some(memory(setup, |of| of.full)? / MIB)
            }),
            row("… before the first stream", "MiB", |setup| {
                Some(memory(setup, |of| of.empty)? / MIB)
            }),
            row("… per stream", "KiB", |setup| {
                Some(memory(setup, |of| of.full.saturating_sub(of.empty))? / streams / 1024.0)
            }),
        ];
        quantiles.into_iter().chain(proxies).collect()
    }

    /// The table in Markdown.
    pub fn table(&self) -> Table {
        let mut table = Table::new();
        let [direct, without, with] = Setup::ALL.map(Setup::name);
        table.load_style(presets::ASCII_MARKDOWN).set_header(["", direct, without, with, COMPARED]);
        for Row { name, values: [direct, without, with], compared } in self.rows() {
            table.add_row([name, direct, without, with, compared]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    fn json(&self) -> Value {
        let setups = Setup::ALL.map(|setup| {
            let memory = self.memory(setup);
            json!({
                "way": setup.name(),
                "events": self.events(setup),
                "events_per_second": self.rate(setup),
                "delay_us": quantiles(&self.delays(setup)),
                "cpu_us_per_event": self.cpu(setup),
                "cpu_share": self.load(setup),
                "memory_bytes": memory.map(|memory| memory.full),
                "memory_without_streams_bytes": memory.map(|memory| memory.empty),
                "turns": self.of(setup).map(|turn| json!({
                    "turn": turn.number,
                    "events": turn.events,
                    "delay_us": quantiles(&turn.delays),
                    "cpu_seconds": turn.cpu.map(|cpu| cpu.as_secs_f64()),
                })).collect::<Vec<_>>(),
            })
        });
        json!({
            "streams": self.plan.streams,
            "seconds": self.plan.length.as_secs_f64(),
            "events_per_second": self.plan.events_per_second(),
            "ratio": { "median": self.ratio(0.5), "p99": self.ratio(0.99) },
            "ways": setups,
        })
    }
}

/// A row of a figure that exists only for proxies.
fn row(name: &str, unit: &str, figure: impl Fn(Setup) -> Option<f64>) -> Row {
    let figures = Setup::ALL.map(figure);
    let [_, without, with] = figures;
    let difference =
        with.zip(without).map(|(with, without)| format!("{:+.1} {unit}", with - without));
    Row {
        name: name.to_owned(),
        values: figures
            .map(|figure| figure.map_or_else(String::new, |figure| format!("{figure:.1} {unit}"))),
        compared: difference.unwrap_or_default(),
    }
}

/// A time in microseconds; from 10,000 µs on in milliseconds.
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
