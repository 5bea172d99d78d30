//! The benchmarks: what is measured, beside what is to be reached, in one table.
//!
//! Nothing here fails because of a figure: a figure depends on the machine and on what else runs on it. Where two things are compared,
//! they run in turns within the same minute and the ratio of each turn counts, which a busy machine disturbs least.

mod compare;
mod criterion;
mod figures;
mod streams;
mod table;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::module;
use crate::shell::{announce, target};
use criterion::Rounds;
use figures::Figures;
use table::{Goal, Table};

const MIB: f64 = 1024.0 * 1024.0;

/// What can be measured alone.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// What deciding costs natively
    Decisions,
    /// What an exchange costs in the simulator's host
    Host,
    /// Replays of a long trace
    Replays,
    /// Replays of 100,000 streams that are open at once
    Live,
    /// The module's memory over many streams
    Memory,
    /// The host against another one
    Compare,
    /// Event streams through a real Envoy
    Streams,
}

#[derive(Args)]
pub(crate) struct Options {
    /// Measure only these
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Section>,
    #[command(flatten)]
    streams: streams::Plan,
}

/// Runs what is asked for, or everything, and prints the table, up to where something failed.
pub(crate) fn run(options: &Options) -> Result<()> {
    module::build()?;
    let mut table = Table::default();
    let asked = |section: &&Section| options.only.is_empty() || options.only.contains(section);
    let sections = Section::value_variants().iter().filter(asked);
    let outcome = sections.copied().try_for_each(|section| match section {
        Section::Decisions => natively(&mut table),
        Section::Host => in_the_host(&mut table),
        Section::Replays => replays(&mut table),
        Section::Live => live(&mut table),
        Section::Memory => memory(&mut table),
        Section::Compare => against_another_host(&mut table),
        Section::Streams => streams::measure(&options.streams, &mut table),
    });
    print!("\n{table}");
    outcome
}

fn natively(table: &mut Table) -> Result<()> {
    let rounds = Rounds::of("sluice-filter", "decision")?;
    for routes in ["10", "1000", "10000"] {
        let found = rounds.nanoseconds(&format!("matching/found/{routes}"))?;
        let none = rounds.nanoseconds(&format!("matching/none/{routes}"))?;
        table.add(
            format!("finding one of {routes} routes (none of them)"),
            format!("{found:.0} ns ({none:.0} ns)"),
        );
    }
    let ratio = rounds.ratio("matching/found/10000", "matching/found/10")?;
    table.compare("matching with 10,000 routes against 10", ratio, Goal::AtMost(1.5), "×");
    let decision = rounds.nanoseconds("decision")?;
    table.add(
        "the whole decision over a request, natively, 100 routes",
        format!("{decision:.0} ns"),
    );
    Ok(())
}

fn in_the_host(table: &mut Table) -> Result<()> {
    let rounds = Rounds::of("sluice-sim", "host")?;
    for (id, name) in [
        ("exchange/empty", "exchanges a second through a module with empty callbacks"),
        ("exchange/small", "… one that reads two headers and sets one"),
        ("exchange/sluice", "… our module with 100 routes"),
    ] {
        let rate = 1e9 / rounds.nanoseconds(id)?;
        table.add(name, grouped(rate));
    }
    let compile = rounds.nanoseconds("module/compile")? / 1e6;
    table.add("compiling our module", format!("{compile:.0} ms"));
    let instantiate = rounds.nanoseconds("module/instantiate")? / 1e6;
    table.compare("instantiating our module (wasmtime)", instantiate, Goal::AtMost(5.0), " ms");
    let size = std::fs::metadata(target().join("sluice_filter.wasm"))?.len() as f64 / 1024.0;
    table.compare("size of our module", size, Goal::AtMost(300.0), " KiB");
    Ok(())
}

fn replays(table: &mut Table) -> Result<()> {
    announce("replaying a trace of 100,000 requests");
    let figures = Figures::of("sluice-cli", "replay")?;
    let rate = figures.figure("requests/second")?;
    table.compare_rate("replayed requests a second on one core", rate, 500_000.0);
    let memory = figures.figure("memory/bytes")? / MIB;
    table.add("… peak memory of the program", format!("{memory:.0} MiB"));
    Ok(())
}

fn live(table: &mut Table) -> Result<()> {
    announce("replaying 100,000 streams that are open at once");
    let figures = Figures::of("sluice-cli", "streams")?;
    let (seconds, bytes) = (figures.figure("replay/seconds")?, figures.figure("replay/bytes")?);
    table.compare("replaying 100,000 streams at once", seconds, Goal::AtMost(10.0), " s");
    table.compare("… peak memory of the program", bytes / MIB, Goal::AtMost(2048.0), " MiB");
    let figures = Figures::of("sluice-sim", "live")?;
    let linear = figures.figure("linear/bytes")?;
    table.add("… linear memory of the module for each", format!("{linear:.0} bytes"));
    table.compare("… a tick among them", figures.figure("tick/ms")?, Goal::AtMost(1.0), " ms");
    Ok(())
}

fn memory(table: &mut Table) -> Result<()> {
    announce("sending 10,000,000 streams of every ending through one virtual machine");
    let figures = Figures::of("sluice-sim", "memory")?;
    let (few, many) = (figures.figure("bytes/10000")?, figures.figure("bytes/10000000")?);
    let name = "linear memory after 10,000,000 streams against 10,000";
    let figure = format!("{:.2} MiB, {:.2} MiB", many / MIB, few / MIB);
    table.judge(name, figure, "equal", many == few);
    Ok(())
}

fn against_another_host(table: &mut Table) -> Result<()> {
    let Some(figures) = compare::measure()? else { return Ok(()) };
    for filter in ["empty", "small"] {
        let ours = figures.figure(&format!("{filter}/sluice"))?;
        let theirs = figures.figure(&format!("{filter}/proxy-wasm-host"))?;
        let name = format!("… {filter} module: ours, proxy-wasm-host");
        table.add(name, format!("{}, {}", grouped(ours), grouped(theirs)));
        let name = format!("exchanges a second against proxy-wasm-host, {filter} module");
        table.compare(name, figures.figure(&format!("{filter}/ratio"))?, Goal::AtLeast(2.0), "×");
    }
    Ok(())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// A number with its thousands apart.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
