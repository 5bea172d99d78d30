//! `sluice replay`: runs traces against the filter, or without it, and says what held.

use std::io::{self, IsTerminal};
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use sluice_sim::replay::{Options, Report, replay};
use sluice_sim::trace::Trace;
use sluice_sim::{Limits, LogLevel, Module, Profile, Properties};

use super::style::Style;
use super::{Verdict, files, table};

/// Traces shorter than this are over before a progress bar could be read.
const PROGRESS_FROM: usize = 20_000;

/// What `sluice replay` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The traces, JSON Lines files
    #[arg(value_name = "TRACE", required = true)]
    traces: Vec<PathBuf>,
    /// The plugin configuration in force at the start
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The filter's module [default: target/sluice_filter.wasm, here or above]
    #[arg(long, value_name = "FILE", conflicts_with = "without_filter")]
    wasm: Option<PathBuf>,
    /// Replays without any filter, to see what it changes
    #[arg(long)]
    without_filter: bool,
    /// The proxy to simulate
    #[arg(long, value_enum, default_value_t = ProfileName::Envoy)]
    profile: ProfileName,
    /// Simulates a plugin with Envoy's option of this name, which the admin path needs for commands with a body
    #[arg(long)]
    allow_on_headers_stop_iteration: bool,
    /// Worker threads of the proxy, each with its own virtual machine
    #[arg(long, value_name = "N", default_value = "2")]
    workers: NonZeroU32,
    /// Decides what traces leave open, such as the worker that gets a connection
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Writes to a file instead of standard output
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    output: Option<PathBuf>,
    /// Prints every row of the table, however many there are
    #[arg(long)]
    all: bool,
    /// Prints what the filter logs from this level on
    #[arg(long, value_enum, default_value_t = Level::Warn)]
    log: Level,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProfileName {
    /// What Envoy does, the drain bridge included
    Envoy,
    /// What the ABI says and nothing else
    Generic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A row for each exchange, for people
    Table,
    /// Everything, for programs
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}

/// The whole result, as `--format json` prints it.
#[derive(Serialize)]
struct Replays<'t> {
    expected: usize,
    failed: usize,
    replays: Vec<Report<'t>>,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<Verdict, String> {
    let inputs = arguments.traces.iter().chain(&arguments.config).chain(&arguments.wasm);
    files::spare_inputs(arguments.output.as_deref(), inputs.map(PathBuf::as_path))
        .map_err(|error| error.to_string())?;
    let options = options(arguments)?;
    let module = module(arguments, &options.limits)?;
    let texts = arguments
        .traces
        .iter()
        .map(|path| Ok((path.display().to_string(), files::read_text(path)?)))
        .collect::<Result<Vec<_>, files::FileError>>()
        .map_err(|error| error.to_string())?;
    // All traces are read before any is run: a mistake in the last one must not cost the first ones.
    let traces = texts
        .iter()
        .map(|(name, text)| Trace::parse(name, text).map_err(|error| error.to_string()))
        .collect::<Result<Vec<_>, _>>()?;

    let mut replays = Vec::new();
    for trace in &traces {
        let bar = progress_bar(trace);
        let report = replay(module.as_ref(), trace, &options, &mut |progress| {
            bar.set_position(progress.done as u64);
        });
        bar.finish_and_clear();
        replays.push(report.map_err(|error| error.to_string())?);
    }

    let failed = replays.iter().map(|report| report.failures().count()).sum();
    let expected = replays.iter().map(Report::expected).sum();
    let result = Replays { expected, failed, replays };
    files::write_to(arguments.output.as_deref(), |out| match arguments.format {
        Format::Json => {
            serde_json::to_writer(&mut *out, &result)?;
            writeln!(out)
        }
        Format::Table => {
            let terminal = arguments.output.is_none() && io::stdout().is_terminal();
            table::write(out, &result.replays, Style::new(terminal), arguments.all)
        }
    })
    .map_err(|error| error.to_string())?;
    // The program ends here; to give back every piece of a long trace first would take a tenth of the time.
    std::mem::forget(result);
    std::mem::forget(traces);
    Ok(if failed == 0 { Verdict::Held } else { Verdict::Failed })
}

fn options(arguments: &Arguments) -> Result<Options, String> {
    let configuration = arguments.config.as_deref().map(files::read).transpose();
    let profile = match arguments.profile {
        ProfileName::Envoy => Profile::Envoy,
        ProfileName::Generic => Profile::Generic,
    };
    // What the filter recognises Envoy by, and the instance that it names in its health answer.
    let properties = match profile.rules().user_agent_name {
        Some(name) => Properties::new()
            .with(&["xds", "node", "user_agent_name"], name)
            .with(&["xds", "node", "id"], "simulator"),
        None => Properties::new(),
    };
    let mut options = Options::new(profile)
        .workers(arguments.workers)
        .seed(arguments.seed)
        .plugin_name("sluice")
        .vm_id("sluice")
        .allow_on_headers_stop_iteration(arguments.allow_on_headers_stop_iteration)
        .properties(properties)
        .log_level(arguments.log.into())
        .drain_bridge(sluice_filter::reserved_headers::MARKER, "close")
        .decision_function(sluice_filter::decision::FUNCTION)
        .hash_bodies(arguments.format == Format::Json);
    options.configuration = configuration.map_err(|error| error.to_string())?;
    Ok(options)
}

fn module(arguments: &Arguments, limits: &Limits) -> Result<Option<Module>, String> {
    if arguments.without_filter {
        return Ok(None);
    }
    let path = match &arguments.wasm {
        Some(path) => path.clone(),
        None => files::built_filter().map_err(|error| error.to_string())?,
    };
    let wasm = files::read(&path).map_err(|error| error.to_string())?;
    let module =
        Module::new(&wasm, limits).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Some(module))
}

fn progress_bar(trace: &Trace<'_>) -> ProgressBar {
    let events = trace.events.len();
    if events < PROGRESS_FROM {
        return ProgressBar::hidden();
    }
    // Hidden by itself where standard error is no terminal.
    let bar = ProgressBar::new(events as u64).with_message(trace.name.clone());
    let template = "{msg} {wide_bar} {percent}% of {len} events, {eta} left";
    bar.with_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    )
}

impl From<Level> for LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => Self::Trace,
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
            Level::Error => Self::Error,
            Level::Critical => Self::Critical,
        }
    }
}
