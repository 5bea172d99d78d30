//! What simulator and Envoy were seen to do the same, version by version, and the page that shows
//! it. `cargo xtask conformance --record` writes both; a test compares the page with the records.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sluice_sim::proxy::Setup;
use sluice_test_kit::host_functions::HOST_FUNCTIONS;

use crate::random_guest::{CALLBACKS, LEFT_OUT};
use crate::{crash_guest, envoy, guests, root, wasi_guest};

/// What one version of Envoy and the simulator did the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The version, such as `1.40`.
    pub envoy: String,
    /// Random guests that ran on both hosts.
    pub random_guests: usize,
    /// Traces that ran on both hosts.
    pub traces: usize,
    /// Host calls of random guests, by function and then by status.
    pub host_calls: BTreeMap<String, BTreeMap<u32, u64>>,
    /// Callbacks of random guests.
    pub callbacks: BTreeMap<String, u64>,
    /// Calls of WASI functions that did the same.
    pub wasi: BTreeMap<String, u64>,
    /// WASI functions that did not: what Envoy and the simulator returned and wrote.
    #[serde(default)]
    pub wasi_differences: BTreeMap<String, [String; 2]>,
    /// The traces, or runs of a guest that crashes, that change each setting of the proxy.
    pub settings: BTreeMap<String, u64>,
    /// The rows of `tests/guests/rows.yaml` in which a guest in Rust does what the table says.
    pub rows: BTreeSet<String>,
}

/// The folder of the records.
fn folder() -> PathBuf {
    root().join("tests/compatibility")
}

/// The path of the page.
fn page() -> PathBuf {
    root().join("docs/compatibility.md")
}

/// Adds what `record` lacks, then writes it and the page.
///
/// # Panics
/// If a host does not run a guest, or a file cannot be written.
pub fn write(mut record: Record) {
    let (major, minor) = envoy::version();
    record.envoy = format!("{major}.{minor}");
    for call in wasi_guest::compare() {
        let name = call.name.to_owned();
        if call.envoy == call.simulator {
            *record.wasi.entry(name).or_default() += 1;
        } else {
            let of = |line: &str| line.split_once(": ").map_or("", |(_, result)| result).to_owned();
            record.wasi_differences.insert(name, [of(&call.envoy), of(&call.simulator)]);
        }
    }
    for run in crash_guest::compare() {
        if run.envoy == run.simulator {
            *record.settings.entry(run.setting.0.to_owned()).or_default() += 1;
        }
    }
    let module = guests::module("rust").expect("a record needs the guest in Rust");
    let rows = guests::rows("rows.yaml", "rust");
    let differences = guests::differences("rust", &module, &rows);
    let agrees = |name: &String| {
        let mark = format!(": {name}: ");
        !differences.iter().any(|difference| difference.contains(&mark))
    };
    record.rows = rows.into_iter().map(|row| row.name).filter(agrees).collect();
    let text = serde_json::to_string_pretty(&record).expect("a record is valid JSON") + "\n";
    fs::create_dir_all(folder()).expect("the repository can be written");
    let file = folder().join(format!("{}.json", record.envoy));
    fs::write(file, text).expect("the repository can be written");
    fs::write(page(), rendered()).expect("the repository can be written");
}

/// The page as the records say.
fn rendered() -> String {
    let records = records();
    let mut page = INTRODUCTION.to_owned();
    let versions: Vec<&str> = records.iter().map(|record| record.envoy.as_str()).collect();
    page += "\n| | Random guests | Traces |\n|---|--:|--:|\n";
    for record in &records {
        let Record { envoy, random_guests, traces, .. } = record;
        let _ = writeln!(page, "| Envoy {envoy} | {random_guests} | {traces} |");
    }
    let _ = write!(page, "\n{}", SAME.trim_start());

    let names = HOST_FUNCTIONS.map(|(name, _)| format!("proxy_{name}"));
    let calls = |record: &Record, name: &str| {
        record.host_calls.get(name).map_or(0, |statuses| statuses.values().sum())
    };
    table(
        &mut page,
        "Host calls",
        &versions,
        Some("Results"),
        names.iter().map(|name| {
            let statuses =
                records.iter().filter_map(|record| record.host_calls.get(name)).flatten();
            let seen: BTreeSet<_> = statuses.map(|(status, _)| status_name(*status)).collect();
            let cell = |record: &Record| match name.as_str() {
                "proxy_set_tick_period_milliseconds" if record.rows.contains("tick") => {
                    "same (row `tick`)".to_owned()
                }
                _ => count(calls(record, name)),
            };
            let counts = records.iter().map(cell).collect();
            (name.clone(), counts, seen.into_iter().collect::<Vec<_>>().join(", "))
        }),
    );
    table(
        &mut page,
        "Callbacks",
        &versions,
        None,
        CALLBACKS.iter().map(|(name, row)| {
            let cell = |record: &Record| match row {
                Some(row) if record.rows.contains(*row) => format!("same (row `{row}`)"),
                _ => count(record.callbacks.get(*name).copied().unwrap_or(0)),
            };
            ((*name).to_owned(), records.iter().map(cell).collect(), String::new())
        }),
    );
    let wasi: BTreeSet<&str> = wasi_guest::CALLS.iter().map(|call| call.name).collect();
    table(
        &mut page,
        "WASI functions",
        &versions,
        None,
        wasi.into_iter().map(|name| {
            let cell = |record: &Record| match record.wasi.get(name) {
                _ if record.wasi_differences.contains_key(name) => {
                    let errors = record.wasi_differences[name].each_ref();
                    let [envoy, simulator] =
                        errors.map(|text| text.split(' ').next().unwrap_or(""));
                    format!("differs: Envoy returns {envoy}, the simulator {simulator}")
                }
                Some(calls) => count(*calls),
                None => "differs: Envoy does not load a module that imports it".to_owned(),
            };
            (name.to_owned(), records.iter().map(cell).collect(), String::new())
        }),
    );
    table(
        &mut page,
        "Proxy settings",
        &versions,
        None,
        settings().into_iter().map(|name| {
            let cell = |record: &Record| match record.settings.get(&name) {
                // The simulator runs each trace with the version of its Envoy.
                _ if name == "version" => count(record.traces as u64),
                Some(traces) => count(*traces),
                None => count(0),
            };
            let cells = records.iter().map(cell).collect();
            (name, cells, String::new())
        }),
    );
    page += "\n## Differs\n\nRandom guests leave out, because the hosts differ or Envoy depends on chance:\n\n";
    for exclusion in LEFT_OUT {
        let _ = writeln!(page, "- {}", exclusion.why);
    }
    let _ = write!(page, "\n## Not modelled\n\n{}", not_simulated());
    page
}

const INTRODUCTION: &str = "\
# Compatibility with Envoy

What simulator and Envoy were seen to do the same. `cargo xtask conformance --record` runs both on
the same input and writes this page; do not edit it.
";

const SAME: &str = "
A version is written only if none of these random guests and traces differs.

*Same* means: in all calls that ran on both, what the guest received, what clients, upstreams and
called clusters received, and what the guest logged were equal. The number says how many calls, or
runs for settings; a row is one of the table of the [guests](../tests/guests/rows.yaml), here of
the guest in Rust. *Not compared* means that nothing on this page shows it.
";

/// The versions, the oldest first.
fn records() -> Vec<Record> {
    let files = fs::read_dir(folder()).expect("tests/compatibility has records");
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a record can be read");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    paths.into_iter().map(read).collect()
}

/// A table: the name, a cell for each version, and a last column if it has a title.
fn table(
    page: &mut String,
    title: &str,
    versions: &[&str],
    last: Option<&str>,
    rows: impl Iterator<Item = (String, Vec<String>, String)>,
) {
    let columns = versions.iter().map(|version| format!("{version} | ")).collect::<String>();
    let end = last.map(|last| format!("{last} | ")).unwrap_or_default();
    let _ = writeln!(page, "\n## {title}\n\n| | {}", (columns + &end).trim_end());
    let _ = writeln!(page, "|{}", "---|".repeat(1 + versions.len() + usize::from(last.is_some())));
    for (name, cells, note) in rows {
        let _ = write!(page, "| `{name}` | {} |", cells.join(" | "));
        if last.is_some() {
            let _ = write!(page, " {note} |");
        }
        page.push('\n');
    }
}

fn count(count: u64) -> String {
    match count {
        0 => "not compared".to_owned(),
        count => format!("same ({count})"),
    }
}

/// The name of a status in the specification of the ABI.
fn status_name(status: u32) -> String {
    const NAMES: [&str; 13] = [
        "OK",
        "NOT_FOUND",
        "BAD_ARGUMENT",
        "SERIALIZATION_FAILURE",
        "PARSE_FAILURE",
        "BAD_EXPRESSION",
        "INVALID_MEMORY_ACCESS",
        "EMPTY",
        "CAS_MISMATCH",
        "RESULT_MISMATCH",
        "INTERNAL_FAILURE",
        "BROKEN_CONNECTION",
        "UNIMPLEMENTED",
    ];
    NAMES.get(status as usize).map_or_else(|| status.to_string(), |name| (*name).to_owned())
}

/// The settings of a proxy, from the sentence that refuses an unknown one.
fn settings() -> Vec<String> {
    let error = Setup::parse(r#"{"":0}"#).expect_err("a setting without a name").to_string();
    let (_, known) = error.split_once("expected one of ").expect("the list of settings");
    known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The list at the end of the page about traces.
fn not_simulated() -> String {
    let path = root().join("docs/traces.md");
    let text = fs::read_to_string(path).expect("docs/traces.md exists");
    let (_, section) = text.split_once("## What is not simulated\n").expect("the section");
    let start = section.find("\n- ").expect("the list") + 1;
    section[start..].trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_shows_the_records() {
        let written = fs::read_to_string(page()).expect("docs/compatibility.md exists");
        assert!(written == rendered(), "run `cargo xtask conformance --record`");
    }
}
