//! Runs the rows in `proxy-wasm-host`, an independent host, and compares it with the `generic`
//! profile of the simulator.
//!
//! `tests/guests/second-host.yaml` lists the rows in which both differ, with the passage of the
//! specification that decides. A row that differs and is not listed fails, and a listed row that no
//! longer differs fails too.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};
use sluice_sim::Profile;
use sluice_test_kit::program::root;

use super::{CONFIGURATION, Row, built, is_of_guest, simulator};

/// A row in which both hosts differ.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    /// The names of the rows.
    rows: Vec<String>,
    /// The log lines that only the simulator has.
    ours: Vec<String>,
    /// The log lines that only the other host has.
    theirs: Vec<String>,
    /// The passage of the specification.
    #[expect(dead_code, reason = "for the reader of the file")]
    specification: String,
    /// What follows from it.
    #[expect(dead_code, reason = "for the reader of the file")]
    conclusion: String,
}

/// The log lines that only one of both hosts has.
type Lines = (Vec<String>, Vec<String>);

/// Compares both hosts with a guest; returns a line for each unexpected result. `None` if the other
/// host cannot be built here.
///
/// # Panics
/// If a host does not start with the guest.
pub fn differences(guest: &str, module: &Path, rows: &[Row]) -> Option<Vec<String>> {
    let program = built("second-host", "target/guests/second-host")?;
    // A crash ends the plugin in both hosts. The row after it would compare nothing.
    let rows: Vec<Row> = rows.iter().filter(|row| !row.expect.trap).cloned().collect();
    let rows: Vec<Row> = rows.into_iter().filter(|row| row.expect.status != Some(503)).collect();
    let output = run(&program, guest, module, CONFIGURATION, &rows);
    assert_eq!(output["error"], Value::Null, "{guest} does not start in proxy-wasm-host");
    let ours = simulator::run_as(Profile::Generic, guest, module, CONFIGURATION, &rows);
    let mut found = BTreeMap::new();
    for ((row, ours), theirs) in rows.iter().zip(ours).zip(output["rows"].as_array()?) {
        assert_eq!(theirs["error"], Value::Null, "{}: {guest} fails in proxy-wasm-host", row.name);
        let lines = lines_of(&theirs["log"]);
        if ours.log != lines {
            found.insert(row.name.clone(), only_in_one(&ours.log, &lines));
        }
    }
    Some(compare(&found, &listed(&rows)))
}

/// Why `proxy-wasm-host` does not run a guest; `None` if it cannot be built here.
///
/// # Panics
/// If it runs the guest.
pub fn error(guest: &str, module: &Path) -> Option<String> {
    let program = built("second-host", "target/guests/second-host")?;
    let output = run(&program, guest, module, CONFIGURATION, &[]);
    let error = output["error"].as_str().expect("proxy-wasm-host does not run the guest");
    Some(error.to_owned())
}

/// Runs rows with the filter, whose module is built, in both hosts; returns a line for each difference
/// from the table. `None` if the other host cannot be built here.
///
/// # Panics
/// If a host does not start with the filter.
pub fn filter_differences(configuration: &str, rows: &[Row]) -> Option<Vec<String>> {
    let program = built("second-host", "target/guests/second-host")?;
    let (guest, module) = ("sluice", sluice_test_kit::program::module());
    let output = run(&program, guest, module, configuration, rows);
    assert_eq!(output["error"], Value::Null, "the filter does not start in proxy-wasm-host");
    let ours = simulator::run_as(Profile::Generic, guest, module, configuration, rows);
    let mut lines = Vec::new();
    for ((row, ours), theirs) in rows.iter().zip(ours).zip(output["rows"].as_array()?) {
        let name = &row.name;
        lines.extend(ours.mismatches.iter().map(|line| format!("{name}: simulator: {line}")));
        let theirs = row.expect.mismatches_in(theirs);
        lines.extend(theirs.iter().map(|line| format!("{name}: proxy-wasm-host: {line}")));
    }
    Some(lines)
}

fn run(program: &Path, guest: &str, module: &Path, configuration: &str, rows: &[Row]) -> Value {
    let input = json!({
        "module": module, "plugin": super::PLUGIN, "vm_id": super::vm_id(guest),
        "configuration": configuration,
        "rows": rows.iter().map(|row| json!({
            "request": row.request, "upstream": row.upstream, "clusters": row.clusters
        })).collect::<Vec<_>>(),
    });
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
    let mut stdin = child.stdin.take().expect("standard input is piped");
    stdin.write_all(input.to_string().as_bytes()).expect("the program reads its input");
    drop(stdin);
    let output = child.wait_with_output().expect("the program ends");
    assert!(output.status.success(), "{} failed ({})", program.display(), output.status);
    serde_json::from_slice(&output.stdout).expect("the program prints JSON")
}

fn lines_of(log: &Value) -> Vec<String> {
    let lines = log.as_array().into_iter().flatten().filter_map(Value::as_str);
    lines.filter(|line| is_of_guest(line)).map(str::to_owned).collect()
}

/// The lines that only one list has, in order. Lines that only have another order are in both.
fn only_in_one(ours: &[String], theirs: &[String]) -> Lines {
    let only = |these: &[String], others: &[String]| -> Vec<String> {
        let mut others = others.to_vec();
        let mut only = Vec::new();
        for line in these {
            match others.iter().position(|other| other == line) {
                Some(index) => drop(others.remove(index)),
                None => only.push(line.clone()),
            }
        }
        only
    };
    match (only(ours, theirs), only(theirs, ours)) {
        (mine, other) if mine.is_empty() && other.is_empty() => (ours.to_vec(), theirs.to_vec()),
        lines => lines,
    }
}

fn listed(rows: &[Row]) -> BTreeMap<String, Lines> {
    let path = root().join("tests/guests/second-host.yaml");
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    let all: Vec<Difference> =
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut listed = BTreeMap::new();
    for difference in all {
        for name in difference.rows {
            if rows.iter().any(|row| row.name == name) {
                listed.insert(name, (difference.ours.clone(), difference.theirs.clone()));
            }
        }
    }
    listed
}

fn compare(found: &BTreeMap<String, Lines>, listed: &BTreeMap<String, Lines>) -> Vec<String> {
    let names = found.keys().chain(listed.keys()).collect::<std::collections::BTreeSet<_>>();
    let mut lines = Vec::new();
    for name in names {
        let (found, listed) = (found.get(name), listed.get(name));
        if found != listed {
            lines.push(format!("{name}: expected the difference {listed:#?}, found {found:#?}"));
        }
    }
    lines
}
