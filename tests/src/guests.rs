//! Runs guests that are written in the languages that people use, on a real Envoy and on the
//! simulator. All guests implement one specification, `tests/guests/README.md`, and one table of
//! rows, `tests/guests/rows.yaml`, states what both hosts must do with each of them.
//!
//! | module | contents |
//! |---|---|
//! | `rows` | the table |
//! | `clusters` | the servers that guests call, HTTP/1.1 and gRPC |
//! | `envoy` | runs the rows on a real Envoy |
//! | `simulator` | runs the rows as a trace |
//! | [`second_host`] | runs the rows in `proxy-wasm-host` |

mod clusters;
mod envoy;
mod rows;
pub mod second_host;
mod simulator;

use std::path::{Path, PathBuf};

use sluice_test_kit::program::root;

pub use rows::Row;

/// The names of the guests that `cargo xtask test` could not build, separated by commas.
const LEFT_OUT: &str = "SLUICE_GUESTS_LEFT_OUT";

/// The behaviors that write to the log.
const BEHAVIORS: &[&str] = &[
    "headers",
    "map",
    "body-append",
    "body-prepend",
    "body-replace",
    "body-shrink",
    "body-clear",
    "body-keep",
    "body-peek",
    "local-reply",
    "local-reply-late",
    "local-reply-response",
    "local-reply-grpc",
    "http-call",
    "http-call-bare",
    "http-call-reply",
    "http-call-response",
    "grpc-call",
    "grpc-stream",
    "grpc-cancel",
    "tick",
    "shared-data",
    "queue",
    "metrics",
    "properties",
    "clock",
    "log",
    "foreign",
    "phase",
    "done",
    "rate-limit",
];

const ENVOY: &str = "Envoy";
const SIMULATOR: &str = "the simulator";

/// The plugin's name.
const PLUGIN: &str = "guest";

/// The plugin's configuration.
const CONFIGURATION: &str = "a configuration";

/// Each guest has VMs of its own.
fn vm_id(guest: &str) -> String {
    format!("guest-{guest}")
}

/// Whether a log line, with its level, has the form `LEVEL BEHAVIOR: TEXT` of the specification.
/// Runtimes of languages and hosts log other lines.
fn is_of_guest(line: &str) -> bool {
    let behavior = line.split(' ').nth(1).and_then(|word| word.strip_suffix(':'));
    behavior.is_some_and(|word| BEHAVIORS.contains(&word))
}

/// The module of a guest; `None` if `cargo xtask test` said that it cannot be built here.
///
/// # Panics
/// If the module is missing for another reason.
pub fn module(guest: &str) -> Option<PathBuf> {
    built(guest, &format!("target/guests/{guest}.wasm"))
}

/// The path of a file that `cargo xtask guests` builds.
fn built(name: &str, path: &str) -> Option<PathBuf> {
    let left_out = std::env::var(LEFT_OUT).unwrap_or_default();
    if left_out.split(',').any(|left_out| left_out == name) {
        eprintln!("{name}: left out, because its toolchain is missing");
        return None;
    }
    let path = root().join(path);
    assert!(path.is_file(), "no {}: run `cargo xtask guests`", path.display());
    Some(path)
}

/// The rows of a table in `tests/guests` that hold for a guest.
///
/// # Panics
/// If the table cannot be read.
pub fn rows(table: &str, guest: &str) -> Vec<Row> {
    let mut rows = rows::read(&root().join("tests/guests").join(table));
    rows.retain(|row| row.applies_to(guest));
    rows
}

/// Runs a guest on both hosts; returns a line for each difference from the table.
///
/// # Panics
/// If a host does not start with the guest.
pub fn differences(guest: &str, module: &Path, rows: &[Row]) -> Vec<String> {
    // A pending row may crash the guest in the simulator.
    let simulated: Vec<Row> = rows.iter().filter(|row| row.pending.is_none()).cloned().collect();
    let in_envoy = (ENVOY, rows, envoy::run(guest, module, rows));
    let in_simulator = (SIMULATOR, &*simulated, simulator::run(guest, module, &simulated));
    let mut differences = Vec::new();
    for (host, rows, observed) in [in_envoy, in_simulator] {
        for (row, observed) in rows.iter().zip(observed) {
            let lines = row.compare(&observed).into_iter();
            differences
                .extend(lines.map(|line| format!("{guest} in {host}: {}: {line}", row.name)));
        }
    }
    differences
}

/// The result of a row on one host.
#[derive(Debug, Default)]
struct Observed {
    /// What differs for client and upstream, one line each.
    mismatches: Vec<String>,
    /// The log lines of the guest: the level and the text.
    log: Vec<String>,
    /// The requests to other clusters, one line each.
    calls: Vec<String>,
}
