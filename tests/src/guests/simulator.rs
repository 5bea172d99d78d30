//! Runs the rows on the simulator, as one trace.

use std::path::Path;
use std::time::Duration;

use sluice_sim::replay::{LogLine, Options, Report, replay};
use sluice_sim::trace::Trace;
use sluice_sim::{Limits, LogLevel, Module, Profile};

use super::rows::SETUP;
use super::{Observed, Row};

/// The time from one row to the next, in seconds. Each row ends well before.
const PERIOD: usize = 20;

/// Runs the rows of a guest.
///
/// # Panics
/// If the simulator rejects the module or a row.
pub(super) fn run(guest: &str, module: &Path, rows: &[Row]) -> Vec<Observed> {
    let wasm = std::fs::read(module).expect("the module is built");
    let module = Module::new(&wasm, &Limits::default())
        .unwrap_or_else(|error| panic!("the simulator rejects {guest}: {error}"));
    let text = trace(rows);
    let trace = Trace::parse("guests", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let options = Options::new(Profile::Envoy)
        .with_configuration(super::CONFIGURATION)
        .with_plugin_name(super::PLUGIN)
        .with_vm_id(super::vm_id(guest))
        .with_log_level(LogLevel::Trace)
        .with_hash_bodies(true);
    let report = replay(Some(&module), &trace, &options, &mut |_| {})
        .unwrap_or_else(|error| panic!("{guest}: {error}"));
    rows.iter().enumerate().map(|(number, row)| observed(row, number, &report)).collect()
}

fn trace(rows: &[Row]) -> String {
    let events = rows.iter().enumerate().map(|(number, row)| row.events(start(number)));
    SETUP.to_owned() + &events.collect::<String>()
}

/// The time of a row, in seconds. The first row does not begin with the plugin.
fn start(number: usize) -> usize {
    (number + 1) * PERIOD
}

fn observed(row: &Row, number: usize, report: &Report<'_>) -> Observed {
    let failures = report.failures().filter(|(_, id, _)| *id == row.name);
    let time = |number| Duration::from_secs(start(number) as u64);
    let is_in_row = |line: &&LogLine| (time(number)..time(number + 1)).contains(&line.at);
    let lines = report
        .log
        .iter()
        .filter(is_in_row)
        .flat_map(|line| line.text.lines().map(|text| format!("{} {text}", line.level.name())));
    Observed {
        mismatches: failures
            .map(|(_, _, failure)| {
                format!("{}: expected {}, found {}", failure.field, failure.want, failure.got)
            })
            .collect(),
        log: lines.filter(|line| super::is_of_guest(line)).collect(),
        calls: row.calls.clone(),
    }
}
