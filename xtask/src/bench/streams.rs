//! Event streams through a real Envoy, with the filter and without: a program of the tests measures them and leaves its report in
//! `target/bench`.

use std::fs;
use std::num::NonZeroU32;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::Value;

use super::table::{Goal, Table};
use super::{MIB, grouped};
use crate::envoy;
use crate::shell::{announce, cargo, run, target};

#[derive(Args)]
pub(super) struct Plan {
    /// How many event streams are open through each Envoy
    #[arg(long, value_name = "N", default_value = "5000")]
    streams: NonZeroU32,
    /// How long each Envoy has events, all turns together
    #[arg(long, value_name = "N", default_value = "60")]
    seconds: NonZeroU32,
    /// Events a second on each stream
    #[arg(long, value_name = "N", default_value = "2")]
    rate: NonZeroU32,
}

/// Runs the program, and takes the figures that have a goal from its report.
pub(super) fn measure(plan: &Plan, table: &mut Table) -> Result<()> {
    let Plan { streams, seconds, rate } = plan;
    announce(&format!(
        "{streams} event streams through Envoy, {seconds} s without and {seconds} s with the filter, in turns"
    ));
    let folder = target().join("bench");
    // Without a package's name cargo uses what the tests have built, see `test`.
    let mut program = cargo(["run", "--quiet", "--bin", "bench-streams", "--", "measure"]);
    program.args(["--streams", &streams.to_string(), "--rate", &rate.to_string()]);
    program.args(["--length", &format!("{seconds}s"), "--report"]).arg(&folder);
    program.env("SLUICE_ENVOY", envoy::bring()?);
    run(program)?;
    println!("the plot and all figures: target/bench/streams.svg, streams.md, streams.json");

    let report = fs::read(folder.join("streams.json")).context("the program leaves a report")?;
    let report = Report(serde_json::from_slice(&report)?);
    let [median, p99] = ["median", "p99"].map(|name| format!("/delay_us/{name}"));
    let what = format!(
        "delay per event with the filter against without, {} streams",
        grouped(f64::from(streams.get()))
    );
    table.compare(
        format!("{what}, median"),
        report.figure("/ratio/median")?,
        Goal::AtMost(1.05),
        "×",
    );
    table.compare(format!("{what}, p99"), report.figure("/ratio/p99")?, Goal::AtMost(1.2), "×");
    table.add("… median without, with", report.both(&median, 1.0, "µs")?);
    table.add("… p99 without, with", report.both(&p99, 1.0, "µs")?);
    table.add(
        "… Envoy's processor time for each, without, with",
        report.both("/cpu_us_per_event", 1.0, "µs")?,
    );
    table.add("… Envoy's memory without, with", report.both("/memory_bytes", MIB, "MiB")?);
    Ok(())
}

struct Report(Value);

impl Report {
    fn figure(&self, place: &str) -> Result<f64> {
        let figure = self.0.pointer(place).and_then(Value::as_f64);
        figure.with_context(|| format!("streams.json has no number at {place}"))
    }

    /// The figures of Envoy without the filter and with it.
    fn both(&self, place: &str, unit: f64, name: &str) -> Result<String> {
        let [without, with] =
            ["/ways/1", "/ways/2"].map(|way| self.figure(&format!("{way}{place}")));
        Ok(format!("{:.1}, {:.1} {name}", without? / unit, with? / unit))
    }
}
