//! `cargo xtask bench`: runs the benchmarks and prints the figures with their goals in one table.
//!
//! No figure makes the command fail, because figures depend on the machine and its load. A
//! comparison of two programs runs them alternately within a minute and uses the ratio of each
//! round, which other load affects least.

mod compare;
mod criterion;
mod figures;
mod requests;
mod streams;
mod table;

use std::num::NonZeroU32;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::module;
use crate::process::{announce, cargo, target};
use criterion::Rounds;
use figures::Figures;
use table::{Goal, Table};

const MIB: f64 = 1024.0 * 1024.0;

/// A part that can run alone.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// The decision, compiled natively
    Decisions,
    /// An exchange in the host library
    Host,
    /// The host library compared with wasmtime alone
    Limit,
    /// Replays of a long trace
    Replays,
    /// Replays of 100,000 concurrent streams
    Live,
    /// The memory of the module over many streams
    Memory,
    /// The host library compared with proxy-wasm-host
    Compare,
    /// Event streams through a real Envoy
    Streams,
    /// Requests through a real Envoy, with each feature
    Envoy,
}

#[derive(Args)]
pub(crate) struct Options {
    /// Run only these parts
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Section>,
    /// Number of requests in the replay whose memory is measured
    #[arg(long, value_name = "N", default_value = "10000000")]
    piped_requests: NonZeroU32,
    #[command(flatten)]
    streams: streams::Plan,
    #[command(flatten)]
    requests: requests::RequestsPlan,
}

/// Runs the selected parts, or all. Prints the table also if a part fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    module::build()?;
    let mut table = Table::default();
    let is_selected =
        |section: &&Section| options.only.is_empty() || options.only.contains(section);
    let sections = Section::value_variants().iter().filter(is_selected);
    let outcome = sections.copied().try_for_each(|section| match section {
        Section::Decisions => decisions(&mut table),
        Section::Host => host(&mut table),
        Section::Limit => limit(&mut table),
        Section::Replays => replays(options.piped_requests, &mut table),
        Section::Live => live(&mut table),
        Section::Memory => memory(&mut table),
        Section::Compare => comparison(&mut table),
        Section::Streams => streams::measure(&options.streams, &mut table),
        Section::Envoy => requests::measure(&options.requests, &mut table),
    });
    print!("\n{table}");
    outcome
}

fn decisions(table: &mut Table) -> Result<()> {
    let rounds = Rounds::of("sluice-filter", "decision")?;
    for routes in ["10", "1000", "10000"] {
        let found = rounds.nanoseconds(&format!("matching/found/{routes}"))?;
        let none = rounds.nanoseconds(&format!("matching/none/{routes}"))?;
        table.add(
            format!("match of one of {routes} routes (of none)"),
            format!("{found:.0} ns ({none:.0} ns)"),
        );
    }
    let ratio = rounds.ratio("matching/found/10000", "matching/found/10")?;
    table.compare("match of 10,000 routes / of 10", ratio, Goal::AtMost(1.5), "×");
    let decision = rounds.nanoseconds("decision")?;
    table.add("decision about a request, native, 100 routes", format!("{decision:.0} ns"));
    Ok(())
}

fn host(table: &mut Table) -> Result<()> {
    let rounds = Rounds::of("sluice-sim", "host")?;
    for (id, name) in [
        ("exchange/empty", "exchanges per second, module with empty callbacks"),
        ("exchange/small", "… module that reads two headers and sets one"),
        ("exchange/sluice", "… Sluice with 100 routes"),
    ] {
        let rate = 1e9 / rounds.nanoseconds(id)?;
        table.add(name, grouped(rate));
    }
    let cost = Figures::of_bench("sluice-sim", "cost")?;
    let (callbacks, calls) = (cost.get("callbacks")?, cost.get("host-calls")?);
    table.add("… its callbacks and host calls per exchange", format!("{callbacks:.0}, {calls:.1}"));
    table.add("… its own instructions per exchange", grouped(cost.get("instructions")?));
    for event in ["open", "request-headers", "response-headers", "response-body", "end"] {
        let instructions = cost.get(&format!("{event}/instructions"))?;
        table.add(format!("… … {}", event.replace('-', " ")), grouped(instructions));
    }
    let growth = cost.get("growth/bytes")?;
    table.add_compared("… growth of its memory", format!("{growth:.0} bytes"), "0", growth == 0.0);
    let compile = rounds.nanoseconds("module/compile")? / 1e6;
    table.add("compile time of the module (wasmtime)", format!("{compile:.0} ms"));
    let instantiate = rounds.nanoseconds("module/instantiate")? / 1e3;
    let name = "instantiation of the module (wasmtime)";
    table.compare(name, instantiate, Goal::AtMost(10.0), " µs");
    let size = std::fs::metadata(target().join("sluice_filter.wasm"))?.len() as f64 / 1024.0;
    let limit = Goal::AtMost(module::SIZE_LIMIT_KIB as f64);
    table.compare("size of the module", size, limit, " KiB");
    Ok(())
}

fn limit(table: &mut Table) -> Result<()> {
    announce("comparing the host library with wasmtime alone");
    let figures = Figures::of_bench("sluice-sim", "limit")?;
    for module in ["empty", "small"] {
        let time = |host| figures.get(&format!("{module}/{host}/ns"));
        let times = [time("bare")?, time("deadline")?, time("instructions")?];
        let [bare, deadline, instructions] = times.map(|time| format!("{time:.0}"));
        table.add(
            format!(
                "exchange in ns, {module} module: wasmtime alone, with deadlines, with a budget"
            ),
            format!("{bare}, {deadline}, {instructions}"),
        );
        for (host, name, goal) in [
            ("deadline", "… rate with deadlines / of wasmtime alone", 0.95),
            ("instructions", "… rate with a budget of instructions / of wasmtime alone", 0.8),
        ] {
            let ratio = figures.get(&format!("{module}/{host}/ratio"))?;
            table.compare(name, ratio, Goal::AtLeast(goal), "×");
        }
    }
    Ok(())
}

fn replays(piped: NonZeroU32, table: &mut Table) -> Result<()> {
    let piped = piped.to_string();
    announce(&format!("replaying 300,000 requests several times, and {piped} from a pipe"));
    let bench = ["--quiet", "--package", "sluice-cli", "--bench", "replay", "--", &piped];
    let figures = Figures::of(cargo("bench", bench))?;
    let rate = figures.get("one-core/second")?;
    table.compare_rate("replayed requests per second on one core", rate, 300_000.0);
    let rate = figures.get("two-threads/second")?;
    table.add("… with the reader on a second core", grouped(rate));
    let start = figures.get("start/ms")?;
    let name = "start of sluice with the module in its cache, with one request";
    table.compare(name, start, Goal::AtMost(50.0), " ms");
    let name = format!("peak memory of sluice with {piped} requests");
    table.compare(name, figures.get("long/bytes")? / MIB, Goal::AtMost(256.0), " MiB");
    table.add("… and the time", format!("{:.0} s", figures.get("long/seconds")?));
    Ok(())
}

fn live(table: &mut Table) -> Result<()> {
    announce("replaying 100,000 concurrent streams");
    let figures = Figures::of_bench("sluice-cli", "streams")?;
    let (seconds, bytes) = (figures.get("replay/seconds")?, figures.get("replay/bytes")?);
    table.compare("replay of 100,000 concurrent streams", seconds, Goal::AtMost(10.0), " s");
    table.compare("… peak memory of sluice", bytes / MIB, Goal::AtMost(600.0), " MiB");
    let figures = Figures::of_bench("sluice-sim", "live")?;
    let linear = figures.get("linear/bytes")?;
    table.add("… linear memory of the module per stream", format!("{linear:.0} bytes"));
    table.compare("… one tick", figures.get("tick/ms")?, Goal::AtMost(1.0), " ms");
    Ok(())
}

fn memory(table: &mut Table) -> Result<()> {
    announce("running 10,000,000 streams in one VM");
    let figures = Figures::of_bench("sluice-sim", "memory")?;
    let (few, many) = (figures.get("bytes/10000")?, figures.get("bytes/10000000")?);
    let name = "linear memory after 10,000,000 streams, after 10,000";
    let figure = format!("{:.2} MiB, {:.2} MiB", many / MIB, few / MIB);
    table.add_compared(name, figure, "equal", many == few);
    Ok(())
}

fn comparison(table: &mut Table) -> Result<()> {
    let Some(figures) = compare::measure()? else { return Ok(()) };
    for filter in ["empty", "small"] {
        let ours = figures.get(&format!("{filter}/sluice"))?;
        let theirs = figures.get(&format!("{filter}/proxy-wasm-host"))?;
        let name = format!("… {filter} module: sluice-sim, proxy-wasm-host");
        table.add(name, format!("{}, {}", grouped(ours), grouped(theirs)));
        let name = format!("exchanges per second, sluice-sim / proxy-wasm-host, {filter} module");
        table.compare(name, figures.get(&format!("{filter}/ratio"))?, Goal::AtLeast(2.0), "×");
    }
    Ok(())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// A number with a comma between groups of three digits.
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
