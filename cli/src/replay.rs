//! `sluice replay`: runs traces through the filter, or without it, and compares the results with
//! what the traces expect.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use sluice_sim::proxy::Setup;
use sluice_sim::replay::{Options, Summary, Warning, check, replay_ahead, replay_to};
use sluice_sim::trace::{TraceReader, parse_time};
use sluice_sim::{Limits, LogLevel, Module, Profile, Properties};

use crate::error::CliError;
use crate::files::{self, Output};
use crate::module_cache::CacheArguments;
use crate::progress::ProgressBar;
use crate::replay_limits::LimitArguments;
use crate::report::table::TableReport;
use crate::report::{self, Observed};
use crate::style::Palette;
use crate::trace_input::Input;
use crate::verdict::Verdict;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Traces to replay (JSON Lines); - is standard input
    #[arg(value_name = "TRACE", required = true)]
    traces: Vec<PathBuf>,
    /// Plugin configuration at the start of each trace (JSON)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Module of the filter [default: target/sluice_filter.wasm in this folder or above]
    #[arg(long, value_name = "FILE", conflicts_with = "without_filter")]
    wasm: Option<PathBuf>,
    /// Replay without a filter, for comparison
    #[arg(long)]
    without_filter: bool,
    /// Proxy to simulate
    #[arg(long, value_enum, default_value_t = ProfileName::Envoy)]
    profile: ProfileName,
    /// Proxy, plugin and clusters to simulate (JSON); replaces what a trace describes
    #[arg(long, value_name = "FILE")]
    proxy: Option<PathBuf>,
    /// Simulate Envoy's plugin option of the same name; the admin path needs it to read a request
    /// body
    #[arg(long)]
    allow_on_headers_stop_iteration: bool,
    /// Number of worker threads of the simulated proxy; each runs its own VM
    #[arg(long, value_name = "N", default_value = "2")]
    workers: NonZeroU32,
    /// Seed for random choices, such as the worker of a new connection
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Time of the simulated proxy's clock at the start of each trace [default:
    /// 2026-01-01T00:00:00Z]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    start_time: Option<Duration>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Write to a file instead of standard output
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    output: Option<PathBuf>,
    /// Exit with status 0 if the traces have no expectations and the filter does not crash
    #[arg(long)]
    report_only: bool,
    /// Print every row of the table; by default, rows without a failure end after the first 100
    #[arg(long)]
    all: bool,
    /// Read each trace to its end and check it before the first replay begins
    #[arg(long)]
    check_first: bool,
    /// Lowest level of the filter's log messages to print
    #[arg(long, value_enum, default_value_t = Level::Warn)]
    log: Level,
    #[command(flatten)]
    cache: CacheArguments,
    #[command(flatten)]
    limits: LimitArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProfileName {
    /// Envoy with the drain bridge
    Envoy,
    /// A proxy that follows the proxy-wasm ABI and nothing else
    Generic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One row for each exchange
    Table,
    /// The whole result as one JSON document
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

pub(crate) fn run(arguments: &Arguments) -> Result<Verdict, CliError> {
    let inputs = arguments.traces.iter().chain(&arguments.config).chain(&arguments.wasm);
    let inputs = inputs.chain(&arguments.proxy);
    files::reject_output_over_input(arguments.output.as_deref(), inputs.map(PathBuf::as_path))?;
    let interrupt = arguments.limits.start_timer();
    let options = options(arguments)?.with_interrupt(interrupt.clone().unwrap_or_default());
    let module = module(arguments, &options.limits)?;
    let inputs = arguments.traces.iter().map(|path| Input::find(path, interrupt.clone()));
    let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
    if arguments.check_first {
        for input in &inputs {
            let input = input.open_first()?;
            let reader = TraceReader::new(input.name, input.reader)?;
            check(module.as_ref(), reader, &options)?;
        }
    }
    let mut output = Output::create(arguments.output.as_deref())?;
    let mut format = match arguments.format {
        Format::Json => report::Format::Json(Default::default()),
        Format::Table => {
            let palette = Palette::new(output.is_terminal());
            report::Format::Table(TableReport::new(palette, arguments.all))
        }
    };
    let (mut failed, mut expected, mut ended) = (0, 0, 0);
    let mut stopped = None;
    for input in &inputs {
        let summary = match replay(input, module.as_ref(), &options, &mut format) {
            Ok(summary) => summary,
            Err(error) => {
                stopped = Some(error);
                break;
            }
        };
        failed += summary.failed();
        expected += summary.expected();
        ended += 1;
        for warning in &summary.warnings {
            eprintln!("{}: warning: {}", place(&summary, warning), warning.text);
        }
        let mistake = summary.stopped.as_ref().map(ToString::to_string);
        format.end_trace(summary, &mut output)?;
        if let Some(mistake) = mistake {
            stopped = Some(CliError::Stopped { mistake });
            break;
        }
    }
    if ended > 0 {
        format.end(&mut output)?;
        output.commit()?;
    }
    match stopped {
        Some(error) => Err(error),
        None if (failed, expected, arguments.report_only) == (0, 0, false) => {
            Err(CliError::NothingChecked)
        }
        None => Ok(Verdict::from_failures(failed)),
    }
}

/// Replays one trace. Its report goes to `format`.
fn replay(
    input: &Input,
    module: Option<&Module>,
    options: &Options,
    format: &mut report::Format,
) -> Result<Summary, CliError> {
    let input = input.open()?;
    let bar = ProgressBar::of(&input);
    let reader = TraceReader::new(input.name.clone(), input.reader)?;
    let mut observe = |progress| bar.show(progress);
    let mut sink = Observed { format, observe: &mut observe };
    let summary = match thread::available_parallelism().is_ok_and(|cores| cores.get() > 1) {
        true => replay_ahead(module, reader, options, &mut sink),
        false => replay_to(module, reader, options, &mut sink),
    };
    bar.finish();
    Ok(summary?)
}

/// The trace and the line that a warning is about.
fn place(summary: &Summary, warning: &Warning) -> String {
    match warning.line {
        None => summary.trace.clone(),
        Some(line) => format!("{}:{line}", summary.trace),
    }
}

fn options(arguments: &Arguments) -> Result<Options, CliError> {
    let profile = match arguments.profile {
        ProfileName::Envoy => Profile::Envoy,
        ProfileName::Generic => Profile::Generic,
    };
    // The filter recognizes Envoy by the first property, and its health response names the second.
    let properties = match profile.rules().user_agent_name {
        Some(name) => Properties::new()
            .with(&["xds", "node", "user_agent_name"], name)
            .with(&["xds", "node", "id"], "simulator"),
        None => Properties::new(),
    };
    let mut setup = arguments.proxy.as_deref().map(setup).transpose()?.unwrap_or_default();
    setup.start_time = arguments.start_time.or(setup.start_time);
    let mut options = Options::new(profile)
        .with_setup(setup)
        .with_workers(arguments.workers)
        .with_seed(arguments.seed)
        .with_plugin_name("sluice")
        .with_vm_id("sluice")
        .with_allow_on_headers_stop_iteration(arguments.allow_on_headers_stop_iteration)
        .with_properties(properties)
        .with_log_level(arguments.log.into())
        .with_drain_bridge(sluice_filter::reserved_headers::MARKER, "close")
        .with_decision_function(sluice_filter::decision::FUNCTION)
        .with_hash_bodies(arguments.format == Format::Json)
        .with_limits(arguments.limits.limits())
        .with_max_instructions(arguments.limits.max_instructions);
    options.configuration = arguments.config.as_deref().map(files::read).transpose()?;
    Ok(options)
}

/// Reads the file of `--proxy`.
fn setup(path: &Path) -> Result<Setup, CliError> {
    let text = files::read_text(path)?;
    Setup::parse(&text).map_err(|source| CliError::Setup { file: path.to_owned(), source })
}

fn module(arguments: &Arguments, limits: &Limits) -> Result<Option<Module>, CliError> {
    if arguments.without_filter {
        return Ok(None);
    }
    let file = match &arguments.wasm {
        Some(path) => path.clone(),
        None => files::built_filter()?,
    };
    let wasm = files::read(&file)?;
    let module = match arguments.cache.cache() {
        Some(cache) => Module::with_cache(&wasm, limits, &cache),
        None => Module::new(&wasm, limits),
    };
    module.map(Some).map_err(|source| CliError::Module { file, source })
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
