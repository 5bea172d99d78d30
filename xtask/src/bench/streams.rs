//! Event streams through a real Envoy, with and without the filter. The program `bench-streams` of
//! the tests measures them and writes its report to `target/bench`.

use std::fs;
use std::num::NonZeroU32;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;

use super::table::{Goal, Table};
use super::{MIB, grouped};
use crate::envoy;
use crate::process::{announce, cargo, run, target};

#[derive(Args)]
pub(super) struct Plan {
    /// Number of event streams through each Envoy
    #[arg(long, value_name = "N", default_value = "5000")]
    streams: NonZeroU32,
    /// Seconds with events for each Envoy, over all rounds
    #[arg(long, value_name = "N", default_value = "60")]
    seconds: NonZeroU32,
    /// Events a second on each stream
    #[arg(long, value_name = "N", default_value = "2")]
    rate: NonZeroU32,
}

/// Runs `bench-streams` and adds the main figures of its report to the table.
pub(super) fn measure(plan: &Plan, table: &mut Table) -> Result<()> {
    let Plan { streams, seconds, rate } = plan;
    announce(&format!(
        "{streams} event streams through Envoy, {seconds} s without and {seconds} s with the filter, \
         alternately"
    ));
    let folder = target().join("bench");
    // Without `--package`, cargo reuses the dependencies that the tests have compiled.
    let mut program = cargo("run", ["--quiet", "--bin", "bench-streams", "--", "measure"]);
    program.args(["--streams", &streams.to_string(), "--rate", &rate.to_string()]);
    program.args(["--length", &format!("{seconds}s"), "--report"]).arg(&folder);
    program.env("SLUICE_ENVOY", envoy::provide()?);
    run(program)?;
    println!("The plot and all figures are in target/bench: streams.svg, streams.md, streams.json");

    let report = fs::read(folder.join("streams.json")).context("bench-streams left no report")?;
    let report = Report(serde_json::from_slice(&report)?);
    let [median, p99] = ["median", "p99"].map(|name| format!("/delay_us/{name}"));
    let name = format!(
        "delay of an event with the filter / without, {} streams",
        grouped(f64::from(streams.get()))
    );
    table.compare(
        format!("{name}, median"),
        report.figure("/ratio/median")?,
        Goal::AtMost(1.05),
        "×",
    );
    table.compare(format!("{name}, p99"), report.figure("/ratio/p99")?, Goal::AtMost(1.2), "×");
    table.add("… median without, with", report.both(&median, 1.0, "µs")?);
    table.add("… p99 without, with", report.both(&p99, 1.0, "µs")?);
    table.add(
        "… CPU time of Envoy for each, without, with",
        report.both("/cpu_us_per_event", 1.0, "µs")?,
    );
    table.add("… memory of Envoy without, with", report.both("/memory_bytes", MIB, "MiB")?);
    Ok(())
}

struct Report(Value);

impl Report {
    fn figure(&self, place: &str) -> Result<f64> {
        let figure = self.0.pointer(place).and_then(Value::as_f64);
        figure.with_context(|| format!("streams.json: expected a number at {place}"))
    }

    /// The figures of Envoy without and with the filter.
    fn both(&self, place: &str, unit: f64, name: &str) -> Result<String> {
        let [without, with] =
            ["/ways/1", "/ways/2"].map(|way| self.figure(&format!("{way}{place}")));
        Ok(format!("{:.1}, {:.1} {name}", without? / unit, with? / unit))
    }
}
