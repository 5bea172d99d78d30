//! `sluice diff`: replays the same traces with two configurations, or two modules, and lists what
//! differs: for clients, for upstreams, and in the filter's decisions.
//!
//! ```text
//! pairs        two replays side by side → the two reports of each exchange
//! differences  the two reports of an exchange → what differs
//! groups       equal differences, counted, with an example
//! report       the groups as text, Markdown, HTML or JSON
//! ```

mod differences;
mod groups;
mod html;
mod pairs;
mod report;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use sluice_sim::Module;
use sluice_sim::replay::{Options, Summary};

use self::differences::Threshold;
use self::groups::Comparison;
use self::pairs::Side;
use crate::configuration;
use crate::error::CliError;
use crate::files::{self, Output};
use crate::filter_module::FilterModule;
use crate::simulation;
use crate::style::Palette;
use crate::trace_input::Input;
use crate::verdict::Verdict;

#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 if no client sees a difference, 1 if one does or the \
                        filter crashes, 2 for invalid input.")]
pub(crate) struct Arguments {
    /// Configuration (JSON) or module (WebAssembly) before the change
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// Configuration or module after the change
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// Traces to replay; their expectations are not checked
    #[arg(value_name = "TRACE", required = true)]
    traces: Vec<PathBuf>,
    /// Configuration of both modules, if OLD and NEW are modules
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Smallest difference of times to list
    #[arg(long, value_name = "DURATION", default_value = "10ms",
          value_parser = humantime::parse_duration)]
    threshold: Duration,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Write to a file instead of standard output
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print every group of differences; by default, the largest five of each kind
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    simulation: simulation::Arguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A summary that fits a terminal
    Text,
    /// Tables for a comment on a pull request
    Markdown,
    /// A page without scripts
    Html,
    /// One JSON document with every group
    Json,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Verdict, CliError> {
    let inputs = [&arguments.old, &arguments.new].into_iter().chain(&arguments.traces);
    let inputs = inputs.chain(&arguments.config).map(PathBuf::as_path);
    let inputs = inputs.chain(arguments.simulation.files());
    files::reject_output_over_input(arguments.output.as_deref(), inputs)?;
    let interrupt = arguments.simulation.start_timer();
    let inputs = arguments.traces.iter().map(|path| Input::find(path, interrupt.clone()));
    let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
    let options = arguments
        .simulation
        .options()?
        .with_interrupt(interrupt.unwrap_or_default())
        .with_hash_bodies(true);
    let [old, new] = sides(arguments, &options)?;
    let mut output = Output::create(arguments.output.as_deref())?;
    let mut comparison = Comparison::new(Threshold(arguments.threshold));
    let mut stopped = None;
    for input in &inputs {
        comparison.begin_trace(&input.name());
        let ([old, new], push) = pairs::replay(input, [&old, &new], |pair| comparison.add(pair))?;
        stopped = stopped.or_else(|| new.stopped.as_ref().map(ToString::to_string));
        comparison.end_trace([&old, &new], push);
    }
    let names = [&arguments.old, &arguments.new].map(|path| path.display().to_string());
    let palette = Palette::new(output.is_terminal());
    let found = comparison.finish(names);
    if found.exchanges == 0 && stopped.is_none() && found.problem_counts == [0, 0] {
        return Err(CliError::NothingCompared);
    }
    output.write(|out| match arguments.format {
        Format::Text => report::write_text(&found, arguments.all, palette, out),
        Format::Markdown => report::write_markdown(&found, arguments.all, out),
        Format::Html => html::write(&found, out),
        Format::Json => report::write_json(&found, out),
    })?;
    output.commit()?;
    match stopped {
        Some(mistake) => Err(CliError::Stopped { mistake }),
        None => Ok(Verdict::from_failures(usize::from(found.has_failed()))),
    }
}

/// The two sides of the comparison. They differ in the configuration or in the module.
fn sides(arguments: &Arguments, options: &Options) -> Result<[Side; 2], CliError> {
    let files = [&arguments.old, &arguments.new];
    let contents = [files::read(files[0])?, files::read(files[1])?];
    let config = || arguments.config.as_deref().map(configuration::read_json).transpose();
    match contents.each_ref().map(|content| content.starts_with(b"\0asm")) {
        [true, true] => {
            let mut options = options.clone();
            options.configuration = config()?;
            let [old, new] = contents;
            let side = |file: &Path, wasm: Vec<u8>| {
                let module = FilterModule { file: file.to_owned(), wasm: wasm.into() };
                let module = arguments.simulation.compile(module)?;
                Ok::<_, CliError>(Side { file: file.to_owned(), module, options: options.clone() })
            };
            Ok([side(files[0], old)?, side(files[1], new)?])
        }
        [false, false] => {
            if let Some(config) = &arguments.config {
                return Err(CliError::SecondConfiguration { config: config.clone() });
            }
            let module: Module = arguments.simulation.module()?;
            let side = |file: &Path| {
                let options = options.clone().with_configuration(configuration::read_json(file)?);
                Ok::<_, CliError>(Side { file: file.to_owned(), module: module.clone(), options })
            };
            Ok([side(files[0])?, side(files[1])?])
        }
        [old_is_module, _] => Err(CliError::DifferentKinds {
            module: files[usize::from(!old_is_module)].clone(),
            other: files[usize::from(old_is_module)].clone(),
        }),
    }
}

/// The problems of a replay that are not differences, such as crashes, as lines of text.
fn problems(summary: &Summary) -> impl Iterator<Item = String> {
    summary.problems.iter().map(|problem| match problem.line {
        Some(line) => format!("{}:{line}: {}", summary.trace, problem.text),
        None => format!("{}: {}", summary.trace, problem.text),
    })
}
