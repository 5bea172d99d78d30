//! Runs the rows on the simulator, as one trace.

use std::path::Path;
use std::time::Duration;

use sluice_sim::replay::{CallReport, LogLine, Options, Report, replay};
use sluice_sim::trace::Trace;
use sluice_sim::{Limits, LogLevel, Module, Profile, Properties};

use super::clusters::{self, framed};
use super::rows::SETUP;
use super::{Observed, Row};

/// The time from one row to the next, in seconds. Each row ends well before.
const PERIOD: usize = 20;

/// Runs the rows of a guest as Envoy does.
///
/// # Panics
/// If the simulator rejects the module or a row.
pub(super) fn run(guest: &str, module: &Path, rows: &[Row]) -> Vec<Observed> {
    run_as(Profile::Envoy, guest, module, super::CONFIGURATION, rows)
}

/// Runs the rows of a guest with a profile.
///
/// # Panics
/// If the simulator rejects the module or a row.
pub(super) fn run_as(
    profile: Profile,
    guest: &str,
    module: &Path,
    configuration: &str,
    rows: &[Row],
) -> Vec<Observed> {
    let wasm = std::fs::read(module).expect("the module is built");
    let module = Module::new(&wasm, &Limits::default())
        .unwrap_or_else(|error| panic!("the simulator rejects {guest}: {error}"));
    let text = trace(rows);
    let trace = Trace::parse("guests", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let options = Options::new(profile)
        .with_configuration(configuration)
        .with_plugin_name(super::PLUGIN)
        .with_vm_id(super::vm_id(guest))
        .with_log_level(LogLevel::Trace)
        .with_properties(properties(profile))
        .with_record_calls(true)
        .with_hash_bodies(true);
    let report = replay(Some(&module), &trace, &options, &mut |_| {})
        .unwrap_or_else(|error| panic!("{guest}: {error}"));
    rows.iter().enumerate().map(|(number, row)| observed(row, number, &report)).collect()
}

/// The cluster and the route of the example for Envoy; a trace does not name them.
fn properties(profile: Profile) -> Properties {
    match profile {
        Profile::Envoy => Properties::new()
            .with(&["xds", "cluster_name"], "service")
            .with(&["xds", "route_name"], ""),
        _ => Properties::new(),
    }
}

fn trace(rows: &[Row]) -> String {
    let events = rows.iter().enumerate().map(|(number, row)| row.events(start(number)));
    SETUP.to_owned() + &events.collect::<String>()
}

/// The time of a row, in seconds. The first row does not begin with the plugin.
fn start(number: usize) -> usize {
    (number + 1) * PERIOD
}

fn observed(row: &Row, number: usize, report: &Report) -> Observed {
    let failures = report.failures().filter(|(_, id, _)| *id == row.name);
    let time = |number| Duration::from_secs(start(number) as u64);
    let is_in_row = |line: &&LogLine| (time(number)..time(number + 1)).contains(&line.at);
    let lines = report
        .log
        .iter()
        .filter(is_in_row)
        .flat_map(|line| line.text.lines().map(|text| format!("{} {text}", line.level.name())));
    // Nothing listens for calls to this cluster.
    let calls = report.calls.iter().filter(|call| {
        (time(number)..time(number + 1)).contains(&call.at) && call.cluster != clusters::REFUSED
    });
    Observed {
        mismatches: failures
            .map(|(_, _, failure)| {
                format!("{}: expected {}, found {}", failure.field, failure.want, failure.got)
            })
            .collect(),
        log: lines.filter(|line| super::is_of_guest(line)).collect(),
        calls: calls.map(call_line).collect(),
    }
}

/// A call as the servers of the harness record it.
fn call_line(call: &CallReport) -> String {
    let headers: Vec<_> = call
        .headers
        .iter()
        .filter_map(|(name, value)| {
            Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?))
        })
        .collect();
    let own = clusters::own(&headers);
    let text = |name: &str| call.headers.text(name).unwrap_or_default().to_owned();
    let (cluster, path) = (&call.cluster, &call.path);
    match &call.messages {
        Some(messages) => {
            let bytes: Vec<u8> = messages.iter().flat_map(|message| framed(message)).collect();
            let message: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{cluster} POST {path} {own}{message}")
        }
        None => {
            let (method, host) = (text(":method"), text(":authority"));
            let body = String::from_utf8_lossy(&call.body);
            format!("{cluster} {method} {path} {host} {own}'{body}'")
        }
    }
}
