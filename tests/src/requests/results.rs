//! The measured values, the figures computed from them, and the report.

use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::Origin;
use super::setup::{
    HANDWRITTEN, HANDWRITTEN_AUTO, HANDWRITTEN_DRAIN, LUA, NO_FILTERS, SLUICE, SLUICE_AUTO,
    SLUICE_DRAIN,
};

/// The measurement of one setup in one turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    pub(super) requests: u32,
    pub(super) took: Duration,
    /// The processor time of Envoy's worker.
    pub(super) worker: Duration,
}

impl Turn {
    fn rate(&self) -> f64 {
        f64::from(self.requests) / self.took.as_secs_f64()
    }

    /// The processor time of a request in microseconds.
    fn cost(&self) -> f64 {
        self.worker.as_secs_f64() * 1e6 / f64::from(self.requests)
    }
}

/// The setups whose rates have goals: name, setup, and the one with which it is compared.
const COMPARED: [(&str, &str, &str); 4] = [
    ("lua", SLUICE, LUA),
    ("handwritten", SLUICE, HANDWRITTEN),
    ("handwritten-auto", SLUICE_AUTO, HANDWRITTEN_AUTO),
    ("handwritten-drain", SLUICE_DRAIN, HANDWRITTEN_DRAIN),
];

/// The result of a run.
#[derive(Debug)]
pub struct Results {
    names: Vec<String>,
    /// The turns of each setup, by origin and setup.
    turns: [Vec<Vec<Turn>>; Origin::ALL.len()],
}

impl Results {
    pub(super) fn new(names: Vec<String>, turns: [Vec<Vec<Turn>>; Origin::ALL.len()]) -> Self {
        Self { names, turns }
    }

    fn turns(&self, origin: Origin, name: &str) -> &[Turn] {
        let index = self.names.iter().position(|known| known == name).expect("a setup");
        &self.turns[origin as usize][index]
    }

    /// The median of a comparison of two setups, over the rounds.
    fn compare(
        &self,
        origin: Origin,
        name: &str,
        base: &str,
        compare: impl Fn(&Turn, &Turn) -> f64,
    ) -> f64 {
        let pairs = self.turns(origin, name).iter().zip(self.turns(origin, base));
        median(pairs.map(|(turn, base)| compare(turn, base)).collect())
    }

    fn rate_ratio(&self, origin: Origin, name: &str, base: &str) -> f64 {
        self.compare(origin, name, base, |turn, base| turn.rate() / base.rate())
    }

    /// The table in Markdown: for each origin the rate, and the processor time that the setup adds.
    pub fn table(&self) -> Table {
        let mut table = Table::new();
        let mut header = vec![String::new()];
        for origin in Origin::ALL {
            header.push(format!("{}: requests/s", origin.name()));
            header.push("worker, per request".to_owned());
        }
        table.load_style(presets::ASCII_MARKDOWN).set_header(header);
        for name in &self.names {
            let mut row = vec![name.clone()];
            for origin in Origin::ALL {
                row.push(format!("{:.2}×", self.rate_ratio(origin, name, NO_FILTERS)));
                row.push(if name == NO_FILTERS {
                    let cost = self.turns(origin, name).iter().map(Turn::cost);
                    format!("{:.1} µs", median(cost.collect()))
                } else {
                    let added = self
                        .compare(origin, name, NO_FILTERS, |turn, base| turn.cost() - base.cost());
                    format!("{added:+.1} µs")
                });
            }
            table.add_row(row);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// Writes `requests.md` and `requests.json` into a folder.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("requests.md"), format!("{}\n", self.table()))?;
        fs::write(folder.join("requests.json"), format!("{:#}\n", self.json()))
    }

    fn json(&self) -> Value {
        let origins = Origin::ALL.map(|origin| {
            let ratios = COMPARED.map(|(name, setup, base)| {
                (name.to_owned(), json!(self.rate_ratio(origin, setup, base)))
            });
            let setups = self.names.iter().map(|name| {
                let turns = self.turns(origin, name);
                let figures =
                    |figure: fn(&Turn) -> f64| turns.iter().map(figure).collect::<Vec<_>>();
                json!({ "name": name, "requests_per_second": figures(Turn::rate),
                        "worker_us": figures(Turn::cost) })
            });
            let figures = json!({ "ratios": serde_json::Map::from_iter(ratios),
                                  "setups": setups.collect::<Vec<_>>() });
            (origin.name().to_owned(), figures)
        });
        serde_json::Map::from_iter(origins).into()
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    (figures[middle] + figures[(figures.len() - 1) / 2]) / 2.0
}
