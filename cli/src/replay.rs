//! `sluice replay`: runs traces through the filter, or without it, and compares the results with
//! what the traces expect.

use std::path::PathBuf;
use std::thread;

use clap::ValueEnum;
use sluice_sim::replay::{Options, ReplayError, Summary, Warning, check, replay_ahead, replay_to};
use sluice_sim::trace::TraceReader;
use sluice_sim::{LogLevel, Module};

use crate::configuration;
use crate::error::CliError;
use crate::files::{self, FileError, Output};
use crate::progress::ProgressBar;
use crate::report::table::{Detail, TableReport};
use crate::report::{self, Observed};
use crate::simulation;
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
    /// Replay without a filter, for comparison
    #[arg(long, conflicts_with = "wasm")]
    without_filter: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Write to a file instead of standard output
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    output: Option<PathBuf>,
    /// Exit with status 0 if the traces have no expectations and the filter does not crash
    #[arg(long)]
    report_only: bool,
    /// Print every exchange and event; by default, the first 20 that failed
    #[arg(long, conflicts_with = "quiet")]
    all: bool,
    /// Print one line for each trace
    #[arg(short, long)]
    quiet: bool,
    /// Read each trace to its end and check it before the first replay begins
    #[arg(long)]
    check_first: bool,
    /// Lowest level of the filter's log messages to print
    #[arg(long, value_enum, default_value_t = Level::Warn)]
    log: Level,
    #[command(flatten)]
    simulation: simulation::Arguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A summary and the exchanges that failed
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
    let simulation = &arguments.simulation;
    let inputs = arguments.traces.iter().chain(&arguments.config).map(PathBuf::as_path);
    let inputs = inputs.chain(simulation.files());
    files::reject_output_over_input(arguments.output.as_deref(), inputs)?;
    let interrupt = simulation.start_timer();
    let mut options = simulation
        .options()?
        .with_interrupt(interrupt.clone().unwrap_or_default())
        .with_log_level(arguments.log.into())
        .with_hash_bodies(arguments.format == Format::Json);
    options.configuration =
        arguments.config.as_deref().map(configuration::read_json).transpose()?;
    let module = match arguments.without_filter {
        true => None,
        false => Some(simulation.module()?),
    };
    if arguments.traces.iter().filter(|path| path.as_os_str() == "-").count() > 1 {
        return Err(FileError::ReadOnce { path: PathBuf::from("-"), fix: "name it once" }.into());
    }
    let inputs = arguments.traces.iter().map(|path| Input::find(path, interrupt.clone()));
    let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
    if arguments.check_first {
        for input in &inputs {
            let input = input.open_first("remove --check-first")?;
            let reader = TraceReader::new(input.name, input.reader)?;
            check(module.as_ref(), reader, &options)?;
        }
    }
    let mut output = Output::create(arguments.output.as_deref())?;
    let mut format = match arguments.format {
        Format::Json => report::Format::Json(Default::default()),
        Format::Table => {
            let palette = Palette::new(output.is_terminal());
            let detail = match (arguments.all, arguments.quiet) {
                (true, _) => Detail::All,
                (_, true) => Detail::Quiet,
                _ => Detail::Failures,
            };
            // Other modules may need no configuration.
            let configured = arguments.config.is_some() || simulation.names_module();
            report::Format::Table(TableReport::new(palette, detail, configured))
        }
    };
    let (mut failed, mut expected, mut ended) = (0, 0, 0);
    let mut stopped = None;
    for input in &inputs {
        let summary = match replay(input, module.as_ref(), &options, &mut format) {
            Ok(summary) => summary,
            Err(CliError::Replay(source @ ReplayError::Rejected(_)))
                if arguments.config.is_none() =>
            {
                stopped = Some(CliError::NoConfiguration { source });
                break;
            }
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
